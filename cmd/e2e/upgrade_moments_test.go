package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
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

// gated makes a program of a release that waits, once it is executed in the emperor's place, until the file gate is there. For so
// long nobody listens to signals, as in the first milliseconds of every program.
func (s *site) gated(release, then string) (path, entered, gate string) {
	s.t.Helper()
	path, entered, gate = release+"/gated", s.dir+"/entered", s.dir+"/gate"
	s.program(path, []byte("#!/bin/sh\nif [ \"$1\" != --emperord-handover-check ]; then echo $$ >"+entered+"; while ! test -e "+gate+"; do sleep 0.05; done; rm "+gate+"; "+then+"; fi\nexec "+release+"/emperord \"$@\"\n"), 0o755)
	return path, entered, gate
}

// TestSignalsBetweenTwoProgramsAreHeard: nothing that an operator sends while one program takes the place of the other is lost, and what
// is to end the emperor ends it in order.
func TestSignalsBetweenTwoProgramsAreHeard(t *testing.T) {
	for _, c := range []struct {
		name, then string
		signals    []syscall.Signal
		ends       bool
	}{
		{"nobody ends", ":", []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGHUP}, false},
		{"TERM", ":", []syscall.Signal{syscall.SIGTERM}, true},
		{"INT", ":", []syscall.Signal{syscall.SIGHUP, syscall.SIGINT}, true},
		{"QUIT", ":", []syscall.Signal{syscall.SIGQUIT}, true},
		{"TERM, and the program cannot take over", "mv DIR/second/vassald DIR/second/gone", []syscall.Signal{syscall.SIGTERM}, true},
		{"HUP, and the program cannot take over", "mv DIR/second/vassald DIR/second/gone", []syscall.Signal{syscall.SIGHUP}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			_, second := s.releases()
			s.app("plain", "plain", shop)
			s.many(1)
			e := s.installed("--emperor-tyrant", "--pidfile", s.dir+"/pid")
			s.allAccept(1)
			path, entered, gate := s.gated(second, strings.ReplaceAll(c.then, "DIR", s.dir))
			asked := make(chan error, 1)
			go func() { _, err := s.ask("upgrade", "--binary", path); asked <- err }()
			s.eventually(20*time.Second, "the program runs", func() error { _, err := os.Stat(entered); return err })
			for _, sig := range c.signals {
				if err := e.cmd.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Millisecond)
			}
			if err := os.WriteFile(gate, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			if c.ends {
				select {
				case <-e.done:
				case <-time.After(20 * time.Second):
					t.Fatal("it does not end")
				}
				<-asked
				if e.err != nil || !strings.Contains(e.log.String(), "emperor stopped") {
					t.Errorf("it ended with %v", e.err)
				}
				for _, left := range []string{"/run/v00.sock", "/pid", "/control.sock"} {
					if _, err := os.Lstat(s.dir + left); err == nil {
						t.Errorf("%s is left", left)
					}
				}
				return
			}
			if err := <-asked; (err == nil) != (c.then == ":") {
				t.Error(err)
			}
			s.eventually(20*time.Second, "HUP is heard", func() error {
				if strings.Count(e.log.String(), "reloading all vassals") != 1 {
					return errors.New("it is not")
				}
				return nil
			})
			if c.then == ":" && !strings.Contains(e.log.String(), "status\t{") && !strings.Contains(e.log.String(), "status {") {
				t.Error("USR1 was not heard")
			}
			s.allAccept(1)
			s.eventually(10*time.Second, "the keeper has left", func() error {
				for _, k := range kids(e.cmd.Process.Pid) {
					if k.comm != "vassald" {
						return fmt.Errorf("%+v", k)
					}
				}
				text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", e.cmd.Process.Pid))
				if err == nil && !strings.Contains(string(text), "TracerPid:\t0\n") {
					err = errors.New("it is traced")
				}
				return err
			})
		})
	}
}

// TestPID1Upgrades: in a container nobody could start it again. Orphans that it gets meanwhile are reaped, and a TERM between the two
// programs, which the kernel would not deliver to a PID 1 that does not listen, ends it in order.
func TestPID1Upgrades(t *testing.T) {
	s := newSite(t)
	_, second := s.releases()
	s.app("plain", "plain", shop)
	names, sockets := s.many(3)
	args := s.containerArgs()
	args[0] = s.dir + "/bin/emperord"
	c := s.contain(`exec "$@"`, args...)
	s.nginx(sockets)
	s.allAccept(len(names))
	end := s.crowd(names, 4)
	for i := range 5 {
		if out, err := c.do("/bin/sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do (sleep 0.$i &); done").CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		s.install([]string{second, s.dir + "/first"}[i%2])
		s.mustUpgrade()
	}
	if v := s.whole(); v.Version != "the-second" || v.PID != 1 {
		t.Errorf("%s is process %d", v.Version, v.PID)
	}
	if ok, failed := end(); ok < 50 || len(failed) > 0 {
		t.Errorf("%d requests were answered, %d failed: %.2000s", ok, len(failed), failed)
	}
	s.eventually(20*time.Second, "no zombie, and nobody else's child", func() error {
		if z, k := zombies(c.init), kids(c.init); len(z) > 0 || len(k) != len(names) {
			return fmt.Errorf("%v of %v", z, k)
		}
		return nil
	})
	path, entered, _ := s.gated(second, ":")
	asked := make(chan error, 1)
	go func() { _, err := s.ask("upgrade", "--binary", path); asked <- err }()
	s.eventually(20*time.Second, "the program runs", func() error { _, err := os.Stat(entered); return err })
	if out, err := c.do("/bin/kill", "-TERM", "1").CombinedOutput(); err != nil { // of its own namespace
		t.Fatalf("%v %s", err, out)
	}
	s.write("gate", "", "")
	select {
	case <-c.done:
	case <-time.After(20 * time.Second):
		t.Fatal("TERM was lost")
	}
	<-asked
	if code := c.cmd.ProcessState.ExitCode(); code != 0 || !strings.Contains(c.log.String(), "emperor stopped") {
		t.Errorf("it ended with code %d", code)
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
