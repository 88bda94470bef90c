package logs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// A Log appends whole lines to a file. It belongs to one goroutine.
type Log struct {
	o      Options
	fd     int // -1: not open
	plain  bool
	id     [2]uint64 // device and inode of the open file
	again  time.Time // when opening may be tried next
	torn   bool      // the last write has left a part of a line
	gone   time.Time // since when nothing has the name; zero: something has
	reason error     // why lines go elsewhere, or why the name's file could not be opened; nil: all is well
	lost   int       // lines that went elsewhere since
}

// Options are where and how to write.
type Options struct {
	Path     string    // absolute
	Truncate bool      // the file is emptied when it is opened first
	Max      uint64    // bytes; a file that has as many is moved away; 0: never
	Backup   string    // where it is moved to; empty: its own name and the time in seconds, as in uWSGI
	Instead  io.Writer // takes the lines while the file cannot be written
	Say      func(text string) []byte
	// Say makes a line of the log from what there is to say about the log itself, with its line feed.
}

// retry is how often opening is tried again.
const retry = time.Second

// grace is how long a name may mean nothing before the file is made again: who rotates with "create" (logrotate(8)) makes
// it, with the owner and mode that it shall have, right after it has moved the old one.
const grace = time.Second

// mode of a new file, as uWSGI gives it (observed on 2.0.21).
const mode = 0o640

// Open opens the log. The Log is good in any case: where there is an error, lines go elsewhere until the file can be opened.
func Open(o Options) (*Log, error) {
	l := &Log{o: o, fd: -1}
	flags := 0
	if o.Truncate {
		flags = unix.O_TRUNC
	}
	err := l.open(flags)
	if err != nil {
		l.reason, l.again = err, time.Now().Add(retry)
	}
	return l, err
}

// open opens what the name means now, in the place of what was open before. O_NONBLOCK is for FIFOs that nobody reads: an open or
// a write must not wait for them.
func (l *Log) open(flags int) error {
	fd, err := unix.Open(l.o.Path, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK|flags, mode)
	if err != nil {
		return explain(l.o.Path, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return explain(l.o.Path, err)
	}
	if l.fd >= 0 {
		_ = unix.Close(l.fd)
	}
	l.fd, l.plain, l.id, l.torn, l.gone = fd, st.Mode&unix.S_IFMT == unix.S_IFREG, identity(&st), false, time.Time{}
	return nil
}

func identity(st *unix.Stat_t) [2]uint64 { return [2]uint64{uint64(st.Dev), st.Ino} }

// Write appends whole lines, to the file or elsewhere. It always takes all of them.
func (l *Log) Write(lines []byte) (int, error) {
	follow := l.follow(time.Now())
	err := l.append(lines)
	trouble := errors.Join(follow, err)
	switch {
	case trouble != nil && (l.reason == nil || l.reason.Error() != trouble.Error()):
		where := "lines go here until it can be"
		if err == nil {
			where = "lines go on to the file that had this name before"
		}
		l.elsewhere(l.o.Say(fmt.Sprintf("the log %s cannot be written: %v; %s", l.o.Path, trouble, where)))
	case trouble == nil && l.reason != nil:
		text := l.o.Say(fmt.Sprintf("the log %s can be written again; %d lines went elsewhere, because it could not: %v", l.o.Path, l.lost, l.reason))
		l.elsewhere(text)
		_ = l.append(text) // the next write tells
		l.lost = 0
	}
	if l.reason = trouble; err != nil {
		l.lost += bytes.Count(lines, []byte("\n"))
		l.elsewhere(lines)
	}
	return len(lines), nil
}

func (l *Log) elsewhere(text []byte) {
	if l.o.Instead != nil {
		_, _ = l.o.Instead.Write(text) // there is nobody else to tell
	}
}

// follow opens the file that the name means now, if it is another one, and moves away one that is full.
func (l *Log) follow(now time.Time) error {
	if l.fd < 0 {
		if now.Before(l.again) {
			return nil // append tells why
		}
		return l.reopen(now)
	}
	if !l.plain {
		return nil
	}
	var st unix.Stat_t
	switch err := unix.Stat(l.o.Path, &st); {
	case err == nil && identity(&st) == l.id:
		l.gone = time.Time{}
		if l.o.Max == 0 || uint64(st.Size) < l.o.Max {
			return nil
		}
		backup := l.o.Backup
		if backup == "" {
			backup = l.o.Path + "." + strconv.FormatInt(now.Unix(), 10)
		}
		if err := unix.Rename(l.o.Path, backup); err != nil {
			return fmt.Errorf("it has %d bytes or more and cannot be moved to %s: %w", l.o.Max, backup, err)
		}
	case errors.Is(err, unix.ENOENT) && l.gone.IsZero():
		l.gone = now
		return nil
	case errors.Is(err, unix.ENOENT) && now.Sub(l.gone) < grace:
		return nil
	}
	if now.Before(l.again) {
		return l.reason
	}
	return l.reopen(now)
}

func (l *Log) reopen(now time.Time) error {
	err := l.open(0)
	if l.again = (time.Time{}); err != nil {
		l.again = now.Add(retry)
	}
	return err
}

// append writes all of lines to the open file.
func (l *Log) append(lines []byte) error {
	if l.fd < 0 {
		if l.reason != nil {
			return l.reason
		}
		return unix.EBADF
	}
	if l.torn {
		lines = append([]byte("\n"), lines...)
	}
	for len(lines) > 0 {
		n, err := unix.Write(l.fd, lines)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return plainly(err)
		}
		l.torn = n < len(lines) || lines[len(lines)-1] != '\n'
		lines = lines[n:]
	}
	return nil
}

// Close closes the file.
func (l *Log) Close() {
	if l.fd >= 0 {
		_ = unix.Close(l.fd)
		l.fd = -1
	}
}
