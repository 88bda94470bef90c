package sources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Inherited lists the descriptors from 3 on that this process was started with and that are not marked close-on-exec. Call it
// first of all: what a Go program opens itself is marked, and so must be what an emperor has handed over.
func Inherited() []int {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var list []int
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		if err != nil || fd < 3 {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			list = append(list, fd)
		}
	}
	slices.Sort(list)
	return list
}

// descriptor is fd://N: what is left to read of a descriptor. uWSGI reads N as C's atoi does, so a word is 0.
func (o *Opener) descriptor(text string) (io.ReadCloser, error) {
	n := leadingNumber(text)
	source := -1
	switch {
	case n == 0 && o.Stdin != nil:
		source = int(o.Stdin.Fd())
	case n == 0:
		return io.NopCloser(strings.NewReader("")), nil
	case slices.Contains(o.Inherited, n):
		source = n
	default: // uWSGI takes one that is not open for an empty file
		return nothing{fmt.Errorf("descriptor %d is not one that the program was started with, so it gave nothing", n)}, nil
	}
	fd, err := unix.FcntlInt(uintptr(source), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nothing{fmt.Errorf("descriptor %d is not open, so it gave nothing", n)}, nil
	}
	f := &polled{ctx: o.Context, fd: fd, until: o.until}
	return struct {
		io.Reader
		io.Closer
	}{&bounded{f, maxBody}, f}, nil
}

// leadingNumber reads digits and what is no number as 0. Nothing below 0 or above any descriptor is told apart.
func leadingNumber(text string) int {
	text = strings.TrimLeft(text, " \t\n\v\f\r")
	end := 0
	for end < len(text) && (text[end] >= '0' && text[end] <= '9' || end == 0 && (text[0] == '-' || text[0] == '+')) {
		end++
	}
	if end == 0 {
		return 0
	}
	n, err := strconv.ParseInt(text[:end], 10, 32)
	if errors.Is(err, strconv.ErrRange) {
		return -1
	}
	return int(n)
}

// nothing is an empty source with something odd about it.
type nothing struct{ error }

func (nothing) Read([]byte) (int, error) { return 0, io.EOF }

func (n nothing) Close() error { return n.error }

// polled reads a descriptor that others may read as well, so its flags must stay as they are: it asks before each read
// whether there is something, until its time is over.
type polled struct {
	ctx   context.Context
	fd    int
	until time.Time
}

var errSlow = errors.New("takes too long")

func (p *polled) Read(b []byte) (int, error) {
	for {
		ready, err := readable(p.ctx, p.fd, p.until)
		switch {
		case err != nil:
			return 0, err
		case !ready:
			return 0, errSlow
		}
		n, err := unix.Read(p.fd, b)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			continue
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// heed is how soon a wait in the kernel notices that the reading was given up.
const heed = 50 * time.Millisecond

// readable waits until a descriptor has something to read, or has ended.
func readable(ctx context.Context, fd int, until time.Time) (bool, error) {
	for {
		left := min(time.Until(until), heed)
		switch {
		case ctx.Err() != nil:
			return false, errGivenUp
		case left <= 0:
			return false, nil
		}
		ask := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		ready, err := unix.Poll(ask, int(left/time.Millisecond)+1)
		switch {
		case errors.Is(err, unix.EINTR) || (err == nil && ready == 0):
		case err != nil:
			return false, err
		default:
			return true, nil
		}
	}
}

func (p *polled) Close() error { return unix.Close(p.fd) }
