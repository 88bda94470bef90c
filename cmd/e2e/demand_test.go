package e2e

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// state reads the state of a vassal from emperorctl status.
func (s *site) state(name string) string {
	out, _ := s.ctl("status", name)
	for line := range strings.Lines(out) {
		if rest, found := strings.CutPrefix(line, "state:"); found {
			return strings.Fields(rest)[0]
		}
	}
	return out
}

func (s *site) awaitState(name, state string) {
	s.t.Helper()
	s.eventually(20*time.Second, name+" is "+state, func() error {
		if now := s.state(name); now != state {
			return errors.New(now)
		}
		return nil
	})
}

// TestFirstRequestOfNginxStartsAVassal, 200 at once too, and idle puts it back, for vassald and for a real uwsgi, whose
// socket is its standard input.
func TestFirstRequestOfNginxStartsAVassal(t *testing.T) {
	const app = "plugin = python3\nchdir = DIR/srv/shop\nwsgi-file = plain.py\nmaster = true\nprocesses = 2\nidle = 1\ndie-on-idle = true\n"
	for _, c := range []struct {
		name, socket, text string
		args               []string
	}{
		{"vassald", "run/shop.sock", app + "socket = DIR/run/shop.sock\nchmod-socket = 666\n", []string{"--emperor-on-demand"}},
		{"vassald, named by the folder", "demand/shop.socket", app, []string{"--emperor-on-demand-directory", "DIR/demand"}},
		{"uwsgi", "demand/shop.socket", app, []string{"--emperor-on-demand-directory", "DIR/demand", "--emperor-wrapper", "/usr/bin/uwsgi"}},
		{"uwsgi with a socket line", "run/shop.sock", app + "socket = DIR/run/shop.sock\nchmod-socket = 666\n", []string{"--emperor-on-demand", "--emperor-wrapper", "/usr/bin/uwsgi"}},
		{"uwsgi with a socket line, named by a file", "run/shop.sock", app + "socket = DIR/run/shop.sock\nchmod-socket = 666\n", []string{"--emperor-on-demand-extension", ".socket", "--emperor-wrapper", "/usr/bin/uwsgi"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			s.app("plain", "shop", shop)
			s.write("vassals/shop.ini.socket", s.dir+"/run/shop.sock\n", "")
			s.vassal("shop.ini", shop, c.text)
			s.nginx(map[string]string{"shop": s.dir + "/" + c.socket})
			args := []string{"--emperor-tyrant"}
			for _, a := range c.args {
				args = append(args, strings.ReplaceAll(a, "DIR", s.dir))
			}
			e := s.emperor(args...)
			s.awaitState("shop.ini", "waiting")
			if left := kids(e.cmd.Process.Pid); len(left) > 0 {
				t.Errorf("processes before anybody asks: %v", left)
			}
			before, err := os.Lstat(s.dir + "/" + c.socket)
			if err != nil {
				t.Fatal(err)
			}
			for round := range 2 {
				var clients sync.WaitGroup
				for range []int{1, 200}[round] {
					clients.Go(func() {
						if a, err := s.request("shop", "GET", "/", nil); err != nil || a.status != 200 {
							t.Errorf("%+v, %v", a, err)
						}
					})
				}
				clients.Wait()
				s.awaitState("shop.ini", "waiting")
				s.eventually(10*time.Second, "the processes have gone", func() error {
					if left := kids(e.cmd.Process.Pid); len(left) > 0 {
						return fmt.Errorf("%v", left)
					}
					return nil
				})
			}
			after, err := os.Lstat(s.dir + "/" + c.socket)
			if err != nil || !os.SameFile(before, after) {
				t.Errorf("the socket was made again: %v", err)
			}
			if out, _ := s.ctl("why", "shop.ini"); !strings.Contains(out, "the first connection starts it") || !strings.Contains(out, "starts:") {
				t.Errorf("why says\n%s", out)
			}
		})
	}
}

// TestNoRequestIsLostBetweenIdleAndStart: clients who come just when the vassal is ended.
func TestNoRequestIsLostBetweenIdleAndStart(t *testing.T) {
	s := newSite(t)
	s.app("plain", "shop", shop)
	s.vassal("shop.ini", shop, "plugin = python3\nchdir = DIR/srv/shop\nwsgi-file = plain.py\nprocesses = 2\nidle = 1\ndie-on-idle = true\nsocket = DIR/run/shop.sock\nchmod-socket = 666\n")
	s.nginx(map[string]string{"shop": s.dir + "/run/shop.sock"})
	s.emperor("--emperor-tyrant", "--emperor-on-demand")
	s.awaitState("shop.ini", "waiting")
	for i := range 12 {
		time.Sleep(time.Second + time.Duration(i*20)*time.Millisecond) // sooner and later than the end
		for range 5 {
			if a, err := s.request("shop", "GET", "/", nil); err != nil || a.status != 200 {
				t.Errorf("%d: %+v, %v", i, a, err)
			}
		}
	}
}

// TestVassaldOnDemandUnderARealEmperor: its socket is standard input, its word 22 is heard.
func TestVassaldOnDemandUnderARealEmperor(t *testing.T) {
	s := newSite(t)
	s.app("plain", "shop", shop)
	s.mkdir("demand", 0, 0)
	s.vassal("shop.ini", "", "plugin = python3\nchdir = DIR/srv/shop\nwsgi-file = plain.py\nidle = 1\ndie-on-idle = true\n")
	s.nginx(map[string]string{"shop": s.dir + "/demand/shop.socket"})
	p := s.start("/usr/bin/uwsgi", "--emperor", s.dir+"/vassals", "--emperor-on-demand-directory", s.dir+"/demand", "--emperor-wrapper", bin+"/vassald")
	s.eventually(10*time.Second, "the emperor waits", func() error { _, err := os.Lstat(s.dir + "/demand/shop.socket"); return err })
	for range 2 {
		if a, err := s.request("shop", "GET", "/", nil); err != nil || a.status != 200 {
			t.Fatalf("%+v, %v", a, err)
		}
		s.eventually(15*time.Second, "it is ended", func() error {
			if left := kids(p.cmd.Process.Pid); len(left) > 0 {
				return fmt.Errorf("%v", left)
			}
			return nil
		})
	}
	if n := strings.Count(p.log.String(), "back to \"on demand\" mode"); n < 2 {
		t.Errorf("the emperor has heard %d times that it may go", n)
	}
}

// TestMoreVassalsThanDescriptors: who finds no room says what to raise, and those that wait can still be started.
func TestMoreVassalsThanDescriptors(t *testing.T) {
	s := newSite(t)
	s.app("plain", "shop", shop)
	const most = 150
	for i := range most {
		s.vassal(fmt.Sprintf("app%03d.ini", i), shop, "plugin = python3\nchdir = DIR/srv/shop\nwsgi-file = plain.py\n")
	}
	s.nginx(map[string]string{"first": s.dir + "/demand/app000.socket"})
	e := &emperor{s.start("/usr/bin/prlimit", "--nofile=240:240", bin+"/emperord", "--emperor", s.dir+"/vassals", "--emperor-control-socket", s.dir+"/control.sock",
		"--emperor-on-demand-directory", s.dir+"/demand", "--emperor-tyrant"), s}
	t.Cleanup(e.audit)
	s.eventually(20*time.Second, "what to raise is said", func() error {
		if !strings.Contains(e.log.String(), "sockets of other vassals wait already, and emperord may have 240 files open; raise the limit: systemctl edit emperord, LimitNOFILE=65536") {
			return errors.New("not said")
		}
		return nil
	})
	if a, err := s.request("first", "GET", "/", nil); err != nil || a.status != 404 && a.status != 200 {
		t.Errorf("%+v, %v", a, err)
	}
}
