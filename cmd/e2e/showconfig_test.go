package e2e

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

const (
	cases    = "../../configs/testdata/dialect"
	caseRoot = "/tmp/ucase" // where the cases were recorded; it stands in the results
	heading  = "\n;uWSGI instance configuration\n[uwsgi]\n"
	ending   = ";end of configuration\n\n"
)

// TestShowConfigPrintsWhatUWSGIPrints runs both daemons with --show-config on every recorded case of the dialect. The
// block must be the same to the byte; where uWSGI ended, crashed or never came to an end, nothing may stand on standard
// output, a cause on standard error, and the exit code must be 2.
func TestShowConfigPrintsWhatUWSGIPrints(t *testing.T) {
	lock, err := os.Open(filepath.Dir(caseRoot)) // another test process may be at the same folder
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(caseRoot) })
	list, err := os.ReadDir(cases)
	if err != nil {
		t.Fatal(err)
	}
	passed, listed := 0, len(differs)
	for _, c := range list {
		reason, known := differs[c.Name()]
		if known {
			listed--
		}
		t.Run(c.Name(), func(t *testing.T) {
			for _, daemon := range []string{"vassald", "emperord"} {
				err := showCase(t, c.Name(), daemon)
				switch {
				case err != nil && !known:
					t.Errorf("%s: %v", daemon, err)
				case err == nil && known:
					t.Errorf("%s: is the same now; take it off the list (%q)", daemon, reason)
				case err == nil:
					passed++
				}
			}
		})
	}
	if listed != 0 {
		t.Errorf("the list names %d cases that do not exist", listed)
	}
	t.Logf("%d of %d answers are the same as uWSGI's", passed, 2*len(list))
}

// inRoot finds a file that a case makes in the root folder. Such a case runs in a root folder of its own.
var inRoot = regexp.MustCompile(`> (/ucase[a-z.-]+)`)

// showCase runs one daemon on one case; the error says how its answer differs.
func showCase(t *testing.T, name, daemon string) error {
	src, dir := filepath.Join(cases, name), filepath.Join(caseRoot, name)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(src)); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"args", "env", "stdin", "mask", "expected.txt", "error.txt", "log.txt", "effect.txt"} {
		os.Remove(filepath.Join(dir, f))
	}
	cmd := exec.Command(filepath.Join(bin, daemon), "--show-config")
	cmd.Dir = dir
	if setup, err := os.ReadFile(dir + "/setup.sh"); err == nil {
		if root := inRoot.FindSubmatch(setup); root != nil {
			if os.Geteuid() != 0 {
				return errors.New("only root can run it, in a root folder of its own")
			}
			setup = bytes.ReplaceAll(setup, root[0], []byte("> ."+string(root[1])))
			copyProgram(t, cmd.Path, dir+"/"+daemon)
			cmd.Path, cmd.Dir, cmd.SysProcAttr = "/"+daemon, "/", &syscall.SysProcAttr{Chroot: dir}
		}
		sh := exec.Command("sh", "-c", string(setup))
		sh.Dir = dir
		if out, err := sh.CombinedOutput(); err != nil {
			t.Fatalf("setup.sh: %v: %s", err, out)
		}
	}
	args, err := os.ReadFile(src + "/args")
	if err != nil {
		args = []byte("--ini\nmain.ini\n")
	}
	cmd.Args = append(cmd.Args, strings.Split(strings.TrimSuffix(string(args), "\n"), "\n")...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	if env, err := os.ReadFile(src + "/env"); err == nil {
		cmd.Env = append(cmd.Env, strings.Split(strings.TrimSuffix(string(env), "\n"), "\n")...)
	}
	if stdin, err := os.Open(src + "/stdin"); err == nil {
		defer stdin.Close()
		cmd.Stdin = stdin
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	code := cmd.ProcessState.ExitCode()
	if said, err := os.ReadFile(src + "/error.txt"); err == nil {
		switch {
		case code != 2 || stdout.Len() > 0:
			return fmt.Errorf("exit code %d and %q, and uWSGI said: %s", code, stdout.String(), said)
		case !strings.HasPrefix(stderr.String(), daemon+": ") || bytes.Contains(stderr.Bytes(), []byte("goroutine ")):
			return fmt.Errorf("says no cause but %q", stderr.String())
		case strings.Contains(stderr.String(), "not supported yet"):
			return fmt.Errorf("%s", stderr.String())
		}
		return nil
	}
	if code != 0 {
		return fmt.Errorf("exit code %d: %s", code, stderr.String())
	}
	want, err := os.ReadFile(src + "/expected.txt")
	if err != nil {
		t.Fatal(err)
	}
	// The recording has taken the line of the flag itself out; it stands behind what the environment says.
	if got := strings.Replace(masked(t, src, stdout.String()), "show-config = true\n", "", 1); got != heading+string(want)+ending {
		return fmt.Errorf("prints\n%s\nand uWSGI\n%s", got, heading+string(want)+ending)
	}
	return nil
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

func copyProgram(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, text, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}
