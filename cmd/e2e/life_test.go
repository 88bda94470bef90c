package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ctl runs emperorctl against the site's emperor.
func (s *site) ctl(args ...string) (string, error) {
	out, err := exec.Command(bin+"/emperorctl", append([]string{"--socket", s.dir + "/control.sock"}, args...)...).CombinedOutput()
	return string(out), err
}

// accepting waits until the emperor has been told that a vassal accepts, which is a moment after it does.
func (s *site) accepting(name string) {
	s.t.Helper()
	s.eventually(10*time.Second, name+" accepts", func() error {
		if out, err := s.ctl("status", "--json", name); err != nil || !strings.Contains(out, `"state": "accepting"`) {
			return fmt.Errorf("%v %s", err, out)
		}
		return nil
	})
}

func TestAddTouchRemove(t *testing.T) {
	s := newSite(t)
	s.app("plain", "plain", shop)
	e := s.emperor("--emperor-tyrant")
	s.nginx(map[string]string{"plain": s.dir + "/run/plain.sock"})
	time.Sleep(300 * time.Millisecond)
	s.vassal("plain.ini", shop, plainVassal)
	took := s.eventually(10*time.Second, "a new file answers", func() error {
		a, err := s.request("plain", "GET", "/", nil)
		if err == nil && a.status != 200 {
			err = fmt.Errorf("status %d", a.status)
		}
		return err
	})
	t.Logf("a new file answered after %s", took.Round(time.Millisecond))
	before := s.get("plain", "/who")
	now := time.Now()
	if err := os.Chtimes(s.dir+"/vassals/plain.ini", now, now); err != nil {
		t.Fatal(err)
	}
	s.eventually(10*time.Second, "touch reloads", func() error {
		if out, err := s.ctl("status", "--json", "plain.ini"); err != nil || !strings.Contains(out, `"state": "accepting"`) || strings.Count(out, `"role"`) != 1 {
			return fmt.Errorf("%v %s", err, out)
		}
		if s.get("plain", "/who") == before {
			return fmt.Errorf("the same worker")
		}
		return nil
	})
	if err := os.Remove(s.dir + "/vassals/plain.ini"); err != nil {
		t.Fatal(err)
	}
	gone := s.eventually(5*time.Second, "the socket is gone", func() error {
		if _, err := os.Lstat(s.dir + "/run/plain.sock"); err == nil {
			return fmt.Errorf("still there")
		}
		return nil
	})
	t.Logf("a removed file was gone after %s", gone.Round(time.Millisecond))
	s.eventually(5*time.Second, "no process is left", func() error {
		if left := processesIn(s.dir); len(left) > 0 {
			return fmt.Errorf("%v", left)
		}
		return nil
	})
	e.stop()
}

func TestBadInputIsNamedAndDisturbsNobody(t *testing.T) {
	s := newSite(t)
	s.app("plain", "plain", shop)
	s.vassal("plain.ini", shop, plainVassal)
	e := s.emperor("--emperor-tyrant")
	s.nginx(map[string]string{"plain": s.dir + "/run/plain.sock"})
	worker := s.get("plain", "/who")
	for _, c := range []struct{ name, owner, text, want string }{
		{"root.ini", "", plainVassal, "chown USER:GROUP " + s.dir + "/vassals/root.ini"},
		{"value.ini", shop, strings.ReplaceAll(plainVassal, "processes = 2", "processes = fuor"), `value.ini:6: option "processes": value "fuor" is not a number`},
		{"place.ini", shop, strings.ReplaceAll(plainVassal, "DIR/run/plain.sock", "/run/mysqld.sock"), "emperor-socket-root"},
		{"module.ini", shop, strings.NewReplacer("plain:application", "shopp.wsgi", "DIR/run/plain.sock", "DIR/run/module.sock").Replace(plainVassal), "No module named 'shopp'"},
		{"group.ini", shop, strings.NewReplacer(":www-data", ":root", "DIR/run/plain.sock", "DIR/run/group.sock").Replace(plainVassal), "emperor-socket-groups"},
		{"twin.ini", shop, plainVassal, "the vassal plain.ini has this address"},
		{"empty.ini", shop, "", "empty.ini"},
	} {
		s.vassal(c.name, c.owner, c.text)
		s.eventually(15*time.Second, c.name+" is explained in status and log", func() error {
			out, err := s.ctl("status", c.name)
			if err != nil || !strings.Contains(strings.Join(strings.Fields(out), " "), c.want) {
				return fmt.Errorf("%v: %s", err, out)
			}
			if !strings.Contains(strings.ReplaceAll(e.log.String(), `\"`, `"`), c.want) {
				return fmt.Errorf("not in the log")
			}
			return nil
		})
	}
	s.mkdir("srv/plain/shopp", 0, 0) // the fix of module.ini is a package that appears
	s.write("srv/plain/shopp/__init__.py", "", shop)
	s.write("srv/plain/shopp/wsgi.py", "from plain import application\n", shop)
	s.eventually(20*time.Second, "the fix is picked up without a restart", func() error {
		out, err := s.ctl("status", "--json", "module.ini")
		if err != nil || !strings.Contains(out, `"state": "accepting"`) {
			return fmt.Errorf("%v: %s", err, out)
		}
		return nil
	})
	s.eventually(5*time.Second, "the neighbour is as it was", func() error {
		if now := s.get("plain", "/who"); now != worker { // either of the two workers
			return fmt.Errorf("now %s, before %s", now, worker)
		}
		return nil
	})
}

func TestStopAndStartByOperator(t *testing.T) {
	s := newSite(t)
	s.app("plain", "plain", shop)
	s.vassal("plain.ini", shop, plainVassal)
	s.emperor("--emperor-tyrant")
	s.nginx(map[string]string{"plain": s.dir + "/run/plain.sock"})
	s.get("plain", "/")
	if out, err := s.ctl("stop", "plain.ini"); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	s.eventually(5*time.Second, "502", func() error {
		if a, err := s.request("plain", "GET", "/", nil); err != nil || a.status != 502 {
			return fmt.Errorf("%d %v", a.status, err)
		}
		return nil
	})
	if out, err := s.ctl("start", "plain.ini"); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	s.get("plain", "/")
	if out, err := s.ctl("reload", "plain.ini"); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if out, err := exec.Command(bin+"/emperorctl", "request", s.dir+"/run/plain.sock", "/").CombinedOutput(); err != nil || !strings.Contains(string(out), "hello from ?") {
		t.Errorf("request: %v %s", err, out)
	}
}

func TestHangupReloadsAllAndUSR1TellsTheStatus(t *testing.T) {
	s := newSite(t)
	s.app("plain", "plain", shop)
	s.vassal("plain.ini", shop, plainVassal)
	e := s.emperor("--emperor-tyrant")
	s.nginx(map[string]string{"plain": s.dir + "/run/plain.sock"})
	s.accepting("plain.ini")
	before := s.get("plain", "/who")
	_ = e.cmd.Process.Signal(syscall.SIGHUP)
	s.eventually(10*time.Second, "HUP reloads", func() error {
		if strings.Contains(e.log.String(), "reloading all vassals") && strings.Count(e.log.String(), "vassal accepts") == 2 && s.get("plain", "/who") != before {
			return nil
		}
		return fmt.Errorf("not yet")
	})
	_ = e.cmd.Process.Signal(syscall.SIGUSR1)
	s.eventually(5*time.Second, "USR1", func() error {
		if !strings.Contains(e.log.String(), `status {"vassal": "plain.ini", "state": "accepting"`) {
			return fmt.Errorf("not in the log")
		}
		return nil
	})
}

func TestDebiansEmperorFile(t *testing.T) {
	s := newSite(t)
	s.app("plain", "plain", "www-data")
	www, _ := ids(t, "www-data")
	s.vassal("plain.ini", "", strings.NewReplacer("chown-socket = emperord-t-shop:www-data\n", "").Replace(plainVassal))
	s.write("emperor.ini", "[uwsgi]\nmaster = true\nworkers = 2\nno-orphans = true\nlog-date = true\nuid = www-data\ngid = www-data\nemperor = "+s.dir+"/vassals\n", "")
	p := s.start(bin+"/emperord", "--ini", s.dir+"/emperor.ini", "--emperor-control-socket", s.dir+"/control.sock", "--emperor-socket-root", s.dir+"/run")
	s.nginx(map[string]string{"plain": s.dir + "/run/plain.sock"})
	if who := s.get("plain", "/who"); !strings.Contains(who, fmt.Sprintf(`"uid": %d`, www)) {
		t.Errorf("it runs as %s", who)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil || !strings.Contains(string(status), fmt.Sprintf("Uid:\t%d\t%d\t%d\t%d", www, www, www, www)) || !strings.Contains(string(status), "CapEff:\t0000000000000000") {
		t.Errorf("the emperor's own rights: %v\n%s", err, status)
	}
	p.stop()
	if left := processesIn(s.dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestPID1ReapsStrangersAndStopsCleanly(t *testing.T) {
	s := newSite(t)
	s.app("plain", "plain", shop)
	// The application leaves orphans, in its session and out of it. How long they sleep tells them from other people's.
	long := fmt.Sprintf("1000.%07d", os.Getpid())
	s.write("srv/plain/orphans.py", strings.ReplaceAll(`import subprocess
from plain import application
subprocess.Popen(["/bin/sh", "-c", "sleep 0.2 & sleep LONG & exit 0"]).wait()
subprocess.Popen(["/usr/bin/setsid", "-f", "/bin/sleep", "LONG"]).wait()
`, "LONG", long), shop)
	s.vassal("plain.ini", shop, strings.ReplaceAll(plainVassal, "plain:application", "orphans"))
	p := s.start("/usr/bin/unshare", "--pid", "--fork", "--mount-proc", "--kill-child", bin+"/emperord",
		"--emperor", s.dir+"/vassals", "--emperor-tyrant", "--emperor-control-socket", s.dir+"/control.sock", "--emperor-socket-root", s.dir+"/run")
	s.nginx(map[string]string{"plain": s.dir + "/run/plain.sock"})
	s.get("plain", "/")
	inner := kids(p.cmd.Process.Pid)
	if len(inner) != 1 {
		t.Fatalf("the children of unshare: %v", inner)
	}
	time.Sleep(500 * time.Millisecond)
	if z := zombies(inner[0].pid); len(z) > 0 {
		t.Errorf("PID 1 leaves zombies: %v", z)
	}
	orphans := func() (all []process) {
		for _, q := range processes() {
			if cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", q.pid)); strings.Contains(string(cmdline), "sleep\x00"+long) {
				all = append(all, q)
			}
		}
		return all
	}
	if n := len(orphans()); n != 2 {
		t.Fatalf("the application has left %d orphans, want 2", n)
	}
	begin := time.Now()
	if err := syscall.Kill(inner[0].pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		t.Fatal("PID 1 does not stop on TERM")
	}
	if p.err != nil {
		t.Errorf("exit: %v", p.err)
	}
	t.Logf("stopped after %s", time.Since(begin).Round(time.Millisecond))
	for _, q := range orphans() {
		t.Errorf("an orphan is left: %+v", q)
		_ = syscall.Kill(q.pid, syscall.SIGKILL)
	}
}
