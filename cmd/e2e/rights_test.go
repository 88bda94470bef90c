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

// governor makes the user as whom an emperor without root runs, as distributions have one.
func governor(t *testing.T) (name string, uid int) {
	t.Helper()
	name = "emperord-t-uwsgi"
	_ = exec.Command("userdel", name).Run()
	if out, err := exec.Command("useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", name).CombinedOutput(); err != nil {
		t.Fatalf("cannot make the user %s: %v\n%s", name, err, out)
	}
	t.Cleanup(func() { _ = exec.Command("userdel", name).Run() })
	uid, _ = ids(t, name)
	return name, uid
}

// statusOf returns the lines of /proc/PID/status by name.
func statusOf(t *testing.T, pid int) map[string]string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		all[name] = strings.Join(strings.Fields(value), " ")
	}
	return all
}

// expect compares what a process may do.
func (s *site) expect(pid int, want map[string]string) {
	s.t.Helper()
	got := statusOf(s.t, pid)
	for name, value := range want {
		if got[name] != value {
			s.t.Errorf("process %d (%s): %s is %q, want %q", pid, got["Name"], name, got[name], value)
		}
	}
}

// vassalOf waits for the one vassald of an emperor.
func (e *emperor) vassalOf() int {
	e.site.t.Helper()
	pid := 0
	e.site.eventually(10*time.Second, "one vassald", func() error {
		all := kids(e.cmd.Process.Pid)
		if len(all) != 1 || all[0].comm != "vassald" {
			return fmt.Errorf("the emperor has the children %v", all)
		}
		if cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", all[0].pid)); strings.Contains(string(cmdline), "--resolve") {
			return fmt.Errorf("it resolves")
		}
		pid = all[0].pid
		return nil
	})
	return pid
}

func four(id int) string { return fmt.Sprintf("%d %[1]d %[1]d %[1]d", id) }

const noCapability = "0000000000000000"

// ordinary is what the process of a tenant may do.
func (s *site) ordinary(user string) map[string]string {
	uid, gid := ids(s.t, user)
	return map[string]string{"Uid": four(uid), "Gid": four(gid), "Groups": fmt.Sprint(gid), "CapInh": noCapability, "CapPrm": noCapability, "CapEff": noCapability, "CapBnd": noCapability, "CapAmb": noCapability, "NoNewPrivs": "1"}
}

// lowly is the shop's application on a socket that everybody may use.
const lowly = "plugin = python3\nchdir = DIR/srv/plain\nmodule = plain:application\nprocesses = 1\nsocket = DIR/run/plain.sock\nchmod-socket = 666\n"

// TestFedorasFileGovernsWithoutRoot runs the file that Fedora ships, with its own paths: an emperor that gives up root
// but for setgid and setuid, and starts each vassal as its file's owner all the same.
func TestFedorasFileGovernsWithoutRoot(t *testing.T) {
	s := newSite(t)
	name, uid := governor(t)
	s.app("plain", "plain", shop)
	s.vassal("plain.ini", shop, lowly+"reload-mercy = 1\n")
	s.write("uwsgi.ini", strings.NewReplacer("DIR", s.dir, "USER", name).Replace(`[uwsgi]
uid = USER
gid = USER
pidfile = DIR/uwsgi.pid
emperor = DIR/vassals
stats = DIR/stats.sock
chmod-socket = 660
emperor-tyrant = true
cap = setgid,setuid
reload-mercy = 2
emperor-control-socket = DIR/control.sock
emperor-socket-root = DIR/run
`), "")
	e := &emperor{s.start(bin+"/emperord", "--ini", s.dir+"/uwsgi.ini"), s}
	t.Cleanup(e.audit)
	s.nginx(map[string]string{"plain": s.dir + "/run/plain.sock"})
	if body := s.get("plain", "/"); body != "hello from ?\n" {
		t.Errorf("it answers %q", body)
	}
	s.expect(e.cmd.Process.Pid, map[string]string{"Uid": four(uid), "CapInh": "00000000000000c0", "CapPrm": "00000000000000c0", "CapEff": "00000000000000c0", "CapBnd": noCapability, "CapAmb": noCapability})
	pid := e.vassalOf()
	s.expect(pid, s.ordinary(shop))
	for _, host := range kids(pid) {
		s.expect(host.pid, s.ordinary(shop))
	}
	if n := strings.Count(e.log.String(), "but not chown"); n != 1 {
		t.Errorf("the missing capability is said %d times", n)
	}

	// One that does not stop is killed, though the emperor may not signal other users' processes.
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	s.vassal("plain.ini", shop, lowly)
	s.eventually(20*time.Second, "the stopped one is killed", func() error {
		if syscall.Kill(pid, 0) == nil {
			return fmt.Errorf("%d lives", pid)
		}
		return nil
	})
	if body := s.get("plain", "/"); body != "hello from ?\n" {
		t.Errorf("after the reload it answers %q", body)
	}

	// What needs more says what to write; and then it works.
	s.vassal("plain.ini", shop, lowly+"chown-socket = "+shop+":www-data\n")
	s.eventually(10*time.Second, "the capability is named", func() error {
		if !strings.Contains(e.log.String(), "needs CAP_CHOWN") || !strings.Contains(e.log.String(), "cap = setgid,setuid,chown") {
			return fmt.Errorf("the log does not name it")
		}
		return nil
	})
	e.stop()
}

// TestTheRemedyForAMissingChownIsTrue writes what the message of the emperor says.
func TestTheRemedyForAMissingChownIsTrue(t *testing.T) {
	s := newSite(t)
	name, _ := governor(t)
	s.app("plain", "plain", shop)
	s.vassal("plain.ini", shop, strings.Replace(lowly, "666", "660", 1)+"chown-socket = "+shop+":www-data\n")
	s.emperor("--uid", name, "--gid", name, "--emperor-tyrant", "--cap", "setgid,setuid,chown")
	s.nginx(map[string]string{"plain": s.dir + "/run/plain.sock"})
	if body := s.get("plain", "/"); body != "hello from ?\n" {
		t.Errorf("it answers %q", body)
	}
}

// TestDebiansFileRunsEverythingAsOneUser runs the file that Debian ships: no tyrant, one user for all.
func TestDebiansFileRunsEverythingAsOneUser(t *testing.T) {
	s := newSite(t)
	s.app("plain", "plain", shop)
	s.vassal("plain.ini", "", lowly)
	s.write("emperor.ini", strings.ReplaceAll(`[uwsgi]
autoload = true
master = true
workers = 2
no-orphans = true
log-date = true
uid = www-data
gid = www-data
emperor = DIR/vassals
emperor-control-socket = DIR/control.sock
emperor-socket-root = DIR/run
`, "DIR", s.dir), "")
	e := &emperor{s.start(bin+"/emperord", "--ini", s.dir+"/emperor.ini"), s}
	t.Cleanup(e.audit)
	s.nginx(map[string]string{"plain": s.dir + "/run/plain.sock"})
	if body := s.get("plain", "/"); body != "hello from ?\n" {
		t.Errorf("it answers %q", body)
	}
	uid, _ := ids(t, "www-data")
	want := map[string]string{"Uid": four(uid), "CapInh": noCapability, "CapPrm": noCapability, "CapEff": noCapability, "CapAmb": noCapability}
	s.expect(e.cmd.Process.Pid, want)
	s.expect(e.vassalOf(), want)
}

// TestTyrantStartedWithoutRoot has the two capabilities from who starts it, as systemd's AmbientCapabilities gives them.
func TestTyrantStartedWithoutRoot(t *testing.T) {
	s := newSite(t)
	name, uid := governor(t)
	_, gid := ids(t, name)
	s.app("plain", "plain", shop)
	s.vassal("plain.ini", shop, lowly)
	s.mkdir("run", uid, gid)
	s.mkdir("own", uid, gid)
	args := []string{"--reuid", name, "--regid", name, "--clear-groups", "--inh-caps", "+setuid,+setgid", "--ambient-caps", "+setuid,+setgid", bin + "/emperord",
		"--emperor", s.dir + "/vassals", "--emperor-control-socket", s.dir + "/own/control.sock", "--emperor-socket-root", s.dir + "/run", "--emperor-tyrant"}
	e := &emperor{s.start("/usr/bin/setpriv", args...), s}
	t.Cleanup(e.audit)
	s.nginx(map[string]string{"plain": s.dir + "/run/plain.sock"})
	if body := s.get("plain", "/"); body != "hello from ?\n" {
		t.Errorf("it answers %q", body)
	}
	s.expect(e.cmd.Process.Pid, map[string]string{"Uid": four(uid), "CapEff": "00000000000000c0"})
	want := s.ordinary(shop)
	delete(want, "CapBnd") // without CAP_SETPCAP it stays; no_new_privs makes it worth nothing
	s.expect(e.vassalOf(), want)
}

func TestTyrantWithoutTheRightsIsRefused(t *testing.T) {
	s := newSite(t)
	name, _ := governor(t)
	for _, c := range []struct{ words, program string }{
		{"cap = setgid,setuid", bin + "/emperord --uid " + name},
		{"cap = setgid,setuid", bin + "/emperord --uid " + name + " --cap setgid"},
		{"AmbientCapabilities=CAP_SETUID CAP_SETGID", "/usr/bin/setpriv --reuid " + name + " --clear-groups " + bin + "/emperord"},
	} {
		args := append(strings.Fields(c.program), "--emperor", s.dir+"/vassals", "--emperor-tyrant", "--emperor-control-socket", s.dir+"/c.sock")
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 2 || !strings.Contains(string(out), c.words) {
			t.Errorf("%s: %v, %s", c.program, err, out)
		}
	}
}

// TestEveryRightThatIsConfigured reads back from the kernel what the emperor's options say.
func TestEveryRightThatIsConfigured(t *testing.T) {
	s := newSite(t)
	s.app("plain", "plain", shop)
	s.vassal("plain.ini", shop, lowly)
	e := s.emperor("--emperor-tyrant", "--emperor-cap", "chown,net_bind_service", "--umask", "027", "--emperor-new-privs-for", shop,
		"--emperor-limit", "nofile=300:400", "--emperor-limit", "core=0", "--emperor-limit", "fsize=1G:2G", "--emperor-keep-env", "PATH,LANG")
	s.nginx(map[string]string{"plain": s.dir + "/run/plain.sock"})
	if body := s.get("plain", "/"); body != "hello from ?\n" {
		t.Errorf("it answers %q", body)
	}
	want := s.ordinary(shop)
	want["CapBnd"], want["NoNewPrivs"], want["Umask"] = "0000000000000401", "0", "0027"
	pid := e.vassalOf()
	s.expect(pid, want)
	for _, host := range kids(pid) {
		s.expect(host.pid, want)
		limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", host.pid))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Join(strings.Fields(string(limits)), " ")
		for _, l := range []string{"Max open files 300 400", "Max core file size 0 0", "Max file size 1073741824 2147483648"} {
			if !strings.Contains(text, l) {
				t.Errorf("its limits lack %q: %s", l, text)
			}
		}
	}
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		t.Fatal(err)
	}
	for kv := range strings.SplitSeq(strings.TrimRight(string(env), "\x00"), "\x00") {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "PATH", "LANG", "USER", "LOGNAME", "HOME", "SHELL", "UWSGI_EMPEROR_FD":
		default:
			if !strings.HasPrefix(name, "EMPERORD_") {
				t.Errorf("its environment has %q", kv)
			}
		}
	}
}

// TestNamespacesOfItsOwn runs an application in all kinds of namespaces at once, and each alone.
func TestNamespacesOfItsOwn(t *testing.T) {
	for _, kinds := range []string{"fs,ipc,net,pid,uts,user", "fs", "ipc", "net", "pid", "uts", "user", "fs,pid"} {
		t.Run(kinds, func(t *testing.T) {
			s := newSite(t)
			s.app("plain", "plain", shop)
			s.vassal("plain.ini", shop, lowly)
			e := s.emperor("--emperor-tyrant", "--emperor-use-clone", kinds)
			s.nginx(map[string]string{"plain": s.dir + "/run/plain.sock"})
			if body := s.get("plain", "/"); body != "hello from ?\n" {
				t.Errorf("it answers %q", body)
			}
			pid := e.vassalOf()
			s.expect(pid, s.ordinary(shop))
			for _, kind := range strings.Split("fs,ipc,net,pid,uts,user", ",") {
				file := strings.Replace(kind, "fs", "mnt", 1)
				ours, _ := os.Readlink("/proc/self/ns/" + file)
				theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, file))
				if own := ours != theirs; err != nil || own != strings.Contains(kinds, kind) {
					t.Errorf("namespace %s: ours is %s, the vassal's %s, %v", kind, ours, theirs, err)
				}
			}
			if strings.Contains(kinds, "pid") {
				if got := statusOf(t, pid)["NSpid"]; !strings.HasSuffix(got, " 1") {
					t.Errorf("its pids are %q", got)
				}
			}
			if strings.Contains(kinds, "fs") {
				if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid)); err != nil || strings.Contains(string(text), "shared:") {
					t.Errorf("its mounts are shared: %v\n%s", err, text)
				}
			}
			// reload, crash and stop
			s.vassal("plain.ini", shop, lowly+"vacuum = true\n")
			s.eventually(10*time.Second, "the old generation is gone", func() error {
				if syscall.Kill(pid, 0) == nil {
					return fmt.Errorf("%d lives", pid)
				}
				return nil
			})
			pid = e.vassalOf()
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			s.eventually(10*time.Second, "the killed one is gone", func() error { // a worker may still answer meanwhile
				if next := e.vassalOf(); next == pid {
					return fmt.Errorf("%d was not killed", pid)
				}
				return nil
			})
			if body := s.get("plain", "/"); body != "hello from ?\n" {
				t.Errorf("after a crash it answers %q", body)
			}
		})
	}
}
