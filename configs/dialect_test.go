package configs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// The cases were recorded on uWSGI 2.0.21 in folders of these names, which stand in the results.
const caseRoot = "/tmp/ucase"

// TestDialect reads every recorded case and compares with what `uwsgi --show-config` printed. Where uWSGI ended with an
// error, crashed or never came to an end, an *Error is expected, and not one that says "not supported yet".
func TestDialect(t *testing.T) {
	lockCases(t)
	cases, err := os.ReadDir("testdata/dialect")
	if err != nil {
		t.Fatal(err)
	}
	listed, passed := len(unsupported), 0
	for _, c := range cases {
		reason, known := unsupported[c.Name()]
		if known {
			listed--
		}
		t.Run(c.Name(), func(t *testing.T) {
			err := runCase(t, c.Name())
			switch {
			case err != nil && !known:
				t.Error(err)
			case err == nil && known:
				t.Errorf("passes now; take it off the list (%q)", reason)
			case err == nil:
				passed++
			}
		})
	}
	if listed != 0 {
		t.Errorf("the list names %d cases that do not exist", listed)
	}
	t.Logf("%d of %d cases come out as in uWSGI", passed, len(cases))
}

// inRoot finds a file that a case makes in the root folder, where a test does not write: it is made in the case's own folder,
// and opened by the name that the case says. The reader finds no such file in the root folder, so what %i and links would be is not seen.
var inRoot = regexp.MustCompile(`> (/ucase[a-z.-]+)`)

// lockCases keeps other test processes from the folder of the cases, which has a fixed name.
func lockCases(t *testing.T) {
	t.Helper()
	lock, err := os.Open(filepath.Dir(caseRoot))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lock.Close() })
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(caseRoot) })
}

// caseQuestion puts one case into its own folder, and returns what is asked there.
func caseQuestion(t *testing.T, name string) question {
	t.Helper()
	src, dir := filepath.Join("testdata/dialect", name), filepath.Join(caseRoot, name)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(src)); err != nil {
		t.Fatal(err)
	}
	q := question{dir: dir, args: []string{"--ini", "main.ini"}, env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}}
	if text, err := os.ReadFile(src + "/args"); err == nil {
		q.args = strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	}
	if text, err := os.ReadFile(src + "/env"); err == nil {
		q.env = append(q.env, strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")...)
	}
	if text, err := os.ReadFile(src + "/stdin"); err == nil {
		q.stdin = text
	}
	for _, f := range []string{"args", "env", "stdin", "mask", "expected.txt", "error.txt", "log.txt", "effect.txt"} {
		os.Remove(filepath.Join(dir, f))
	}
	if setup, err := os.ReadFile(dir + "/setup.sh"); err == nil {
		if root := inRoot.FindSubmatch(setup); root != nil {
			q.root = string(root[1])
			setup = bytes.ReplaceAll(setup, root[0], []byte("> ."+q.root))
			if err := os.WriteFile(dir+"/setup.sh", setup, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command("sh", "./setup.sh")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("setup.sh: %v: %s", err, out)
		}
	}
	return q
}

// runCase reads one case in its own folder; the error says how it differs.
func runCase(t *testing.T, name string) error {
	src, q := filepath.Join("testdata/dialect", name), caseQuestion(t, name)
	settings, err := Read(q.reading(t))
	var fault *Error
	if err != nil && !errors.As(err, &fault) {
		return fmt.Errorf("the error is no *Error: %w", err)
	}
	if text, bad := os.ReadFile(src + "/error.txt"); bad == nil {
		switch {
		case err == nil:
			return fmt.Errorf("was read, and uWSGI said: %s", text)
		case errors.Is(err, errors.ErrUnsupported):
			return err
		}
		return nil
	}
	if err != nil {
		return err
	}
	want, err := os.ReadFile(src + "/expected.txt")
	if err != nil {
		t.Fatal(err)
	}
	got := masked(t, src, shown(settings))
	if got != string(want) {
		return fmt.Errorf("got\n%s\nwant\n%s", got, want)
	}
	return nil
}

// shown prints settings as --show-config does.
func shown(settings Settings) string {
	var b strings.Builder
	for _, s := range settings {
		if !s.Unlisted {
			fmt.Fprintf(&b, "%s = %s\n", s.Key, s.Shown())
		}
	}
	return b.String()
}

// masked hides what differs between machines, as the recording did.
func masked(t *testing.T, src, text string) string {
	mask := src + "/mask"
	if _, err := os.Stat(mask); err != nil {
		return text
	}
	cmd := exec.Command("sed", "-E", "-f", mask)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("sed: %v", err)
	}
	return string(out)
}
