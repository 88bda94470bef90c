package main

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emperord/emperord/configs/check"
)

// vassalFile writes a file into a folder of its own. It is the user's own and only the user's: nothing about the machine is found.
func vassalFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.ini")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCheckExitCodes(t *testing.T) {
	dir := t.TempDir()
	app := "[uwsgi]\nchdir = " + dir + "\nwsgi-file = app.py\nsocket = @app\nmaster = true\n"
	if err := os.WriteFile(dir+"/app.py", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	warned, wrong := vassalFile(t, app), vassalFile(t, app+"processes = fuor\n")
	for _, c := range []struct {
		args string
		code int
		err  string
	}{
		{"check " + warned, 0, ""},
		{"check --strict " + warned, 1, ""},
		{"check --strict --json " + warned, 1, ""},
		{"check " + wrong, 2, ""},
		{"check --strict " + wrong, 2, ""},
		{"check " + warned + " " + wrong, 2, ""},
		{"check", 2, "emperorctl: check takes files, folders or patterns; see emperorctl check --help\n"},
		{"check /nonexistent", 2, "emperorctl: cannot check /nonexistent: is not there\n"},
		{"check --uid no-such-user " + warned, 2, "emperorctl: --uid no-such-user: there is no such user; see: getent passwd\n"},
		{"check --env X " + warned, 2, "emperorctl: --env X: write --env NAME=VALUE\n"},
		{"check --emperor-ini /nonexistent " + warned, 2, ""},
	} {
		code, _, err := ctl(t, "", strings.Fields(c.args)...)
		if code != c.code || c.err != "" && err != c.err {
			t.Errorf("%s: got %d %q, want %d %q", c.args, code, err, c.code, c.err)
		}
	}
}

func TestCheckAsJSON(t *testing.T) {
	path := vassalFile(t, "[uwsgi]\nprocesses = fuor\nproceses = 2\n")
	code, out, _ := ctl(t, "", "check", "--json", path)
	var r check.Report
	d := json.NewDecoder(strings.NewReader(out))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil || code != 2 {
		t.Fatalf("%d %v %s", code, err, out)
	}
	if r.Version != check.Version || len(r.Files) != 1 || r.Files[0].Path != path || r.Files[0].Kind != check.Vassal || r.Errors == 0 {
		t.Errorf("%+v", r)
	}
	found := map[check.Code]int{}
	for _, f := range r.Files[0].Findings {
		if f.Place.File != path {
			t.Errorf("%+v", f)
		}
		found[f.Code] = f.Place.Line
	}
	if found[check.WrongValue] != 2 || found[check.UnknownOption] != 3 {
		t.Errorf("%v", found)
	}
}

func TestCheckPrintsNoColourIntoAPipe(t *testing.T) {
	_, out, _ := ctl(t, "", "check", vassalFile(t, "[uwsgi]\nprocesses = fuor\n"))
	if strings.Contains(out, "\x1b") || !strings.Contains(out, "app.ini:2: error: processes: \"fuor\" is not a number\n    why:  ") {
		t.Errorf("%s", out)
	}
}

func TestCheckRunsNothingUnlessAsked(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	path := vassalFile(t, "[uwsgi]\nsocket = @app\nini = exec://touch "+ran+"; printf '[uwsgi]\\nproceses = 2\\n'\nfrom-file = @(exec://touch "+ran+")\n")
	_, out, _ := ctl(t, "", "check", path)
	if _, err := os.Stat(ran); err == nil {
		t.Error("the program was run without --exec")
	}
	if !strings.Contains(out, "touch "+ran) {
		t.Errorf("the program is not shown:\n%s", out)
	}
	_, out, _ = ctl(t, "", "check", "--exec", path)
	if _, err := os.Stat(ran); err != nil {
		t.Errorf("the program was not run with --exec: %v", err)
	}
	if !strings.Contains(out, "proceses") {
		t.Errorf("what the program printed is not checked:\n%s", out)
	}
}

// Ctrl-C ends what check --exec waits for, and nothing more is opened.
func TestCheckOpensNothingAfterCtrlC(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	open := openSources(ctx)(t.TempDir(), []string{"PATH=/usr/bin:/bin"})
	f, err := open("exec", "sleep 1000 | cat")
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if text, err := io.ReadAll(f); err == nil || !strings.Contains(err.Error(), "given up") {
		t.Errorf("%q, %v", text, err)
	}
	f.Close()
	if f, err := open("exec", "echo ran"); err == nil {
		f.Close()
		t.Error("a program is run after the end")
	}
}
