package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// onlyKid is the one child of the emperor.
func (e *emperor) onlyKid() (int, error) {
	k := kids(e.cmd.Process.Pid)
	if len(k) != 1 {
		return 0, fmt.Errorf("the emperor's children: %+v", k)
	}
	return k[0].pid, nil
}

func (s *site) status(name string) string {
	out, err := s.ctl("status", "--json", name)
	return fmt.Sprint(out, err)
}

// awaitStatus waits until the status of a vassal holds all words.
func (s *site) awaitStatus(name string, words ...string) {
	s.t.Helper()
	s.eventually(20*time.Second, fmt.Sprintf("%s is %q", name, words), func() error {
		out := s.status(name)
		for _, w := range words {
			if !strings.Contains(out, w) {
				return fmt.Errorf("%s", out)
			}
		}
		return nil
	})
}

// TestSocketsChangeLive adds, drops and gives away sockets of a vassal that serves, and tries the same with an
// application that does not load.
func TestSocketsChangeLive(t *testing.T) {
	s := newSite(t)
	s.app("plain", "plain", shop)
	uid, gid := ids(t, shop)
	s.mkdir("notes", uid, gid)
	file := func(module string, lines ...string) {
		s.vassal("plain.ini", shop, "plugin = python3\nchdir = DIR/srv/plain\nmodule = "+module+"\nmaster = true\nprocesses = 2\nenv = NOTES=DIR/notes/log\nenv = SLOW=0.03\nsocket = DIR/run/a.sock\n"+strings.Join(lines, "\n")+"\n")
	}
	file("plain", "socket = DIR/run/b.sock", "chmod-socket = 666")
	s.emperor("--emperor-tyrant")
	s.accepting("plain.ini")
	mode := func(name string) string {
		st, err := os.Lstat(s.dir + "/run/" + name)
		if err != nil {
			return "gone"
		}
		return fmt.Sprintf("%o", st.Mode().Perm())
	}
	kept := s.load(s.dir+"/run/a.sock", 4)

	// Many more than two workers can serve at once wait on the socket that goes.
	var waiting sync.WaitGroup
	answers := make(chan string, 40)
	for i := range cap(answers) {
		c, err := net.Dial("unix", s.dir+"/run/b.sock")
		if err != nil {
			t.Fatal(err)
		}
		waiting.Go(func() {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(30 * time.Second))
			if _, err := c.Write(packet("/slow", fmt.Sprint("b", i))); err != nil {
				answers <- err.Error()
				return
			}
			text, err := io.ReadAll(c)
			if err != nil {
				answers <- err.Error()
				return
			}
			answers <- string(text[:min(len(text), 15)])
		})
	}
	file("plain", "socket = DIR/run/c.sock", "chmod-socket = 606")
	s.eventually(20*time.Second, "the sockets are as the file says", func() error {
		if got := mode("a.sock") + " " + mode("b.sock") + " " + mode("c.sock"); got != "606 gone 606" {
			return fmt.Errorf("%s", got)
		}
		return nil
	})
	waiting.Wait()
	close(answers)
	for text := range answers {
		if text != "HTTP/1.1 200 OK" {
			t.Errorf("who waited on the dropped socket got %q", text)
		}
	}
	added := s.load(s.dir+"/run/c.sock", 2)
	s.awaitStatus("plain.ini", `"state": "accepting"`)

	file("nothing_like_it", "socket = DIR/run/d.sock", "chmod-socket = 600")
	s.awaitStatus("plain.ini", `"state": "accepting"`, "No module named 'nothing_like_it'")
	if got := mode("a.sock") + " " + mode("c.sock") + " " + mode("d.sock"); got != "606 606 gone" {
		t.Errorf("after a refused change the sockets are %s", got)
	}
	time.Sleep(200 * time.Millisecond)
	for name, l := range map[string]*load{"kept": kept, "added": added} {
		l.end()
		for _, f := range l.failed {
			t.Errorf("%s: %s", name, f.description)
		}
		if l.ok.Load() == 0 {
			t.Errorf("%s: nothing was served", name)
		}
	}
}

func TestStoppedVassaldMissesItsHeartbeatAndIsReplaced(t *testing.T) {
	s := newSite(t)
	s.app("plain", "plain", shop)
	s.vassal("plain.ini", shop, plainVassal+"heartbeat = 1\n")
	e := s.emperor("--emperor-tyrant", "--emperor-required-heartbeat", "3")
	s.nginx(map[string]string{"plain": s.dir + "/run/plain.sock"})
	s.get("plain", "/")
	before, err := e.onlyKid()
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(4 * time.Second) // longer than what is required
	if now, err := e.onlyKid(); now != before {
		t.Fatalf("a vassal that is well was replaced: %d, before %d, %v", now, before, err)
	}
	if err := syscall.Kill(before, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	s.eventually(15*time.Second, "another vassald", func() error {
		if now, err := e.onlyKid(); err != nil || now == before {
			return fmt.Errorf("%d %v", now, err)
		}
		return nil
	})
	s.get("plain", "/")
	if !strings.Contains(e.log.String(), "it sent no heartbeat for 3s and was killed") {
		t.Error("the log does not say why")
	}

	// Stopped itself, the emperor blames nobody for what it has not heard.
	before, err = e.onlyKid()
	if err != nil {
		t.Fatal(err)
	}
	s.accepting("plain.ini")
	_ = syscall.Kill(e.cmd.Process.Pid, syscall.SIGSTOP)
	time.Sleep(5 * time.Second)
	_ = syscall.Kill(e.cmd.Process.Pid, syscall.SIGCONT)
	time.Sleep(time.Second)
	if now, err := e.onlyKid(); now != before {
		t.Errorf("after a pause of the emperor %d serves, before %d, %v", now, before, err)
	}
}

func TestApplicationGoesIntoExile(t *testing.T) {
	for how, text := range map[string]string{"sys.exit": "import sys\nsys.exit(26)\n", "os._exit": "import os\nos._exit(26)\n"} {
		t.Run(how, func(t *testing.T) {
			s := newSite(t)
			s.app("plain", "plain", shop)
			s.write("srv/plain/leaves.py", text, shop)
			s.vassal("plain.ini", shop, strings.ReplaceAll(plainVassal, "plain:application", "leaves"))
			e := s.emperor("--emperor-tyrant", "--emperor-throttle", "1")
			s.awaitStatus("plain.ini", `"refused"`, "it asked not to be started again")
			time.Sleep(500 * time.Millisecond)
			if n := strings.Count(e.log.String(), "vassal refused"); n != 1 {
				t.Errorf("refused %d times", n)
			}
			s.write("srv/plain/leaves.py", "from plain import application\n", shop)
			if out, err := s.ctl("start", "plain.ini"); err != nil {
				t.Fatalf("%v %s", err, out)
			}
			s.accepting("plain.ini")
		})
	}
}

func TestCrashWhileTheEditedFileIsRefused(t *testing.T) {
	s := newSite(t)
	s.app("plain", "plain", shop)
	s.vassal("plain.ini", shop, plainVassal+"env = GEN=good\n")
	e := s.emperor("--emperor-tyrant")
	s.nginx(map[string]string{"plain": s.dir + "/run/plain.sock"})
	s.get("plain", "/")
	s.accepting("plain.ini")
	for _, bad := range []string{"processes = fuor\n", "module = nothing_like_it\n", "include = DIR/missing.ini\n"} {
		s.vassal("plain.ini", shop, plainVassal+"env = GEN=bad\n"+bad)
		s.awaitStatus("plain.ini", `"state": "accepting"`, `"reason"`)
		before, err := e.onlyKid()
		if err != nil {
			t.Fatal(err)
		}
		_ = syscall.Kill(before, syscall.SIGKILL)
		s.awaitStatus("plain.ini", `"state": "accepting"`, "it runs with its last good settings, because its file as it is now was refused")
		if body := s.get("plain", "/"); body != "hello from good\n" {
			t.Errorf("%q: %q", bad, body)
		}
		if out, err := s.ctl("why", "plain.ini"); err != nil || !strings.Contains(strings.Join(strings.Fields(out), " "), "last good settings") {
			t.Errorf("why: %v %s", err, out)
		}
		s.vassal("plain.ini", shop, plainVassal+"env = GEN=good\n")
		s.eventually(10*time.Second, "the mended file is taken", func() error {
			if out := s.status("plain.ini"); strings.Contains(out, `"reason"`) || !strings.Contains(out, `"state": "accepting"`) {
				return fmt.Errorf("%s", out)
			}
			return nil
		})
	}
}

func TestSIGURGTriesAtOnce(t *testing.T) {
	s := newSite(t)
	s.app("plain", "plain", shop)
	s.vassal("plain.ini", shop, strings.ReplaceAll(plainVassal, "plain:application", "late"))
	e := s.emperor("--emperor-tyrant", "--emperor-throttle", "100000", "--emperor-max-throttle", "100")
	s.awaitStatus("plain.ini", `"backoff"`)
	s.write("srv/plain/late.py", "from plain import application\n", shop)
	if err := e.cmd.Process.Signal(syscall.SIGURG); err != nil {
		t.Fatal(err)
	}
	s.accepting("plain.ini")
	if n := strings.Count(e.log.String(), "forgetting failures"); n != 1 {
		t.Errorf("SIGURG was heard %d times: the runtime's own must not count", n)
	}
}

// TestSilentRealUWSGI: what a real uwsgi says depends on its options. None of these may be killed for its silence, or
// wait for ever.
func TestSilentRealUWSGI(t *testing.T) {
	s := newSite(t)
	s.app("plain", "plain", shop)
	s.vassal("cheap.ini", shop, strings.ReplaceAll(plainVassal, "plain.sock", "cheap.sock")+"cheap = true\n")
	s.vassal("lazy.ini", shop, strings.ReplaceAll(plainVassal, "plain.sock", "lazy.sock")+"lazy-apps = true\n")
	s.emperor("--emperor-tyrant", "--emperor-wrapper", "/usr/bin/uwsgi", "--emperor-start-timeout", "3")
	names := []string{"cheap.ini", "lazy.ini"}
	pids := map[string]string{}
	for _, name := range names {
		s.accepting(name)
		pids[name] = s.pid(name)
	}
	time.Sleep(4 * time.Second) // the start timeout is over
	for _, name := range names {
		if now := s.pid(name); now != pids[name] {
			t.Errorf("%s was replaced: pid %s, before %s", name, now, pids[name])
		}
	}
	before := pids["cheap.ini"]
	s.vassal("cheap.ini", shop, strings.ReplaceAll(plainVassal, "plain.sock", "cheap.sock")+"cheap = true\nenv = GEN=second\n")
	s.eventually(15*time.Second, "a silent generation takes over", func() error {
		if now := s.pid("cheap.ini"); now == before || now == "" {
			return fmt.Errorf("%s", s.status("cheap.ini"))
		}
		return nil
	})
}

// pid is that of a vassal's serving generation, as status shows it.
func (s *site) pid(name string) string {
	_, rest, _ := strings.Cut(s.status(name), `"pid": `)
	pid, _, _ := strings.Cut(rest, ",")
	return pid
}
