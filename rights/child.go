package rights

import (
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// cloneArgs is struct clone_args of clone3(2), up to the field that came with Linux 5.7.
type cloneArgs struct {
	flags, pidFD, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

// fork makes the child and, in the child, does all that p says; there it never returns. Until the fork the signals of
// this thread are blocked, so that no handler of the runtime runs in the child; the parent gets its mask back.
//
// The child is a copy of one thread of a program with many: whatever lock another thread held stays locked for ever,
// and the runtime may have asked this goroutine to yield. So nothing here may grow the stack, allocate, write a
// pointer or call what does: only system calls, by functions that are nosplit themselves. The race detector's
// instrumentation would be such a call.
//
//go:noinline
//go:nosplit
//go:norace
//go:nocheckptr
func (p *plan) fork(mask *masks, args *cloneArgs, viaClone3 bool) (pid uintptr, errno syscall.Errno) {
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, mask.allAt, mask.oldAt, 8, 0, 0)
	switch {
	case viaClone3:
		pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE3, mask.argsAt, cloneArgsSize, 0, 0, 0, 0)
	case runtime.GOARCH == "s390x": // its first two arguments are swapped
		pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, 0, p.flags, 0, 0, 0, 0)
	default:
		pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, p.flags, 0, 0, 0, 0, 0)
	}
	if errno != 0 || pid != 0 {
		syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, mask.oldAt, 0, 8, 0, 0)
		return pid, errno
	}
	p.live(mask)
	return 0, 0
}

// live is the child's whole life before the exec.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (p *plan) live(mask *masks) {
	for i := 0; i < len(p.steps); i++ {
		s := &p.steps[i]
		p.report.step = uint32(i)
		if s.count > 0 {
			if p.each(s) {
				continue
			}
			break
		}
		r, _, errno := syscall.RawSyscall6(s.number, s.args[0], s.args[1], s.args[2], s.args[3], s.args[4], s.args[5])
		if errno != 0 {
			if errno == s.spare {
				continue
			}
			p.report.errno = uint32(errno)
			break
		}
		if s.judged && r != s.want {
			p.report.differ, p.report.value = differsResult, uint64(r)
			break
		}
		if p.differs(s) {
			break
		}
	}
	syscall.RawSyscall6(unix.SYS_WRITE, uintptr(p.status[1]), mask.reportAt, reportSize, 0, 0, 0)
	for {
		syscall.RawSyscall6(unix.SYS_EXIT_GROUP, 253, 0, 0, 0, 0, 0)
	}
}

// each makes the calls of a step that stands for several, and tells whether all went well.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (p *plan) each(s *step) bool {
	for c := uintptr(0); c < s.count; c++ {
		bit := uintptr(s.bits >> (c & 63) & 1)
		if bit == 0 && !s.judged {
			continue
		}
		r, _, errno := syscall.RawSyscall6(s.number, s.args[0], c, s.args[2], s.args[3], s.args[4], s.args[5])
		p.report.which = uint32(c)
		if errno != 0 {
			p.report.errno = uint32(errno)
			return false
		}
		if s.judged && r != bit {
			p.report.differ, p.report.value = differsResult, uint64(r)
			return false
		}
	}
	return true
}

// differs compares what a call has written with what it should have.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (p *plan) differs(s *step) bool {
	for i := 0; i < len(s.want32) && i < len(s.got32); i++ {
		if s.got32[i] != s.want32[i] {
			p.report.differ, p.report.which, p.report.value = differsMemory, uint32(i), uint64(s.got32[i])
			return true
		}
	}
	for i := 0; i < len(s.want64) && i < len(s.got64); i++ {
		if s.got64[i] != s.want64[i] {
			p.report.differ, p.report.which, p.report.value = differsMemory, uint32(i), s.got64[i]
			return true
		}
	}
	return false
}
