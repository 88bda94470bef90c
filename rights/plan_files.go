package rights

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// pipe returns a pipe whose ends have numbers from first on, so that nothing is put in their place.
func pipe(first int) (ends [2]int, err error) {
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return [2]int{-1, -1}, fmt.Errorf("cannot make a pipe: %w", err)
	}
	for i, low := range ends {
		if low >= first {
			continue
		}
		high, err := unix.FcntlInt(uintptr(low), unix.F_DUPFD_CLOEXEC, first)
		if err != nil {
			_, _ = unix.Close(ends[0]), unix.Close(ends[1])
			return [2]int{-1, -1}, fmt.Errorf("cannot make a pipe: %w", err)
		}
		_ = unix.Close(low)
		ends[i] = high
	}
	return ends, nil
}

// files moves the descriptors to where the child expects them, in the order of syscall.ForkExec: first those out of
// the way that a later move would overwrite, then all of them down. Every other descriptor is closed.
func (p *plan) files() error {
	next := uintptr(max(p.status[1], p.gate[0], p.gate[1], len(p.spec.Files)))
	for _, f := range p.spec.Files {
		next = max(next, f)
	}
	at := slices.Clone(p.spec.Files)
	for i, f := range at {
		if f < uintptr(i) {
			next++
			p.number(int(f), "move descriptor %d out of the way", unix.SYS_DUP3, f, next, unix.O_CLOEXEC)
			at[i] = next
		}
	}
	for i, f := range at {
		if f == uintptr(i) {
			p.number(i, "keep descriptor %d", unix.SYS_FCNTL, f, unix.F_SETFD, 0)
			continue
		}
		p.number(i, "put descriptor %d in its place", unix.SYS_DUP3, f, uintptr(i), 0)
	}
	if err := p.closeOthers(uintptr(len(at))); err != nil {
		return err
	}
	for i := range at {
		p.expect("look at descriptor %d", "moving the descriptors", 0, "flags of descriptor %d", unix.SYS_FCNTL, uintptr(i), unix.F_GETFD).n = i
	}
	return nil
}

// closeOthers closes what the child does not need, from first on, while it has its parent's user still: once it has its own,
// that user can stop it. A child that is stopped there must not hold other vassals' listeners and pipes, which would look as if
// somebody were there when the parent has gone. Only the pipe by which it tells what went wrong is left for the exec.
func (p *plan) closeOthers(first uintptr) error {
	const does = "close all other descriptors"
	keep := uintptr(p.status[1])
	p.number(int(keep), "keep descriptor %d to itself", unix.SYS_FCNTL, keep, unix.F_SETFD, unix.FD_CLOEXEC)
	if err := unix.CloseRange(math.MaxInt32, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err == nil {
		if first < keep {
			p.do(does, unix.SYS_CLOSE_RANGE, first, keep-1, 0)
		}
		p.do(does, unix.SYS_CLOSE_RANGE, keep+1, math.MaxUint32, 0)
		return nil
	}
	names, err := os.ReadDir("/proc/self/fd") // a kernel before 5.11
	if err != nil {
		return fmt.Errorf("cannot list the own descriptors: %w", err)
	}
	for _, n := range names { // what is opened before the fork is close-on-exec
		if fd, err := strconv.ParseUint(n.Name(), 10, 31); err == nil && uintptr(fd) >= first && uintptr(fd) != keep {
			p.do(does, unix.SYS_CLOSE, uintptr(fd)).spare = unix.EBADF
		}
	}
	return nil
}
