package rights

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pace is how often a child that has not run its program yet is looked at. It normally takes less than a millisecond.
const pace = 5 * time.Millisecond

// How long a child may take until it runs its program. Once it is the tenant's, the tenant can stop it, or leave it no
// processor; the caller, who has others to look after, waits for grace and then goes on.
const (
	grace    = 20 * time.Millisecond
	patience = 5 * time.Second
)

const (
	cloneArgsSize = unsafe.Sizeof(cloneArgs{})
	reportSize    = unsafe.Sizeof(report{})
)

// Start forks and runs spec, and returns the child's pid. The calling goroutine must be locked to its thread. The error
// names the step that failed and wraps its errno. A child that fails is reaped before Start returns. One that takes longer
// than it should is not waited for: then there is a Pending, and the caller has to call its Wait.
func Start(spec Spec) (int, *Pending, error) {
	p, err := newPlan(spec)
	if err != nil {
		return 0, nil, fmt.Errorf("cannot start %s: %w", spec.Path, err)
	}
	pid, err := p.start(grace)
	if err == errNotYet {
		return pid, &Pending{p, pid}, nil
	}
	p.close()
	if err != nil {
		return 0, nil, fmt.Errorf("cannot start %s: %w", spec.Path, err)
	}
	return pid, nil, nil
}

// A Pending is a child that has not run its program yet.
type Pending struct {
	plan *plan
	pid  int
}

// Wait returns when the child runs its program, or says why it does not, after some seconds at most. Any goroutine may call
// it, once. Whoever reaps children has to kill and reap this one after an error.
func (w *Pending) Wait() error {
	defer w.plan.close()
	err := w.plan.await(w.pid, patience)
	switch {
	case err == errNotYet:
		err = fmt.Errorf("the new process had not run its program after %s: %w", patience, errHeldUp)
	case err == errEnded:
		err = fmt.Errorf("the new process %w", err)
	case err == nil:
		return nil
	}
	return fmt.Errorf("cannot start %s: %w", w.plan.spec.Path, err)
}

// start forks and waits for a while. After errNotYet the child goes on; after any other error it is reaped.
func (p *plan) start(long time.Duration) (int, error) {
	pid, err := p.clone()
	if err != nil {
		return 0, err
	}
	_ = unix.Close(p.status[1]) // ours: the end of the pipe is the child's exec
	p.status[1] = -1
	if p.gate[0] >= 0 {
		err = p.mapIDs(pid)
	}
	if err == nil {
		err = p.await(pid, long)
	}
	if err == nil || err == errNotYet {
		return pid, err
	}
	status := end(pid)
	if err == errEnded {
		err = fmt.Errorf("the new process %w: %s", err, ending(status))
	}
	return 0, err
}

// clone forks, into the cgroup if there is one. clone3 takes away our handlers of signals at once. Where clone3 is missing,
// or a filter of system calls does not know it, the child moves itself, before it gives up any right.
func (p *plan) clone() (int, error) {
	pid, errno := uintptr(0), unix.ENOSYS
	if !p.noClone3 {
		j, err := p.newJob()
		if err != nil {
			return 0, err
		}
		j.args.flags, j.args.exitSignal = uint64(p.spec.Namespaces)|unix.CLONE_CLEAR_SIGHAND, uint64(unix.SIGCHLD)
		if p.spec.Cgroup != nil {
			j.args.flags |= unix.CLONE_INTO_CGROUP
			j.args.cgroup = uint64(p.spec.Cgroup.Fd())
		}
		pid, errno = j.locked(true)
	}
	switch errno {
	case unix.ENOSYS, unix.E2BIG, unix.EINVAL, unix.EPERM:
		first := p.resetSignals(true)
		if p.spec.Cgroup != nil {
			procs, join, err := p.joinCgroup()
			if err != nil {
				return 0, err
			}
			defer procs.Close()
			first = append(first, join)
		}
		p.steps = append(first, p.steps...)
		j, err := p.newJob()
		if err != nil {
			return 0, err
		}
		pid, errno = j.locked(false)
	}
	if errno != 0 {
		return 0, p.explainClone(errno)
	}
	return int(pid), nil
}

func (j *job) locked(viaClone3 bool) (uintptr, syscall.Errno) {
	syscall.ForkLock.Lock() // descriptors that are not close-on-exec yet
	defer syscall.ForkLock.Unlock()
	return j.fork(viaClone3)
}

// joinCgroup makes moving into the cgroup the child's first step. The file is opened here: the kernel judges by who
// opened it.
func (p *plan) joinCgroup() (*os.File, step, error) {
	procs, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(int(p.spec.Cgroup.Fd()))+"/cgroup.procs", os.O_WRONLY, 0)
	if err != nil {
		return nil, step{}, fmt.Errorf("cannot place a process in the cgroup %s: %w", p.spec.Cgroup.Name(), err)
	}
	self := held(p, []byte("0"))
	return procs, step{call: call{number: unix.SYS_WRITE, args: [6]uintptr{procs.Fd(), self, 1}}, does: "move into the cgroup " + p.spec.Cgroup.Name(), n: noNumber}, nil
}

func (p *plan) explainClone(errno syscall.Errno) error {
	what := "make a new process"
	switch {
	case p.spec.Cgroup != nil:
		what += " in the cgroup " + p.spec.Cgroup.Name()
	case p.spec.Namespaces != 0 && errno == unix.EPERM:
		return fmt.Errorf("cannot %s in namespaces of its own: %w; this needs CAP_SYS_ADMIN: start emperord as root, or leave emperor-use-clone out", what, errno)
	}
	if errno == unix.EAGAIN {
		return fmt.Errorf("cannot %s: %w; a limit of processes is reached: TasksMax= of emperord's unit, pids.max of a control group, or sysctl kernel.pid_max", what, errno)
	}
	return fmt.Errorf("cannot %s: %w", what, errno)
}

// mapIDs gives a child in a user namespace of its own the ids that it is about to take, and no others, by the same
// numbers; then lets it go on.
func (p *plan) mapIDs(pid int) error {
	u := p.spec.Rights.User
	if u == nil {
		u = &User{UID: os.Geteuid(), GID: os.Getegid()}
	}
	line := func(id int) string { return fmt.Sprintf("%d %d 1\n", id, id) }
	groups := line(u.GID)
	for _, g := range u.Groups {
		if g != u.GID {
			groups += line(g)
		}
	}
	for _, m := range []struct{ name, text string }{{"uid_map", line(u.UID)}, {"gid_map", groups}} {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/%s", pid, m.name), []byte(m.text), 0); err != nil {
			return fmt.Errorf("cannot map the ids of the new user namespace: %w; leave user out of emperor-use-clone", err)
		}
	}
	if _, err := unix.Write(p.gate[1], []byte{1}); err != nil {
		return fmt.Errorf("cannot tell the new process to go on: %w", err)
	}
	return nil
}

// await returns nil when the child runs its program: then its end of the pipe is closed, after the word that it is ready.
func (p *plan) await(pid int, long time.Duration) error {
	begun := time.Now()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.status[0])}}, int(pace/time.Millisecond)) // no event is asked for: only the end wakes us
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("cannot wait for the new process: %w", err)
		case n > 0:
			return p.read()
		}
		switch {
		case isStopped(pid):
			return fmt.Errorf("the new process was stopped by a signal before it could run its program: %w", errHeldUp)
		case time.Since(begun) > long:
			return errNotYet
		}
	}
}

var errNotYet = errors.New("has not run its program yet")

// errHeldUp is for errors.Is: whoever may signal the new process has kept it from running its program.
var errHeldUp = unix.ETIMEDOUT

// isStopped tells whether a child has been stopped, without taking that news from who waits for it.
func isStopped(pid int) bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, pid, &info, unix.WSTOPPED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err == nil && info.Signo != 0
}

// errEnded means that a child is no more and has not said why: a fault, or somebody who has killed it.
var errEnded = errors.New("ended before it could run its program")

// read takes what a child has said before its end of the pipe was closed: that it is ready, or what went wrong, or both.
func (p *plan) read() error {
	var said [2]report
	for {
		n, err := unix.Read(p.status[0], unsafe.Slice((*byte)(unsafe.Pointer(&said)), len(said)*int(reportSize)))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("cannot read from the new process: %w", err)
		case n == 0:
			return errEnded
		case n%int(reportSize) != 0:
			return errNoReport
		}
		last := said[n/int(reportSize)-1]
		if last.step == ready {
			return nil
		}
		if int64(last.step) >= int64(len(p.steps)) {
			return errNoReport
		}
		return p.steps[last.step].explain(last)
	}
}

var errNoReport = fmt.Errorf("the new process said something that is no report: %w", unix.EPROTO)

// ending says how a child has ended.
func ending(status syscall.WaitStatus) string {
	if !status.Signaled() {
		return fmt.Sprintf("exit code %d", status.ExitStatus())
	}
	text := "killed by " + unix.SignalName(status.Signal())
	if status.Signal() == unix.SIGKILL {
		text += ", by its user, or by the kernel for want of memory (journalctl -k says that)"
	}
	return text
}

// explain says in words what a child could not do.
func (s *step) explain(r report) error {
	if r.differ == 0 {
		errno := syscall.Errno(r.errno)
		if s.remedy != "" && (errno == s.when || s.when == 0 && errno == unix.EPERM) {
			return fmt.Errorf("cannot %s: %w; %s", s.text(s.does), errno, s.remedy)
		}
		return fmt.Errorf("cannot %s: %w", s.text(s.does), errno)
	}
	i, want, label := int(r.which), uint64(s.want), s.label
	switch {
	case s.count > 0:
		want, label = s.bits>>i&1, strings.Replace(label, "%d", strconv.Itoa(i), 1)
	case r.differ == differsResult:
	case i < len(s.want32):
		want, label = uint64(s.want32[i]), s.labels[min(i, len(s.labels)-1)]
	case i < len(s.want64):
		want, label = s.want64[i], s.labels[i]
	default:
		return errNoReport
	}
	form := "%d"
	if strings.Contains(label, "capabilities") {
		form = "%#x"
	} else if label == "umask" {
		form = "%04o"
	}
	return fmt.Errorf("after %s the kernel says %s "+form+", not "+form+"; not started: %w", s.text(s.after), s.text(label), r.value, want, ErrRefused)
}

// ErrRefused is for errors.Is: the kernel did not give a child the rights that were asked for, though no call failed.
var ErrRefused = errors.New("the rights are not those that were asked for")

// end kills a child that did not come as far as its program, reaps it and tells how it ended. Nobody else waits for it, so
// its pid is still its own.
func end(pid int) (status syscall.WaitStatus) {
	_ = unix.Kill(pid, unix.SIGKILL) // one that is ending keeps its own reason
	for {
		if _, err := syscall.Wait4(pid, &status, 0, nil); !errors.Is(err, unix.EINTR) {
			return status
		}
	}
}
