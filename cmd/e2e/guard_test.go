package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// guardOf waits until an emperor has exactly one guard, and returns its pid.
func (s *site) guardOf(emperor int) (pid int) {
	s.t.Helper()
	s.eventually(20*time.Second, "one guard", func() error {
		g := find(emperor, "guard")
		if len(g) != 1 {
			return fmt.Errorf("there are %v", g)
		}
		pid = g[0]
		return nil
	})
	return pid
}

// killAll kills an emperor, vassald and host at once.
func (l *lane) killAll(e *os.Process) {
	l.t.Helper()
	for _, pid := range append(find(e.Pid, "host"), find(e.Pid, "vassald")...) { // children of our child, found a moment ago
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err := errors.Join(e.Kill(), wait(e)); err != nil {
		l.t.Fatal(err)
	}
}

// TestTheGuardIsThereAlways: it is not ended by what is sent to all, it is replaced when it was killed, and each program that takes over
// has its own. It has no descriptor of the emperor's but its table.
func TestTheGuardIsThereAlways(t *testing.T) {
	l := newLane(t, 30)
	first, second := l.releases()
	l.vassalFile("serve", "named")
	var out log
	e := l.run(&out, l.dir+"/bin/emperord", nil)
	ended := make(chan struct{})
	defer func() {
		_ = e.Kill()
		<-ended
		if t.Failed() {
			t.Logf("emperord said:\n%s", out.String())
		}
	}()
	go func() { defer close(ended); _ = wait(e) }()
	if !l.until(limit, func() bool { return l.get("/") == nil }) {
		t.Fatalf("no answer: %s", out.String())
	}
	g := l.guardOf(e.Pid)
	l.eventually(limit, "four descriptors", func() error { // and what Go's runtime has
		names, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g))
		for _, n := range names {
			to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", g, n.Name()))
			if strings.HasPrefix(to, "socket:") || strings.Contains(to, l.dir) {
				err = errors.Join(err, fmt.Errorf("it has %s", to))
			}
		}
		return err
	})
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGPIPE} {
		_ = syscall.Kill(g, sig)
	}
	time.Sleep(100 * time.Millisecond)
	if now := l.guardOf(e.Pid); now != g {
		t.Errorf("another guard, %d, after signals to %d", now, g)
	}
	_ = syscall.Kill(g, syscall.SIGKILL)
	l.eventually(20*time.Second, "another guard", func() error {
		if l.guardOf(e.Pid) == g {
			return errors.New("it is the same")
		}
		return nil
	})
	for _, release := range []string{second, first} {
		g = l.guardOf(e.Pid)
		l.install(release)
		l.mustUpgrade()
		l.eventually(20*time.Second, "its own guard", func() error {
			if now := l.guardOf(e.Pid); now == g {
				return errors.New("it is the one before")
			}
			return nil
		})
	}
	l.guardOf(e.Pid)
	if err := l.get("/litter"); err != nil {
		t.Error(err)
	}
	// What was there before the upgrades is known to the last one.
	for _, pid := range append(find(e.Pid, "host"), find(e.Pid, "vassald")...) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = e.Kill()
	<-ended
	l.nothingIsLeft("after the upgrades")
	if !l.until(limit, func() bool { return strings.Contains(out.String(), "emperord guard: the emperor (pid ") }) {
		t.Error("nobody has said what was killed")
	}
}

// TestTheGuardIsThereForSomebody: an emperor whose vassals all wait for their first connections has no process beside it, and a vassal that
// was asked for is guarded, before and after an upgrade.
func TestTheGuardIsThereForSomebody(t *testing.T) {
	l := newLane(t, 33)
	first, second := l.releases()
	l.own("vassals/litter.ini", "[uwsgi]\nplugin = python3\nchdir = "+l.dir+"/srv/litter\nmodule = litter\nsocket = "+l.socket+"\nchmod-socket = 666\nidle = 1\ndie-on-idle = true\n")
	l.own("vassals/other.ini", "[uwsgi]\nplugin = python3\nchdir = "+l.dir+"/srv/litter\nmodule = litter\nsocket = "+l.socket+".other\n")
	var out log
	e := l.run(&out, l.dir+"/bin/emperord", nil, "--emperor-on-demand")
	ended := make(chan struct{})
	defer func() {
		_ = e.Kill()
		<-ended
		if t.Failed() {
			t.Logf("emperord said:\n%s", out.String())
		}
	}()
	go func() { defer close(ended); _ = wait(e) }()
	alone := func(when string) {
		t.Helper()
		l.eventually(20*time.Second, when+": nobody beside the emperor", func() error {
			if _, err := os.Stat(l.socket + ".other"); err != nil {
				return err
			}
			if all := childrenOf(e.Pid); len(all) > 0 {
				return fmt.Errorf("there are %v", all)
			}
			return nil
		})
	}
	alone("at the start") // who has read the files was guarded
	for _, release := range []string{second, first} {
		if err := l.get("/"); err != nil {
			t.Fatal(err)
		}
		l.guardOf(e.Pid)
		alone("idle again")
		l.install(release)
		l.mustUpgrade()
		alone("after the upgrade")
	}
	if err := l.get("/"); err != nil {
		t.Fatal(err)
	}
	l.guardOf(e.Pid)
	_ = e.Signal(syscall.SIGTERM)
	<-ended
	if strings.Contains(out.String(), "left behind") || strings.Contains(out.String(), "the guard ended") {
		t.Error("a guard that ends is taken for something else")
	}
	l.nothingIsLeft("after the stop")
}

// nothingIsLeft expects that in time, and cleans up where it is not so.
func (l *lane) nothingIsLeft(when string) {
	l.t.Helper()
	begun := time.Now()
	var left []being
	if !l.until(limit, func() bool { left = unwatched(l.uid, 0); return len(left) == 0 }) {
		l.t.Errorf("%s: left: %v", when, left)
	}
	l.t.Logf("%s: all had gone after %s", when, time.Since(begun))
	for pid := range beings(l.uid) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// run starts emperord on the lane's vassals, as another user where as is one.
func (l *lane) run(out *log, program string, as *syscall.SysProcAttr, more ...string) *os.Process {
	l.t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		l.t.Fatal(err)
	}
	null, _ := os.Open(os.DevNull)
	defer null.Close()
	args := append([]string{program, "--emperor", l.dir + "/vassals", "--emperor-tyrant", "--emperor-control-socket", l.dir + "/control.sock", "--emperor-socket-root", l.dir + "/run"}, more...)
	e, err := os.StartProcess(program, args, &os.ProcAttr{Dir: l.dir, Env: []string{"PATH=/usr/bin:/bin"}, Files: []*os.File{null, write, write}, Sys: as})
	write.Close()
	if err != nil {
		l.t.Fatal(err)
	}
	go func() {
		defer read.Close()
		buf := make([]byte, 4096)
		for {
			n, err := read.Read(buf)
			_, _ = out.Write(buf[:n])
			if err != nil {
				return
			}
		}
	}()
	return e
}

// TestTheGuardOfAnEmperorWithoutRoot has two capabilities, and none to kill: it becomes the user whose processes it ends.
func TestTheGuardOfAnEmperorWithoutRoot(t *testing.T) {
	l := newLane(t, 31)
	name, uid := governor(t)
	_, gid := ids(t, name)
	l.mkdir("run", uid, gid)
	l.vassalFile("serve", "named")
	var out log
	e := l.run(&out, bin+"/emperord", nil, "--uid", name, "--gid", name, "--cap", "setgid,setuid")
	if !l.until(limit, func() bool { return l.get("/litter") == nil }) {
		t.Fatalf("no answer: %s", out.String())
	}
	may := statusOf(t, l.guardOf(e.Pid))
	for _, c := range []string{"CapPrm", "CapEff"} {
		if may[c] != "00000000000000c0" || !strings.HasPrefix(may["Uid"], fmt.Sprint(uid)) {
			t.Errorf("the guard has %s %s, Uid %s", c, may[c], may["Uid"])
		}
	}
	l.killAll(e)
	l.nothingIsLeft("without root")
}

// TestTheGuardKnowsControlGroups: where a vassal has one, nobody escapes, whatever they call themselves.
func TestTheGuardKnowsControlGroups(t *testing.T) {
	name := "/emperord-t-guard" + strconv.Itoa(os.Getpid())
	group := cgroup2(t) + name
	l := newLane(t, 32)
	l.vassalFile("serve", "nameless")
	var out log
	e := l.run(&out, bin+"/emperord", nil, "--emperor-cgroup", name)
	defer func() {
		for _, pattern := range []string{"/*/*", "/*", ""} {
			found, _ := filepath.Glob(group + pattern)
			for _, f := range found {
				_ = unix.Rmdir(f)
			}
		}
	}()
	if !l.until(limit, func() bool { return l.get("/litter") == nil }) {
		t.Fatalf("no answer: %s", out.String())
	}
	l.guardOf(e.Pid)
	l.killAll(e)
	l.nothingIsLeft("in a control group")
}
