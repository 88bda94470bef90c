package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	sigint = syscall.SIGINT
	sighup = syscall.SIGHUP
)

func TestVassaldUnderARealUWSGIEmperor(t *testing.T) {
	s := newSite(t)
	uid, gid := ids(t, shop)
	s.app("plain", "plain", shop)
	s.mkdir("srv/plain/run", uid, gid)
	s.vassal("plain.ini", shop, `chdir = DIR/srv/plain
module = plain
socket = DIR/srv/plain/run/plain.sock
chmod-socket = 666
vacuum = true
`)
	real := s.start("/usr/bin/uwsgi", "--emperor", s.dir+"/vassals", "--emperor-tyrant", "--emperor-wrapper", bin+"/vassald", "--emperor-stats", s.dir+"/stats.sock")
	s.nginx(map[string]string{"plain": s.dir + "/srv/plain/run/plain.sock"})
	if who := s.get("plain", "/who"); !strings.Contains(who, fmt.Sprintf(`"uid": %d`, uid)) {
		t.Errorf("it runs as %s", who)
	}
	s.eventually(10*time.Second, "the real emperor says loyal", func() error {
		if text := real.log.String(); !strings.Contains(text, "now loyal") && !strings.Contains(text, "is ready to accept requests") {
			return fmt.Errorf("its log: %s", text)
		}
		return nil
	})
	s.vassal("plain.ini", shop, `chdir = DIR/srv/plain
module = plain
env = GEN=second
socket = DIR/srv/plain/run/plain.sock
chmod-socket = 666
vacuum = true
`)
	later := time.Now().Add(2 * time.Second) // a real emperor compares whole seconds
	if err := os.Chtimes(s.dir+"/vassals/plain.ini", later, later); err != nil {
		t.Fatal(err)
	}
	s.eventually(15*time.Second, "reload", func() error {
		time.Sleep(50 * time.Millisecond)
		if body := s.get("plain", "/"); body != "hello from second\n" {
			return fmt.Errorf("%q", body)
		}
		return nil
	})
	_ = real.cmd.Process.Signal(sigint)
	select {
	case <-real.done:
	case <-time.After(15 * time.Second):
		t.Error("the real emperor does not end with vassald as its vassal")
	}
	s.eventually(5*time.Second, "no vassald is left", func() error {
		for _, p := range processes() {
			if cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", p.pid)); strings.HasPrefix(cwd, s.dir+"/") && p.comm != "nginx" {
				return fmt.Errorf("%+v", p)
			}
		}
		return nil
	})
	if _, err := os.Lstat(s.dir + "/srv/plain/run/plain.sock"); err == nil {
		t.Error("the socket is left, with vacuum")
	}
}

func TestRealUWSGIAsVassalOfEmperord(t *testing.T) {
	s := newSite(t)
	uid, _ := ids(t, shop)
	s.app("plain", "plain", shop)
	s.vassal("plain.ini", shop, plainVassal)
	e := s.emperor("--emperor-tyrant", "--emperor-wrapper", "/usr/bin/uwsgi")
	s.nginx(map[string]string{"plain": s.dir + "/run/plain.sock"})
	if who := s.get("plain", "/who"); !strings.Contains(who, fmt.Sprintf(`"uid": %d`, uid)) {
		t.Errorf("it runs as %s", who)
	}
	uwsgi := kids(e.cmd.Process.Pid)
	if len(uwsgi) != 1 || !strings.HasPrefix(uwsgi[0].comm, "uwsgi") {
		t.Fatalf("the emperor's children: %+v", uwsgi)
	}
	before := s.get("plain", "/who")
	s.vassal("plain.ini", shop, plainVassal+"env = GEN=second\n")
	s.eventually(15*time.Second, "reload", func() error {
		if body := s.get("plain", "/"); body != "hello from second\n" {
			return fmt.Errorf("%q, before %s", body, before)
		}
		return nil
	})
	for range 3 { // killed, it is back on the same socket
		victims := kids(e.cmd.Process.Pid)
		for _, p := range victims {
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
		time.Sleep(200 * time.Millisecond)
		s.get("plain", "/")
	}
	time.Sleep(500 * time.Millisecond) // a worker of uWSGI that is told to end before it is ready does not
}

func TestVassaldAlone(t *testing.T) {
	s := newSite(t)
	uid, gid := ids(t, shop)
	s.app("plain", "plain", shop)
	s.mkdir("srv/plain/run", uid, gid)
	s.vassal("plain.ini", shop, `chdir = DIR/srv/plain
module = plain
socket = DIR/srv/plain/run/plain.sock
chmod-socket = 666
vacuum = true
`)
	p := s.start("/usr/bin/setpriv", "--reuid", strconv.Itoa(uid), "--regid", strconv.Itoa(gid), "--clear-groups", bin+"/vassald", "--ini", s.dir+"/vassals/plain.ini")
	s.nginx(map[string]string{"plain": s.dir + "/srv/plain/run/plain.sock"})
	s.get("plain", "/")
	p.stop()
	if _, err := os.Lstat(s.dir + "/srv/plain/run/plain.sock"); err == nil {
		t.Error("the socket is left, with vacuum")
	}
}
