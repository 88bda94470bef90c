package e2e

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestProgramsThatCannotTakeOverLeaveTheOldOneInCharge tries all kinds of them.
func TestProgramsThatCannotTakeOverLeaveTheOldOneInCharge(t *testing.T) {
	s := newSite(t)
	first, second := s.releases()
	s.app("plain", "plain", shop)
	names, sockets := s.many(2)
	s.write("emperor.ini", strings.ReplaceAll("[uwsgi]\nemperor = DIR/vassals\nemperor-tyrant = true\nemperor-control-socket = DIR/control.sock\nemperor-socket-root = DIR/run\n", "DIR", s.dir), "")
	ini, _ := os.ReadFile(s.dir + "/emperor.ini")
	e := &emperor{s.start(s.dir+"/bin/emperord", "--ini", s.dir+"/emperor.ini"), s}
	t.Cleanup(e.audit)
	s.nginx(sockets)
	s.allAccept(len(names))
	pids := [2]int{e.vassald(t, "v00.ini"), e.vassald(t, "v01.ini")}
	whole, err := os.ReadFile(second + "/emperord")
	if err != nil {
		t.Fatal(err)
	}
	script := func(text string) func(path string) {
		return func(path string) { s.program(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755) }
	}
	fds := countFDs(e.cmd.Process.Pid)
	for _, c := range []struct {
		name, words string
		make        func(path string)
	}{
		{"nothing", "no such file", func(string) {}},
		{"a folder", "is no program", func(path string) { s.mkdir("second/p", 0, 0) }},
		{"not executable", "make it executable: chmod +x", func(path string) { s.program(path, whole, 0o644) }},
		{"half a program", "p", func(path string) { s.program(path, whole[:len(whole)/2], 0o755) }},
		{"another program", "does not know how to take over from emperord the-first: it ended with exit code 0", func(path string) { _ = os.Symlink("/bin/true", path) }},
		{"fails", "it ended with exit code 1; it said: out of order", script("echo out of order >&2; exit 1")},
		{"is killed", "killed by SIGKILL", script("kill -9 $$")},
		{"hangs", "did not answer within 15s; it said: wait", script("echo wait >&2; sleep 300")},
		{"says too much", "does not know how", script("yes >&4")},
		{"an older one", "has not read what would be handed over", script(`echo '{"handover":0,"sum":"0","version":"older"}' >&4`)},
		{"without an interpreter", "no such file", func(path string) { s.program(path, []byte("#!/nowhere/sh\n"), 0o755) }},
		{"another configuration", "emperor-tyrant was true when emperord was started and is false now", func(path string) {
			s.program(path, whole, 0o755)
			s.write("emperor.ini", strings.Replace(string(ini), "emperor-tyrant = true", "emperor-tyrant = false", 1), "")
		}},
		{"a broken configuration", "emperor.ini:2", func(path string) {
			s.program(path, whole, 0o755)
			s.write("emperor.ini", "[uwsgi]\nemperor-throttle = soon\n"+strings.TrimPrefix(string(ini), "[uwsgi]\n"), "")
		}},
		{"no vassald", "cannot find vassald", func(path string) {
			dir := s.mkdir("second/p", 0, 0)
			s.program(dir+"/p", whole, 0o755)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := second + "/p"
			c.make(path)
			defer os.RemoveAll(path)
			if c.name == "no vassald" {
				path += "/p"
			}
			defer s.write("emperor.ini", string(ini), "")
			out, err := s.ask("upgrade", "--binary", path)
			if err == nil || !strings.Contains(err.Error(), c.words) {
				t.Errorf("%s, %v; want %q", out, err, c.words)
			}
			if v := s.whole(); v.Version != "the-first" || v.PID != e.cmd.Process.Pid {
				t.Errorf("it is %s, pid %d", v.Version, v.PID)
			}
			if now := [2]int{e.vassald(t, "v00.ini"), e.vassald(t, "v01.ini")}; now != pids {
				t.Errorf("the vassals were %v and are %v", pids, now)
			}
			s.get("v00", "/")
		})
	}
	s.eventually(5*time.Second, "descriptors are given back", func() error {
		if n := countFDs(e.cmd.Process.Pid); n > fds {
			return fmt.Errorf("%d descriptors before, %d after", fds, n)
		}
		return nil
	})
	if n := strings.Count(e.log.String(), "upgrade refused; this program goes on"); n != 11 { // the others are refused before anything is tried
		t.Errorf("the log has %d refusals", n)
	}
	s.mustUpgrade("--binary", second+"/emperord")
	s.install(first)
}

// TestProgramThatFailsAfterTheExecGivesBack has a configuration that is good until the new program governs: the dry run reads a good
// one, and what is executed a bad one.
func TestProgramThatFailsAfterTheExecGivesBack(t *testing.T) {
	s := newSite(t)
	_, second := s.releases()
	s.app("plain", "plain", shop)
	names, sockets := s.many(2)
	good := strings.ReplaceAll("echo '[uwsgi]'; echo emperor = DIR/vassals; echo emperor-tyrant = true; echo emperor-control-socket = DIR/control.sock; echo emperor-socket-root = DIR/run\n", "DIR", s.dir)
	s.write("conf.sh", strings.ReplaceAll("echo x >>DIR/times\nif [ $(wc -l <DIR/times) -ge 3 ]; then echo '[uwsgi]'; echo emperor-throttle = never; exit; fi\n", "DIR", s.dir)+good, "")
	e := &emperor{s.start(s.dir+"/bin/emperord", "--ini", "exec://sh "+s.dir+"/conf.sh"), s}
	t.Cleanup(e.audit)
	s.nginx(sockets)
	s.allAccept(len(names))
	s.allLoyal(names)
	before, fds := same(s.whole()), countFDs(e.cmd.Process.Pid)
	end := s.crowd(names, 4)
	out, err := s.ask("upgrade", "--binary", second+"/emperord")
	if err == nil || !strings.Contains(err.Error(), "not upgraded; emperord the-first goes on as before") || !strings.Contains(err.Error(), `"never"`) {
		t.Errorf("%s, %v", out, err)
	}
	if n := strings.Count(e.log.String(), "upgrade refused; this program goes on"); n != 1 {
		t.Errorf("the log has %d refusals", n)
	}
	if ok, failed := end(); len(failed) > 0 || ok == 0 {
		t.Errorf("%d requests were answered, failed: %s", ok, failed)
	}
	if after := same(s.whole()); after != before || s.whole().Version != "the-first" {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", e.cmd.Process.Pid)); string(comm) != "emperord\n" {
		t.Errorf("it is called %q", comm)
	}
	s.eventually(5*time.Second, "descriptors are given back", func() error {
		if n := countFDs(e.cmd.Process.Pid); n > fds {
			return fmt.Errorf("%d descriptors before, %d after", fds, n)
		}
		return nil
	})
	if _, err := s.ask("upgrade"); err == nil || !strings.Contains(err.Error(), `"never"`) { // the configuration is bad now for the dry run too
		t.Error(err)
	}
	if err := os.Remove(s.dir + "/times"); err != nil {
		t.Fatal(err)
	}
	s.mustUpgrade()
	if err := e.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.eventually(20*time.Second, "it reloads all", func() error {
		if strings.Count(e.log.String(), "vassal accepts") < 4 {
			return errors.New("it does not")
		}
		return nil
	})
}
