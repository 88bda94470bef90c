package vassal

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// limitsApp says its limits at load and in a request, and goes beyond them when asked.
const limitsApp = `
import os, resource
def limits(): return "%s %s" % (resource.getrlimit(resource.RLIMIT_AS), resource.getrlimit(resource.RLIMIT_NPROC))
loaded = limits()
def application(environ, start):
    start('200 OK', [])
    if environ['PATH_INFO'] == '/memory':
        bytearray(1 << 30)
    if environ['PATH_INFO'] == '/forks':
        for _ in range(1000):
            pid = os.fork()
            if not pid:
                os.closerange(3, 100); import time; time.sleep(20); os._exit(0)
            kids.append(pid)
    if environ['PATH_INFO'] == '/end':
        for pid in kids: os.kill(pid, 9); os.waitpid(pid, 0)
        return [b'%d' % len(kids)]
    return [("%s %s" % (loaded, limits())).encode()]
kids = []
`

// poor is a user of nobody's, so that its processes are those of the test.
const poor = 61211

// asPoor runs vassald as poor; root has no limit of processes.
func asPoor(t *testing.T, lines ...string) *daemon {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("another user needs root")
		}
		t.Skip("another user needs root")
	}
	apps := writeApps(t, map[string]string{"limits.py": limitsApp, "hungry.py": "bytearray(1 << 30)\n", "bomb.py": "import os\nwhile True:\n    if not os.fork():\n        import time; time.sleep(1); os._exit(0)\n"})
	dir, socket := configure(t, append([]string{"chdir = " + apps}, lines...)...)
	for _, path := range []string{dir, filepath.Join(dir, "app.ini")} {
		if err := os.Chown(path, poor, poor); err != nil {
			t.Fatal(err)
		}
	}
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(apps, "vassald") // the test's own program lies where poor may not go
	if err := os.WriteFile(program, exe, 0o755); err != nil {
		t.Fatal(err)
	}
	d := &daemon{t: t, dir: dir, socket: socket, log: filepath.Join(dir, "log")}
	d.run(func(c *exec.Cmd) {
		c.Path = program
		c.SysProcAttr.Credential = &syscall.Credential{Uid: poor, Gid: poor}
	})
	return d
}

func writeApps(t *testing.T, apps map[string]string) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "vassal-limits-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range apps {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestLimitsAreTakenBeforeTheApplicationLoads as in uWSGI, and the workers have them, though vassald's own threads count too.
func TestLimitsAreTakenBeforeTheApplicationLoads(t *testing.T) {
	for _, lazy := range []string{"false", "true"} {
		d := asPoor(t, "module = limits", "limit-as = 400", "limit-nproc = 4", "processes = 3", "lazy-apps = "+lazy)
		d.await("accepts requests")
		d.eventually("all workers are there", func() bool { _, workers := d.family(); return len(workers) == 3 })
		a := d.get("/")
		if !strings.HasPrefix(a.body, "(419430400, 419430400) (4, ") || !strings.HasSuffix(a.body, " (419430400, 419430400) (4, 4)") {
			t.Errorf("lazy-apps = %s: %q", lazy, a.body)
		}
		if code := d.stop(syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
	d := asPoor(t, "module = limits")
	d.await("accepts requests")
	if a := d.get("/"); strings.Contains(a.body, "(4, ") || !strings.HasPrefix(a.body, "(-1, -1)") {
		t.Errorf("without limits: %q", a.body)
	}
}

// TestWhoDiesOfALimitIsTold in a request and at load.
func TestWhoDiesOfALimitIsTold(t *testing.T) {
	d := asPoor(t, "module = limits", "limit-as = 400", "limit-nproc = 30")
	d.await("accepts requests")
	if _, err := send(d.socket, request("GET", "/memory", "")); err != nil {
		t.Error(err)
	}
	d.await("MemoryError\nlimit-as = 400 of the vassal file was reached")
	if _, err := send(d.socket, request("GET", "/forks", "")); err != nil {
		t.Error(err)
	}
	d.await("limit-nproc = 30 of the vassal file was reached")
	if a := d.get("/end"); a.body == "0" || len(a.body) > 2 {
		t.Errorf("%q processes could be forked", a.body)
	}
	for _, c := range []struct{ module, limit, want string }{
		{"hungry", "limit-as = 400", "app.ini:6: MemoryError at "},
		{"hungry", "limit-as = 400", "; app.ini:7: limit-as = 400: these MiB are too few: write a larger number"},
		{"bomb", "limit-nproc = 30", "; app.ini:7: limit-nproc = 30: these are the processes and threads that the user may have, those of vassald included: write a larger number"},
		{"limits", "limit-as = 1", "limit-as = 1: these MiB"},
	} {
		d := asPoor(t, "module = "+c.module, c.limit)
		if code := d.wait(); code != 1 || !strings.Contains(d.said(), c.want) {
			t.Errorf("%s: exit code %d, want %q in\n%s", c.module, code, c.want, d.said())
		}
	}
}
