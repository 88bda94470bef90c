package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/emperord/emperord/protocol/api"
)

// releases builds two versions of the programs into folders of the site, and installs the first one in DIR/bin.
func (s *site) releases() (first, second string) {
	s.t.Helper()
	first, second = s.mkdir("first", 0, 0), s.mkdir("second", 0, 0)
	for _, dir := range []string{first, second} {
		build := exec.Command("go", "build", "-ldflags", "-X main.version=the-"+filepath.Base(dir), "-o", dir+"/", "../emperord", "../vassald")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			s.t.Fatalf("cannot build: %v\n%s", err, out)
		}
	}
	s.mkdir("bin", 0, 0)
	s.install(first)
	return first, second
}

// install puts a release into DIR/bin as a package manager does it.
func (s *site) install(release string) {
	s.t.Helper()
	for _, name := range []string{"emperord", "vassald"} {
		text, err := os.ReadFile(release + "/" + name)
		if err == nil {
			err = os.WriteFile(s.dir+"/bin/"+name+"~", text, 0o755)
		}
		if err == nil {
			err = os.Rename(s.dir+"/bin/"+name+"~", s.dir+"/bin/"+name)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// installed starts the emperord of DIR/bin.
func (s *site) installed(args ...string) *emperor {
	s.t.Helper()
	args = append([]string{"--emperor", s.dir + "/vassals", "--emperor-control-socket", s.dir + "/control.sock", "--emperor-socket-root", s.dir + "/run"}, args...)
	e := &emperor{s.start(s.dir+"/bin/emperord", args...), s}
	s.t.Cleanup(e.audit)
	return e
}

// ask runs emperorctl, which may fail.
func (s *site) ask(args ...string) (string, error) {
	out, err := exec.Command(bin+"/emperorctl", append([]string{"--socket", s.dir + "/control.sock"}, args...)...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("emperorctl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

func (s *site) mustUpgrade(args ...string) {
	s.t.Helper()
	if out, err := s.ask(append([]string{"upgrade"}, args...)...); err != nil || !strings.HasPrefix(out, "upgraded from ") {
		s.t.Fatalf("%s, %v", out, err)
	}
}

// whole asks for everything. What changes by itself in a moment is left out.
func (s *site) whole() api.Status {
	s.t.Helper()
	st, err := api.NewClient(s.dir + "/control.sock").Status(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

// same are the words of a status that no upgrade may change. Times are compared as far as clocks allow.
func same(st api.Status) string {
	st.Version, st.Goroutines = "", 0
	for i := range st.Vassals {
		v := &st.Vassals[i]
		v.Since = v.Since.Truncate(time.Millisecond).UTC()
		if v.NextTry != nil {
			t := v.NextTry.Round(50 * time.Millisecond).UTC()
			v.NextTry = &t
		}
		for j := range v.Generations {
			v.Generations[j].Since = v.Generations[j].Since.Round(50 * time.Millisecond).UTC()
		}
		v.Since = v.Since.Round(50 * time.Millisecond)
	}
	text, _ := json.MarshalIndent(st, "", " ")
	return string(text)
}

const quickly = "plugin = python3\nchdir = DIR/srv/plain\nmodule = plain:application\nprocesses = 1\nsocket = DIR/run/NAME.sock\nchmod-socket = 666\ndisable-logging = true\nenv = GEN=NAME\n"

func (s *site) many(n int) (names []string, sockets map[string]string) {
	s.t.Helper()
	sockets = map[string]string{}
	for i := range n {
		name := fmt.Sprintf("v%02d", i)
		owner := []string{shop, blog}[i%2]
		s.vassal(name+".ini", owner, strings.ReplaceAll(quickly, "NAME", name))
		names, sockets[name] = append(names, name), s.dir+"/run/"+name+".sock"
	}
	return names, sockets
}

func (s *site) allAccept(n int) {
	s.t.Helper()
	s.eventually(60*time.Second, "all vassals accept", func() error {
		st, err := api.NewClient(s.dir + "/control.sock").Status(context.Background())
		if err != nil {
			return err
		}
		count := 0
		for _, v := range st.Vassals {
			if v.State == api.Accepting {
				count++
			}
		}
		if count != n {
			return fmt.Errorf("%d of %d accept", count, n)
		}
		return nil
	})
}

// allLoyal has each vassal serve somebody, and waits until the emperor knows: it is told with the first request.
func (s *site) allLoyal(names []string) {
	s.t.Helper()
	for _, name := range names {
		s.get(name, "/")
	}
	s.eventually(20*time.Second, "all vassals are loyal", func() error {
		for _, v := range s.whole().Vassals {
			for _, g := range v.Generations {
				if !g.Loyal {
					return errors.New(v.Name + " is not")
				}
			}
		}
		return nil
	})
}

// crowd asks for pages through nginx until end is called.
func (s *site) crowd(names []string, clients int) (end func() (ok int64, failed []string)) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	var ok atomic.Int64
	var failed []string
	for c := range clients {
		wg.Go(func() {
			for i := c; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				name := names[i%len(names)]
				a, err := s.request(name, "GET", "/", nil)
				if err == nil && (a.status != 200 || a.body != "hello from "+name+"\n") {
					err = fmt.Errorf("status %d: %.100s", a.status, a.body)
				}
				if err == nil {
					ok.Add(1)
					continue
				}
				mu.Lock()
				failed = append(failed, name+": "+err.Error())
				mu.Unlock()
			}
		})
	}
	return func() (int64, []string) {
		close(stop)
		wg.Wait()
		return ok.Load(), failed
	}
}

func threads(pid int) int {
	names, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	return len(names)
}

// TestUpgradesUnderLoadChangeNothingButTheProgram upgrades twenty times under load, to and fro between two versions.
func TestUpgradesUnderLoadChangeNothingButTheProgram(t *testing.T) {
	s := newSite(t)
	first, second := s.releases()
	s.app("plain", "plain", shop)
	names, sockets := s.many(20)
	s.vassal("broken.ini", shop, "module = nowhere\nsocket = DIR/run/broken.sock\n")
	s.vassal("refused.ini", shop, "processes = many\n")
	e := s.installed("--emperor-tyrant", "--emperor-throttle", "600000", "--pidfile", s.dir+"/pid")
	s.nginx(sockets)
	s.allAccept(len(names))
	s.eventually(10*time.Second, "broken.ini waits", func() error {
		for _, v := range s.whole().Vassals {
			if v.Name == "broken.ini" && v.State == api.Backoff {
				return nil
			}
		}
		return errors.New("it does not")
	})
	s.allLoyal(names)
	before, why := same(s.whole()), s.why("broken.ini")
	limits, _ := os.ReadFile(fmt.Sprintf("/proc/%d/limits", e.vassald(t, "v00.ini")))
	pid := e.cmd.Process.Pid
	s.mustUpgrade() // the first one may cost a descriptor
	fds := 0
	end := s.crowd(names, 8)
	for i := range 20 {
		s.install([]string{second, first}[i%2])
		s.mustUpgrade()
		if v := s.whole().Version; v != []string{"the-second", "the-first"}[i%2] {
			t.Errorf("upgrade %d: version %s", i, v)
		}
		if i == 0 {
			fds = countFDs(pid)
		}
	}
	ok, failed := end()
	t.Logf("%d requests, %d failed", ok, len(failed))
	if ok < 100 || len(failed) > 0 {
		t.Errorf("%d requests were answered, %d failed: %.2000s", ok, len(failed), failed)
	}
	if after := same(s.whole()); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if after := s.why("broken.ini"); after.Failures != why.Failures || len(after.Lines) != len(why.Lines) || len(after.Exits) != len(why.Exits) || after.Lines[0].Text != why.Lines[0].Text || !after.Exits[0].At.Equal(why.Exits[0].At) {
		t.Errorf("why broken.ini, before: %+v\nafter: %+v", why, after)
	}
	s.eventually(5*time.Second, "descriptors are given back", func() error {
		if n := countFDs(pid); n > fds {
			return fmt.Errorf("%d descriptors after one upgrade, %d after 21", fds, n)
		}
		return nil
	})
	if n := threads(pid); n > 40 {
		t.Errorf("%d threads", n)
	}
	if text, _ := os.ReadFile(s.dir + "/pid"); strings.TrimSpace(string(text)) != fmt.Sprint(pid) {
		t.Errorf("pid file: %q", text)
	}
	if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); string(comm) != "emperord\n" {
		t.Errorf("it is called %q", comm)
	}
	if n := strings.Count(e.log.String(), "vassal accepts"); n != len(names) {
		t.Errorf("%d vassals accepted; no upgrade starts any", n)
	}

	// It governs: a killed one is back, a changed one reloads, a new one starts, with the limits of before.
	victim := e.vassald(t, "v00.ini")
	if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.mustUpgrade() // at once
	s.eventually(20*time.Second, "the killed one is back", func() error {
		if p := e.vassald(t, "v00.ini"); p == 0 || p == victim {
			return fmt.Errorf("vassald is %d", p)
		}
		return nil
	})
	if now, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", e.vassald(t, "v00.ini"))); err != nil || string(now) != string(limits) {
		t.Errorf("its limits were\n%s\nand are\n%s\n%v", limits, now, err)
	}
	old := e.vassald(t, "v01.ini")
	s.vassal("v01.ini", blog, strings.ReplaceAll(quickly, "NAME", "v01")+"vacuum = true\n")
	s.eventually(20*time.Second, "the changed one is reloaded", func() error {
		if p := e.vassald(t, "v01.ini"); p == 0 || p == old {
			return fmt.Errorf("vassald is %d", p)
		}
		return nil
	})
	if err := os.Remove(s.dir + "/vassals/v02.ini"); err != nil {
		t.Fatal(err)
	}
	s.eventually(20*time.Second, "the removed one is gone", func() error {
		if _, err := os.Stat(s.dir + "/run/v02.sock"); err == nil {
			return errors.New("its socket is there")
		}
		return nil
	})
	e.stop()
	if _, err := os.Stat(s.dir + "/pid"); err == nil {
		t.Error("the pid file is left")
	}
}

func (s *site) why(name string) api.Why {
	s.t.Helper()
	w, err := api.NewClient(s.dir+"/control.sock").Why(context.Background(), name)
	if err != nil {
		s.t.Fatal(err)
	}
	return w
}

// vassald returns the serving process of a vassal, 0 if none serves.
func (e *emperor) vassald(t *testing.T, name string) int {
	t.Helper()
	v, err := api.NewClient(e.site.dir+"/control.sock").Vassal(context.Background(), name)
	if err != nil || v.State != api.Accepting {
		return 0
	}
	return v.PID
}

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

// program writes a file that may be run.
func (s *site) program(path string, text []byte, mode os.FileMode) {
	s.t.Helper()
	if err := os.WriteFile(path, text, mode); err != nil {
		s.t.Fatal(err)
	}
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

// TestForeignVassalLivesThroughUpgrades: a real uwsgi is killed by the kernel when the thread that started it ends, and an exec ends all
// threads but one.
func TestForeignVassalLivesThroughUpgrades(t *testing.T) {
	s := newSite(t)
	s.releases()
	s.app("plain", "plain", shop)
	s.vassal("plain.ini", shop, lowly+"master = true\nneed-app = true\n")
	e := s.installed("--emperor-tyrant", "--emperor-wrapper", "/usr/bin/uwsgi")
	s.nginx(map[string]string{"plain": s.dir + "/run/plain.sock"})
	s.get("plain", "/")
	s.allAccept(1)
	pid := e.vassald(t, "plain.ini")
	for range 3 {
		s.mustUpgrade()
	}
	if now := e.vassald(t, "plain.ini"); now != pid || now == 0 {
		t.Errorf("vassal was %d, is %d", pid, now)
	}
	s.get("plain", "/")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.eventually(20*time.Second, "a second one", func() error {
		if now := e.vassald(t, "plain.ini"); now == pid || now == 0 {
			return fmt.Errorf("vassal is %d", now)
		}
		return nil
	})
	second := e.vassald(t, "plain.ini")
	for range 3 {
		s.mustUpgrade()
	}
	if now := e.vassald(t, "plain.ini"); now != second {
		t.Errorf("vassal was %d, is %d", second, now)
	}
}

// TestSignalsDuringUpgradesKillNobody sends one at a random moment of each of many upgrades. None is lost, and who is told to stop stops in order.
func TestSignalsDuringUpgradesKillNobody(t *testing.T) {
	s := newSite(t)
	s.releases()
	s.app("plain", "plain", shop)
	s.many(1)
	e := s.installed("--emperor-tyrant")
	s.allAccept(1)
	kinds := []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGWINCH, syscall.SIGURG}
	var sent [4]int
	for i := range 40 {
		done := make(chan error, 1)
		go func() { _, err := s.ask("upgrade"); done <- err }()
		time.Sleep(time.Duration(rand.IntN(120)) * time.Millisecond)
		sent[i%4]++
		if err := e.cmd.Process.Signal(kinds[i%4]); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatalf("upgrade %d, %s: %v; emperord: %v", i, kinds[i%4], err, e.err)
		}
	}
	if n := strings.Count(e.log.String(), "reloading all vassals"); n != sent[0] {
		t.Errorf("%d of %d HUP were heard", n, sent[0])
	}
	if n := strings.Count(e.log.String(), "status\t{\"vassals\"") + strings.Count(e.log.String(), "status {\"vassals\""); n != sent[1] {
		t.Errorf("%d of %d USR1 were heard", n, sent[1])
	}
	s.allAccept(1)
	e.stop()
	for range 12 {
		e := &emperor{s.start(s.dir+"/bin/emperord", "--emperor", s.dir+"/vassals", "--emperor-control-socket", s.dir+"/control.sock", "--emperor-socket-root", s.dir+"/run", "--emperor-tyrant"), s}
		s.allAccept(1)
		done := make(chan error, 1)
		go func() { _, err := s.ask("upgrade"); done <- err }()
		time.Sleep(time.Duration(rand.IntN(120)) * time.Millisecond)
		if err := e.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		select {
		case <-e.done:
		case <-time.After(20 * time.Second):
			t.Fatal("TERM does not stop it")
		}
		if e.err != nil || !strings.Contains(e.log.String(), "emperor stopped") {
			t.Errorf("TERM ended it with %v", e.err)
		}
		<-done // it may have come too late
		s.eventually(10*time.Second, "no process is left", func() error {
			if left := processesIn(s.dir); len(left) > 0 {
				return fmt.Errorf("left: %v", left)
			}
			return nil
		})
	}
}

// TestUpgradesWhileEverythingMoves upgrades in a tight loop while vassals are started, reloaded, stopped, killed, broken and removed.
func TestUpgradesWhileEverythingMoves(t *testing.T) {
	s := newSite(t)
	first, second := s.releases()
	s.app("plain", "plain", shop)
	names, sockets := s.many(12)
	steady, others := names[:4], names[4:]
	e := s.installed("--emperor-tyrant", "--emperor-max-throttle", "1000", "--reload-mercy", "5")
	s.nginx(sockets)
	s.allAccept(len(names))
	end := s.crowd(steady, 4)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(rand.IntN(40)) * time.Millisecond):
			}
			name := others[rand.IntN(len(others))]
			good := strings.ReplaceAll(quickly, "NAME", name)
			switch rand.IntN(7) {
			case 0:
				s.vassal(name+".ini", []string{shop, blog}[rand.IntN(2)], good)
			case 1:
				s.vassal(name+".ini", shop, good+"import = nowhere\nneed-app = true\nmodule = nowhere\n")
			case 2:
				_ = os.Remove(s.dir + "/vassals/" + name + ".ini")
			case 3:
				_, _ = s.ask("stop", name+".ini")
			case 4:
				_, _ = s.ask("start", name+".ini")
			case 5:
				_, _ = s.ask("reload", name+".ini")
			case 6:
				if pid := e.vassald(t, name+".ini"); pid > 0 {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			}
		}
	})
	upgraded := 0
	for i := range 30 {
		out, err := s.ask("upgrade", "--binary", []string{second, first}[i%2]+"/emperord")
		switch {
		case err == nil && strings.HasPrefix(out, "upgraded"):
			upgraded++
		case err == nil || !strings.Contains(err.Error(), "try again"):
			t.Errorf("upgrade %d: %s, %v", i, out, err)
		}
	}
	close(stop)
	wg.Wait()
	t.Logf("%d of 30 upgrades", upgraded)
	if upgraded < 25 {
		t.Errorf("%d of 30 upgrades", upgraded)
	}
	if ok, failed := end(); len(failed) > 0 || ok == 0 {
		t.Errorf("%d requests were answered, failed: %.2000s", ok, failed)
	}
	for i, name := range names { // what the file says now
		s.vassal(name+".ini", []string{shop, blog}[i%2], strings.ReplaceAll(quickly, "NAME", name)+"vacuum = true\n")
	}
	for _, name := range others {
		s.eventually(20*time.Second, name+" is there", func() error { _, err := s.ask("start", name+".ini"); return err })
	}
	s.allAccept(len(names))
	for _, name := range names {
		if body := s.get(name, "/"); body != "hello from "+name+"\n" {
			t.Errorf("%s answers %q", name, body)
		}
	}
	s.eventually(20*time.Second, "only the serving ones are left", func() error {
		if k := kids(e.cmd.Process.Pid); len(k) != len(names) {
			return fmt.Errorf("the children are %v", k)
		}
		return nil
	})
}

// TestUpgradeWithoutRootKeepsTheTwoCapabilities upgrades Fedora's way of governing, and systemd's.
func TestUpgradeWithoutRootKeepsTheTwoCapabilities(t *testing.T) {
	for _, way := range []string{"cap = setgid,setuid", "AmbientCapabilities"} {
		t.Run(way, func(t *testing.T) {
			s := newSite(t)
			name, uid := governor(t)
			_, gid := ids(t, name)
			s.releases()
			s.app("plain", "plain", shop)
			s.vassal("plain.ini", shop, lowly)
			s.mkdir("run", uid, gid)
			var e *emperor
			if way == "AmbientCapabilities" {
				s.mkdir("own", uid, gid)
				e = &emperor{s.start("/usr/bin/setpriv", "--reuid", name, "--regid", name, "--clear-groups", "--inh-caps", "+setuid,+setgid", "--ambient-caps", "+setuid,+setgid", s.dir+"/bin/emperord",
					"--emperor", s.dir+"/vassals", "--emperor-control-socket", s.dir+"/own/control.sock", "--emperor-socket-root", s.dir+"/run", "--emperor-tyrant"), s}
				_ = os.Symlink("own/control.sock", s.dir+"/control.sock")
			} else {
				e = &emperor{s.start(s.dir+"/bin/emperord", "--emperor", s.dir+"/vassals", "--emperor-control-socket", s.dir+"/control.sock", "--emperor-socket-root", s.dir+"/run", "--emperor-tyrant",
					"--uid", name, "--gid", name, "--cap", "setgid,setuid"), s}
			}
			t.Cleanup(e.audit)
			s.nginx(map[string]string{"plain": s.dir + "/run/plain.sock"})
			s.get("plain", "/")
			pid := e.vassalOf()
			may := statusOf(t, e.cmd.Process.Pid)
			want := map[string]string{"Uid": four(uid), "Gid": four(gid), "Groups": may["Groups"], "CapInh": "00000000000000c0", "CapPrm": "00000000000000c0", "CapEff": "00000000000000c0", "CapBnd": may["CapBnd"], "CapAmb": noCapability}
			s.expect(e.cmd.Process.Pid, want)
			theirs := statusOf(t, pid)
			for range 3 {
				s.mustUpgrade()
				tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", e.cmd.Process.Pid))
				for _, task := range tasks {
					text, err := os.ReadFile(task)
					for _, line := range []string{"CapPrm:\t00000000000000c0", "CapEff:\t00000000000000c0", "CapAmb:\t0000000000000000"} {
						if err == nil && !strings.Contains(string(text), line) {
							t.Errorf("%s lacks %q:\n%s", task, line, text)
						}
					}
				}
				s.expect(e.cmd.Process.Pid, want)
			}
			if now := e.vassalOf(); now != pid {
				t.Errorf("vassald was %d, is %d", pid, now)
			}
			s.vassal("plain.ini", shop, lowly+"vacuum = true\n")
			s.eventually(20*time.Second, "it is reloaded", func() error {
				if syscall.Kill(pid, 0) == nil {
					return fmt.Errorf("%d lives", pid)
				}
				return nil
			})
			got := statusOf(t, e.vassalOf())
			for _, f := range []string{"Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "SigBlk", "SigIgn"} {
				if got[f] != theirs[f] {
					t.Errorf("%s of a vassal was %q before the upgrades and is %q", f, theirs[f], got[f])
				}
			}
			// The emperor's own user has not got what the emperor may do, so it may not name a program.
			out, err := exec.Command("/usr/bin/setpriv", "--reuid", name, "--clear-groups", bin+"/emperorctl", "--socket", s.dir+"/control.sock", "upgrade", "--binary", "/bin/true").CombinedOutput()
			if err == nil || !strings.Contains(string(out), "an upgrade is for root") {
				t.Errorf("its own user: %v, %s", err, out)
			}
			// A program with capabilities of its own would lose those that it gets.
			if setcap, err := exec.LookPath("setcap"); err == nil {
				p := s.dir + "/bin/capable"
				text, _ := os.ReadFile(s.dir + "/bin/emperord")
				s.program(p, text, 0o755)
				if out, err := exec.Command(setcap, "cap_net_bind_service+ep", p).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				if _, err := s.ask("upgrade", "--binary", p); err == nil || !strings.Contains(err.Error(), "capabilities of its own") {
					t.Error(err)
				}
			}
		})
	}
}

// TestUpgradeKeepsControlGroups: limits, who is where, the lock, and that all of it goes at the end.
func TestUpgradeKeepsControlGroups(t *testing.T) {
	s := newSite(t)
	s.releases()
	s.app("plain", "plain", shop)
	s.many(2)
	name := fmt.Sprintf("/emperord-t-upgrade%d", os.Getpid())
	base := cgroup2(t) + name
	e := s.installed("--emperor-tyrant", "--emperor-cgroup", name, "--emperor-pids-max", "150")
	s.allAccept(2)
	group := func(vassal string) string {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", e.vassald(t, vassal)))
		if err != nil {
			t.Fatal(err)
		}
		_, path, _ := strings.Cut(strings.TrimSpace(string(text)), "::")
		return path
	}
	before := group("v00.ini")
	for range 3 {
		s.mustUpgrade()
	}
	if now := group("v00.ini"); now != before || !strings.Contains(now, "vassal-v00.ini/g") {
		t.Errorf("its group was %s and is %s", before, now)
	}
	old := e.vassald(t, "v00.ini")
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.mustUpgrade()
	s.eventually(20*time.Second, "it is back, in a new group, and the old one has gone", func() error {
		if p := e.vassald(t, "v00.ini"); p == 0 || p == old {
			return fmt.Errorf("vassald is %d", p)
		}
		leaves, _ := filepath.Glob(base + "/vassal-v00.ini/g*")
		if len(leaves) != 1 || !strings.HasSuffix(group("v00.ini"), "/"+filepath.Base(leaves[0])) {
			return fmt.Errorf("it is in %s; there are %v", group("v00.ini"), leaves)
		}
		return nil
	})
	if text, err := os.ReadFile(base + "/vassal-v00.ini/pids.max"); err == nil && strings.TrimSpace(string(text)) != "150" {
		t.Errorf("pids.max is %s", text)
	}
	e.stop()
	if _, err := os.Stat(base); err == nil {
		t.Errorf("%s is left", base)
	}
}

// TestReloadAfterAnInstallUpgrades: what everybody does after an update is enough. A program that cannot take over is said,
// and the vassals are reloaded all the same.
func TestReloadAfterAnInstallUpgrades(t *testing.T) {
	s := newSite(t)
	_, second := s.releases()
	uid, gid := ids(t, shop)
	s.app("plain", "plain", shop)
	s.mkdir("notes", uid, gid)
	s.vassal("plain.ini", shop, plainVassal+"env = NOTES=DIR/notes/log\n")
	e := s.installed("--emperor-tyrant")
	s.accepting("plain.ini")
	pid := func() int { return s.whole().Vassals[0].PID }
	hup := func(version string) {
		t.Helper()
		before := pid()
		if err := e.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		s.eventually(20*time.Second, "the vassal is reloaded", func() error {
			st, err := api.NewClient(s.dir + "/control.sock").Status(context.Background())
			if err == nil && (st.Version != version || len(st.Vassals) != 1 || st.Vassals[0].PID == before || st.Vassals[0].State != api.Accepting) {
				err = fmt.Errorf("%+v", st)
			}
			return err
		})
	}
	l := s.load(s.dir+"/run/plain.sock", 4)
	hup("the-first") // nothing was installed
	if strings.Contains(e.log.String(), "upgrade") {
		t.Error("it upgrades to itself")
	}
	s.install(second)
	hup("the-second")
	broken := filepath.Join(s.dir, "bin", "emperord")
	if err := errors.Join(os.WriteFile(broken+"~", []byte("#!/bin/sh\necho no, not today >&2\nexit 1\n"), 0o755), os.Rename(broken+"~", broken)); err != nil {
		t.Fatal(err)
	}
	hup("the-second")
	l.end()
	s.explain(l, nil)
	if !strings.Contains(e.log.String(), "upgrade refused; this program goes on") || !strings.Contains(e.log.String(), "no, not today") {
		t.Error("the log does not say why the last program was not taken")
	}
	if l.ok.Load() < 50 {
		t.Errorf("only %d requests were answered", l.ok.Load())
	}
}
