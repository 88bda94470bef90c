package vassal

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/protocol/pipe"
)

// run runs vassald to its end.
func run(t *testing.T, dir string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "VASSALD_UNDER_TEST=1")
	var out, bad strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &bad
	_ = cmd.Run()
	return cmd.ProcessState.ExitCode(), out.String(), bad.String()
}

func TestCommandLine(t *testing.T) {
	dir, _ := configure(t, "module = plain", "processes = fuor")
	for _, c := range []struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		{[]string{"--version"}, 0, "vassald " + Version, ""},
		{[]string{"--help"}, 0, "vassald --ini FILE[:section]", ""},
		{nil, 2, "", "vassald needs a configuration: vassald --ini FILE (see vassald --help)"},
		{[]string{"--ini", "nothing.ini"}, 2, "", "nothing.ini"},
		{[]string{"--ini", "app.ini"}, 2, "", `vassald: app.ini:7: option "processes": value "fuor" is not a number`},
		{[]string{"--resolve", "--ini", "app.ini"}, 0, `value \"fuor\" is not a number`, ""}, // the document says it
	} {
		code, stdout, stderr := run(t, dir, c.args...)
		if code != c.code || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) {
			t.Errorf("%v: exit code %d, stdout %q, stderr %q; want %d, %q, %q", c.args, code, stdout, stderr, c.code, c.stdout, c.stderr)
		}
	}
}

func TestRootWithUIDIsToldWhatToRun(t *testing.T) {
	if os.Geteuid() != 0 {
		return // an ordinary user cannot get into that situation
	}
	dir, socket := configure(t, "module = plain", "uid = nobody", "gid = nogroup")
	code, _, stderr := run(t, dir, "--ini", "app.ini")
	if want := "run: emperord --emperor " + filepath.Join(dir, "app.ini"); code != 2 || !strings.Contains(stderr, want) {
		t.Errorf("exit code %d, %q; want 2 and %q", code, stderr, want)
	}
	if _, err := os.Lstat(socket); err == nil {
		t.Error("a socket was made all the same")
	}
}

func TestResolveReadsTheDescriptorItWasGiven(t *testing.T) {
	dir, socket := configure(t, "module = plain", "processes = 3")
	file, err := os.Open(filepath.Join(dir, "app.ini"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := os.WriteFile(filepath.Join(dir, "app.ini.new"), []byte("[uwsgi]\nsocket = /tmp/other\nmodule = other\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "app.ini.new"), filepath.Join(dir, "app.ini")); err != nil { // after it was judged
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "--resolve", "--ini", "app.ini")
	cmd.Dir = dir
	cmd.Env = []string{"VASSALD_UNDER_TEST=1", pipe.FileVariable + "=3"}
	cmd.ExtraFiles = []*os.File{file}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	r, err := configs.DecodeResolution(strings.NewReader(string(out)))
	if err != nil || len(r.Sockets) != 1 || r.Sockets[0].Address != socket {
		t.Errorf("got %+v, %v", r, err)
	}
}
