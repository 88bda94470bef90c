package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestNamesOfUwsgi(t *testing.T) {
	for name, want := range map[string]bool{"uwsgi": true, "/usr/bin/uwsgi": true, "/usr/bin/uwsgi-core": true, "uwsgi_python3": true, "emperord": false, "/opt/uwsgi/emperord": false, "uwsgitop": false} {
		if calledUwsgi(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

func called(t *testing.T, args ...string) (code int, out, said string) {
	t.Helper()
	var o, e bytes.Buffer
	code = start(context.Background(), append([]string{"/usr/bin/uwsgi"}, args...), outside{env: []string{"PATH=/usr/bin:/bin"}, stdout: &o, stderr: &e})
	return code, o.String(), e.String()
}

// A pid file that does not name a process of ours hits nobody: neither a stranger, nor our own process group.
func TestStalePidFilesHitNobody(t *testing.T) {
	stranger := exec.Command("sleep", "100")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = stranger.Process.Kill()
		if err := stranger.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Errorf("the stranger was hit: %v", err)
		}
	}()
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "pid")
	for text, want := range map[string]struct {
		code int
		says string
	}{
		strconv.Itoa(stranger.Process.Pid) + "\n": {1, "which is sleep and neither emperord"},
		strconv.Itoa(dead.Process.Pid):            {255, "does not exist"},
		"":                                        {1, `"" is not a number`},
		"abc":                                     {1, `"abc" is not a number`},
		"0\n":                                     {1, "is not a number from 1 on"},
		"-1\n":                                    {1, "is not a number from 1 on"},
		strings.Repeat("1", 100):                  {1, "is not a number from 1 on"},
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"--stop", file}, {"--reload=" + file}} {
			if code, out, said := called(t, args...); code != want.code || out != "" || !strings.Contains(said, want.says) {
				t.Errorf("%q %v: exit %d, %q, %q", text, args, code, out, said)
			}
		}
	}
	for _, c := range []struct {
		args []string
		says string
	}{{[]string{"--stop"}, "uwsgi --stop FILE"}, {[]string{"--stop", file + "nothing"}, "no such file"}, {[]string{"--pause", file}, "emperorctl stop"}} {
		if code, _, said := called(t, c.args...); code != 1 || !strings.Contains(said, c.says) {
			t.Errorf("%v: exit %d, %q", c.args, code, said)
		}
	}
}

// Our own program is signalled. The test itself is a program that is named emperord for this.
func TestPidFilesReachUs(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	ours := filepath.Join(t.TempDir(), "emperord")
	if err := os.WriteFile(ours, text, 0o755); err != nil {
		t.Fatal(err)
	}
	for option, want := range map[string]syscall.Signal{"--stop": syscall.SIGINT, "--reload": syscall.SIGHUP} {
		p := exec.Command(ours, "100")
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "pid")
		if err := os.WriteFile(file, fmt.Appendln(nil, p.Process.Pid), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, _, said := called(t, option, file); code != 0 {
			t.Errorf("%s: exit %d, %q", option, code, said)
			_ = p.Process.Kill()
		}
		_ = p.Wait()
		if got := p.ProcessState.Sys().(syscall.WaitStatus).Signal(); got != want {
			t.Errorf("%s sent %v, not %v", option, got, want)
		}
	}
}

func TestCalledUwsgiSpeaksLikeIt(t *testing.T) {
	if code, out, _ := called(t, "--version"); code != 0 || !strings.HasPrefix(out, "2.0.21") {
		t.Errorf("--version: exit %d, %q", code, out)
	}
	if code, out, _ := called(t, "--help"); code != 0 || !strings.Contains(out, "--emperor") {
		t.Errorf("--help: exit %d, %q", code, out)
	}
	name := filepath.Join(t.TempDir(), "e.ini")
	if err := os.WriteFile(name, []byte("[uwsgi]\nemperor = /tmp\nemperor-throttle = soon\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, said := called(t, "--ini", name); code != 1 || !strings.Contains(said, "emperor-throttle") {
		t.Errorf("a mistake: exit %d, %q", code, said)
	}
	for _, args := range [][]string{{"--ini", name}, {name}, {"--emperor", "/tmp"}, {"--emperor=/tmp"}} {
		if !governs(args, nil) {
			t.Errorf("%v: not an emperor", args)
		}
	}
	if !governs(nil, []string{"UWSGI_EMPEROR=/tmp"}) {
		t.Error("UWSGI_EMPEROR does not govern")
	}
	if err := os.WriteFile(name, []byte("[uwsgi]\nmodule = app\nsocket = /tmp/s\nx = exec://touch "+name+".run\nini = exec://touch "+name+".run\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if governs([]string{"--ini", name}, nil) {
		t.Error("an application governs")
	}
	if _, err := os.Stat(name + ".run"); err == nil {
		t.Error("a program was run to find out what the file is")
	}
}

// FuzzPidFile: whatever a pid file holds, it is a number of one process or an error.
func FuzzPidFile(f *testing.F) {
	for _, seed := range []string{"1\n", "", "0", "-1", "99999999999999", "12 34", "\x00", "+5", " 7 "} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if pid, err := parsePid(text); err == nil && pid < 1 {
			t.Errorf("%q is %d", text, pid)
		}
	})
}
