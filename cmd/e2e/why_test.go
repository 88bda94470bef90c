package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/emperord/emperord/protocol/api"
)

// TestWhyOfAWorkerThatCrashes has a real worker read address 0, and a reload that does not load.
func TestWhyOfAWorkerThatCrashes(t *testing.T) {
	s := newSite(t)
	app := `import ctypes
def application(environ, start_response):
    if environ["PATH_INFO"] == "/crash":
        ctypes.string_at(0)
    start_response("200 OK", [])
    return [b"well"]
`
	s.write("srv/app.py", app, shop)
	text := "chdir = DIR/srv\nmodule = app:application\nsocket = DIR/run/app.sock\nchmod-socket = 666\nprocesses = 1\n"
	s.vassal("app.ini", shop, text)
	s.emperor("--emperor-tyrant")
	s.nginx(map[string]string{"app": s.dir + "/run/app.sock"})
	if body := s.get("app", "/"); body != "well" {
		t.Fatalf("%q", body)
	}
	_, _ = s.request("app", "GET", "/crash", nil)
	s.write("srv/app.py", "import nothing_of_that_name\n", shop)
	s.vassal("app.ini", shop, text+"name = second\n")
	var d struct {
		api.Why
		Kernel []string
	}
	s.eventually(20*time.Second, "the whole story", func() error {
		out, err := s.ctl("why", "app.ini", "--json")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		if err := json.Unmarshal([]byte(out), &d); err != nil {
			return err
		}
		if d.Refused == nil {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	if d.State != api.Accepting || !strings.Contains(d.Refused.Reason, "nothing_of_that_name") || len(d.Exits) == 0 || d.Exits[0].Role != api.Coming {
		t.Errorf("%+v", d.Why)
	}
	if body := s.get("app", "/"); body != "well" {
		t.Errorf("the old generation: %q", body)
	}
	out, err := s.ctl("why", "app.ini")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, part := range []string{"app.ini: accepting since", "ago was refused; the old generation serves on", "ModuleNotFoundError", "Traceback (most recent call last)", "killed by SIGSEGV"} {
		if !strings.Contains(out, part) {
			t.Errorf("why does not say %q:\n%s", part, out)
		}
	}
	if f, err := os.Open("/dev/kmsg"); err != nil {
		t.Logf("the kernel's log cannot be read here: %v", err)
	} else if f.Close(); len(d.Kernel) != 1 || !strings.Contains(d.Kernel[0], "segfault at 0") {
		t.Errorf("the kernel's words: %q", d.Kernel)
	}
	if out, err := s.ctlAs(blog, "why", "app.ini"); err == nil || !strings.Contains(out, "is not yours") {
		t.Errorf("another tenant is told: %v %s", err, out)
	}
}
