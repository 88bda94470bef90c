package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A container is emperord as the first process of a pid namespace of its own.
type container struct {
	*program
	init int // its pid outside
}

// contain starts a shell script in namespaces of its own; its exec makes emperord PID 1.
func (s *site) contain(script string, args ...string) *container {
	s.t.Helper()
	p := s.start("/usr/bin/unshare", append([]string{"--pid", "--fork", "--mount", "--mount-proc", "--kill-child", "/bin/sh", "-ec", script, "sh"}, args...)...)
	c := &container{program: p}
	s.eventually(10*time.Second, "the container runs", func() error {
		for _, k := range kids(p.cmd.Process.Pid) {
			if c.init = k.pid; k.comm == "emperord" {
				return nil
			}
		}
		select {
		case <-p.done:
			s.t.Fatalf("it has ended: %v %s", p.err, p.log.String())
		default:
		}
		return fmt.Errorf("not yet")
	})
	return c
}

// do runs a command inside, as docker exec does.
func (c *container) do(command ...string) *exec.Cmd {
	return exec.Command("/usr/bin/nsenter", append([]string{"-t", fmt.Sprint(c.init), "-p", "-m", "--"}, command...)...)
}

// end sends a signal and returns the exit code and how long the end has taken.
func (c *container) end(sig syscall.Signal) (code int, took time.Duration) {
	c.t.Helper()
	begun := time.Now()
	if err := syscall.Kill(c.init, sig); err != nil {
		c.t.Fatal(err)
	}
	select {
	case <-c.done:
	case <-time.After(30 * time.Second):
		c.t.Fatalf("%v does not end it", sig)
	}
	return c.cmd.ProcessState.ExitCode(), time.Since(begun)
}

func (s *site) containerArgs() []string {
	return []string{bin + "/emperord", "--emperor", s.dir + "/vassals", "--emperor-tyrant", "--emperor-control-socket", s.dir + "/control.sock", "--emperor-socket-root", s.dir + "/run"}
}

func TestPID1ReapsStrangersAndEndsInTime(t *testing.T) {
	s := newSite(t)
	s.app("plain", "plain", shop)
	s.vassal("plain.ini", shop, plainVassal+"env = SLOW=1000\nenv = NOTES=/dev/null\n")
	c := s.contain(`exec "$@"`, s.containerArgs()...)
	s.nginx(map[string]string{"plain": s.dir + "/run/plain.sock"})
	s.get("plain", "/")

	// Orphans by the thousand, short-lived, and one that stays and is nobody's business here.
	script := `i=0; while [ $i -lt 1500 ]; do (true &) ; (sleep 0.0$((i % 10)) &) ; i=$((i+1)); done; (setsid sleep 1000 >/dev/null 2>&1 &)`
	if out, err := c.do("/bin/sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	s.eventually(20*time.Second, "no zombie", func() error {
		if left := zombies(c.init); len(left) > 0 {
			return fmt.Errorf("%d zombies", len(left))
		}
		return nil
	})
	stranger := func() (found bool) {
		for _, k := range kids(c.init) {
			found = found || k.comm == "sleep"
		}
		return
	}
	if !stranger() {
		t.Error("the stranger that stays is not a child of PID 1")
	}
	// What a terminal and docker kill may send, and what means nothing here, forwards nothing and ends nothing.
	for _, sig := range []syscall.Signal{syscall.SIGUSR2, syscall.SIGALRM, syscall.SIGPIPE, syscall.SIGWINCH, syscall.SIGCONT, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGIO, syscall.SIGPWR, syscall.SIGVTALRM, syscall.SIGXCPU, 34, 60} {
		if err := syscall.Kill(c.init, sig); err != nil {
			t.Fatal(err)
		}
	}
	before := s.get("plain", "/who")
	// The end of a vassal's vassald sweeps what is left of it, and not the stranger.
	for _, pid := range find(c.init, "vassald") {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	s.eventually(10*time.Second, "another vassald", func() error {
		if s.get("plain", "/who") == before {
			return fmt.Errorf("the same worker")
		}
		return nil
	})
	time.Sleep(1500 * time.Millisecond)
	if !stranger() {
		t.Error("the stranger was ended with a vassal's processes")
	}
	// A request that takes for ever does not hold up docker stop, which waits 10 s.
	l := &load{socket: s.dir + "/run/plain.sock"}
	go l.one("held")
	time.Sleep(200 * time.Millisecond)
	code, took := c.end(syscall.SIGTERM)
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	if took > 20*time.Second || took < 5*time.Second {
		t.Errorf("TERM took %s; the held request should have had 8 s", took)
	}
	t.Logf("docker stop with a request that hangs: %s", took.Round(time.Millisecond))
	if !strings.Contains(c.log.String(), "as PID 1 it ends within 8s") {
		t.Error("the log does not say how long the end may take")
	}
}

func TestPID1TellsWhyItEnds(t *testing.T) {
	s := newSite(t)
	s.app("plain", "plain", shop)
	s.vassal("plain.ini", shop, plainVassal+"env = SLOW=1000\nenv = NOTES=/dev/null\n")
	s.vassal("broken.ini", "", "module = nothing\n") // root's: refused, and no reason to end
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT} {
		c := s.contain(`exec "$@" >stdout`, s.containerArgs()...)
		s.eventually(10*time.Second, "the vassal accepts", func() error {
			if text := c.log.String(); !strings.Contains(text, "vassal accepts") || !strings.Contains(text, "vassal refused") {
				return fmt.Errorf("%s", text)
			}
			return nil
		})
		if code, took := c.end(sig); code != 0 || took > 8*time.Second {
			t.Errorf("%v: exit code %d after %s", sig, code, took)
		}
		if out, err := os.ReadFile(s.dir + "/stdout"); err != nil || len(out) > 0 {
			t.Errorf("standard output: %q, %v", out, err)
		}
	}
	// Told again: at once, though a request hangs.
	c := s.contain(`exec "$@"`, s.containerArgs()...)
	s.eventually(10*time.Second, "the vassal accepts", func() error {
		if !strings.Contains(c.log.String(), "vassal accepts") {
			return fmt.Errorf("%s", c.log.String())
		}
		return nil
	})
	l := &load{socket: s.dir + "/run/plain.sock"}
	go l.one("held")
	time.Sleep(200 * time.Millisecond)
	_ = syscall.Kill(c.init, syscall.SIGTERM)
	time.Sleep(700 * time.Millisecond)
	if code, took := c.end(syscall.SIGTERM); code != 0 || took > 5*time.Second {
		t.Errorf("the second TERM: exit code %d after %s", code, took)
	}
	// A mistake is 2, also in what a source says; told to end while a source is read is 0.
	for _, mistake := range [][]string{{"--emperor-throttle", "soon"}, {"--ini", s.dir + "/nothing.ini"}} {
		p := s.start("/usr/bin/unshare", append(append([]string{"--pid", "--fork", "--mount-proc"}, s.containerArgs()...), mistake...)...)
		<-p.done
		if code := p.cmd.ProcessState.ExitCode(); code != 2 {
			t.Errorf("%v: exit code %d: %s", mistake, code, p.log.String())
		}
	}
	s.write("slow.ini", "[uwsgi]\nini = exec://sleep 100\n", "")
	c = s.contain(`exec "$@" --ini slow.ini`, s.containerArgs()...)
	s.eventually(10*time.Second, "the source is read", func() error {
		if len(kids(c.init)) == 0 {
			return fmt.Errorf("no shell")
		}
		return nil
	})
	if code, took := c.end(syscall.SIGTERM); code != 0 || took > 8*time.Second {
		t.Errorf("TERM while a source is read: exit code %d after %s", code, took)
	}
}

// TestPID1WithoutAnythingToWriteTo is the strictest container: a user that has no name, group 0, a root that is read-only
// and no folder to write to; the applications are on ports. And the usual one: a tmpfs at /run.
func TestPID1WithoutAnythingToWriteTo(t *testing.T) {
	s := newSite(t)
	dir := s.mkdir("srv/litter", 0, 0)
	text, err := os.ReadFile("apps/litter/litter.py")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "litter.py"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, prepare, socket, network string }{
		{"nothing", `mount -t tmpfs -o ro none /run && `, "127.0.0.1:61699", "tcp"},
		{"a tmpfs at /run", `mount -t tmpfs -o mode=1777 none /run && `, "/run/uwsgi/app/litter.sock", "unix"},
		{"a tmpfs at /run of group 0", `mount -t tmpfs -o mode=0775 none /run && `, "/run/uwsgi/litter.sock", "unix"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &site{t: t, dir: s.dir}
			s.write("vassals/litter.ini", "[uwsgi]\nchdir = "+dir+"\nmodule = litter\nprocesses = 2\nsocket = "+c.socket+"\nchmod-socket = 666\n", "")
			prepare := `for m in $(awk '$2 !~ "^/(proc|sys|dev)" {print $2}' /proc/self/mounts); do mount -o remount,bind,ro "$m" 2>/dev/null || true; done; mount -o remount,bind,ro / ; ` + c.prepare + `exec setpriv --reuid 61690 --regid 0 --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs "$@"`
			p := s.contain(`mount --make-rprivate /; `+prepare, bin+"/emperord", "--emperor", s.dir+"/vassals")
			s.eventually(10*time.Second, "the vassal accepts", func() error {
				if text := p.log.String(); !strings.Contains(text, "vassal accepts") {
					return fmt.Errorf("%s", text)
				}
				return nil
			})
			ask := `import socket,struct,sys
s = socket.socket(socket.AF_UNIX) if sys.argv[1] == "unix" else socket.socket()
s.connect(sys.argv[2] if sys.argv[1] == "unix" else ("127.0.0.1", int(sys.argv[2].split(":")[1])))
b = b"".join(struct.pack("<H%dsH%ds" % (len(k), len(v)), len(k), k, len(v), v) for k, v in ((b"REQUEST_METHOD", b"GET"), (b"PATH_INFO", b"/"), (b"QUERY_STRING", b"")))
s.sendall(struct.pack("<BHB", 0, len(b), 0) + b)
print(s.recv(1000).decode())
try:
    open("/tmp/emperord-t-written", "w")
    print("the root can be written")
except OSError:
    pass
`
			out, err := p.do("/usr/bin/python3", "-c", ask, c.network, c.socket).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "ok\n") || strings.Contains(string(out), "can be written") {
				t.Errorf("%v: %s", err, out)
			}
			for _, b := range beings(61690) {
				if b.state == "Z" {
					t.Errorf("a zombie: %v", b)
				}
			}
			if len(beings(61690)) < 5 { // emperord, vassald, host, two workers
				t.Errorf("too few processes: %v", beings(61690))
			}
			if code, took := p.end(syscall.SIGTERM); code != 0 || took > 8*time.Second {
				t.Errorf("exit code %d after %s", code, took)
			}
		})
	}
}

// TestTheImageStartsEmperord reads the Dockerfile as far as that goes without docker: what it runs is there, understands its command
// line, and its health check finds the emperor.
func TestTheImageStartsEmperord(t *testing.T) {
	text, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	said := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		rest = strings.TrimPrefix(rest, "CMD ") // of HEALTHCHECK
		if list := []string(nil); json.Unmarshal([]byte(rest), &list) == nil {
			said[word] = list
		}
		if word == "STOPSIGNAL" && rest != "SIGTERM" {
			t.Errorf("STOPSIGNAL %s", rest)
		}
		if word == "COPY" && strings.Contains(rest, "/src/bin/") {
			for _, name := range []string{"emperord", "vassald", "emperorctl"} {
				if !strings.Contains(rest, "/src/bin/"+name+" ") {
					t.Errorf("%s is not copied", name)
				}
			}
		}
	}
	if len(said["ENTRYPOINT"]) == 0 || said["ENTRYPOINT"][0] != "emperord" || len(said["HEALTHCHECK"]) == 0 || said["HEALTHCHECK"][0] != "emperorctl" {
		t.Fatalf("%v", said)
	}
	s := newSite(t)
	health := append([]string{bin + "/emperorctl"}, said["HEALTHCHECK"][1:]...)
	// An empty /run and /etc/uwsgi-emperor/vassals, as in the image.
	c := s.contain(`mount --make-rprivate /; mount -t tmpfs none /run; mount -t tmpfs none /etc; mkdir -p /etc/uwsgi-emperor/vassals; exec "$@"`,
		append(append([]string{bin + "/emperord"}, said["ENTRYPOINT"][1:]...), said["CMD"]...)...)
	s.eventually(10*time.Second, "the health check", func() error {
		if out, err := c.do(health...).CombinedOutput(); err != nil {
			return fmt.Errorf("%w %s %s", err, out, c.log.String())
		}
		return nil
	})
	if code, _ := c.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	// The same as anybody: told what to do, with the code of a mistake.
	p := s.start("/usr/bin/setpriv", append(append([]string{"--reuid", "61691", "--regid", "0", "--clear-groups", "--", bin + "/emperord"}, said["ENTRYPOINT"][1:]...), said["CMD"]...)...)
	<-p.done
	if code := p.cmd.ProcessState.ExitCode(); code != 2 {
		t.Errorf("a tyrant without root: exit code %d: %s", code, p.log.String())
	}
}
