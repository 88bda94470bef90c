package vassal

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestShowConfigAsUWSGI(t *testing.T) {
	dir, _ := configure(t, "module = plain", "processes = abc", "x = @(exec://echo ran)")
	broken := filepath.Join(dir, "broken.ini")
	if err := os.WriteFile(broken, []byte("[uwsgi]\ninclude = nosuch.ini\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sc.ini"), []byte("[uwsgi]\nshow-config\na = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bytes.ini"), []byte("[uwsgi]\na = \xff\xfe\nb = @(broken.ini)\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		{[]string{"--show-config", "--ini", "app.ini"}, 0, "x = ran\n;end of configuration\n\n", `would not run this: app.ini:7: option "processes": value "abc" is not a number`},
		{[]string{"--ini", "app.ini", "--show-conf"}, 0, "x = ran\nshow-config = true\n;end of configuration\n\n", "would not run this"},
		{[]string{"--show-config", "--set", "a=1", "--show-config"}, 0, "\n;uWSGI instance configuration\n[uwsgi]\nshow-config = true\nset = a=1\na = 1\nshow-config = true\n;end of configuration\n\n", "names no socket"},
		{[]string{"--show-config", "--ini", "broken.ini"}, 2, "", "nosuch.ini"},
		{[]string{"--show-config", "--exit"}, 2, "", "ends the program here"},
		{[]string{"--show-config", "--version"}, 0, "vassald " + Version + "\n", ""},
		{[]string{"--show-config", "--ini", "bytes.ini"}, 0, "a = \xff\xfe\nb = [uwsgi]\ninclude = nosuch.ini\n", ""},
		{[]string{"--show-config", "--resolve", "h=127.0.0.1"}, 0, "show-config = true\nresolve = h=127.0.0.1\nh = 127.0.0.1\n", ""},
		{[]string{"--resolve", "h=127.0.0.1", "--show-config"}, 0, "[uwsgi]\nresolve = h=127.0.0.1\nh = 127.0.0.1\nshow-config = true\n", ""},
		{[]string{"--ini", "sc.ini"}, 2, "[uwsgi]\nini = sc.ini\nshow-config = \na = 1\n;end of configuration\n\n", "names no socket"}, // uWSGI goes on as well
		{[]string{"--resolve", "--ini", "sc.ini"}, 0, `{"version":1,"error":`, ""},
	} {
		code, stdout, stderr := run(t, dir, c.args...)
		if code != c.code || !strings.Contains(stdout, c.stdout) || (c.stdout == "") != (stdout == "") || !strings.Contains(stderr, c.stderr) {
			t.Errorf("%v: exit code %d, stdout %q, stderr %q; want %d, %q, %q", c.args, code, stdout, stderr, c.code, c.stdout, c.stderr)
		}
	}
}

// A reload runs the programs of the configuration again, in the middle of the loop that reaps, and nothing of them is left.
func TestReloadRunsProgramsAgain(t *testing.T) {
	d := start(t, "module = plain", "processes = @(exec://cat count 2>/dev/null || echo 1; (sleep 1000; true) >/dev/null 2>&1 & echo $$ >>groups)")
	if _, workers := d.family(); len(workers) != 1 {
		t.Fatalf("%d workers", len(workers))
	}
	if err := os.WriteFile(filepath.Join(d.dir, "count"), []byte("2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 { // each one may come while another is under way
		if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	d.eventually("two workers serve", func() bool {
		_, workers := d.family()
		return len(workers) == 2 && strings.Contains(d.said(), "reloaded")
	})
	text, err := os.ReadFile(filepath.Join(d.dir, "groups"))
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range strings.Fields(string(text)) {
		if left, _ := filepath.Glob("/proc/" + group); left != nil {
			t.Errorf("the program %s is left", group)
		}
	}
	if code := d.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// The emperor kills a resolver whose vassal file has gone: what it runs goes as well.
func TestAProgramEndsWithItsResolver(t *testing.T) {
	dir, _ := configure(t, "module = plain", "x = @(exec://echo $$ >pid.new; mv pid.new pid; exec sleep 1000)")
	cmd := exec.Command("/proc/self/exe", "--resolve", "--ini", "app.ini")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "VASSALD_UNDER_TEST=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	wait := func(what string, is func() bool) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("waited in vain until %s", what)
			}
		}
	}
	wait("the program runs", func() bool {
		text, err := os.ReadFile(filepath.Join(dir, "pid"))
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		return err == nil && pid > 1
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	wait("the program has ended", func() bool {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		return err != nil || strings.Contains(string(text), ") Z ") // nobody may be there to reap it
	})
}

// Who stops vassald does not wait for a program that a reload runs, nor for a file that never answers.
func TestAStopDoesNotWaitForTheReadingOfAReload(t *testing.T) {
	for name, lines := range map[string][]string{
		"program": {"module = plain", "x = @(exec://test ! -e again || { echo $$ >>hangs; sleep 1000 | cat; })", "route-run = log:%(x)"},
		"fifo":    {"module = plain", "if-exists = again", "include = fifo.ini", "endif ="},
	} {
		t.Run(name, func(t *testing.T) {
			d := start(t, lines...)
			if err := syscall.Mkfifo(filepath.Join(d.dir, "fifo.ini"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(d.dir, "again"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			hangs := filepath.Join(d.dir, "hangs")
			if name == "program" {
				d.eventually("the program runs", func() bool {
					text, _ := os.ReadFile(hangs)
					return strings.HasSuffix(string(text), "\n")
				})
			}
			if code := d.stop(syscall.SIGTERM); code != 0 || strings.Contains(d.said(), "reload failed") || !strings.Contains(d.said(), "told to stop (SIGTERM)") {
				t.Errorf("exit code %d; the log is:\n%s", code, d.said())
			}
			if text, err := os.ReadFile(hangs); err == nil {
				if left, _ := filepath.Glob("/proc/" + strings.TrimSpace(string(text))); left != nil {
					t.Errorf("the program %s is left", text)
				}
			}
		})
	}
}
