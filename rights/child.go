package rights

import (
	"errors"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// cloneArgs is struct clone_args of clone3(2), up to the field that came with Linux 5.7.
type cloneArgs struct {
	flags, pidFD, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

// A job is all that the child has of its plan. It is outside.
type job struct {
	calls  []call
	report report
	args   cloneArgs
	all    uint64 // the mask of all signals
	old    uint64 // that of our thread
	flags  uintptr
	status uintptr // the descriptor of the pipe
	heap   uintptr // where Go's heap begins; 0: it is copied too

	allAt, oldAt, argsAt, reportAt uintptr
}

// newJob puts the calls of a plan outside.
func (p *plan) newJob() (*job, error) {
	j := place(p, job{all: ^uint64(0), flags: p.flags, status: uintptr(p.status[1])})
	room, err := p.room(len(p.steps) * int(unsafe.Sizeof(call{})))
	if err = errors.Join(err, p.failed); err != nil {
		return nil, err
	}
	j.calls = unsafe.Slice((*call)(room), len(p.steps))
	for i := range p.steps {
		j.calls[i] = p.steps[i].call
	}
	j.allAt, j.oldAt = uintptr(unsafe.Pointer(&j.all)), uintptr(unsafe.Pointer(&j.old))
	j.argsAt, j.reportAt = uintptr(unsafe.Pointer(&j.args)), uintptr(unsafe.Pointer(&j.report))
	if heap := heapOf(unsafe.Pointer(p)); !p.within(heap, heap+heapSpan) {
		j.heap = heap
	}
	return j, nil
}

// nearStack is how much of the stack around here the child gets: what fork and live need is less than the 800 bytes that
// a chain of nosplit functions may have.
const nearStack = 8 << 10

// fork makes the child and, in the child, does all that j says; there it never returns. Until the fork the signals of
// this thread are blocked, so that no handler of the runtime runs in the child; the parent gets its mask back.
//
// The child is a copy of one thread of a program with many: whatever lock another thread held stays locked for ever,
// and the runtime may have asked this goroutine to yield. So nothing here may grow the stack, allocate, write a
// pointer or call what does: only system calls, by functions that are nosplit themselves. The race detector's
// instrumentation would be such a call. The heap is not there at all: for the moment of the fork it is marked as not to
// be copied, but for the pages of the stack that we stand on, which lies in it and cannot move while we are here. Where
// the marking fails, or a heap lies elsewhere, it is copied, which only takes longer.
//
//go:noinline
//go:nosplit
//go:norace
//go:nocheckptr
func (j *job) fork(viaClone3 bool) (pid uintptr, errno syscall.Errno) {
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, j.allAt, j.oldAt, 8, 0, 0)
	if j.heap != 0 {
		stack := (uintptr(unsafe.Pointer(&pid)) - nearStack) &^ 4095
		syscall.RawSyscall6(unix.SYS_MADVISE, j.heap, heapSpan, unix.MADV_DONTFORK, 0, 0, 0) // ENOMEM: the rest is not mapped
		if _, _, errno = syscall.RawSyscall6(unix.SYS_MADVISE, stack, 2*nearStack, unix.MADV_DOFORK, 0, 0, 0); errno != 0 {
			syscall.RawSyscall6(unix.SYS_MADVISE, j.heap, heapSpan, unix.MADV_DOFORK, 0, 0, 0)
		}
	}
	switch {
	case viaClone3:
		pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE3, j.argsAt, cloneArgsSize, 0, 0, 0, 0)
	case runtime.GOARCH == "s390x": // its first two arguments are swapped
		pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, 0, j.flags, 0, 0, 0, 0)
	default:
		pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, j.flags, 0, 0, 0, 0, 0)
	}
	if errno != 0 || pid != 0 {
		if j.heap != 0 {
			syscall.RawSyscall6(unix.SYS_MADVISE, j.heap, heapSpan, unix.MADV_DOFORK, 0, 0, 0)
		}
		syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, j.oldAt, 0, 8, 0, 0)
		return pid, errno
	}
	j.live()
	return 0, 0
}

// live is the child's whole life before the exec.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (j *job) live() {
	for i := 0; i < len(j.calls); i++ {
		s := &j.calls[i]
		j.report.step = uint32(i)
		if s.count > 0 {
			if j.each(s) {
				continue
			}
			break
		}
		r, _, errno := syscall.RawSyscall6(s.number, s.args[0], s.args[1], s.args[2], s.args[3], s.args[4], s.args[5])
		if errno != 0 {
			if errno == s.spare {
				continue
			}
			j.report.errno = uint32(errno)
			break
		}
		if s.judged && r != s.want {
			j.report.differ, j.report.value = differsResult, uint64(r)
			break
		}
		if j.differs(s) {
			break
		}
	}
	syscall.RawSyscall6(unix.SYS_WRITE, j.status, j.reportAt, reportSize, 0, 0, 0)
	for {
		syscall.RawSyscall6(unix.SYS_EXIT_GROUP, 253, 0, 0, 0, 0, 0)
	}
}

// each makes the calls of a step that stands for several, and tells whether all went well.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (j *job) each(s *call) bool {
	for c := uintptr(0); c < s.count; c++ {
		bit := uintptr(s.bits >> (c & 63) & 1)
		if bit == 0 && !s.judged {
			continue
		}
		r, _, errno := syscall.RawSyscall6(s.number, s.args[0], c, s.args[2], s.args[3], s.args[4], s.args[5])
		j.report.which = uint32(c)
		if errno != 0 {
			j.report.errno = uint32(errno)
			return false
		}
		if s.judged && r != bit {
			j.report.differ, j.report.value = differsResult, uint64(r)
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
func (j *job) differs(s *call) bool {
	for i := 0; i < len(s.want32) && i < len(s.got32); i++ {
		if s.got32[i] != s.want32[i] {
			j.report.differ, j.report.which, j.report.value = differsMemory, uint32(i), uint64(s.got32[i])
			return true
		}
	}
	for i := 0; i < len(s.want64) && i < len(s.got64); i++ {
		if s.got64[i] != s.want64[i] {
			j.report.differ, j.report.which, j.report.value = differsMemory, uint32(i), s.got64[i]
			return true
		}
	}
	return false
}
