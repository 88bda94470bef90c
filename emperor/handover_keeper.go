package emperor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/rights"
)

// A keeper is a child of ours that keeps signals while one program takes the place of the other. Go's runtime unblocks HUP, INT,
// QUIT and TERM when it starts, whatever it inherits, some milliseconds before any code of ours can listen (runtime.blockableSig):
// TERM would end the process without an end in order. A tracer gets every signal before it has an effect (ptrace(2),
// "Signal-delivery-stop"). The keeper sends what it has kept once somebody listens, and leaves. The kernel detaches it, and delivers what has
// not been decided yet, should it die.
const (
	keeperFlag     = "--emperord-handover-keeper" // PID: the first argument of a keeper
	keeperVariable = "EMPERORD_HANDOVER_KEEPER"   // a descriptor; who listens to signals closes it
	keeperEnd      = 3                            // of the keeper: a byte says that it may begin; its end, that somebody listens
	keeperStart    = time.Second                  // how long its first word is waited for
	keeperTime     = 20 * time.Second             // a program that takes over is not kept from hearing signals for longer
	maxKeeperWord  = 1 << 10
)

// unblockable are those signals. A keeper keeps heldBack too: a program that is no emperord yet, such as a script that executes it,
// may let them through.
var unblockable = []syscall.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM}

func keptSignals() []syscall.Signal { return slices.Concat(unblockable, heldBack) }

// Keeps tells whether a program with these arguments is a keeper.
func Keeps(args []string) bool { return len(args) == 2 && args[0] == keeperFlag }

// Keep is the whole life of a keeper. It returns the exit code.
func Keep(args []string, stderr io.Writer) int {
	runtime.LockOSThread()            // the kernel knows a tracer by its thread
	for _, s := range keptSignals() { // some send them to all processes of a unit
		signal.Ignore(s)
	}
	of, err := strconv.Atoi(args[1])
	if _, failed := unix.FcntlInt(keeperEnd, unix.F_GETFD, 0); err != nil || failed != nil || of < 1 || of != os.Getppid() {
		fmt.Fprintln(stderr, "emperord: "+keeperFlag+" is for emperord itself")
		return 2
	}
	end := os.NewFile(keeperEnd, "end")
	if n, _ := end.Read(make([]byte, 1)); n == 0 {
		return 0
	}
	stops := make(chan os.Signal, 1)
	signal.Notify(stops, syscall.SIGCHLD)
	// Threads that the runtime starts are traced too: the kernel gives a signal to any that takes it.
	if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(of), 0, unix.PTRACE_O_TRACECLONE, 0, 0); errno != 0 {
		fmt.Fprint(stderr, errno)
		return 1
	}
	fmt.Fprint(stderr, ".")
	over := make(chan struct{})
	go func() {
		_, _ = end.Read(make([]byte, 1))
		close(over)
	}()
	tooLong := time.After(keeperTime)
	var all []syscall.Signal
	for {
		all = keeperStops(all)
		select {
		case <-stops:
			continue
		case <-over:
		case <-tooLong:
		}
		break
	}
	for _, s := range all {
		if os.Getppid() == of { // else it has ended
			_ = syscall.Kill(of, s) // it stops there once more, and goes on with it when we end
		}
	}
	return 0
}

// keeperStops lets all go on that have stopped, and returns all signals that are kept by now.
func keeperStops(all []syscall.Signal) []syscall.Signal {
	for {
		var status unix.WaitStatus
		tid, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || tid <= 0 {
			return all
		}
		if !status.Stopped() {
			continue // a thread that has ended
		}
		s, event := status.StopSignal(), uint32(status)>>16
		switch {
		case event == unix.PTRACE_EVENT_STOP && s != unix.SIGTRAP: // somebody has stopped the process, and it stays so
			_, _, _ = unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_LISTEN, uintptr(tid), 0, 0, 0, 0)
			continue
		case event != 0:
			s = 0
		case slices.Contains(keptSignals(), s):
			if !slices.Contains(all, s) {
				all = append(all, s)
			}
			s = 0
		}
		_ = unix.PtraceCont(tid, int(s))
	}
}

// startKeeper has a keeper watch this process, and returns what to close when somebody listens to signals.
func (e *Emperor) startKeeper() (*os.File, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	end, endTo, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer end.Close()
	says, saysTo, err := os.Pipe()
	if err != nil {
		endTo.Close()
		return nil, err
	}
	defer says.Close()
	pid, later, err := rights.Start(rights.Spec{Path: "/proc/self/exe", Args: []string{e.o.Args[0], keeperFlag, strconv.Itoa(os.Getpid())}, Env: e.ownEnv(), Dir: e.o.Dir,
		Files: []uintptr{null.Fd(), null.Fd(), saysTo.Fd(), end.Fd()}, Setsid: true, Death: syscall.SIGKILL})
	saysTo.Close()
	if err != nil {
		endTo.Close()
		return nil, err
	}
	e.processes[pid] = process{then: func(children.Exit) {}}
	if later != nil {
		err = later.Wait()
	}
	if err == nil {
		err = bid(pid, endTo, says)
	}
	if err != nil {
		endTo.Close()
		_ = syscall.Kill(pid, syscall.SIGKILL) // not reaped yet
		return nil, err
	}
	return endTo, nil
}

// bid lets a keeper begin, and waits until it has.
func bid(pid int, to, says *os.File) error {
	_ = unix.Prctl(unix.PR_SET_PTRACER, uintptr(pid), 0, 0, 0) // an error means that no Yama asks for it
	defer func() { _ = unix.Prctl(unix.PR_SET_PTRACER, 0, 0, 0, 0) }()
	// A thread that has made a socket with its tenant's fsuid has hidden the whole process from who has not CAP_SYS_PTRACE
	// (PR_SET_DUMPABLE(2const)). Who is not of our user, or may less than we, stays shut out.
	if was, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err == nil && was != 1 {
		_ = unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
		defer func() { _ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }()
	}
	if _, err := to.Write([]byte{1}); err != nil {
		return err
	}
	_ = says.SetReadDeadline(time.Now().Add(keeperStart))
	word := make([]byte, maxKeeperWord)
	n, err := says.Read(word)
	if n == 1 && word[0] == '.' {
		return nil
	}
	if n > 0 {
		return errors.New(strings.TrimSpace(string(word[:n])))
	}
	return fmt.Errorf("the keeper has not answered: %w", err)
}
