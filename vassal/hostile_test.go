package vassal

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestManyProcesses(t *testing.T) {
	d := start(t, "module = hostile", "processes = 300")
	d.eventually("all workers", func() bool { _, workers := d.family(); return len(workers) == 300 })
	d.get("/")
	begin := time.Now()
	if code := d.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("the stop took %s", took)
	}
}

func TestHostThatDoesNotReadHoldsUpNobody(t *testing.T) {
	d := start(t, "module = hostile", "processes = 200", "worker-reload-mercy = 2")
	host, workers := d.family()
	if err := syscall.Kill(host, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for _, pid := range workers { // more than the control socket holds, now and after each stop
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	if code := d.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestPeersThatStallGiveTheirWorkerBack has as many peers as there are workers send half a body, or not take the answer.
func TestPeersThatStallGiveTheirWorkerBack(t *testing.T) {
	d := start(t, "module = hostile", "processes = 2", "socket-timeout = 1")
	half := func(uri string) []byte {
		p := request("POST", uri, strings.Repeat("z", 100))
		return p[:len(p)-90]
	}
	for name, packet := range map[string][]byte{"half a body": half("/body"), "half a body that is not read": half("/"), "a big answer": request("GET", "/big", ""), "a stream": request("GET", "/chunks", "")} {
		var stalled []net.Conn
		for range 2 {
			c, err := net.Dial("unix", d.socket)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Write(packet); err != nil {
				t.Fatal(err)
			}
			stalled = append(stalled, c)
		}
		time.Sleep(50 * time.Millisecond)
		begin := time.Now()
		if a := d.get("/"); a.body != "fine\n" {
			t.Errorf("%s: the third got %q", name, a.raw)
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("%s: the third waited %s", name, took)
		}
		for _, c := range stalled {
			_ = c.Close()
		}
	}
	// A slow peer that goes on is served.
	c, err := net.Dial("unix", d.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p := request("POST", "/body", "12345")
	_, _ = c.Write(p[:len(p)-5])
	for _, b := range p[len(p)-5:] {
		time.Sleep(400 * time.Millisecond)
		_, _ = c.Write([]byte{b})
	}
	if raw, err := io.ReadAll(c); err != nil || !strings.HasSuffix(string(raw), "\r\n\r\n5\n") {
		t.Errorf("a slow peer got %q, %v", raw, err)
	}
}

func TestForkedChildrenAreNoWorkers(t *testing.T) {
	d := start(t, "module = hostile", "processes = 1")
	for _, uri := range []string{"/fork-exit", "/fork-raise"} {
		a := d.get(uri)
		_, text, _ := strings.Cut(strings.TrimSpace(a.body), " ")
		pid, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("%s: %q", uri, a.raw)
		}
		d.eventually("the child ends", func() bool {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			return err != nil || strings.Contains(string(stat), ") Z ")
		})
	}
	_, _ = send(d.socket, request("GET", "/fork-return", "")) // both answer on one connection: the application's fault
	d.eventually("one worker", func() bool { _, workers := d.family(); return len(workers) == 1 })
	d.get("/")
}

func TestSubprocessesKeepTheirSignalsAndFilesTheirMeaning(t *testing.T) {
	d := start(t, "module = hostile")
	a := d.get("/sigint")
	mask, err := strconv.ParseUint(strings.TrimSpace(strings.TrimPrefix(a.body, "SigIgn:")), 16, 64)
	if err != nil || mask&(1<<(uint(syscall.SIGINT)-1)) != 0 || mask&(1<<(uint(syscall.SIGHUP)-1)) != 0 {
		t.Errorf("a subprocess ignores %x, %v (%q)", mask, err, a.body)
	}
	if a := d.get("/gzip"); a.body != "plain text" {
		t.Errorf("file_wrapper of a gzip file sends %q", a.body)
	}
	if a := d.get("/truncate"); a.body != "fine\n" {
		t.Errorf("the scoreboard could be cut: %q", a.body)
	}
	time.Sleep(1200 * time.Millisecond) // vassald looks at the board
	d.get("/")
}

func TestSecondHangupLosesNothing(t *testing.T) {
	d := start(t, "module = plain", "processes = 2", "lazy-apps = true")
	l := d.underLoad("/")
	l.more(50)
	for range 12 {
		_ = syscall.Kill(d.cmd.Process.Pid, syscall.SIGHUP)
		time.Sleep(35 * time.Millisecond)
	}
	l.more(50)
	l.over.Store(true)
	l.clients.Wait()
	if l.cut > 0 || l.refused > 0 || len(l.wrong) > 0 {
		t.Errorf("%d cut, %d refused, wrong: %q", l.cut, l.refused, l.wrong)
	}
}

func TestShowConfig(t *testing.T) {
	dir, _ := configure(t, "module = plain")
	code, out, _ := run(t, dir, "--show-config", "--ini", "app.ini")
	if code != 0 || !strings.HasPrefix(out, "\n;uWSGI instance configuration\n[uwsgi]\n") || !strings.HasSuffix(out, ";end of configuration\n\n") || !strings.Contains(out, "module = plain\n") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
}

func TestHostThatLoadsDiesWithItsVassald(t *testing.T) {
	for _, lines := range [][]string{{"module = hangs"}, {"module = hangs", "lazy-apps = true"}} {
		d := launch(t, lines...)
		time.Sleep(300 * time.Millisecond)
		if n := len(d.sessionPids()); n < 2 {
			t.Fatalf("%v: %d processes", lines, n)
		}
		if err := d.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = d.wait()
		d.eventually("nobody is left", func() bool { return len(session(d.cmd.Process.Pid)) == 0 })
	}
}
