package vassal

import (
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/protocol/pipe"
)

// An emperor plays emperord for one vassald: it hands over listener, settings, board and pipe.
type emperor struct {
	*daemon
	listener *net.UnixListener
	board    *os.File
	pipe     *os.File
}

// reign starts vassald as emperord does.
func reign(t *testing.T, lines ...string) *emperor {
	t.Helper()
	return reignWith(t, nil, lines...)
}

// reignWith starts vassald with more variables.
func reignWith(t *testing.T, env []string, lines ...string) *emperor {
	t.Helper()
	dir, socket := configure(t, lines...)
	e := &emperor{daemon: &daemon{t: t, dir: dir, socket: socket, log: filepath.Join(dir, "log")}}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	e.listener = l
	t.Cleanup(func() { _ = l.Close() })
	listener, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()

	vassalFile, err := os.Open(filepath.Join(dir, "app.ini"))
	if err != nil {
		t.Fatal(err)
	}
	defer vassalFile.Close()
	resolver := exec.Command("/proc/self/exe", "--resolve", "--ini", "app.ini")
	resolver.Dir = "/" // the file is not here: it must be read from the descriptor
	resolver.Env = []string{"VASSALD_UNDER_TEST=1", pipe.FileVariable + "=3"}
	resolver.ExtraFiles = []*os.File{vassalFile}
	resolver.Stderr = os.Stderr
	document, err := resolver.Output()
	if err != nil {
		t.Fatal(err)
	}
	r, err := configs.DecodeResolution(bytes.NewReader(document))
	if err != nil || r.Error != "" || len(r.Sockets) != 1 || r.Sockets[0].Address != socket {
		t.Fatalf("the resolution is %s, %v", document, err)
	}
	settings := memory(t, document)
	defer settings.Close()
	e.board = memory(t, make([]byte, pipe.BoardSize))
	t.Cleanup(func() { _ = e.board.Close() })
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "pipe")
	defer theirs.Close()
	if err := unix.SetNonblock(pair[0], true); err != nil {
		t.Fatal(err)
	}
	e.pipe = os.NewFile(uintptr(pair[0]), "pipe")
	t.Cleanup(func() { _ = e.pipe.Close() })
	e.run(func(cmd *exec.Cmd) {
		cmd.ExtraFiles = []*os.File{listener, settings, e.board, theirs}
		cmd.Env = append(cmd.Env, pipe.ListenersVariable+"=1", pipe.SettingsVariable+"=4", pipe.BoardVariable+"=5", pipe.FDVariable+"=6", pipe.VassalVariable+"=shop.ini")
		cmd.Env = append(cmd.Env, env...)
	})
	return e
}

func memory(t *testing.T, content []byte) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "memory")
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	return f
}

// hear reads words until it has as many as wanted.
func (e *emperor) hear(want ...pipe.Word) {
	e.t.Helper()
	var got []pipe.Word
	_ = e.pipe.SetReadDeadline(time.Now().Add(10 * time.Second))
	for len(got) < len(want) {
		var b [1]byte
		if _, err := e.pipe.Read(b[:]); err != nil {
			e.t.Fatalf("heard %v, want %v; then %v\n%s", got, want, err, e.said())
		}
		got = append(got, pipe.Word(b[0]))
	}
	if !slices.Equal(got, want) {
		e.t.Fatalf("heard %v, want %v", got, want)
	}
}

func (e *emperor) tell(w pipe.Word) {
	e.t.Helper()
	if _, err := e.pipe.Write([]byte{byte(w)}); err != nil {
		e.t.Fatal(err)
	}
}

func (e *emperor) notice() string {
	e.t.Helper()
	n, err := pipe.ReadNotice(e.board)
	if err != nil {
		e.t.Fatal(err)
	}
	return n.Failed
}

func TestUnderEmperord(t *testing.T) {
	e := reign(t, "module = plain:place", "processes = 2")
	e.hear(pipe.Spawned, pipe.Accepting)
	f := e.facts()
	for _, name := range private {
		if _, there := f.Env[name]; there {
			t.Errorf("the application sees %s", name)
		}
	}
	if f.Env[pipe.VassalVariable] != "shop.ini" {
		t.Errorf("%s is %q", pipe.VassalVariable, f.Env[pipe.VassalVariable])
	}
	begun := time.Now()
	e.hear(pipe.Loyal)
	if took := time.Since(begun); took > time.Second {
		t.Errorf("loyal after %s", took)
	}
	e.tell(pipe.Reload)
	e.await("reloaded; ")
	e.tell(pipe.StopGraceful)
	if code := e.wait(); code != 0 || e.notice() != "" {
		t.Errorf("exit code %d, notice %q", code, e.notice())
	}
	if _, err := os.Lstat(e.socket); err != nil {
		t.Error("the emperor's socket has been removed")
	}
}

func TestNoticeSaysWhyItFailed(t *testing.T) {
	e := reign(t, "module = nothing_of_this_name")
	if code := e.wait(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if want := "ModuleNotFoundError: No module named 'nothing_of_this_name' (module = nothing_of_this_name, chdir "; !strings.Contains(e.notice(), want) {
		t.Errorf("the notice is %q, want %q in it", e.notice(), want)
	}
}

func TestEmperorThatHasGoneIsFollowed(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*emperor)
	}{
		{"closed pipe", func(e *emperor) { _ = e.pipe.Close() }},
		{"stop", func(e *emperor) { e.tell(pipe.Stop) }},
	} {
		e := reign(t, "module = plain:slow", "processes = 2")
		e.hear(pipe.Spawned, pipe.Accepting)
		short, long := make(chan answer, 1), make(chan answer, 1)
		go func() { a, _ := send(e.socket, request("GET", "/?0.3", "")); short <- a }()
		go func() { a, _ := send(e.socket, request("GET", "/?20", "")); long <- a }()
		time.Sleep(100 * time.Millisecond)
		begun := time.Now()
		c.do(e)
		if code := e.wait(); code != 0 || time.Since(begun) > 2*time.Second {
			t.Errorf("%s: exit code %d after %s", c.name, code, time.Since(begun))
		}
		if a := <-short; !strings.HasPrefix(a.body, "slept") {
			t.Errorf("%s: a short request under way got %q", c.name, a.raw)
		}
		if a := <-long; a.raw != "" {
			t.Errorf("%s: a long request got %q", c.name, a.raw)
		}
	}
}

// Where another emperor takes the listeners over, requests have the time that they have at every stop, and no more.
func TestRequestsFinishWhereAnotherEmperorIsToCome(t *testing.T) {
	e := reignWith(t, []string{pipe.KeptVariable + "=1"}, "module = plain:slow", "processes = 2", "reload-mercy = 4")
	e.hear(pipe.Spawned, pipe.Accepting)
	short, long := make(chan answer, 1), make(chan answer, 1)
	go func() { a, _ := send(e.socket, request("GET", "/?2", "")); short <- a }()
	go func() { a, _ := send(e.socket, request("GET", "/?60", "")); long <- a }()
	time.Sleep(100 * time.Millisecond)
	_ = e.pipe.Close()
	if code := e.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if a := <-short; !strings.HasPrefix(a.body, "slept") {
		t.Errorf("a request under way that needs longer than a vassal without another emperor has got %q", a.raw)
	}
	if a := <-long; a.raw != "" {
		t.Errorf("a request that needs longer than the mercy got %q", a.raw)
	}
}

func TestListenersAreNotHeldOpenAfterTheStop(t *testing.T) {
	e := reign(t, "module = plain:slow", "processes = 1")
	e.hear(pipe.Spawned, pipe.Accepting)
	done := make(chan answer, 1)
	go func() { a, _ := send(e.socket, request("GET", "/?1", "")); done <- a }()
	time.Sleep(100 * time.Millisecond)
	_ = e.listener.Close() // ours; and unlinks
	e.tell(pipe.StopGraceful)
	e.eventually("nobody listens any more", func() bool {
		text, _ := os.ReadFile("/proc/net/unix")
		for _, line := range strings.Split(string(text), "\n") {
			if strings.HasSuffix(line, " "+e.socket) && strings.Contains(line, " 00010000 ") { // __SO_ACCEPTCON
				return false
			}
		}
		return true
	})
	if len(done) > 0 {
		t.Error("the request has ended before the listener was closed: this test shows nothing")
	}
	if a := <-done; !strings.HasPrefix(a.body, "slept") {
		t.Errorf("the request under way got %q", a.raw)
	}
	e.wait()
}

func TestHandedOverNonsenseIsRefused(t *testing.T) {
	for _, env := range [][]string{
		{pipe.SettingsVariable + "=banana"}, {pipe.SettingsVariable + "=77"}, {pipe.BoardVariable + "=1"}, {pipe.FDVariable + "=-3"},
	} {
		dir, socket := configure(t, "module = plain")
		d := &daemon{t: t, dir: dir, socket: socket, log: filepath.Join(dir, "log")}
		d.run(func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, env...) })
		if code := d.wait(); code != 2 || !strings.Contains(d.said(), strings.SplitN(env[0], "=", 2)[0]) {
			t.Errorf("%v: exit code %d, %s", env, code, d.said())
		}
	}
}

func TestIdleVassalDoesNothing(t *testing.T) {
	e := reign(t, "module = plain", "processes = 2")
	e.hear(pipe.Spawned, pipe.Accepting)
	e.get("/")
	e.hear(pipe.Loyal)
	time.Sleep(2500 * time.Millisecond) // until the watch rests
	switches := func() (n int) {
		host, workers := e.family()
		for _, pid := range append(workers, host, e.cmd.Process.Pid) {
			tasks, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/status")
			for _, task := range tasks {
				text, _ := os.ReadFile(task)
				for _, line := range strings.Split(string(text), "\n") {
					if v, ok := strings.CutPrefix(line, "voluntary_ctxt_switches:"); ok {
						count, _ := strconv.Atoi(strings.TrimSpace(v))
						n += count
					}
				}
			}
		}
		return n
	}
	before := switches()
	time.Sleep(3 * time.Second)
	if woken := switches() - before; woken > 4 {
		t.Errorf("an idle vassal woke up %d times in 3 s", woken)
	}
	// And it wakes up when there is work: a slow sender is still cut.
	begun := time.Now()
	conn, err := net.Dial("unix", e.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(begun.Add(10 * time.Second))
	if got, err := io.ReadAll(conn); err != nil || len(got) > 0 || time.Since(begun) > 6*time.Second {
		t.Errorf("got %q, %v after %s", got, err, time.Since(begun))
	}
	_ = e.cmd.Process.Signal(syscall.SIGTERM)
}
