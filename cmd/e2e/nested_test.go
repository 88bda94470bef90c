package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// ask asks an application behind a socket, without nginx.
func ask(socket, path string) (string, error) {
	out, err := exec.Command(bin+"/emperorctl", "request", socket, path).CombinedOutput()
	if err == nil && !strings.HasPrefix(string(out), "hello from") {
		err = fmt.Errorf("%.300s", out)
	}
	return string(out), err
}

// nested makes a vassal file that is an emperor of shop's, whose one vassal answers on the socket that is returned.
func (s *site) nested() (socket string) {
	s.t.Helper()
	uid, gid := ids(s.t, shop)
	s.app("plain", "plain", shop)
	s.mkdir("inner", uid, gid)
	socket = s.dir + "/inner/in.sock"
	s.write("inner/in.ini", fmt.Sprintf("[uwsgi]\nchdir = %s/srv/plain\nmodule = plain\nsocket = %s\nprocesses = 2\n", s.dir, socket), shop)
	s.vassal("nest.ini", shop, "emperor = DIR/inner\n")
	return socket
}

// running lists the processes of the site with this name.
func (s *site) running(comm string) (pids []int) {
	for _, p := range processesIn(s.dir) {
		if p.comm == comm {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

// answers waits until the nested application answers, and returns the pid of its vassald.
func (s *site) answers(socket string) (vassald int) {
	s.t.Helper()
	s.eventually(15*time.Second, "the nested application answers", func() error {
		_, err := ask(socket, "/")
		if pids := s.running("vassald"); err == nil && len(pids) != 1 {
			err = fmt.Errorf("vassalds %v", pids)
		} else if err == nil {
			vassald = pids[0]
		}
		return err
	})
	return vassald
}

func (s *site) oneEmperor() int {
	s.t.Helper()
	var pid int
	s.eventually(15*time.Second, "one nested emperor", func() error {
		pids := s.running("emperord")
		if len(pids) != 1 {
			return fmt.Errorf("emperors %v", pids)
		}
		pid = pids[0]
		return nil
	})
	return pid
}

func TestAVassalMayBeAnEmperor(t *testing.T) {
	s := newSite(t)
	socket := s.nested()
	e := s.emperor("--emperor-tyrant")
	app := s.answers(socket)
	s.accepting("nest.ini")
	nested := s.oneEmperor()
	uid, _ := ids(t, shop)
	for _, pid := range []int{nested, app} {
		if status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); !strings.Contains(string(status), fmt.Sprintf("Uid:\t%d\t%[1]d\t%[1]d\t%[1]d\n", uid)) || !strings.Contains(string(status), "CapEff:\t0000000000000000\n") {
			t.Errorf("process %d has other rights than its tenant: %s", pid, status)
		}
	}
	if log := e.log.String(); strings.Contains(log, "control.sock") || strings.Contains(log, "ERROR") {
		t.Errorf("a nested emperor is noisy: %s", log)
	}

	var stop atomic.Bool
	failures := make(chan string, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stop.Load() {
			if out, err := ask(socket, "/"); err != nil && len(failures) < cap(failures) {
				failures <- fmt.Sprint(err, out)
			}
		}
	}()
	file := s.dir + "/vassals/nest.ini"
	now := time.Now()
	if err := os.Chtimes(file, now, now); err != nil {
		t.Fatal(err)
	}
	s.eventually(10*time.Second, "touch reloads its vassals", func() error {
		if pids := s.running("vassald"); len(pids) != 1 || pids[0] == app {
			return fmt.Errorf("vassalds %v", pids)
		}
		return nil
	})
	stop.Store(true)
	<-done
	if len(failures) > 0 {
		t.Errorf("%d requests failed during the reload, such as %s", len(failures), <-failures)
	}
	if again := s.oneEmperor(); again != nested {
		t.Error("the nested emperor was exchanged, though nothing has changed for it")
	}

	s.vassal("nest.ini", shop, "emperor = DIR/inner\nemperor-freq = fast\n")
	s.eventually(10*time.Second, "a mistake is said", func() error {
		if out, err := s.ctl("status", "nest.ini"); err != nil || !strings.Contains(out, "emperor-freq") {
			return fmt.Errorf("%v %s", err, out)
		}
		return nil
	})
	if again := s.oneEmperor(); again != nested {
		t.Error("a mistake has ended the nested emperor")
	}
	s.vassal("nest.ini", shop, "emperor = DIR/inner\nsocket = DIR/inner/own.sock\n")
	s.eventually(10*time.Second, "a socket of an emperor is refused", func() error {
		if out, err := s.ctl("status", "nest.ini"); err != nil || !strings.Contains(out, "of its own, below "+s.dir+"/inner") {
			return fmt.Errorf("%v %s", err, out)
		}
		return nil
	})
	s.vassal("nest.ini", shop, "emperor = DIR/inner\nemperor-freq = 1\n")
	s.eventually(10*time.Second, "a changed configuration exchanges it", func() error {
		if pids := s.running("emperord"); len(pids) != 1 || pids[0] == nested {
			return fmt.Errorf("emperors %v", pids)
		}
		return nil
	})
	s.answers(socket)

	nested = s.oneEmperor()
	if err := syscall.Kill(nested, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.eventually(10*time.Second, "it comes back after kill -9", func() error {
		if pids := s.running("emperord"); len(pids) != 1 || pids[0] == nested {
			return fmt.Errorf("emperors %v", pids)
		}
		return nil
	})
	s.answers(socket)
	s.accepting("nest.ini")

	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	s.eventually(10*time.Second, "its vassals go with it", func() error {
		if left := processesIn(s.dir); len(left) > 0 {
			return fmt.Errorf("%v", left)
		}
		_, err := os.Lstat(socket)
		if err == nil {
			return fmt.Errorf("the socket is left")
		}
		return nil
	})
}

func TestNestedEmperorsLeaveWithTheOneAbove(t *testing.T) {
	s := newSite(t)
	socket := s.nested()
	e := s.emperor("--emperor-tyrant")
	s.answers(socket)
	if err := e.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-e.done
	s.eventually(10*time.Second, "all leave", func() error {
		if left := processesIn(s.dir); len(left) > 0 {
			return fmt.Errorf("%v", left)
		}
		return nil
	})
}

// An emperor whose folder holds its own file starts itself, which has an end.
func TestAnEmperorInItsOwnFolderHasAnEnd(t *testing.T) {
	s := newSite(t)
	s.vassal("self.ini", shop, "emperor = DIR/vassals\n")
	e := s.emperor("--emperor-tyrant")
	s.eventually(15*time.Second, "it is said", func() error {
		if !strings.Contains(e.log.String(), "does a folder of vassals hold the file of its own emperor?") {
			return fmt.Errorf("%d emperors", len(s.running("emperord")))
		}
		return nil
	})
	if n := len(s.running("emperord")); n > 6 {
		t.Errorf("%d emperors", n)
	}
}

// vassald with an emperor's file becomes emperord: alone, and as the vassal of a real uWSGI emperor, whose words it understands.
func TestVassaldMakesWayForEmperord(t *testing.T) {
	s := newSite(t)
	socket := s.nested()
	uid, gid := ids(t, shop)
	t.Run("alone", func(t *testing.T) {
		cmd := exec.Command(bin+"/vassald", "--ini", s.dir+"/vassals/nest.ini", "--set", "emperor-control-socket="+s.dir+"/inner/control.sock")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		cmd.Dir, cmd.Env = s.dir, []string{"PATH=/usr/bin:/bin"}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		s.eventually(15*time.Second, "the application answers", func() error { _, err := ask(socket, "/"); return err })
		if comm, _ := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/comm"); string(comm) != "emperord\n" {
			t.Errorf("the process is %q", comm)
		}
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	t.Run("of a real emperor", func(t *testing.T) {
		real := s.start("/usr/bin/uwsgi", "--emperor", s.dir+"/vassals", "--emperor-tyrant", "--emperor-wrapper", bin+"/vassald", "--vassal-set", "emperor-control-socket="+s.dir+"/inner/control.sock")
		s.eventually(15*time.Second, "the application answers", func() error { _, err := ask(socket, "/"); return err })
		s.eventually(15*time.Second, "the real emperor hears its words", func() error {
			log := real.log.String()
			if !strings.Contains(log, "vassal nest.ini has been spawned") || !strings.Contains(log, "vassal nest.ini is ready to accept requests") {
				return fmt.Errorf("%s", log)
			}
			return nil
		})
		if err := os.Remove(s.dir + "/vassals/nest.ini"); err != nil {
			t.Fatal(err)
		}
		s.eventually(15*time.Second, "all leave when it says so", func() error {
			if left := s.running("emperord"); len(left) > 0 {
				return fmt.Errorf("%v", left)
			}
			if _, err := os.Lstat(socket); err == nil {
				return fmt.Errorf("the socket is left")
			}
			return nil
		})
		_ = real.cmd.Process.Signal(syscall.SIGINT)
	})
}
