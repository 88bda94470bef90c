package rights

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A step is one system call of the child, and what the kernel must have answered. It was prepared by the parent: the
// child takes nothing but numbers from it.
type step struct {
	number uintptr
	args   [6]uintptr
	spare  syscall.Errno // an error that is as good as none; 0: there is none

	// With count it is one call for each number below it, as the second argument: if judged for all, and the result must
	// be the bit of that number; else for those whose bit is set.
	count uintptr
	bits  uint64

	// what is compared afterwards, if the call did not fail
	judged bool // the result must be want
	want   uintptr
	got32  []uint32 // what the call has written must be equal to want32, …
	want32 []uint32
	got64  []uint64 // … or to want64
	want64 []uint64

	n      int      // where does, after or label say %d: texts are only made when they are needed
	does   string   // "take gid %d": what the call is for
	after  string   // of a comparison: "taking gid %d"
	label  string   // what the result is: "umask"
	labels []string // what the compared numbers are: "real gid"; the last one stands for all that follow
	remedy string   // what to do when the kernel does not permit it
}

// A plan is everything that the child will do. All memory that the steps point to is held by it, so that it stays
// where it is until the fork.
type plan struct {
	spec   Spec
	steps  []step
	keep   []any
	report report
	status [2]int // the pipe by which the child tells what went wrong; close-on-exec
	gate   [2]int // the pipe by which the parent says that the ids of a user namespace are mapped; -1: none
	flags  uintptr

	noClone3 bool    // for tests: as on a kernel before 5.7, or behind a filter of system calls
	bounding uint64  // the bounding set that the child begins with, …
	known    uintptr // … and how many capabilities the kernel knows
}

// A report is what a child writes that could not go on.
type report struct {
	step   uint32
	errno  uint32
	which  uint32 // of the numbers compared
	differ uint32 // the kernel answered otherwise than expected, in …
	value  uint64
}

// What differs.
const (
	differsResult = 1 // the result
	differsMemory = 2 // what the call has written
)

func addr[T any](p *T) uintptr { return uintptr(unsafe.Pointer(p)) }

// held returns the address of the first of some values, which stay where they are as long as the plan.
func held[T any](p *plan, s []T) uintptr {
	p.keep = append(p.keep, s)
	return addr(unsafe.SliceData(s))
}

func (p *plan) text(s string) (uintptr, error) {
	b, err := syscall.ByteSliceFromString(s)
	if err != nil {
		return 0, fmt.Errorf("%q holds a NUL: %w", s, err)
	}
	return held(p, b), nil
}

func (p *plan) texts(list []string) (uintptr, error) {
	all, err := syscall.SlicePtrFromStrings(list)
	if err != nil {
		return 0, fmt.Errorf("an argument or a variable holds a NUL: %w", err)
	}
	return held(p, all), nil
}

func (p *plan) do(does string, number uintptr, args ...uintptr) *step {
	s := step{number: number, does: does, n: noNumber}
	copy(s.args[:], args)
	p.steps = append(p.steps, s)
	return &p.steps[len(p.steps)-1]
}

// number is do for a call whose texts say n.
func (p *plan) number(n int, does string, number uintptr, args ...uintptr) *step {
	s := p.do(does, number, args...)
	s.n = n
	return s
}

// text returns one of the texts of a step. A text without a number may hold anything, the name of a folder too.
func (s *step) text(form string) string {
	if s.n == noNumber {
		return form
	}
	return strings.Replace(form, "%d", strconv.Itoa(s.n), 1)
}

const noNumber = -1 << 31

// expect is do for a call whose result is known.
func (p *plan) expect(does, after string, want uintptr, what string, number uintptr, args ...uintptr) *step {
	s := p.do(does, number, args...)
	s.judged, s.want, s.after, s.label = true, want, after, what
	return s
}

// newPlan prepares everything that can be prepared before the fork.
func newPlan(spec Spec) (*plan, error) {
	p := &plan{spec: spec, status: [2]int{-1, -1}, gate: [2]int{-1, -1}, flags: spec.Namespaces | uintptr(unix.SIGCHLD)}
	path, err := p.text(spec.Path)
	if err != nil {
		return nil, err
	}
	argv, err := p.texts(spec.Args)
	if err != nil {
		return nil, err
	}
	envv, err := p.texts(spec.Env)
	if err != nil {
		return nil, err
	}
	if p.status, err = pipe(len(spec.Files)); err != nil {
		return nil, err
	}
	if spec.Namespaces&unix.CLONE_NEWUSER != 0 {
		if p.gate, err = pipe(len(spec.Files)); err != nil {
			p.close()
			return nil, err
		}
	}
	if spec.Rights.Bounding != nil {
		p.bounding, p.known = bounding(spec.Namespaces)
	}
	p.steps = make([]step, 0, 48+2*len(spec.Files))
	p.begin()
	if err := p.files(); err != nil {
		p.close()
		return nil, err
	}
	p.limits()
	p.identity()
	if err := p.place(); err != nil {
		p.close()
		return nil, err
	}
	p.verify()
	none := held(p, make([]uint64, 1))
	p.do("empty the signal mask", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, none, 0, 8)
	p.do("run "+spec.Path, unix.SYS_EXECVE, path, argv, envv)
	return p, nil
}

func (p *plan) close() {
	for _, fd := range []*int{&p.status[0], &p.status[1], &p.gate[0], &p.gate[1]} {
		if *fd >= 0 {
			_ = unix.Close(*fd)
			*fd = -1
		}
	}
}

// sigactionSize is room for a struct kernel_sigaction of any architecture.
const sigactionSize = 16

// resetSignals gives signals their usual meaning: all of them, or those that this process ignores, which clone3 leaves
// ignored (clone(2), CLONE_CLEAR_SIGHAND). They are blocked meanwhile, so no handler of ours runs in the child.
func (p *plan) resetSignals(all bool) []step {
	usual := held(p, make([]uint64, sigactionSize)) // SIG_DFL, no flags, an empty mask
	var steps []step
	for sig := 1; sig <= 64; sig++ {
		if sig != int(unix.SIGKILL) && sig != int(unix.SIGSTOP) && (all || ignores(sig)) {
			steps = append(steps, step{number: unix.SYS_RT_SIGACTION, args: [6]uintptr{uintptr(sig), usual, 0, 8}, does: "give signal %d its usual meaning", n: sig})
		}
	}
	return steps
}

// ignores tells whether this process ignores a signal, as nohup(1) has its programs do.
func ignores(sig int) bool {
	var now [sigactionSize]uint64 // the handler is its first word
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), 0, uintptr(unsafe.Pointer(&now)), 8, 0, 0)
	return errno == 0 && uintptr(now[0]) == 1 // SIG_IGN
}

// begin is what every child does first.
func (p *plan) begin() {
	p.steps = append(p.steps, p.resetSignals(false)...)
	// Only then does a closed end tell that nobody is there to read: the child has a copy of both.
	p.do("close the other end of the pipe", unix.SYS_CLOSE, uintptr(p.status[0]))
	if p.gate[0] >= 0 {
		p.do("close the other end of a pipe", unix.SYS_CLOSE, uintptr(p.gate[1]))
		one := held(p, make([]byte, 8))
		p.expect("wait for the ids of its user namespace", "waiting for the ids of its user namespace", 1, "bytes from the parent", unix.SYS_READ, uintptr(p.gate[0]), one, 1)
	}
	if p.spec.Namespaces&unix.CLONE_NEWNS != 0 {
		p.mounts()
	}
	if p.spec.Setsid {
		p.do("lead a session of its own", unix.SYS_SETSID)
	}
}
