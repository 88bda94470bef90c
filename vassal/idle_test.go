package vassal

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emperord/emperord/protocol/pipe"
)

func (d *daemon) awaitWorkers(n int) {
	d.t.Helper()
	d.eventually("another number of workers runs", func() bool { _, w := d.family(); return len(w) == n })
}

// TestIdleEndsWorkersUntilSomebodyConnects: the host stays, all workers come back, nobody is refused or cut.
func TestIdleEndsWorkersUntilSomebodyConnects(t *testing.T) {
	d := start(t, "module = plain", "processes = 3", "idle = 1", "disable-logging = true")
	host, _ := d.family()
	for range 2 {
		d.awaitWorkers(3)
		d.awaitWorkers(0)
		var clients sync.WaitGroup
		for range 40 {
			clients.Go(func() {
				if a, err := send(d.socket, request("GET", "/", "")); err != nil || a.status != "200 OK" {
					t.Errorf("%q, %v", a.raw, err)
				}
			})
		}
		clients.Wait()
	}
	d.awaitWorkers(3)
	if h, _ := d.family(); h != host {
		t.Errorf("the host was started again: %d, %d", host, h)
	}
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	d.await("reloaded")
	d.awaitWorkers(0)
	if a := d.get("/"); a.status != "200 OK" {
		t.Error(a.raw)
	}
	if code := d.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestIdleIsNoEndOfASlowRequest nor of what keeps asking.
func TestIdleIsNoEndOfASlowRequest(t *testing.T) {
	d := start(t, "module = plain:slow", "processes = 2", "idle = 1", "die-on-idle = true")
	if a := d.get("/?3.2"); !strings.HasPrefix(a.body, "slept") {
		t.Errorf("%q", a.raw)
	}
	for range 8 {
		time.Sleep(300 * time.Millisecond)
		d.get("/?0")
	}
	if code := d.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Lstat(d.socket); err == nil {
		t.Error("the socket is left in spite of vacuum")
	}
}

// TestCheapForksAtTheFirstConnection and loads before it.
func TestCheapForksAtTheFirstConnection(t *testing.T) {
	d := start(t, "module = plain", "processes = 2", "cheap = true")
	host, workers := d.family()
	if host == 0 || len(workers) > 0 {
		t.Errorf("host %d, workers %v before anybody connects", host, workers)
	}
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil { // nobody has connected: the new host has no workers either
		t.Fatal(err)
	}
	d.await("reloaded;")
	if _, workers := d.family(); len(workers) > 0 {
		t.Errorf("workers %v after a reload, before anybody connects", workers)
	}
	if a := d.get("/"); a.status != "200 OK" {
		t.Error(a.raw)
	}
	d.awaitWorkers(2)
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	d.eventually("two reloads", func() bool { return strings.Count(d.said(), "reloaded;") == 2 })
	d.awaitWorkers(2) // where workers ran, the new host has them at once
	if a := d.get("/"); a.status != "200 OK" {
		t.Error(a.raw)
	}
}

// TestKilledHostWithoutWorkersComesBack while it waits for a connection.
func TestKilledHostWithoutWorkersComesBack(t *testing.T) {
	d := start(t, "module = plain", "cheap = true")
	host, _ := d.family()
	if err := syscall.Kill(host, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	d.eventually("another host runs", func() bool { h, _ := d.family(); return h != 0 && h != host })
	if a := d.get("/"); a.status != "200 OK" {
		t.Error(a.raw)
	}
}

// TestIdleUnderAnEmperorAsksToBeLetGo again and again, and serves until it is told to stop.
func TestIdleUnderAnEmperorAsksToBeLetGo(t *testing.T) {
	e := reign(t, "module = plain", "idle = 1", "die-on-idle = true")
	e.hear(pipe.Spawned, pipe.Accepting, pipe.LetMeGo, pipe.LetMeGo)
	if a := e.get("/"); a.status != "200 OK" {
		t.Error(a.raw)
	}
	e.hear(pipe.Loyal, pipe.LetMeGo)
	if _, err := e.pipe.Write([]byte{byte(pipe.StopGraceful)}); err != nil {
		t.Fatal(err)
	}
	if code := e.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestCheapIsAcceptingForAnEmperor though it has no workers.
func TestCheapIsAcceptingForAnEmperor(t *testing.T) {
	e := reign(t, "module = plain", "cheap = true", "idle = 1", "die-on-idle = true")
	e.hear(pipe.Spawned, pipe.Accepting, pipe.LetMeGo)
	if a := e.get("/"); a.status != "200 OK" {
		t.Error(a.raw)
	}
	e.hear(pipe.Loyal)
}

// TestListeningStandardInputIsTaken as uWSGI takes it; the file names no socket.
func TestListeningStandardInputIsTaken(t *testing.T) {
	for _, more := range []string{"", "socket = second"} {
		dir, _ := configure(t, "module = plain", "chdir = "+must(filepath.Abs("testdata/apps")))
		socket := filepath.Join(dir, "handed.sock")
		text := "[uwsgi]\nplugin = python3\nmodule = plain\nchdir = " + must(filepath.Abs("testdata/apps")) + "\n"
		if more != "" {
			text += "socket = " + dir + "/second\nsocket = " + socket + "\nvacuum = true\n"
		}
		if err := os.WriteFile(filepath.Join(dir, "app.ini"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		file, err := l.File()
		if err != nil {
			t.Fatal(err)
		}
		d := &daemon{t: t, dir: dir, socket: socket, log: filepath.Join(dir, "log")}
		d.run(func(cmd *exec.Cmd) { cmd.Stdin = file })
		file.Close()
		if a := d.get("/"); a.status != "200 OK" {
			t.Error(a.raw)
		}
		if more != "" {
			d.socket = dir + "/second"
			if a := d.get("/"); a.status != "200 OK" {
				t.Error(a.raw)
			}
		}
		if code := d.stop(syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d:\n%s", code, d.said())
		}
		if _, err := os.Lstat(socket); err != nil {
			t.Error("the socket of somebody else was removed")
		}
	}
}

func must(s string, err error) string {
	if err != nil {
		panic(err)
	}
	return s
}
