package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// demoMercy is how long the emperor of a demo may take to stop: it gives its vassals 30 s, and kills them then.
const demoMercy = 40 * time.Second

// A demoEmperor is a running emperord.
type demoEmperor struct {
	command *exec.Cmd
	log     string
	ended   chan struct{} // closed when it has been waited for
	err     error         // how it ended; valid once ended is closed
}

// startDemoEmperor starts emperord on d. It has a process group of its own, so that Ctrl-C in a terminal reaches only
// the demo, which stops it in order; if the demo is killed, the kernel stops it.
func startDemoEmperor(d *demoFolder) (*demoEmperor, error) {
	log, err := os.OpenFile(d.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot make the emperor's log: %w", err)
	}
	args := []string{"--emperor", d.vassalFolder, "--emperor-control-socket", d.control, "--emperor-socket-root", d.sockets}
	if d.tenants != nil {
		args = append(args, "--emperor-tyrant")
	}
	e := &demoEmperor{command: exec.Command(d.emperord, args...), log: d.log, ended: make(chan struct{})}
	e.command.Dir = d.path
	e.command.Stdout, e.command.Stderr = log, log
	e.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // Pdeathsig is sent when the thread that forked ends, so it stays until the child has gone
		defer runtime.UnlockOSThread()
		err := e.command.Start()
		_ = log.Close()
		started <- err
		if err == nil {
			e.err = e.command.Wait()
			close(e.ended)
		}
	}()
	if err := <-started; err != nil {
		if errors.Is(err, os.ErrPermission) {
			return nil, fmt.Errorf("cannot run emperord: %w; if the place is mounted noexec, name another with TMPDIR", err)
		}
		return nil, fmt.Errorf("cannot run emperord: %w", err)
	}
	return e, nil
}

// stop asks emperord to stop and waits until it has. It returns an error if emperord did not end well.
func (e *demoEmperor) stop() error {
	select {
	case <-e.ended:
		return nil // somebody else ended it, and runDemo has said so
	default:
	}
	_ = e.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-e.ended:
	case <-time.After(demoMercy):
		_ = e.command.Process.Kill()
		<-e.ended
		return fmt.Errorf("emperord did not stop within %s and was killed; see what is left: ps -ef | grep vassald", demoMercy)
	}
	if e.err != nil {
		return fmt.Errorf("emperord did not end well: %w; its log ends with:\n%s", e.err, text(e.lastWords()))
	}
	return nil
}

// lastWords is the end of emperord's log.
func (e *demoEmperor) lastWords() string {
	const most = 4 << 10
	data, err := os.ReadFile(e.log)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-most):])
}
