package logs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func say(text string) []byte { return []byte("log: " + text + "\n") }

func open(t *testing.T, o Options) *Log {
	t.Helper()
	o.Say = say
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func put(t *testing.T, l *Log, line string) {
	t.Helper()
	if n, err := l.Write([]byte(line + "\n")); n != len(line)+1 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
}

func wants(t *testing.T, path, text string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != text {
		t.Errorf("%s holds %q, not %q (%v)", filepath.Base(path), got, text, err)
	}
}

// TestARotationNeedsNoSignal does what logrotate(8) does: create, nocreate and copytruncate.
func TestARotationNeedsNoSignal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	l := open(t, Options{Path: path})
	put(t, l, "one")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&^0o640 != 0 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	// create: moved, and made again with another mode a moment later
	os.Rename(path, path+".1")
	put(t, l, "between") // nobody has the name yet
	if err := os.WriteFile(path, nil, 0o604); err != nil {
		t.Fatal(err)
	}
	put(t, l, "two")
	wants(t, path+".1", "one\nbetween\n")
	wants(t, path, "two\n")
	// nocreate, or rm: made again after the grace
	os.Rename(path, path+".2")
	put(t, l, "late")
	l.gone = l.gone.Add(-grace)
	put(t, l, "three")
	wants(t, path+".2", "two\nlate\n")
	wants(t, path, "three\n")
	// copytruncate
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	put(t, l, "four")
	wants(t, path, "four\n")
}

func TestALogThatIsFullIsMovedAway(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	l := open(t, Options{Path: path, Max: 8, Backup: path + ".old"})
	for _, line := range []string{"one", "two", "three", "four"} {
		put(t, l, line)
	}
	wants(t, path+".old", "one\ntwo\n")
	wants(t, path, "three\nfour\n")
	l = open(t, Options{Path: path, Max: 8})
	put(t, l, "five")
	if names, _ := filepath.Glob(path + ".[0-9]*"); len(names) != 1 {
		t.Errorf("%q", names)
	}
	l = open(t, Options{Path: path, Truncate: true})
	wants(t, path, "")
	put(t, l, "six")
	// a backup that cannot be made costs no line
	var elsewhere bytes.Buffer
	l = open(t, Options{Path: path, Max: 1, Backup: dir + "/no/such/folder", Instead: &elsewhere})
	put(t, l, "seven")
	put(t, l, "eight")
	wants(t, path, "six\nseven\neight\n")
	if n := strings.Count(elsewhere.String(), "cannot be moved to"); n != 1 {
		t.Errorf("said %d times: %q", n, elsewhere.String())
	}
}

// TestAFullDiskIsSaidAndOver fills a file system of 64 KiB.
func TestAFullDiskIsSaidAndOver(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("this test needs root")
		}
		t.Skip("this test needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 48<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	var elsewhere bytes.Buffer
	path := filepath.Join(dir, "a.log")
	l := open(t, Options{Path: path, Instead: &elsewhere})
	line := strings.Repeat("x", 1000)
	for range 40 {
		put(t, l, line)
	}
	if n := strings.Count(elsewhere.String(), "no space left on device; make room there"); n != 1 {
		t.Errorf("said %d times", n)
	}
	inside, _ := os.ReadFile(path)
	in, out := strings.Count(string(inside), line+"\n"), strings.Count(elsewhere.String(), line+"\n")
	if in+out != 40 || out < 10 {
		t.Errorf("%d lines in the file, %d elsewhere", in, out)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	put(t, l, "well again")
	put(t, l, "and on")
	inside, _ = os.ReadFile(path)
	if !strings.HasSuffix(string(inside), fmt.Sprintf("\nwell again\nlog: the log %s can be written again; %d lines went elsewhere, because it could not: no space left on device; make room there\nand on\n", path, out)) {
		t.Errorf("%q", inside[max(0, len(inside)-300):])
	}
	if !strings.Contains(elsewhere.String(), "can be written again") {
		t.Error("it is not said elsewhere that it is over")
	}
}

// TestTheRemedyIsTrue runs, as root, each command that a message names, until the log can be opened by its user.
func TestTheRemedyIsTrue(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("this test needs root")
		}
		t.Skip("this test needs root")
	}
	const uid = 61810
	for _, c := range []struct {
		name, path, words string
		make              func(dir string) error
	}{
		{"no folder", "log/deep/a.log", "there is no folder", func(string) error { return nil }},
		{"a folder of others", "log/a.log", "may not make files in", func(dir string) error { return os.Mkdir(dir+"/log", 0o755) }},
		{"a file of others", "log/a b.log", "may not write it (mode 0640)", func(dir string) error {
			return errors.Join(os.Mkdir(dir+"/log", 0o755), os.WriteFile(dir+"/log/a b.log", nil, 0o640))
		}},
		{"a file without write right", "a.log", "may not write it (mode 0444)", func(dir string) error {
			return errors.Join(os.WriteFile(dir+"/a.log", nil, 0o444), os.Chown(dir+"/a.log", uid, uid))
		}},
		{"a closed folder", "log/a.log", "may not enter", func(dir string) error {
			return errors.Join(os.Mkdir(dir+"/log", 0o700), os.WriteFile(dir+"/log/a.log", nil, 0o666), os.Chmod(dir+"/log/a.log", 0o666))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, err := os.MkdirTemp("/tmp", "emperord-logs-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			if err := errors.Join(os.Chmod(dir, 0o755), c.make(dir)); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, c.path)
			for try := 0; ; try++ {
				text := openAs(t, uid, path)
				if text == "" {
					if try == 0 {
						t.Fatal("it can be opened as it is")
					}
					return
				}
				if try == 0 && !strings.Contains(text, c.words) {
					t.Errorf("%q does not say %q", text, c.words)
				}
				_, command, found := strings.Cut(text, "run: ")
				if !found || try == 3 {
					t.Fatalf("still: %s", text)
				}
				if out, err := exec.Command("/bin/sh", "-c", command).CombinedOutput(); err != nil {
					t.Fatalf("%s: %v: %s", command, err, out)
				}
			}
		})
	}
}

// openAs opens a log with the rights of uid, in a process of its own.
func openAs(t *testing.T, uid uint32, path string) string {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=TestOpenAsSomebody")
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(os.TempDir(), fmt.Sprintf("emperord-logs-%d.test", os.Getpid()))
	if err := os.WriteFile(program, exe, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(program)
	cmd.Path = program
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "OPEN_LOG="+path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_, text, _ := strings.Cut(string(out), "SAID ")
	text, _, _ = strings.Cut(text, "\n")
	return text
}

func TestOpenAsSomebody(t *testing.T) {
	path := os.Getenv("OPEN_LOG")
	if path == "" {
		return // it is for openAs
	}
	l, err := Open(Options{Path: path, Say: say})
	l.Close()
	if err != nil {
		fmt.Println("SAID", err)
	}
}

func TestALogThatCannotBeOpenedIsTriedAgain(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "no", "a.log")
	var elsewhere bytes.Buffer
	l, err := Open(Options{Path: path, Say: say, Instead: &elsewhere})
	if err == nil || !strings.Contains(err.Error(), "there is no folder "+dir+"/no") {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	put(t, l, "one")
	if err := os.Mkdir(dir+"/no", 0o755); err != nil {
		t.Fatal(err)
	}
	l.again = time.Time{}
	put(t, l, "two")
	text, err := os.ReadFile(path)
	if err != nil || !strings.HasPrefix(string(text), "two\nlog: the log ") && !strings.HasSuffix(string(text), "\ntwo\n") {
		t.Errorf("%q %v", text, err)
	}
	if !strings.HasPrefix(elsewhere.String(), "one\n") {
		t.Errorf("%q", elsewhere.String())
	}
}

// TestAFIFOThatNobodyReadsHoldsNobodyUp would hang.
func TestAFIFOThatNobodyReadsHoldsNobodyUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	var elsewhere bytes.Buffer
	l, err := Open(Options{Path: path, Say: say, Instead: &elsewhere})
	if err == nil || !strings.Contains(err.Error(), "nobody reads") {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	reader, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(reader)
	l.again = time.Time{}
	for range 2000 { // more than a FIFO holds
		put(t, l, strings.Repeat("x", 100))
	}
	if !strings.Contains(elsewhere.String(), "nobody reads the FIFO fast enough") {
		t.Errorf("%.300q", elsewhere.String())
	}
}
