package vassal

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/emperord/emperord/protocol/pipe"
)

func TestPidFilesNameTheOneThatAccepts(t *testing.T) {
	chdir, err := os.MkdirTemp("", "vassal")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(chdir) })
	e := reign(t, "module = plain:place", "pythonpath = "+apps(t), "chdir = "+chdir, "pidfile = a.pid", "pidfile2 = b.pid", "safe-pidfile = c.pid", "safe-pidfile2 = /nowhere/d.pid")
	e.hear(pipe.Spawned, pipe.Accepting)
	paths := []string{filepath.Join(e.dir, "a.pid"), filepath.Join(chdir, "b.pid"), filepath.Join(chdir, "c.pid")}
	for _, path := range paths {
		if text, err := os.ReadFile(path); err != nil || string(text) != strconv.Itoa(e.cmd.Process.Pid)+"\n" {
			t.Errorf("%s: %q, %v", path, text, err)
		}
	}
	if said := e.said(); !strings.Contains(said, `app.ini:`) || !strings.Contains(said, "cannot write the pid file /nowhere/d.pid") || !strings.Contains(said, "mkdir -p /nowhere") {
		t.Errorf("it said %s", said)
	}
	// The next generation takes the file over before this one leaves.
	if err := os.Rename(paths[1], paths[1]+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(paths[1], []byte("1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	e.tell(pipe.StopGraceful)
	if code := e.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, path := range []string{paths[0], paths[2]} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
	if text, err := os.ReadFile(paths[1]); string(text) != "1\n" {
		t.Errorf("the file of another generation: %q, %v", text, err)
	}
}

func TestAFailedApplicationHasNoPidFile(t *testing.T) {
	e := reign(t, "module = nothing_of_this_name", "need-app = true", "pidfile = a.pid")
	if code := e.wait(); code == 0 {
		t.Error("it did not fail")
	}
	if _, err := os.Lstat(filepath.Join(e.dir, "a.pid")); err == nil {
		t.Error("there is a pid file")
	}
}
