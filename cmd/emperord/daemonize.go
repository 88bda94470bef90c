package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// daemonVariable marks the process in the background. Its descriptor daemonPipe takes the word that the start has succeeded.
const (
	daemonVariable = "EMPERORD_DAEMON=1"
	daemonPipe     = 3
)

// daemonOf tells whether this process is the one in the background, returns the environment without that mark, and what to call
// when the start has succeeded.
func daemonOf(env []string) (rest []string, started func(), daemon bool) {
	if !slices.Contains(env, daemonVariable) {
		return env, nil, false
	}
	if _, err := unix.FcntlInt(daemonPipe, unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
		return env, nil, true // somebody else has set the variable: as good as in the background
	}
	parent := os.NewFile(daemonPipe, "who started us")
	rest = slices.DeleteFunc(slices.Clone(env), func(e string) bool { return strings.HasPrefix(e, daemonVariable) })
	return rest, func() {
		_, _ = parent.Write([]byte{1})
		_ = parent.Close()
	}, true
}

// daemonize starts this program again in a session of its own, with its log in a file, and returns 0 once that one governs, or its
// exit code. Init scripts count on it: what they start has failed or is there when the command ends.
func daemonize(name string, stderr io.Writer) int {
	pid, answer, err := background(name)
	if err != nil {
		fmt.Fprintln(stderr, "emperord:", err)
		return exitFailed
	}
	defer answer.Close()
	if n, _ := answer.Read(make([]byte, 1)); n == 1 {
		return exitAsked
	}
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(pid, &status, 0, nil)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	fmt.Fprintln(stderr, "emperord: could not start in the background; the reason is in", name)
	if status.Exited() && status.ExitStatus() != 0 {
		return status.ExitStatus()
	}
	return exitFailed
}

func background(name string) (pid int, answer *os.File, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, nil, fmt.Errorf("cannot find the own program: %w", err)
	}
	log, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return 0, nil, fmt.Errorf("cannot open the log that daemonize names: %w", err)
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, nil, err
	}
	defer null.Close()
	answer, write, err := os.Pipe()
	if err != nil {
		return 0, nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	defer write.Close()
	pid, err = syscall.ForkExec(self, os.Args, &syscall.ProcAttr{
		Env: append(os.Environ(), daemonVariable), Files: []uintptr{null.Fd(), log.Fd(), log.Fd(), write.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		answer.Close()
		return 0, nil, fmt.Errorf("cannot start %s in the background: %w", self, err)
	}
	return pid, answer, nil
}
