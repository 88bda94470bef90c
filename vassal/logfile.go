package vassal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/logs"
	"github.com/emperord/emperord/protocol/pipe"
)

// A logFile is the log that the vassal file names: logto and its relatives, a file or addresses that lines are sent to. All processes of the application write into one
// pipe, and a goroutine carries the lines to the file. So a file that is moved is followed at once, whoever writes; a full
// disk holds nobody up; and the emperor, on whose log none of this appears, still learns the last lines.
type logFile struct {
	set   configs.LogFile
	write int // the pipe's end that the processes get; -1: closed
	read  *os.File
	done  chan struct{}
}

// gather is how long lines may gather before they are read: under load, one read and one write for many.
const gather = 5 * time.Millisecond

// maxLine is how many bytes of a line that has no end yet are kept before they are written as they are.
const maxLine = 8 << 10

// newLogFile opens the log. path is absolute, or empty. What cannot be written goes to instead, which is standard error. An error says
// that there is none, and how it is said; a file that cannot be opened is no such error: it is tried again.
func newLogFile(set configs.LogFile, path string, instead *os.File, board *os.File, place string) (*logFile, error) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("cannot make a pipe for the log: %w", err)
	}
	_ = unix.SetNonblock(ends[0], true) // Go's poller reads it; the processes' end blocks
	log := openAll(set, path, instead, func(text string) []byte { return []byte("vassald: " + prefix(place) + text + "\n") })
	f := &logFile{set: set, write: ends[1], read: os.NewFile(uintptr(ends[0]), "log"), done: make(chan struct{})}
	go f.carry(log, board)
	return f, nil
}

// openAll opens the file, and the ways to addresses. A Unix socket with a relative path is looked for in the folder where vassald was
// started, as uWSGI does.
func openAll(set configs.LogFile, path string, instead *os.File, say func(string) []byte) logs.All {
	var all logs.All
	if path != "" {
		backup := set.Backup
		if backup != "" && !filepath.IsAbs(backup) {
			backup = filepath.Join(filepath.Dir(path), backup)
		}
		l, err := logs.Open(logs.Options{Path: path, Truncate: set.Truncate, Max: set.Max, Backup: backup, Instead: instead, Say: say})
		if err != nil {
			_, _ = instead.Write(say(fmt.Sprintf("the log %s cannot be opened: %v; lines go here until it can be", path, err)))
		}
		all = append(all, l)
	}
	for _, to := range set.To {
		o := logs.DatagramOptions{Address: to.Address, Path: to.Path, Instead: instead, Say: say}
		if to.Syslog != "" {
			o.Path, o.Head = logs.SyslogSocket, &logs.Head{Name: to.Syslog, Facility: to.Facility}
		}
		d, _ := logs.OpenDatagrams(o) // the first line tells what is wrong
		all = append(all, d)
	}
	return all
}

// carry writes what the processes say, until all of them have closed the pipe.
func (f *logFile) carry(log logs.Writer, board *os.File) {
	defer close(f.done)
	defer log.Close()
	defer f.read.Close()
	var tail pipe.Tail
	buffer := make([]byte, 0, 16<<10)
	for {
		n, err := f.read.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		whole := bytes.LastIndexByte(buffer, '\n') + 1
		if len(buffer)-whole > maxLine || err != nil {
			if whole < len(buffer) {
				buffer = append(buffer, '\n')
			}
			whole = len(buffer)
		}
		if whole > 0 {
			_, _ = log.Write(buffer[:whole]) // it never fails
			if board != nil {
				keep(&tail, buffer[:whole])
				_ = tail.Write(board) // it can only fail where there is no room, and costs a diagnosis
			}
			buffer = append(buffer[:0], buffer[whole:]...)
		}
		if err != nil {
			return
		}
		time.Sleep(gather)
	}
}

// keep adds the last of some lines to t.
func keep(t *pipe.Tail, lines []byte) {
	now := time.Now()
	all := bytes.Split(bytes.TrimSuffix(lines, []byte("\n")), []byte("\n"))
	for _, line := range all[max(0, len(all)-pipe.TailLines):] {
		t.Add(now, line)
	}
}

// Write takes a line of vassald itself. It goes to standard error where the pipe is full: the supervisor does not wait.
func (f *logFile) Write(line []byte) (int, error) {
	ready := []unix.PollFd{{Fd: int32(f.write), Events: unix.POLLOUT}}
	if n, err := unix.Poll(ready, 0); err != nil || n == 0 || len(line) > 4096 { // PIPE_BUF: what a writable pipe takes whole
		return os.Stderr.Write(line)
	}
	for {
		n, err := unix.Write(f.write, line)
		if !errors.Is(err, unix.EINTR) {
			return max(n, 0), err
		}
	}
}

// lastLines bounds how long the end waits for what processes that outlive the application still have to say.
const lastLines = 200 * time.Millisecond

// release gives our end of the pipe away: the log ends with its last writer.
func (f *logFile) release() {
	if f.write >= 0 {
		_ = unix.Close(f.write)
		f.write = -1
	}
}

// close ends the log when what has been said is written.
func (f *logFile) close() {
	f.release()
	_ = f.read.SetReadDeadline(time.Now().Add(lastLines))
	<-f.done
}

// openLog opens the log that the application asks for, in the place of the one before, which ends with its last writer. Where
// nothing has changed it stays.
func (s *supervisor) openLog() {
	set := s.app.Log
	if s.output == nil && !set.Any() || s.output != nil && s.output.set.Equal(set) {
		return
	}
	if s.output != nil {
		s.output.release() // the old host still writes there
		s.former = append(s.former, s.output)
	}
	s.output, s.journal.out = nil, os.Stderr
	if !set.Any() {
		return
	}
	path := set.Path
	switch {
	case path == "", filepath.IsAbs(path):
	case set.Late:
		path = filepath.Join(s.folder(), path)
	default:
		path = filepath.Join(s.dir, path)
	}
	log, err := newLogFile(set, path, os.Stderr, s.in.board, s.app.place("logto2", "logto", "daemonize", "log-syslog", "log-socket"))
	if err != nil {
		s.say("%v; lines go here", err)
		return
	}
	s.output, s.journal.out = log, log
}

// closeLogs writes what the application has said last.
func (s *supervisor) closeLogs() {
	if s.output != nil {
		s.former = append(s.former, s.output)
	}
	for _, f := range s.former {
		f.close()
	}
}
