package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The files that distributions ship, in our own words: the same settings, the same meaning.
const (
	debianEmperor = `[uwsgi]

# a master, and
master = true
# two workers that the emperor does not have
workers = 2
no-orphans = true
log-date = true

uid = www-data
gid = www-data

emperor = /etc/uwsgi-emperor/vassals
`
	fedoraEmperor = `[uwsgi]
uid = www-data
gid = www-data
pidfile = /run/uwsgi/uwsgi.pid
emperor = /etc/uwsgi.d
stats = /run/uwsgi/stats.sock
chmod-socket = 660
emperor-tyrant = true
cap = setgid,setuid
`
)

// packaged runs a command in a mount namespace whose /etc has one more file and the vassals' folders of both distributions, and
// whose /run is the site's. prepare is what the package's unit does before the start.
func (s *site) packaged(path, text, prepare string, args ...string) *program {
	s.t.Helper()
	s.mkdir("run", 0, 0)
	s.write("shipped", text, "")
	script := `set -e
mount --make-rprivate /
mount --bind "$DIR/run" /run
cp -a /etc "$DIR/etc"
rm -rf "$DIR/etc/uwsgi-emperor" "$DIR/etc/uwsgi.d"
mkdir "$DIR/etc/uwsgi-emperor"
ln -s "$DIR/vassals" "$DIR/etc/uwsgi-emperor/vassals"
ln -s "$DIR/vassals" "$DIR/etc/uwsgi.d"
cp "$DIR/shipped" "$DIR$FILE"
mount --bind "$DIR/etc" /etc
` + prepare + `
unset DIR FILE
exec "$@"`
	env := []string{"DIR=" + s.dir, "FILE=" + path, "unshare", "--mount", "/bin/sh", "-c", script, "sh"}
	return s.start("/usr/bin/env", append(env, args...)...)
}

// uwsgiLink makes a link named uwsgi to emperord, with vassald where it leads to.
func (s *site) uwsgiLink() string {
	s.t.Helper()
	link := s.dir + "/uwsgi"
	if err := os.Symlink(bin+"/emperord", link); err != nil && !os.IsExist(err) {
		s.t.Fatal(err)
	}
	return link
}

func TestDebiansFileRunsUnchanged(t *testing.T) {
	text := debianEmperor
	if shipped, err := os.ReadFile("/etc/uwsgi-emperor/emperor.ini"); err == nil { // the package's own, where it is installed
		text = string(shipped)
	}
	for _, called := range []string{"emperord", "uwsgi"} {
		t.Run(called, func(t *testing.T) {
			s := newSite(t)
			s.app("plain", "plain", shop)
			s.vassal("plain.ini", "", strings.ReplaceAll(strings.ReplaceAll(plainVassal, "DIR/run", "/run/uwsgi"), "chown-socket = emperord-t-shop:www-data\n", ""))
			program := bin + "/emperord"
			if called == "uwsgi" {
				program = s.uwsgiLink()
			}
			// As Debian's unit has it: /run/uwsgi is root:www-data, 0775.
			p := s.packaged("/etc/uwsgi-emperor/emperor.ini", text, "install -d -m 0775 -g www-data /run/uwsgi", program, "--ini", "/etc/uwsgi-emperor/emperor.ini")
			s.nginx(map[string]string{"plain": s.dir + "/run/uwsgi/plain.sock"})
			if body := s.get("plain", "/"); !strings.HasPrefix(body, "hello") {
				t.Errorf("%q", body)
			}
			www, _ := ids(t, "www-data")
			for _, v := range processesIn(s.dir) {
				if st, err := os.Stat(fmt.Sprintf("/proc/%d", v.pid)); err != nil || int(st.Sys().(*syscall.Stat_t).Uid) != www {
					t.Errorf("%+v is not www-data's", v)
				}
			}
			// The unit's KillSignal.
			if err := p.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
				t.Fatal(err)
			}
			select {
			case <-p.done:
				if p.err != nil {
					t.Errorf("QUIT: %v", p.err)
				}
			case <-time.After(20 * time.Second):
				t.Error("QUIT does not stop it")
			}
			if left := processesIn(s.dir); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

func TestFedorasFileRunsUnchanged(t *testing.T) {
	s := newSite(t)
	s.app("plain", "plain", shop)
	s.vassal("plain.ini", shop, strings.ReplaceAll(strings.ReplaceAll(plainVassal, "DIR/run", "/run/uwsgi"), "chown-socket = emperord-t-shop:www-data\n", ""))
	// Fedora's unit makes /run/uwsgi with mode 0775 and the group uwsgi; the drop-in makes it 0755.
	p := s.packaged("/etc/uwsgi.ini", fedoraEmperor, "install -d -m 0755 -o www-data -g www-data /run/uwsgi", bin+"/emperord", "--ini", "/etc/uwsgi.ini")
	s.eventually(10*time.Second, "the vassal accepts", func() error {
		if !strings.Contains(p.log.String(), "vassal accepts") {
			return fmt.Errorf("%s", p.log.String())
		}
		return nil
	})
	s.eventually(10*time.Second, "the pid file", func() error {
		text, err := os.ReadFile(s.dir + "/run/uwsgi/uwsgi.pid")
		if err == nil && strings.TrimSpace(string(text)) != strconv.Itoa(p.cmd.Process.Pid) {
			err = fmt.Errorf("%q", text)
		}
		return err
	})
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil { // ExecReload
		t.Fatal(err)
	}
	s.eventually(10*time.Second, "the reload", func() error {
		if strings.Count(p.log.String(), "vassal accepts") < 2 {
			return fmt.Errorf("%s", p.log.String())
		}
		return nil
	})
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil { // KillSignal
		t.Fatal(err)
	}
	<-p.done
	if p.err != nil {
		t.Errorf("INT: %v", p.err)
	}
}

// Debian's init script: --die-on-term --pidfile --daemonize, then the pid file; and uwsgi's own commands on it.
func TestInitScriptsCommandLine(t *testing.T) {
	s := newSite(t)
	s.app("plain", "plain", shop)
	s.vassal("plain.ini", shop, plainVassal)
	uwsgi := s.uwsgiLink()
	pidfile, logfile := s.dir+"/emperor.pid", s.dir+"/emperor.log"
	args := []string{"--emperor", s.dir + "/vassals", "--emperor-tyrant", "--emperor-control-socket", s.dir + "/control.sock", "--emperor-socket-root", s.dir + "/run", "--die-on-term", "--pidfile", pidfile, "--daemonize", logfile}
	daemon := exec.Command(uwsgi, args...)
	daemon.Dir = s.dir
	if out, err := daemon.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v %s", err, out)
	}
	text, err := os.ReadFile(pidfile) // there when the command ends
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid == daemon.Process.Pid {
		t.Fatalf("the pid file holds %q; the command was %d", text, daemon.Process.Pid)
	}
	said := func() string { text, _ := os.ReadFile(logfile); return string(text) }
	t.Cleanup(func() {
		if syscall.Kill(pid, 0) == nil && t.Failed() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if t.Failed() {
			t.Log(said())
		}
	})
	s.nginx(map[string]string{"plain": s.dir + "/run/plain.sock"})
	before := s.get("plain", "/who")
	if sid, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err != nil || strings.Fields(string(sid))[5] != strconv.Itoa(pid) {
		t.Errorf("it does not lead a session of its own: %s, %v", sid, err)
	}
	if out, err := exec.Command(uwsgi, "--reload", pidfile).CombinedOutput(); err != nil {
		t.Errorf("--reload: %v %s", err, out)
	}
	s.eventually(10*time.Second, "the reload", func() error {
		if s.get("plain", "/who") == before {
			return fmt.Errorf("the same worker")
		}
		return nil
	})
	if out, err := exec.Command(uwsgi, "--stop", pidfile).CombinedOutput(); err != nil {
		t.Errorf("--stop: %v %s", err, out)
	}
	s.eventually(20*time.Second, "the end", func() error {
		if _, err := os.Stat(pidfile); err == nil {
			return fmt.Errorf("the pid file is still there")
		}
		if left := processesIn(s.dir); len(left) > 0 {
			return fmt.Errorf("left: %v", left)
		}
		return nil
	})
	if !strings.Contains(said(), "emperor stopped") {
		t.Errorf("the log: %s", said())
	}
	// What cannot start says so to who has called, with its exit code.
	bad := exec.Command(bin+"/emperord", "--emperor", s.dir+"/vassals", "--pidfile", s.dir+"/no/such/folder/pid", "--daemonize", logfile)
	out, err := bad.CombinedOutput()
	if bad.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "the reason is in "+logfile) || !strings.Contains(said(), "cannot write the pid file") {
		t.Errorf("%v %s", err, out)
	}
}

// The link with an application's file runs vassald, by --ini and bare.
func TestTheLinkRunsAnApplication(t *testing.T) {
	s := newSite(t)
	s.app("plain", "plain", shop)
	s.write("app.ini", "[uwsgi]\nchdir = "+s.dir+"/srv/plain\nmodule = plain\nsocket = "+s.dir+"/app.sock\nchmod-socket = 666\n", "")
	for _, args := range [][]string{{"--ini", s.dir + "/app.ini"}, {s.dir + "/app.ini"}, {"-s", s.dir + "/app.sock", "--chmod-socket=666", "--chdir", s.dir + "/srv/plain", "-w", "plain"}} {
		p := s.start(s.uwsgiLink(), args...)
		l := &load{socket: s.dir + "/app.sock"}
		s.eventually(10*time.Second, "an answer", func() error {
			l.failed = nil
			if l.one("x"); len(l.failed) > 0 && !strings.Contains(l.failed[0].description, "500") {
				return fmt.Errorf("%+v %s", l.failed, p.log.String())
			}
			return nil
		})
		if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.cmd.Process.Pid)); strings.TrimSpace(string(comm)) != "vassald" {
			t.Errorf("%v runs %s", args, comm)
		}
		p.stop()
	}
}
