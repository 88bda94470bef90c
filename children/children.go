// Package children forks, reaps and asks after the child processes of one loop.
//
// A program that uses it has one goroutine, locked to one thread that never ends, which starts every child and is the
// only one that waits: the parent-death signal of Linux follows the thread that forked, and a second waiter (os/exec,
// os.Process.Wait) would steal exit codes. Because only that loop reaps, a pid that it has not reaped cannot be given
// to another process, so a signal to it cannot hit a stranger.
//
// It knows nothing of users and rights: the caller passes its own syscall.SysProcAttr.
package children

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Spec says what to start.
type Spec struct {
	Path  string   // the program; not searched for
	Args  []string // with argv[0]
	Env   []string
	Dir   string    // working folder, entered with the child's own rights; empty: the parent's
	Files []uintptr // the child's descriptor i is Files[i]; nothing else is open in it
	Attr  *syscall.SysProcAttr
}

// Start forks and runs spec, and returns the child's pid. The error wraps the errno of the step that failed (fork,
// taking rights, entering the folder, exec); the kernel does not say which.
func Start(spec Spec) (int, error) {
	pid, err := syscall.ForkExec(spec.Path, spec.Args, &syscall.ProcAttr{
		Dir:   spec.Dir,
		Env:   spec.Env,
		Files: spec.Files,
		Sys:   spec.Attr,
	})
	if err != nil {
		return 0, fmt.Errorf("cannot start %s: %w", spec.Path, err)
	}
	return pid, nil
}

// An Exit is the end of one child.
type Exit struct {
	PID    int
	Status syscall.WaitStatus
}

// String says how the child ended: "exit code 1", "killed by SIGKILL", "killed by SIGSEGV, core dumped".
func (e Exit) String() string {
	switch {
	case e.Status.Exited():
		return fmt.Sprintf("exit code %d", e.Status.ExitStatus())
	case e.Status.CoreDump():
		return fmt.Sprintf("killed by %s, core dumped", unix.SignalName(e.Status.Signal()))
	case e.Status.Signaled():
		return "killed by " + unix.SignalName(e.Status.Signal())
	}
	return fmt.Sprintf("wait status %#x", int(e.Status))
}

// Clean tells whether the child ended by itself with exit code 0.
func (e Exit) Clean() bool { return e.Status.Exited() && e.Status.ExitStatus() == 0 }

// Reap collects every child that has ended, without waiting. It also collects strangers: orphans that the kernel gave
// to this process because it is PID 1 or a subreaper.
func Reap() []Exit {
	var ended []Exit
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil || pid <= 0:
			return ended
		}
		ended = append(ended, Exit{PID: pid, Status: status})
	}
}

// InGroup tells whether a child of this process that has not been reaped is in process group pgid. While it is, the
// kernel cannot give that number to another group, and as long as the caller does not reap, it stays so.
func InGroup(pgid int) bool {
	for {
		err := unix.Waitid(unix.P_PGID, pgid, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err == nil
		}
	}
}

// SignalGroup sends sig to process group pgid if a child of this process is in it, and tells whether one was.
func SignalGroup(pgid int, sig syscall.Signal) bool {
	if pgid <= 1 || !InGroup(pgid) {
		return false
	}
	_ = syscall.Kill(-pgid, sig) // ESRCH and EPERM leave nothing that this process could do
	return true
}

// BecomeSubreaper makes this process the parent of every descendant whose own parent ends.
func BecomeSubreaper() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot become the reaper of orphaned descendants: %w", err)
	}
	return nil
}

// Kids returns the pids of this process's own children, dead ones that wait to be reaped included.
func Kids() ([]int, error) {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil, fmt.Errorf("cannot list the threads of this process: %w", err)
	}
	var pids []int
	for _, t := range threads {
		text, err := os.ReadFile("/proc/self/task/" + t.Name() + "/children")
		if errors.Is(err, os.ErrNotExist) {
			continue // the thread has ended; its children are another's now
		}
		if err != nil {
			return nil, fmt.Errorf("cannot list the children of this process: %w", err)
		}
		pid := 0
		for _, b := range text {
			if b >= '0' && b <= '9' {
				pid = pid*10 + int(b-'0')
			} else if pid > 0 {
				pids, pid = append(pids, pid), 0
			}
		}
		if pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
