package rights

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A step is one system call of the child, and how to speak of it.
type step struct {
	call
	n      int           // where does, after or label say %d: texts are only made when they are needed
	does   string        // "take gid %d": what the call is for
	after  string        // of a comparison: "taking gid %d"
	label  string        // what the result is: "umask"
	labels []string      // what the compared numbers are: "real gid"; the last one stands for all that follow
	remedy string        // what to do when the kernel does not permit it, …
	when   syscall.Errno // … or answers this
}

// A call is a step as the child has it: numbers, and memory that is outside.
type call struct {
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
}

// A plan is everything that the child will do.
type plan struct {
	outside
	failed error // there was no memory
	spec   Spec
	steps  []step
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

// ready is the step of a report that is none: all is as it should be, and what comes next is the program. A child that
// ends without having said so has not run it.
const ready = ^uint32(0)

// What differs.
const (
	differsResult = 1 // the result
	differsMemory = 2 // what the call has written
)

func (p *plan) bytes(s string) (uintptr, error) {
	b, err := syscall.ByteSliceFromString(s)
	if err != nil {
		return 0, fmt.Errorf("%q holds a NUL: %w", s, err)
	}
	return held(p, b), nil
}

// list returns the address of a list of texts that ends with 0, as execve(2) takes them.
func (p *plan) list(texts []string) (uintptr, error) {
	all := make([]uintptr, len(texts)+1)
	for i, s := range texts {
		at, err := p.bytes(s)
		if err != nil {
			return 0, err
		}
		all[i] = at
	}
	return held(p, all), nil
}

func (p *plan) do(does string, number uintptr, args ...uintptr) *step {
	s := step{call: call{number: number}, does: does, n: noNumber}
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
	path, err := p.bytes(spec.Path)
	var argv, envv uintptr
	if err == nil {
		argv, err = p.list(spec.Args)
	}
	if err == nil {
		envv, err = p.list(spec.Env)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	if p.status, err = pipe(len(spec.Files)); err != nil {
		p.close()
		return nil, err
	}
	if spec.Namespaces&unix.CLONE_NEWUSER != 0 {
		if p.gate, err = pipe(len(spec.Files)); err != nil {
			p.close()
			return nil, err
		}
	}
	if spec.Rights.Bounding != nil {
		set, known := Bounding()
		if spec.Namespaces&unix.CLONE_NEWUSER != 0 { // there it is full, whatever ours is
			set = 1<<known - 1
		}
		p.bounding, p.known = set, uintptr(known)
	}
	p.steps = make([]step, 0, 48+2*len(spec.Files))
	p.begin()
	if err := p.files(); err != nil {
		p.close()
		return nil, err
	}
	p.limits()
	p.identity()
	if err := p.tie(); err != nil {
		p.close()
		return nil, err
	}
	p.verify()
	none := held(p, make([]uint64, 1))
	p.do("empty the signal mask", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, none, 0, 8)
	word := uintptr(unsafe.Pointer(place(p, report{step: ready})))
	p.expect("say that it is ready", "saying that it is ready", reportSize, "bytes written", unix.SYS_WRITE, uintptr(p.status[1]), word, reportSize)
	exec := p.do("run "+spec.Path, unix.SYS_EXECVE, path, argv, envv)
	exec.remedy, exec.when = p.crowded(), unix.EAGAIN
	if p.failed != nil {
		p.close()
		return nil, p.failed
	}
	return p, nil
}

func (p *plan) close() {
	p.free()
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
			steps = append(steps, step{call: call{number: unix.SYS_RT_SIGACTION, args: [6]uintptr{uintptr(sig), usual, 0, 8}}, does: "give signal %d its usual meaning", n: sig})
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
