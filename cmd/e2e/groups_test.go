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
)

// cgroup2 returns where control groups of version 2 are mounted.
func cgroup2(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		before, after, _ := strings.Cut(line, " - ")
		if f := strings.Fields(before); strings.HasPrefix(after, "cgroup2 ") && len(f) > 4 {
			return f[4]
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatal("control groups of version 2 are mounted nowhere")
	}
	t.Skip("control groups of version 2 are mounted nowhere")
	return ""
}

// daemonizes is an application with a process that has left everything but its control group.
const daemonizes = `
import os
pid = os.fork()
if not pid:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.closerange(0, 100)
    os.chdir('/')
    open('DIR/run/daemon', 'a').write('%d\n' % os.getpid())
    os.execve('/bin/sleep', ['sleep', '300'], {})
os.waitpid(pid, 0)
def application(environ, start):
    start('200 OK', [])
    return [b'served']
`

// TestNextEmperorEndsWhatAKilledOneHasLeft: also what only the control group can find.
func TestNextEmperorEndsWhatAKilledOneHasLeft(t *testing.T) {
	s := newSite(t)
	uid, gid := ids(t, shop)
	s.mkdir("run", uid, gid)
	name := "/emperord-t-e2e" + strconv.Itoa(os.Getpid())
	base := cgroup2(t) + name
	t.Cleanup(func() {
		if _, err := os.Stat(base); err == nil {
			t.Errorf("%s is left", base)
			_ = os.WriteFile(base+"/cgroup.kill", []byte("1"), 0)
		}
	})
	s.write("srv/app.py", strings.ReplaceAll(daemonizes, "DIR", s.dir), shop)
	s.vassal("shop.ini", shop, "module = app\nchdir = DIR/srv\nsocket = DIR/run/shop.sock\n")
	daemons := func() (pids []int) {
		text, _ := os.ReadFile(s.dir + "/run/daemon")
		for _, f := range strings.Fields(string(text)) {
			pid, _ := strconv.Atoi(f)
			pids = append(pids, pid)
		}
		return pids
	}
	alive := func(pid int) bool {
		exe, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		return err == nil && string(exe) == "sleep\n"
	}
	starts := func(n int) {
		t.Helper()
		s.eventually(15*time.Second, "a daemon runs", func() error {
			if d := daemons(); len(d) != n || !alive(d[n-1]) {
				return fmt.Errorf("%d of %d daemons", len(d), n)
			}
			return nil
		})
	}
	args := []string{"--emperor-tyrant", "--emperor-cgroup", name, "--reload-mercy", "1"}
	first := s.emperor(args...)
	starts(1)
	all := []int{first.cmd.Process.Pid} // whoever of them is left would end the daemon
	for _, part := range []string{"guard", "vassald", "host"} {
		all = append(all, find(first.cmd.Process.Pid, part)...)
	}
	if len(all) != 4 {
		t.Fatalf("emperor, guard, vassald and host: %v", all)
	}
	for _, pid := range all {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	<-first.done
	if d := daemons()[0]; !alive(d) {
		t.Fatal("the daemon ended with the emperor: nothing is tested")
	}
	second := s.emperor(args...)
	starts(2)
	s.eventually(20*time.Second, "the old daemon is ended", func() error {
		if alive(daemons()[0]) {
			return errors.New("it is alive")
		}
		return nil
	})
	if d := daemons(); len(d) != 2 || !alive(d[1]) {
		t.Errorf("the new one was ended too: %v", d)
	}
	leaves, err := filepath.Glob(base + "/vassal-shop.ini/g*")
	s.eventually(10*time.Second, "the old group is removed", func() error {
		if leaves, err = filepath.Glob(base + "/vassal-shop.ini/g*"); err != nil || len(leaves) != 1 {
			return fmt.Errorf("%v, %v", leaves, err)
		}
		return nil
	})
	second.stop()
	if alive(daemons()[1]) {
		t.Error("a daemon outlives the emperor")
	}
}
