package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What a vassal file runs, it runs as its owner, in the resolver; never as root, and with no descriptor of the emperor.
func TestExecSourcesRunAsTheFilesOwner(t *testing.T) {
	s := newSite(t)
	uid, gid := ids(t, shop)
	dir := s.app("plain", "plain", shop)
	s.mkdir("srv/plain/out", uid, gid)
	report := `id -u; id -g; cat /proc/$PPID/comm; tr '\0' ' ' </proc/$PPID/cmdline; echo; pwd; ls /proc/$$/fd | sort -n | tr '\n' ' '; echo; cat`
	s.write("srv/plain/more.sh", "echo '[uwsgi]'; echo 'env = GEN=$(id -u)'\n", shop)
	s.vassal("plain.ini", shop, `chdir = DIR/srv/plain
module = plain
socket = DIR/run/plain.sock
chmod-socket = 666
ini = exec://(`+report+`) >DIR/srv/plain/out/ini 2>&1; sh DIR/srv/plain/more.sh
x = @(exec://(`+report+`) >DIR/srv/plain/out/at 2>&1)
y = @(fd://3)
`)
	e := s.emperor("--emperor-tyrant")
	s.nginx(map[string]string{"plain": s.dir + "/run/plain.sock"})
	s.eventually(10*time.Second, "an answer", func() error {
		if body := s.get("plain", "/"); !strings.HasPrefix(body, "hello from $(id -u)") {
			return fmt.Errorf("%q", body)
		}
		return nil
	})
	for _, name := range []string{"ini", "at"} {
		text, err := os.ReadFile(dir + "/out/" + name)
		if err != nil {
			t.Fatal(err)
		}
		line := strings.Split(string(text), "\n")
		if len(line) < 6 || line[0] != strconv.Itoa(uid) || line[1] != strconv.Itoa(gid) || line[2] != "vassald" || !strings.HasPrefix(line[3], "vassald --resolve --ini plain.ini") || line[4] != s.dir+"/vassals" {
			t.Errorf("%s: %q", name, line)
		}
		for _, fd := range strings.Fields(line[5]) { // the shell keeps what it redirects at 10 and above
			if n, _ := strconv.Atoi(fd); n > 2 && n < 10 {
				t.Errorf("%s: the program has descriptor %d", name, n)
			}
		}
		if len(line) > 7 {
			t.Errorf("%s: standard input gave %q", name, line[6:])
		}
	}
	s.eventually(5*time.Second, "the log tells of fd://3", func() error {
		if !strings.Contains(e.log.String(), "descriptor 3 is not one that the program was started with") {
			return fmt.Errorf("%s", e.log.String())
		}
		return nil
	})
}

// A program that hangs costs its vassal the start, and nobody else anything.
func TestAHangingExecSourceIsEnded(t *testing.T) {
	s := newSite(t)
	uid, gid := ids(t, shop)
	dir := s.app("plain", "plain", shop)
	s.mkdir("srv/plain/out", uid, gid)
	s.vassal("plain.ini", shop, "chdir = DIR/srv/plain\nmodule = plain\nsocket = DIR/run/plain.sock\nx = @(exec://echo $$ >DIR/srv/plain/out/pid; sleep 1000; true)\n")
	e := s.emperor("--emperor-tyrant")
	s.eventually(20*time.Second, "the cause in the log", func() error {
		if !strings.Contains(e.log.String(), "takes too long") {
			return fmt.Errorf("%s", e.log.String())
		}
		return nil
	})
	text, err := os.ReadFile(dir + "/out/pid")
	if err != nil {
		t.Fatal(err)
	}
	if group, err := strconv.Atoi(strings.TrimSpace(string(text))); err != nil || syscall.Kill(-group, 0) != syscall.ESRCH {
		t.Errorf("something of the program is left (%q)", text)
	}
}

// push speaks to a uWSGI emperor that listens on zmq://, through the library that its plugin brings along.
const push = `import ctypes, sys, time
z = ctypes.CDLL("libzmq.so.5")
z.zmq_ctx_new.restype = z.zmq_socket.restype = ctypes.c_void_p
z.zmq_socket.argtypes = [ctypes.c_void_p, ctypes.c_int]
z.zmq_connect.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
z.zmq_send.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
z.zmq_close.argtypes = z.zmq_ctx_term.argtypes = [ctypes.c_void_p]
context = z.zmq_ctx_new()
s = z.zmq_socket(context, 8)
assert z.zmq_connect(s, sys.argv[1].encode()) == 0
parts = [p.encode() for p in sys.argv[2:]]
for i, p in enumerate(parts):
    assert z.zmq_send(s, p, len(p), 2 if i + 1 < len(parts) else 0) == len(p)
z.zmq_close(s)
z.zmq_ctx_term(context)
`

// A real uWSGI emperor hands over configurations that are no files; vassald asks for them as a uwsgi does.
func TestVassaldUnderAnEmperorWithoutFiles(t *testing.T) {
	s := newSite(t)
	s.app("plain", "plain", shop)
	s.mkdir("run", 0, 0)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "tcp://" + l.Addr().String()
	l.Close()
	real := s.start("/usr/bin/uwsgi", "--plugin", "emperor_zeromq", "--emperor", "zmq://"+address, "--emperor-wrapper", bin+"/vassald", "--master", "--die-on-term")
	tell := func(parts ...string) {
		t.Helper()
		if out, err := exec.Command("/usr/bin/timeout", append([]string{"10", "/usr/bin/python3", "-c", push, address}, parts...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	// change says it until the real emperor obeys: it compares whole seconds, and now and then overhears a message.
	change := func(text string) {
		t.Helper()
		count := func() int { return strings.Count(real.log.String(), "[emperor] reload the uwsgi instance one.ini") }
		before := count()
		s.eventually(20*time.Second, "the real emperor orders a reload", func() error {
			tell("touch", "one.ini", text)
			for range 15 {
				if count() > before {
					return nil
				}
				time.Sleep(100 * time.Millisecond)
			}
			return fmt.Errorf("its log: %s", real.log.String())
		})
	}
	config := func(gen string) string {
		return "[uwsgi]\nchdir = " + s.dir + "/srv/plain\nmodule = plain\nenv = GEN=" + gen + "-%o-%n\nsocket = " + s.dir + "/run/plain.sock\nchmod-socket = 666\nvacuum = true\n"
	}
	answers := func(gen string) {
		t.Helper()
		s.eventually(15*time.Second, "the answer of "+gen, func() error {
			time.Sleep(50 * time.Millisecond)
			if body, want := s.get("plain", "/"), "hello from "+gen+"-emperor://one.ini-\n"; body != want {
				return fmt.Errorf("%q; its log: %s", body, real.log.String())
			}
			return nil
		})
	}
	s.nginx(map[string]string{"plain": s.dir + "/run/plain.sock"})
	tell("touch", "one.ini", config("first"))
	answers("first")
	change(config("second"))
	answers("second")
	var vassal int
	for _, p := range processes() {
		if p.comm == "vassald" {
			if text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid)); strings.Contains(string(text), "emperor://one.ini") {
				vassal = p.pid
			}
		}
	}
	if vassal == 0 {
		t.Fatal("there is no vassald")
	}
	reloads := strings.Count(real.log.String(), "reloaded; the old host")
	if err := syscall.Kill(vassal, syscall.SIGHUP); err != nil { // asks by itself, with word 2
		t.Fatal(err)
	}
	s.eventually(15*time.Second, "the second reload", func() error {
		if n := strings.Count(real.log.String(), "reloaded; the old host"); n <= reloads {
			return fmt.Errorf("%d reloads; its log: %s", n, real.log.String())
		}
		return nil
	})
	answers("second")
	change(config("third"))
	answers("third")
	s.eventually(20*time.Second, "the end of vassald", func() error {
		tell("destroy", "one.ini")
		time.Sleep(500 * time.Millisecond)
		if syscall.Kill(vassal, 0) == nil {
			return fmt.Errorf("its log: %s", real.log.String())
		}
		return nil
	})
}
