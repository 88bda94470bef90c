package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emperord/emperord/protocol/api"
)

// programsTest builds the three programs into a folder that only this user can reach.
func programsTest(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("python3 is not installed, and CI must have it: %v", err)
		}
		t.Skipf("python3 is not installed: %v", err)
	}
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", dir, "../emperord", "../vassald", "../emperorctl")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// A syncBuffer takes the output of a child while the test reads it.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// eventually waits until f returns true.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(40 * time.Second); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after 40 s still not: %s", what)
		}
	}
}

// A runningDemo is `emperorctl demo` in a process of its own.
type runningDemo struct {
	command  *exec.Cmd
	out, err syncBuffer
	ended    chan struct{}
	folder   string
	urls     []string
}

func startDemo(t *testing.T, as *syscall.Credential, program string, args ...string) *runningDemo {
	t.Helper()
	d := &runningDemo{command: exec.Command(program, append([]string{"demo"}, args...)...), ended: make(chan struct{})}
	d.command.Dir = "/"
	d.command.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	d.command.Stdout, d.command.Stderr = &d.out, &d.err
	if err := d.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(d.ended)
		_ = d.command.Wait()
	}()
	t.Cleanup(func() {
		_ = d.command.Process.Signal(syscall.SIGTERM)
		select {
		case <-d.ended:
		case <-time.After(60 * time.Second):
			_ = d.command.Process.Kill()
			<-d.ended
			t.Error("the demo had to be killed")
		}
		if t.Failed() {
			t.Logf("the demo said:\n%s\n%s", d.out.String(), d.err.String())
		}
	})
	eventually(t, "the demo says how to end it", func() bool {
		select {
		case <-d.ended:
			t.Fatalf("the demo ended:\n%s\n%s", d.out.String(), d.err.String())
		default:
		}
		return strings.Contains(d.out.String(), "Ctrl-C")
	})
	governs := regexp.MustCompile(`governs (.*)/vassals`).FindStringSubmatch(d.out.String())
	if governs == nil {
		t.Fatalf("the demo names no folder:\n%s", d.out.String())
	}
	d.folder = governs[1]
	d.urls = regexp.MustCompile(`(?m)^  (http://\S+)$`).FindAllString(d.out.String(), -1)
	return d
}

// fetch returns status and body of a page.
func fetch(url string) (int, string, error) {
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// rewrite changes a vassal file in its place, so that it keeps its owner.
func rewrite(t *testing.T, file, old, new string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.ReplaceAll(string(text), old, new)
	if changed == string(text) {
		t.Fatalf("%s holds no %q", file, old)
	}
	if err := os.WriteFile(file, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
}

// leftovers lists the processes that know a folder: by command line, environment or working folder.
func leftovers(t *testing.T, folder string) []string {
	t.Helper()
	var found []string
	pids, err := filepath.Glob("/proc/[0-9]*")
	if err != nil || len(pids) == 0 {
		t.Fatalf("cannot read /proc: %v", err)
	}
	for _, pid := range pids {
		command, _ := os.ReadFile(pid + "/cmdline") // it may have ended by now
		environ, _ := os.ReadFile(pid + "/environ")
		cwd, _ := os.Readlink(pid + "/cwd")
		if strings.Contains(string(command)+string(environ)+cwd, folder) {
			found = append(found, fmt.Sprintf("%s: %q", pid, command))
		}
	}
	return found
}

// TestDemo does what the demo tells its user to try.
func TestDemo(t *testing.T) {
	t.Run("as who runs the test", func(t *testing.T) {
		tryDemo(t, nil, programsTest(t), os.Geteuid() == 0)
	})
	if os.Geteuid() != 0 {
		return // it was an ordinary user
	}
	t.Run("as an ordinary user", func(t *testing.T) {
		bin := shortDir(t)
		if err := os.Chmod(bin, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(bin, os.DirFS(programsTest(t))); err != nil {
			t.Fatal(err)
		}
		tryDemo(t, &syscall.Credential{Uid: 1, Gid: 1}, bin, false)
	})
}

func tryDemo(t *testing.T, as *syscall.Credential, bin string, tyrant bool) {
	program := filepath.Join(bin, "emperorctl")
	d := startDemo(t, as, program)
	vassals := filepath.Join(d.folder, "vassals")
	client := api.NewClient(filepath.Join(d.folder, "control.sock"))
	ctx := context.Background()
	if len(d.urls) != 4 {
		t.Fatalf("printed %q", d.urls)
	}
	for _, url := range d.urls {
		url = strings.TrimSpace(url)
		code, body, err := fetch(url)
		wantCode, wantBody := 200, ""
		switch name := filepath.Base(url); {
		case strings.HasSuffix(url, "/broken/"):
			wantCode, wantBody = 0, "plian" // 503, or 502 while it is tried again
		case strings.Count(url, "/") == 3:
			wantBody = "broken.ini"
		case name == "flask":
			wantBody = "Flask"
		default:
			wantBody = "Hello from " + name + ".ini"
		}
		if err != nil || (wantCode != 0 && code != wantCode) || code == 0 {
			t.Errorf("%s: got %d %q %v", url, code, body, err)
		}
		if wantCode != 0 && !strings.Contains(body, wantBody) {
			t.Errorf("%s: got %q, want %q", url, body, wantBody)
		}
	}
	base := strings.TrimSuffix(strings.TrimSpace(d.urls[0]), "/")

	status, err := client.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	users := make(map[int]bool)
	for _, v := range status.Vassals {
		if v.UID >= 0 { // of one that has not come up it may not be known
			users[v.UID] = true
		}
	}
	wantUsers := 1
	if tyrant {
		wantUsers = 2
	}
	if status.Tyrant != tyrant || len(users) != wantUsers || users[0] {
		t.Errorf("tyrant mode %t, users %v", status.Tyrant, users)
	}
	if v, err := client.Vassal(ctx, "broken.ini"); err != nil || !strings.Contains(v.Reason, "plian") {
		t.Errorf("broken.ini: %+v %v", v, err)
	}

	rewrite(t, filepath.Join(vassals, "broken.ini"), "plian", "plain")
	eventually(t, "broken.ini is mended", func() bool {
		code, body, err := fetch(base + "/broken/")
		return err == nil && code == 200 && strings.Contains(body, "Hello from broken.ini")
	})
	rewrite(t, filepath.Join(vassals, "plain.ini"), "= plain", "= plian")
	eventually(t, "the reload of plain.ini is refused", func() bool {
		v, err := client.Vassal(ctx, "plain.ini")
		return err == nil && v.State == api.Accepting && strings.Contains(v.Reason, "plian")
	})
	if code, body, err := fetch(base + "/plain/"); code != 200 || err != nil {
		t.Errorf("the old generation of plain.ini: got %d %q %v", code, body, err)
	}
	rewrite(t, filepath.Join(vassals, "plain.ini"), "= plian", "= plain")
	var pid int
	eventually(t, "plain.ini is reloaded", func() bool {
		v, err := client.Vassal(ctx, "plain.ini")
		pid = v.PID
		return err == nil && v.State == api.Accepting && v.Reason == "" && len(v.Generations) == 1
	})
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "plain.ini is back", func() bool {
		v, err := client.Vassal(ctx, "plain.ini")
		return err == nil && v.State == api.Accepting && v.PID != pid && v.Restarts == 1
	})
	if code, body, err := fetch(base + "/plain/a%20b?c=d"); code != 200 || err != nil || !strings.Contains(body, "Hello from plain.ini") {
		t.Errorf("after kill -9: got %d %q %v", code, body, err)
	}
	if out, err := exec.Command(program, "request", filepath.Join(d.folder, "run", "plain.sock"), "/").CombinedOutput(); err != nil || !strings.Contains(string(out), "Hello from plain.ini") {
		t.Errorf("request: got %q %v", out, err)
	}
	if out, err := exec.Command(program, "--socket", filepath.Join(d.folder, "control.sock"), "status").CombinedOutput(); err != nil || !strings.Contains(string(out), "plain.ini") {
		t.Errorf("status: got %q %v", out, err)
	}

	if err := d.command.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	select {
	case <-d.ended:
	case <-time.After(60 * time.Second):
		t.Fatal("the demo does not end")
	}
	if code := d.command.ProcessState.ExitCode(); code != 0 || d.err.String() != "" {
		t.Errorf("the demo ended with %d and said %q", code, d.err.String())
	}
	if _, err := os.Stat(d.folder); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there (%v)", d.folder, err)
	}
	if found := leftovers(t, d.folder); len(found) > 0 {
		t.Errorf("processes are left: %q", found)
	}
}

// TestADemoThatIsKilledTakesItsEmperorAlong kills the demo itself. Only its folder stays.
func TestADemoThatIsKilledTakesItsEmperorAlong(t *testing.T) {
	program := filepath.Join(programsTest(t), "emperorctl")
	d := startDemo(t, nil, program, "--keep")
	t.Cleanup(func() { os.RemoveAll(d.folder) })
	if err := d.command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-d.ended
	eventually(t, "no process is left", func() bool { return len(leftovers(t, d.folder)) == 0 })
}

func TestADemoWithoutItsProgramsLeavesNothing(t *testing.T) {
	dir := programsTest(t)
	tmp := shortDir(t)
	if err := os.Chmod(tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "vassald")); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(filepath.Join(dir, "emperorctl"), "demo")
	command.Env = append(os.Environ(), "TMPDIR="+tmp)
	out, err := command.CombinedOutput()
	if code := command.ProcessState.ExitCode(); code != 1 || !strings.Contains(string(out), "cannot find vassald beside emperorctl") || !strings.Contains(string(out), "make build") {
		t.Errorf("got %d %q %v", code, out, err)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) != 0 {
		t.Errorf("left %v %v", left, err)
	}
}
