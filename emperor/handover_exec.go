package emperor

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/rights"
)

// heldBack are signals that wait while one program takes the place of the other: what is blocked and pending stays so in an exec,
// handlers do not (execve(2)). The runtime of the next program leaves these blocked in all threads but the one that os/signal
// reads them in. The others are for the keeper.
var heldBack = []syscall.Signal{unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH}

// heard are the signals that an emperor acts upon.
var heard = []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGWINCH}

// Variables that tell a program that it takes over.
const (
	handoverVariable = "EMPERORD_HANDOVER"         // DOCUMENT:OLD, two descriptors
	refusedVariable  = "EMPERORD_HANDOVER_REFUSED" // to the program before: why the next one gave it back
	signalsVariable  = "EMPERORD_HANDOVER_SIGNALS" // signals that have arrived, and that nobody has acted upon
)

// mask is a set of signals for the kernel.
func mask(signals ...syscall.Signal) *unix.Sigset_t {
	set := &unix.Sigset_t{}
	for _, s := range signals {
		bits := unsafe.Sizeof(set.Val[0]) * 8
		set.Val[(uintptr(s)-1)/bits] |= 1 << ((uintptr(s) - 1) % bits)
	}
	return set
}

// holdBack blocks all those signals in all threads, or lets them through again: what a handler took after the last look
// would be lost with this program.
func holdBack(how int) error {
	set := mask(keptSignals()...)
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(set)
	if err := all("hold signals back", unix.SYS_RT_SIGPROCMASK, uintptr(how), uintptr(unsafe.Pointer(set)), 0, 8); err == nil {
		return nil
	}
	return unix.PthreadSigmask(how, set, nil) // built with cgo: the thread that executes, at least
}

// lastSignals returns the signals that have arrived and that nobody has acted upon. One that means the end is returned as end.
func lastSignals(arrived chan os.Signal) (others []syscall.Signal, end os.Signal) {
	other := make(chan os.Signal, 1)
	signal.Notify(other, syscall.SIGHUP)
	signal.Stop(other) // it returns when all that the runtime has taken has been passed on (signal.Stop)
	for {
		select {
		case s := <-arrived:
			switch s {
			case syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT:
				return others, s
			}
			others = append(others, s.(syscall.Signal))
		default:
			return others, nil
		}
	}
}

// written lists signals for the environment.
func written(list []syscall.Signal) string {
	var all []string
	for _, s := range list {
		all = append(all, strconv.Itoa(int(s)))
	}
	return signalsVariable + "=" + strings.Join(all, ",")
}

// An image is a program that is to take our place.
type image struct {
	path      string
	args, env []string
	fds       []int  // that it gets, beside standard input, output and error
	kept      bool   // a keeper keeps its signals
	powers    powers // capabilities that it has to keep though it is not root
}

// execute takes the place of this program, while signals are held back. It returns only with an error; then everything is as it
// was, but that the caller has to listen to HUP again. Without a keeper HUP is ignored, because it must not kill, and the others end
// the next program, if they come before it listens; by its closed pipes all vassals leave, as who sends them wants it. The calling goroutine is locked to its thread, which becomes the first one of the process: the
// kernel ends all others, and children that asked for a signal at the end of the thread that forked them live on if it
// was this one.
func (i image) execute() error {
	raised, err := i.lowerFiles()
	if err != nil {
		return err
	}
	if err = errors.Join(i.raiseAmbient(), inherit(i.fds, true)); err == nil {
		signal.Ignore(syscall.SIGHUP)
		if i.kept { // it takes what waits by now
			_ = unix.PthreadSigmask(unix.SIG_UNBLOCK, mask(unblockable...), nil)
		}
		env, restore := children.Lazily(i.env)
		err = syscall.Exec(i.path, i.args, env)
		restore()
	}
	_ = inherit(i.fds, false)
	_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	_ = unix.Prlimit(0, unix.RLIMIT_NOFILE, &raised, nil)
	return fmt.Errorf("cannot run %s: %w", i.path, err)
}

// lowerFiles sets the limit of open files to what this program was started with; the runtime has raised it.
func (i image) lowerFiles() (raised unix.Rlimit, err error) {
	original, err := rights.OpenFiles()
	if err == nil {
		err = unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &raised)
	}
	if err == nil {
		err = unix.Prlimit(0, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: min(original.Soft, raised.Max), Max: raised.Max}, nil)
	}
	if err != nil {
		return raised, fmt.Errorf("cannot set the limit of open files: %w", err)
	}
	return raised, nil
}

// raiseAmbient makes the capabilities of a user other than root survive the exec (capabilities(7), "Transformation of
// capabilities during execve()").
func (i image) raiseAmbient() error {
	if os.Geteuid() == 0 || i.powers == 0 {
		return nil
	}
	if err := setInheritable(uint64(i.powers)); err != nil {
		return err
	}
	for c := range 64 {
		if !i.powers.have(c) {
			continue
		}
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(c), 0, 0); err != nil {
			return fmt.Errorf("cannot keep capability %d over the exec: %w; restart emperord instead", c, err)
		}
	}
	return nil
}

// setInheritable sets the inheritable capabilities of the calling thread.
func setInheritable(set uint64) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData // 64 capabilities in two halves
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fmt.Errorf("cannot read the own capabilities: %w", err)
	}
	sets[0].Inheritable, sets[1].Inheritable = uint32(set), uint32(set>>32)
	if err := unix.Capset(&header, &sets[0]); err != nil {
		return fmt.Errorf("cannot make capabilities inheritable: %w; restart emperord instead", err)
	}
	return nil
}

// inherit says whether descriptors stay open in an exec.
func inherit(fds []int, open bool) error {
	flags := unix.FD_CLOEXEC
	if open {
		flags = 0
	}
	var failed error
	for _, fd := range fds {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, flags); err != nil {
			failed = fmt.Errorf("cannot hand over the descriptor %d: %w", fd, err)
		}
	}
	return failed
}

// restorePowers gives all threads exactly the capabilities that the program before had.
func (e *Emperor) restorePowers(want powers) error {
	now, err := ownPowers()
	if err != nil {
		return err
	}
	if lost := want &^ now; lost != 0 {
		return fmt.Errorf("the capabilities %#x did not survive the exec; restart emperord instead", uint64(lost))
	}
	if e.powers = want; want == now && (os.Geteuid() == 0 || want == 0) {
		return nil
	}
	inheritable := uint64(want)
	if os.Geteuid() == 0 {
		inheritable = 0
	}
	if err := all("end ambient capabilities", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return err
	}
	if err := allCapset(uint64(want), inheritable); err != nil {
		return err
	}
	return verifyThreads(uint64(want), inheritable)
}
