package sources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// leaving is how long a program may go on after it has closed its standard output.
const leaving = time.Second

// A program is a shell whose standard output is read. As in uWSGI it is `/bin/sh -c COMMAND` in a session of its own,
// with our working folder, environment, standard input and error; unlike there it is ended, and waited for. If we are
// killed before that, so is the shell (its own children are not: they were made to outlive it).
type program struct {
	bounded
	out   *os.File
	pid   int
	until time.Time
	ctx   context.Context
	leave func() bool // stops to listen for the end of ctx
	fault error       // what reading has met
}

// exec starts a command. Only the caller's own goroutine waits for it, by its number, so it must not run beside a loop
// that waits for every child: such a loop reads configurations in between.
func (o *Opener) exec(command string) (io.ReadCloser, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	defer write.Close()
	files := []uintptr{null.Fd(), write.Fd(), null.Fd()}
	if o.Stdin != nil {
		files[0] = o.Stdin.Fd()
	}
	if o.Stderr != nil {
		files[2] = o.Stderr.Fd()
	}
	const shell = "/bin/sh"
	pid, err := syscall.ForkExec(shell, []string{shell, "-c", command}, &syscall.ProcAttr{Dir: o.Dir, Env: o.Env, Files: files, Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}})
	if err != nil {
		read.Close()
		return nil, fmt.Errorf("cannot start %s: %w", shell, err)
	}
	_ = read.SetReadDeadline(o.until)
	leave := context.AfterFunc(o.Context, func() { _ = read.SetReadDeadline(time.Unix(1, 0)) })
	return &program{bounded: bounded{read, maxBody}, out: read, pid: pid, until: o.until, ctx: o.Context, leave: leave}, nil
}

func (p *program) Read(b []byte) (int, error) {
	n, err := p.bounded.Read(b)
	switch {
	case err != nil && err != io.EOF && p.ctx.Err() != nil:
		err = errGivenUp
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = errors.New("takes too long; the program and what it has started were ended")
	}
	if err != nil && err != io.EOF {
		p.fault = err
	}
	return n, err
}

// Close ends what is left of the program's session and waits until it has gone. It returns how the program has ended,
// unless that was with exit code 0.
func (p *program) Close() error {
	p.leave()
	p.out.Close()
	if p.fault == nil {
		p.await(min(time.Until(p.until), leaving))
	}
	// The shell is not reaped yet, so the group's number is still its own.
	_ = syscall.Kill(-p.pid, syscall.SIGKILL)
	var status syscall.WaitStatus
	gone := reap(p.pid, &status)
	reap(-p.pid, nil) // what its processes have left comes to us where we are the reaper of orphans
	switch {
	case !gone:
		return fmt.Errorf("the program (pid %d) cannot be ended by us: it has taken other rights; it was left behind", p.pid)
	case p.fault != nil:
		return nil // said already
	case status.Exited() && status.ExitStatus() != 0:
		return fmt.Errorf("the program ended with exit code %d", status.ExitStatus())
	case status.Signaled():
		return fmt.Errorf("the program was ended by %s", unix.SignalName(status.Signal()))
	}
	return nil
}

// reap waits for a child, or for all of a group, that was killed: for a second at most, because one that has taken other
// rights (sudo) is not ours to kill. It reports whether none is left.
func reap(pid int, status *syscall.WaitStatus) bool {
	for pause, end := 100*time.Microsecond, time.Now().Add(leaving); ; {
		got, err := syscall.Wait4(pid, status, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR) || (got > 0 && pid < 0):
			continue
		case err != nil || got > 0:
			return true
		case time.Now().After(end):
			return false
		}
		time.Sleep(pause)
		pause = min(2*pause, 10*time.Millisecond)
	}
}

// await waits for the shell to end, for so long at most, and does not reap it.
func (p *program) await(limit time.Duration) {
	for pause, end := 100*time.Microsecond, time.Now().Add(limit); ; pause = min(2*pause, 10*time.Millisecond) {
		// The kernel leaves info alone while nothing has ended.
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, p.pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if (err == nil && info.Signo != 0) || (err != nil && !errors.Is(err, unix.EINTR)) || time.Now().After(end) {
			return
		}
		if p.ctx.Err() != nil {
			return
		}
		time.Sleep(pause)
	}
}
