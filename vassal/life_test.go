package vassal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A load is eight clients who ask one after the other.
type load struct {
	d       *daemon
	over    atomic.Bool
	clients sync.WaitGroup

	mu      sync.Mutex
	good    int
	refused int // nobody listened
	cut     int // accepted and not answered
	wrong   []string
}

func (d *daemon) underLoad(uri string) *load {
	l := &load{d: d}
	for range 8 {
		l.clients.Add(1)
		go func() {
			defer l.clients.Done()
			for !l.over.Load() {
				a, err := send(d.socket, request("GET", uri, ""))
				l.mu.Lock()
				switch {
				case errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, os.ErrNotExist):
					l.refused++
				case errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrUnexpectedEOF) || (err == nil && a.raw == ""):
					l.cut++
				case err != nil || a.status != "200 OK":
					l.wrong = append(l.wrong, a.raw)
				default:
					l.good++
				}
				l.mu.Unlock()
			}
		}()
	}
	return l
}

func (l *load) count() int { l.mu.Lock(); defer l.mu.Unlock(); return l.good }

func (l *load) cuts() int { l.mu.Lock(); defer l.mu.Unlock(); return l.cut }

// more waits for so many more good answers.
func (l *load) more(n int) {
	l.d.t.Helper()
	want := l.count() + n
	l.d.eventually(strconv.Itoa(n)+" more requests are answered", func() bool { return l.count() >= want })
}

func (l *load) end() {
	l.over.Store(true)
	l.clients.Wait()
}

func TestKillingAnyProcessRefusesNobody(t *testing.T) {
	d := start(t, "module = plain", "processes = 3", "disable-logging = true")
	l := d.underLoad("/")
	l.more(50)
	for range 3 {
		_, workers := d.family()
		for _, w := range workers[:1] {
			_ = syscall.Kill(w, syscall.SIGKILL)
		}
		l.more(50)
	}
	d.eventually("three workers run again", func() bool { _, w := d.family(); return len(w) == 3 })
	time.Sleep(200 * time.Millisecond) // a client may not have counted yet what the last kill has cut
	cutByWorkers := l.cuts()
	for range 2 {
		host, _ := d.family()
		_ = syscall.Kill(host, syscall.SIGKILL)
		d.eventually("another host runs", func() bool { h, w := d.family(); return h != 0 && h != host && len(w) == 3 })
		l.more(50)
	}
	l.end()
	if l.refused > 0 || len(l.wrong) > 0 {
		t.Errorf("refused %d, wrong %q", l.refused, l.wrong)
	}
	if cutByWorkers > 3 || l.cut > cutByWorkers { // a worker has one request in its hands; a host has none
		t.Errorf("cut %d by killed workers (3 at most), %d by killed hosts (none)", cutByWorkers, l.cut-cutByWorkers)
	}
	if n := len(d.sessionPids()); n != 5 {
		t.Errorf("%d processes run, want vassald, host and 3 workers: %v", n, session(d.cmd.Process.Pid))
	}
}

func (d *daemon) sessionPids() []string { return session(d.cmd.Process.Pid) }

func TestStopFinishesWhatIsUnderWay(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT} {
		d := start(t, "module = plain:slow", "processes = 4")
		answers := make(chan answer, 4)
		for range 4 {
			go func() { a, _ := send(d.socket, request("GET", "/?0.4", "")); answers <- a }()
		}
		time.Sleep(150 * time.Millisecond)
		begun := time.Now()
		if code := d.stop(sig); code != 0 {
			t.Errorf("%s: exit code %d", sig, code)
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("%s: the stop took %s", sig, took)
		}
		for range 4 {
			if a := <-answers; !strings.HasPrefix(a.body, "slept") {
				t.Errorf("%s: a request under way got %q\n%s", sig, a.raw, d.said())
			}
		}
		if _, err := os.Lstat(d.socket); err == nil {
			t.Errorf("%s: the socket is still there in spite of vacuum", sig)
		}
	}
}

func TestIdleStopIsFast(t *testing.T) {
	d := start(t, "module = plain", "processes = 4")
	begun := time.Now()
	if code := d.stop(syscall.SIGTERM); code != 0 || time.Since(begun) > 500*time.Millisecond {
		t.Errorf("exit code %d after %s", code, time.Since(begun))
	}
}

func TestSecondSignalKills(t *testing.T) {
	d := start(t, "module = plain:slow", "processes = 1", "reload-mercy = 30")
	go func() { _, _ = send(d.socket, request("GET", "/?30", "")) }()
	time.Sleep(200 * time.Millisecond)
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	_ = d.cmd.Process.Signal(syscall.SIGTERM) // timeout(1) signals twice and means once
	time.Sleep(impatience + 100*time.Millisecond)
	select {
	case <-d.ended:
		t.Fatal("two signals at once have killed it")
	default:
	}
	begun := time.Now()
	if code := d.stop(syscall.SIGTERM); code != 0 || time.Since(begun) > time.Second {
		t.Errorf("exit code %d after %s", code, time.Since(begun))
	}
}

func TestMercyEnds(t *testing.T) {
	d := start(t, "module = plain:slow", "processes = 1", "reload-mercy = 1")
	go func() { _, _ = send(d.socket, request("GET", "/?30", "")) }()
	time.Sleep(200 * time.Millisecond)
	begun := time.Now()
	if code := d.stop(syscall.SIGTERM); code != 0 || time.Since(begun) < 900*time.Millisecond || time.Since(begun) > 2*time.Second {
		t.Errorf("exit code %d after %s, want 0 after 1 s", code, time.Since(begun))
	}
	wants(t, d.said(), "still had a request 1s after it was told to end, and was killed: that request is lost; reload-mercy gives more time")
}

// TestEveryLostRequestIsExplained lets workers and a host end in the middle of requests. Who reads "502" in nginx's log finds
// the reason in the vassal's.
func TestEveryLostRequestIsExplained(t *testing.T) {
	app := t.TempDir()
	text := "import time\ndef application(environ, start_response):\n    print('has request', environ['QUERY_STRING'], flush=True)\n    time.sleep(30)\n"
	if err := os.WriteFile(filepath.Join(app, "sleepy.py"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	d := start(t, "module = sleepy", "chdir = "+app, "processes = 1", "reload-mercy = 1")
	ask := func(name string) chan struct{} {
		done := make(chan struct{})
		go func() { defer close(done); _, _ = send(d.socket, request("GET", "/?"+name, "")) }()
		d.await("has request " + name)
		return done
	}
	successor := func(of int) (pid int) {
		d.eventually("a worker is there", func() bool {
			_, w := d.family()
			if len(w) == 1 && w[0] != of {
				pid = w[0]
			}
			return pid != 0
		})
		return pid
	}
	done, busy := ask("one"), successor(0)
	_ = syscall.Kill(busy, syscall.SIGKILL)
	<-done
	d.await(fmt.Sprintf("worker 1 (pid %d) ended: killed by SIGKILL, and the request that it had is lost; its successor starts", busy))

	idle := successor(busy)
	_ = syscall.Kill(idle, syscall.SIGKILL)
	d.await(fmt.Sprintf("worker 1 (pid %d) ended: killed by SIGKILL; its successor starts", idle))

	done = ask("two")
	host, _ := d.family()
	_ = syscall.Kill(host, syscall.SIGSTOP)
	if code := d.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	<-done
	wants(t, d.said(), fmt.Sprintf("the Python host (pid %d) did not end within 1s and is killed with its workers; requests that they have are lost", host))
}

func wants(t *testing.T, said, text string) {
	t.Helper()
	if !strings.Contains(said, text) {
		t.Errorf("the log does not say %q:\n%s", text, said)
	}
}

func TestWorkerThatIgnoresTheSignalIsKilled(t *testing.T) {
	d := start(t, "module = naughty", "processes = 1", "reload-mercy = 1")
	d.get("/changes_signals")
	if code := d.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	wants(t, d.said(), "had no request and did not end within 1s, so it was killed; see whether the application blocks or ignores SIGTERM")
}

func TestNothingOutlivesVassald(t *testing.T) {
	d := start(t, "module = plain:slow", "processes = 2")
	a := make(chan answer, 1)
	go func() { got, _ := send(d.socket, request("GET", "/?0.3", "")); a <- got }()
	time.Sleep(100 * time.Millisecond)
	_ = d.cmd.Process.Kill()
	d.wait()
	if got := <-a; !strings.HasPrefix(got.body, "slept") {
		t.Errorf("the request under way got %q", got.raw)
	}
	// audit checks that host and workers are gone within 3 s
}

func TestWorkersSeeTheEndOfTheirHost(t *testing.T) {
	d := start(t, "module = plain", "processes = 2")
	host, workers := d.family()
	_ = syscall.Kill(d.cmd.Process.Pid, syscall.SIGSTOP) // nobody there to sweep
	_ = syscall.Kill(host, syscall.SIGKILL)
	d.eventually("the workers have ended", func() bool {
		for _, w := range workers {
			if text, err := os.ReadFile("/proc/" + strconv.Itoa(w) + "/stat"); err == nil && !strings.Contains(string(text), ") Z ") {
				return false
			}
		}
		return true
	})
	_ = syscall.Kill(d.cmd.Process.Pid, syscall.SIGCONT)
}

func TestWorkerThatDiesIsReplacedWithBackoff(t *testing.T) {
	d := start(t, "module = naughty", "processes = 1")
	for range 2 {
		_, _ = send(d.socket, request("GET", "/dies", ""))
	}
	d.await("exit code 9, and the request that it had is lost; its successor starts now")
	d.await("exit code 9, and the request that it had is lost; its successor starts in 500ms")
	if a := d.get("/generator"); a.status != "200 OK" {
		t.Errorf("afterwards: %q", a.raw)
	}
}

func TestWorkerWithoutDescriptorsIsReplaced(t *testing.T) {
	d := start(t, "module = naughty", "processes = 1")
	_, _ = send(d.socket, request("GET", "/closes_all", ""))
	d.await("cannot accept: Bad file descriptor")
	if a := d.get("/generator"); a.status != "200 OK" {
		t.Errorf("afterwards: %q", a.raw)
	}
}

func TestReloadLosesNothing(t *testing.T) {
	dir, err := os.MkdirTemp("", "app")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	write := func(text string) {
		if err := os.WriteFile(filepath.Join(dir, "app.py"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	app := "def application(e, s):\n    s('200 OK', [('X-A', 'b')])\n    return [b'%s']\n"
	write(strings.Replace(app, "%s", "one", 1))
	d := start(t, "chdir = "+dir, "module = app", "processes = 2", "disable-logging = true", "env = PYTHONDONTWRITEBYTECODE=1")
	l := d.underLoad("/")
	l.more(50)
	write(strings.Replace(app, "%s", "two", 1))
	for i := 1; i <= 3; i++ {
		_ = d.cmd.Process.Signal(syscall.SIGHUP)
		d.eventually("it has reloaded", func() bool { return strings.Count(d.said(), "reloaded; ") == i })
		l.more(50)
	}
	if a := d.get("/"); a.body != "two" {
		t.Errorf("the new application answers %q", a.body)
	}
	write("import nothing_of_this_name\n")
	_ = d.cmd.Process.Signal(syscall.SIGHUP)
	d.await("the reload failed and the old application serves on: ")
	l.more(50)
	if a := d.get("/"); a.body != "two" {
		t.Errorf("after a failed reload: %q", a.body)
	}
	l.end()
	if l.refused+l.cut > 0 || len(l.wrong) > 0 {
		t.Errorf("refused %d, cut %d, wrong %q", l.refused, l.cut, l.wrong)
	}
	d.eventually("only one generation is left", func() bool { return len(d.sessionPids()) == 4 })
}

func TestManyListeners(t *testing.T) {
	dir, err := os.MkdirTemp("", "second")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	second := filepath.Join(dir, "second")
	d := start(t, "module = plain", "processes = 2", "socket = "+second, "socket = @"+dir)
	for range 20 {
		for _, s := range []string{d.socket, second, "@" + dir + "\x00"} { // uWSGI counts the NUL behind an abstract name
			if a, err := send(s, request("GET", "/", "")); err != nil || a.status != "200 OK" {
				t.Fatalf("%s: %q %v", s, a.raw, err)
			}
		}
	}
	l := d.underLoad("/")
	l.more(100)
	l.end()
	if code := d.stop(syscall.SIGTERM); code != 0 || l.cut+l.refused > 0 {
		t.Errorf("exit code %d, cut %d, refused %d", code, l.cut, l.refused)
	}
}

func TestOneListenerIsNotLeftToTheApplicationsChildren(t *testing.T) {
	d := start(t, "module = plain:place", "processes = 2")
	a := d.get("/")
	host, workers := d.family()
	if host == 0 || len(workers) != 2 {
		t.Fatalf("host %d, workers %v", host, workers)
	}
	for _, pid := range append(slices.Clone(workers), host) {
		for fd := 3; fd < 12; fd++ {
			info, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/fdinfo/" + strconv.Itoa(fd))
			if err != nil {
				continue
			}
			for _, line := range strings.Split(string(info), "\n") {
				if mode, ok := strings.CutPrefix(line, "flags:"); ok {
					flags, _ := strconv.ParseInt(strings.TrimSpace(mode), 8, 64)
					target, _ := os.Readlink("/proc/" + strconv.Itoa(pid) + "/fd/" + strconv.Itoa(fd))
					if flags&syscall.O_CLOEXEC == 0 && !strings.HasPrefix(target, "/dev/") { // what the test was started with is not ours
						t.Errorf("descriptor %d (%s) of process %d would be inherited by a program that the application runs", fd, target, pid)
					}
				}
			}
		}
	}
	if a.status != "200 OK" {
		t.Errorf("%q", a.raw)
	}
}

func TestWorkersOutliveAListenerMadeNonBlocking(t *testing.T) {
	e := reign(t, "module = plain", "processes = 2")
	e.await("accepts requests")
	raw, err := e.listener.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { err = syscall.SetNonblock(int(fd), true) }); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if a := e.get("/"); a.status != "200 OK" {
			t.Fatalf("got %q", a.raw)
		}
	}
	begun := time.Now()
	if code := e.stop(syscall.SIGTERM); code != 0 || time.Since(begun) > time.Second || strings.Contains(e.said(), "successor") {
		t.Errorf("exit code %d after %s\n%s", code, time.Since(begun), e.said())
	}
}

func TestReloadLeavesTheApplicationsOwnProcessesAlone(t *testing.T) {
	d := start(t, "module = plain:spawn", "processes = 1")
	pid, err := strconv.Atoi(d.get("/").body)
	if err != nil {
		t.Fatal(err)
	}
	_ = d.cmd.Process.Signal(syscall.SIGHUP)
	d.await("reloaded; ")
	d.eventually("only one generation is left", func() bool { return len(d.sessionPids()) == 4 }) // and the sleeper
	time.Sleep(100 * time.Millisecond)
	if err := syscall.Kill(pid, 0); err != nil {
		t.Errorf("the process that a request has started: %v", err)
	}
	d.stop(syscall.SIGTERM)
	_ = syscall.Kill(pid, syscall.SIGKILL) // ours, of this test's session
}

func TestOldInterpretersAreRefusedInWords(t *testing.T) {
	old, _ := filepath.Glob(os.Getenv("HOME") + "/.pyenv/versions/[23].[2678].*")
	for _, home := range old {
		d := launch(t, "module = plain", "home = "+home)
		if code := d.wait(); code != 1 || !strings.Contains(d.said(), "CPython 3.9 or later is needed") {
			t.Errorf("%s: exit code %d\n%s", home, code, d.said())
		}
	}
}

// TestWhatTheApplicationHasStartedIsAskedAndThenKilled, in whatever session it is.
func TestWhatTheApplicationHasStartedIsAskedAndThenKilled(t *testing.T) {
	app := t.TempDir()
	text := `import subprocess
def run(script):
    p = subprocess.Popen(["/bin/sh", "-c", script], start_new_session=True, stdout=subprocess.PIPE)
    p.stdout.readline()  # the trap is set
    return str(p.pid)
polite = run("trap 'echo told >told; exit' TERM; echo; while :; do sleep 0.02; done")
deaf = run("trap '' TERM; echo; while :; do sleep 0.02; done")
def application(environ, start_response):
    start_response("200 OK", [])
    return [(polite + " " + deaf).encode()]
`
	if err := os.WriteFile(filepath.Join(app, "starts.py"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	d := start(t, "module = starts", "chdir = "+app, "processes = 1")
	pids := strings.Fields(d.get("/").body)
	if len(pids) != 2 {
		t.Fatalf("%q", pids)
	}
	if code := d.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if told, err := os.ReadFile(filepath.Join(app, "told")); err != nil || string(told) != "told\n" {
		t.Errorf("who would have left was not asked: %q, %v", told, err)
	}
	for _, text := range pids {
		pid, _ := strconv.Atoi(text)
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d is left: %v", pid, err)
			_ = syscall.Kill(pid, syscall.SIGKILL) // it is what this test has started
		}
	}
}
