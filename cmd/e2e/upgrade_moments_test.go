package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A notified socket is a systemd that only listens.
type notified struct {
	mu   sync.Mutex
	said []string
}

// systemd makes the site's NOTIFY_SOCKET.
func (s *site) systemd() *notified {
	s.t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.dir + "/notify", Net: "unixgram"})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	n := &notified{}
	go func() {
		buf := make([]byte, 1<<14)
		for {
			size, _, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			n.mu.Lock()
			n.said = append(n.said, string(buf[:size]))
			n.mu.Unlock()
		}
	}()
	return n
}

// since returns what was said after the first number messages.
func (n *notified) since(number int) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.said[number:]...)
}

// heard counts the messages that begin with words, after the first number ones.
func (n *notified) heard(words string, number int) (count int) {
	for _, text := range n.since(number) {
		if strings.HasPrefix(text, words) {
			count++
		}
	}
	return count
}

// notifying starts the emperord of DIR/bin under the site's systemd.
func (s *site) notifying(args ...string) *emperor {
	s.t.Helper()
	args = append([]string{"NOTIFY_SOCKET=" + s.dir + "/notify", s.dir + "/bin/emperord", "--emperor", s.dir + "/vassals", "--emperor-control-socket", s.dir + "/control.sock", "--emperor-socket-root", s.dir + "/run", "--emperor-tyrant"}, args...)
	e := &emperor{s.start("/usr/bin/env", args...), s}
	s.t.Cleanup(e.audit)
	return e
}

const slowly = "import os, time\nwhile not os.path.exists('%s'): time.sleep(0.05)\ndef application(environ, start_response):\n    start_response('200 OK', [('Content-Type', 'text/plain')])\n    return [b'slow']\n"

// TestUpgradeOfAnEmperorThatIsNotReady: systemd waits for one READY=1 after a start and after a reload, whichever program says it
// in the end, and for none before the vassals are there.
func TestUpgradeOfAnEmperorThatIsNotReady(t *testing.T) {
	s := newSite(t)
	s.releases()
	n := s.systemd()
	s.app("plain", "slow", shop)
	gate := s.dir + "/gate"
	s.write("srv/slow/slow.py", fmt.Sprintf(slowly, gate), shop)
	s.vassal("slow.ini", shop, "plugin = python3\nchdir = DIR/srv/slow\nmodule = slow\nprocesses = 1\nsocket = DIR/run/slow.sock\n")
	e := s.notifying()
	s.eventually(20*time.Second, "the vassal loads", func() error {
		if k := kids(e.cmd.Process.Pid); len(k) == 0 {
			return errors.New("it does not")
		}
		_, err := s.ask("status")
		return err
	})
	for _, moment := range []string{"start", "reload"} {
		s.mustUpgrade()
		s.mustUpgrade()
		began := len(n.since(0))
		s.eventually(20*time.Second, "the upgraded emperor asks for more time", func() error {
			if n.heard("EXTEND_TIMEOUT_USEC=", began) == 0 {
				return fmt.Errorf("%q", n.since(began))
			}
			return nil
		})
		if n.heard("READY=1", 0) != map[string]int{"start": 0, "reload": 1}[moment] {
			t.Fatalf("%s: READY=1 was said before the vassal was there: %q", moment, n.since(0))
		}
		s.write("gate", "", "")
		s.eventually(20*time.Second, moment+": READY=1 is said", func() error {
			if n.heard("READY=1", began) != 1 {
				return fmt.Errorf("%q", n.since(began))
			}
			return nil
		})
		if moment == "reload" {
			break
		}
		if err := os.Remove(gate); err != nil {
			t.Fatal(err)
		}
		if err := e.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		s.eventually(20*time.Second, "the reload is announced", func() error {
			if n.heard("RELOADING=1\nMONOTONIC_USEC=", 0) != 1 {
				return errors.New("it is not")
			}
			return nil
		})
	}
}

// TestReloadWithANewProgramIsAnnouncedAtOnce: `systemctl reload` waits for READY=1 only after it has heard RELOADING=1, and an
// upgrade takes its time before anything is reloaded.
func TestReloadWithANewProgramIsAnnouncedAtOnce(t *testing.T) {
	s := newSite(t)
	_, second := s.releases()
	n := s.systemd()
	s.app("plain", "plain", shop)
	s.many(1)
	e := s.notifying()
	s.allAccept(1)
	s.eventually(20*time.Second, "READY=1", func() error {
		if n.heard("READY=1", 0) != 1 {
			return errors.New("not yet")
		}
		return nil
	})
	gate := s.dir + "/gate"
	if err := os.Rename(s.dir+"/bin/emperord", s.dir+"/bin/first"); err != nil {
		t.Fatal(err)
	}
	s.program(s.dir+"/bin/emperord", []byte("#!/bin/sh\nwhile ! test -e "+gate+"; do sleep 0.05; done; exec "+second+"/emperord \"$@\"\n"), 0o755)
	began, pid := len(n.since(0)), e.vassald(t, "v00.ini")
	if err := e.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.eventually(10*time.Second, "RELOADING=1 while the program is tried", func() error {
		if n.heard("RELOADING=1\nMONOTONIC_USEC=", began) != 1 {
			return fmt.Errorf("%q", n.since(began))
		}
		return nil
	})
	time.Sleep(1500 * time.Millisecond) // longer than a look at the phase
	if n.heard("READY=1", began) != 0 || e.vassald(t, "v00.ini") != pid {
		t.Errorf("nothing was reloaded yet: %q", n.since(began))
	}
	s.write("gate", "", "")
	s.eventually(20*time.Second, "READY=1 after the reload", func() error {
		if n.heard("READY=1", began) != 1 {
			return fmt.Errorf("%q", n.since(began))
		}
		return nil
	})
	if v := s.whole(); v.Version != "the-second" || v.Vassals[0].PID == pid {
		t.Errorf("at READY=1: %s, the vassal is %d as before", v.Version, pid)
	}
}
