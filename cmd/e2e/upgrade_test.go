package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emperord/emperord/protocol/api"
)

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
