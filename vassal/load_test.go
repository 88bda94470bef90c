package vassal

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestFailedLoadNamesCauseAndRemedy(t *testing.T) {
	apps := t.TempDir()
	for name, text := range map[string]string{
		"syntax.py":  "x = 1\ndef broken(:\n    pass\n",
		"raises.py":  "def helper():\n    return 1 / 0\nhelper()\n",
		"imports.py": "import json\nimport not_installed.sub\n",
		"exits.py":   "import sys\nsys.exit('no configuration')\n",
		"named.py":   "def app(e, s): pass\ntext = 'x'\n",
		"prints.py":  "print('half a line', end='')\nraise RuntimeError('two\\nlines')\n",
		"dies.py":    "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n",
	} {
		if err := os.WriteFile(filepath.Join(apps, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		lines []string
		want  string
		log   string
	}{
		{[]string{"module = shop.wsgi:application"}, "app.ini:6: ModuleNotFoundError: No module named 'shop' (module = shop.wsgi:application, chdir " + apps + "); correct module or chdir, or name its folder with pythonpath = /folder", ""},
		{[]string{"module = syntax"}, "app.ini:6: SyntaxError: invalid syntax at " + apps + "/syntax.py:2 (module = syntax, chdir " + apps + "); the traceback is in the log", "def broken(:"},
		{[]string{"module = raises"}, "app.ini:6: ZeroDivisionError: division by zero at " + apps + "/raises.py:2 (module = raises,", "in helper"},
		{[]string{"module = imports"}, "app.ini:6: ModuleNotFoundError: No module named 'not_installed' at " + apps + "/imports.py:2 (module = imports, chdir " + apps + "); install it for python3, or name its folder", ""},
		{[]string{"module = exits"}, "app.ini:6: the application ended itself while it was loaded: SystemExit: no configuration at " + apps + "/exits.py:2", ""},
		{[]string{"module = named"}, `app.ini:6: there is no "application" in the application (module = named, chdir ` + apps + "); it has app: add callable = app", ""},
		{[]string{"module = named:text"}, `app.ini:6: "text" is str, which cannot be called as a WSGI application`, ""},
		{[]string{"wsgi-file = missing.py"}, "app.ini:6: there is no file missing.py (wsgi-file = missing.py, chdir " + apps + "); correct wsgi-file or chdir", ""},
		{[]string{"wsgi-file = raises.py"}, "app.ini:6: ZeroDivisionError: division by zero at raises.py:2", ""},
		{[]string{"module = prints"}, "RuntimeError: two lines at ", "half a line"},
		{[]string{"module = dies"}, "the Python host ended while it loaded the application: killed by SIGKILL", ""},
		{[]string{"module = named:app", "chdir2 = /nowhere"}, "app.ini:7: cannot enter the folder /nowhere: No such file or directory; make it, or correct chdir2", ""},
		{[]string{"module = raises", "lazy-apps = true"}, "app.ini:6: ZeroDivisionError: division by zero at " + apps + "/raises.py:2", ""},
		{[]string{"module = named:app", "home = /nowhere/venv"}, "app.ini:7: the virtual environment /nowhere/venv cannot be used: no such file or directory; make it: python3 -m venv /nowhere/venv", ""},
		{[]string{"module = named:app", "home = " + apps}, "app.ini:7: " + apps + " is no virtual environment: it has no bin/python; make one: python3 -m venv " + apps, ""},
	} {
		d := launch(t, append([]string{"chdir = " + apps}, c.lines...)...)
		if code := d.wait(); code != 1 {
			t.Errorf("%v: exit code %d, want 1", c.lines, code)
		}
		if !strings.Contains(d.said(), "vassald: "+c.want) && !strings.Contains(d.said(), c.want) {
			t.Errorf("%v: want %q in\n%s", c.lines, c.want, d.said())
		}
		if !strings.Contains(d.said(), c.log) {
			t.Errorf("%v: the log does not say %q:\n%s", c.lines, c.log, d.said())
		}
		if strings.Contains(d.said(), "<emperord") {
			t.Errorf("%v: the host's own frames are in the log:\n%s", c.lines, d.said())
		}
		if n := strings.Count(d.said(), "vassald: app.ini"); n > 2 || strings.Contains(d.said(), "loaded the application in") {
			t.Errorf("%v: vassald says %d lines:\n%s", c.lines, n, d.said())
		}
		if _, err := os.Lstat(d.socket); err == nil {
			t.Errorf("%v: the socket is left behind", c.lines)
		}
	}
}

func TestFolderThatCannotBeEntered(t *testing.T) {
	d := launch(t, "chdir = /nowhere/at/all", "module = x")
	if code := d.wait(); code != 1 || !strings.Contains(d.said(), "app.ini:5: cannot enter the folder /nowhere/at/all: no such file or directory; make the folder, or correct chdir") {
		t.Errorf("exit code %d\n%s", code, d.said())
	}
}

// facts is what the application plain.place says.
type facts struct {
	CWD     string
	Path    []string
	Argv    []string
	Name    string
	Main    *string
	Prefix  string
	Random  float64
	Umask   int
	Env     map[string]string
	Version []int
}

func (d *daemon) facts() facts {
	d.t.Helper()
	var f facts
	a := d.get("/")
	if err := json.Unmarshal([]byte(a.body), &f); err != nil {
		d.t.Fatalf("%q: %v\n%s", a.raw, err, d.said())
	}
	return f
}

func TestApplicationIsFoundAsUWSGIFindsIt(t *testing.T) {
	for _, c := range []struct{ lines, body string }{
		{"module = plain", "hello "},
		{"module = plain:application", "hello "},
		{"wsgi = plain", "hello "},
		{"module = plain:make()", "hello "},
		{"module = plain\ncallable = make()", "hello "},
		{"module = plain:Holder.app", "hello "},
		{"module = plain\ncallable = environ", "CONTENT"},
		{"wsgi-file = plain.py", "hello "},
		{"file = plain.py\ncallable = application", "hello "},
		{"module = plain\nlazy-apps = true\nprocesses = 2", "hello "},
		{"chdir = /\nmodule = plain\npythonpath = %(apps)", "hello "},
		{"chdir = /\nmodule = plain\npythonpath = %(glob)", "hello "},
	} {
		apps, _ := filepath.Abs("testdata/apps")
		lines := strings.NewReplacer("%(apps)", apps, "%(glob)", filepath.Dir(apps)+"/ap*").Replace(c.lines)
		d := start(t, strings.Split(lines, "\n")...)
		if a := d.get("/"); a.status != "200 OK" || (c.body == "hello " && !strings.HasPrefix(a.body, c.body)) {
			t.Errorf("%s: %q", c.lines, a.raw)
		}
	}
}

func TestProcessIsAsUWSGIWouldMakeIt(t *testing.T) {
	d := start(t, "wsgi-file = plain.py", "callable = place", "chdir2 = /usr", "umask = 027", "env = COLOUR=red", "env = EMPTY=", "env = PYTHONDONTWRITEBYTECODE=1",
		"unenv = VASSALD_UNDER_TEST", "pythonpath = /a", "pythonpath = /b", "processes = 2")
	f := d.facts()
	if f.CWD != "/usr" || f.Umask != 0o27 || f.Name != "uwsgi_file_plain" || f.Main != nil || !slices.Equal(f.Argv, []string{"uwsgi"}) {
		t.Errorf("got %+v", f)
	}
	if !slices.Equal(f.Path, []string{"/b", "/a", "."}) {
		t.Errorf("sys.path begins with %q", f.Path)
	}
	if f.Env["COLOUR"] != "red" || f.Env["EMPERORD_VASSAL"] != "app.ini" {
		t.Errorf("environment: %v", f.Env)
	}
	if _, there := f.Env["VASSALD_UNDER_TEST"]; there {
		t.Error("unenv does not remove")
	}
	seen := map[float64]bool{}
	for range 4 {
		seen[d.facts().Random] = true
	}
	if len(seen) != 4 {
		t.Error("workers share their random numbers")
	}
}

func TestVirtualEnvironment(t *testing.T) {
	venv := filepath.Join(t.TempDir(), "venv")
	if err := os.MkdirAll(filepath.Join(venv, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	// What `python3 -m venv --without-pip` makes; Debian has that module in a package of its own.
	if err := os.Symlink("/usr/bin/python3", filepath.Join(venv, "bin", "python3")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(venv, "pyvenv.cfg"), []byte("home = /usr/bin\ninclude-system-site-packages = false\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	d := start(t, "module = plain:place", "virtualenv = "+venv)
	if f := d.facts(); f.Prefix != venv {
		t.Errorf("sys.prefix is %s, want %s", f.Prefix, venv)
	}
	if code := d.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if err := os.Remove(filepath.Join(venv, "bin", "python3")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/usr/bin/python3.2", filepath.Join(venv, "bin", "python3")); err != nil {
		t.Fatal(err)
	}
	broken := launch(t, "module = plain", "home = "+venv)
	if code := broken.wait(); code != 1 || !strings.Contains(broken.said(), "is broken: its bin/python3 leads to /usr/bin/python3.2, which is not there; make a new one beside it: python3 -m venv "+venv+".new") {
		t.Errorf("exit code %d\n%s", code, broken.said())
	}
}
