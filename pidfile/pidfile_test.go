package pidfile

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain makes the test binary a second process that holds a pid file.
func TestMain(m *testing.M) {
	if path := os.Getenv("PIDFILE_TEST"); path != "" {
		f, err := Write(path, true)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("written")
		_, _ = os.Stdin.Read(make([]byte, 1))
		_ = f.Remove()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "pidfile-test-") // not t.TempDir: the way there shall be plain
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func only(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	var have []string
	for _, e := range entries {
		have = append(have, e.Name())
	}
	if err != nil || strings.Join(have, " ") != strings.Join(names, " ") {
		t.Errorf("in the folder: %q, %v; want %q", have, err, names)
	}
}

func TestWriteAndRemove(t *testing.T) {
	dir := folder(t)
	defer syscall.Umask(syscall.Umask(0o077))
	for _, old := range []string{"", "1\n", "4194304", "  99999999 \n"} {
		path := dir + "/a.pid"
		if old != "" {
			if err := os.WriteFile(path, []byte(old), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		f, err := Write(path, true)
		if err != nil {
			t.Fatalf("over %q: %v", old, err)
		}
		text, err := os.ReadFile(path)
		st, _ := os.Stat(path)
		if err != nil || string(text) != strconv.Itoa(os.Getpid())+"\n" || st.Mode().Perm() != 0o644 {
			t.Errorf("over %q: %q, %v, %v", old, text, st.Mode(), err)
		}
		if err := f.Remove(); err != nil {
			t.Error(err)
		}
		only(t, dir)
	}
}

func TestOnlyPidFilesAreReplaced(t *testing.T) {
	dir := folder(t)
	precious := dir + "/precious"
	for name, make := range map[string]func(path string) error{
		"text": func(p string) error { return os.WriteFile(p, []byte("root:x:0:0\n"), 0o644) },
		"long": func(p string) error { return os.WriteFile(p, []byte(strings.Repeat("1", longest+1)), 0o644) },
		"link": func(p string) error {
			return errors.Join(os.WriteFile(precious, []byte("1"), 0o644), os.Symlink(precious, p))
		},
		"dangling": func(p string) error { return os.Symlink(dir+"/nowhere", p) },
		"folder":   func(p string) error { return os.Mkdir(p, 0o755) },
		"fifo":     func(p string) error { return unix.Mkfifo(p, 0o644) },
	} {
		path := dir + "/" + name
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		before, _ := os.Lstat(path)
		f, err := Write(path, true)
		if err == nil {
			t.Errorf("%s: it was replaced", name)
			_ = f.Remove()
			continue
		}
		if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "choose another path") && !strings.Contains(err.Error(), "remove it") {
			t.Errorf("%s: no remedy in %q", name, err)
		}
		if after, _ := os.Lstat(path); !os.SameFile(before, after) {
			t.Errorf("%s: something else stands there", name)
		}
		os.RemoveAll(path)
	}
	only(t, dir, "precious")
	if _, err := os.Stat(dir + "/nowhere"); err == nil {
		t.Error("a link was followed")
	}
}

// second starts a process that writes the pid file.
func second(t *testing.T, path string) (end func(), pid int, said string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{"PIDFILE_TEST=" + path}
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, _ := out.Read(buf)
	return func() { in.Close(); _ = cmd.Wait() }, cmd.Process.Pid, string(buf[:n])
}

func TestALiveOneIsNotReplacedAndADeadOneIs(t *testing.T) {
	path := folder(t) + "/a.pid"
	f, err := Write(path, true)
	if err != nil {
		t.Fatal(err)
	}
	stop, _, said := second(t, path)
	stop()
	if want := fmt.Sprintf("belongs to process %d, which runs", os.Getpid()); !strings.Contains(said, want) {
		t.Errorf("the second one said %q", said)
	}
	if text, _ := os.ReadFile(path); string(text) != strconv.Itoa(os.Getpid())+"\n" {
		t.Errorf("it holds %q", text)
	}
	// One that needs not be alone takes the place of a live one: a new generation does.
	g, err := Write(path, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Remove(); err != nil { // and the old one leaves it alone
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
	// Killed, it leaves its file, and keeps nobody from starting.
	stop, pid, said := second(t, path)
	if said != "written\n" {
		t.Fatalf("the second one said %q", said)
	}
	if _, err := Write(path, true); !errors.As(err, new(*Live)) {
		t.Errorf("while it lives: %v", err)
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	stop()
	if f, err = Write(path, true); err != nil {
		t.Fatal(err)
	}
	_ = f.Remove()
}

// A reader can lock a file for reading, and that must not look like an emperor that runs.
func TestAReadersLockMeansNothing(t *testing.T) {
	path := folder(t) + "/a.pid"
	if err := os.WriteFile(path, []byte("77777777\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := unix.FcntlFlock(r.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_RDLCK}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(r.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	f, err := Write(path, true)
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Remove()
}

func TestRootFollowsNoLinkOfStrangers(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("this needs root")
		}
		t.Skip("this needs root")
	}
	const stranger = 61710
	dir := folder(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"precious", "theirs", "shared", "sticky", "roots"} {
		if err := os.Mkdir(dir+"/"+sub, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	err := errors.Join(os.Chown(dir+"/theirs", stranger, stranger), os.Chmod(dir+"/shared", 0o777), os.Chmod(dir+"/sticky", 0o777|os.ModeSticky))
	for _, sub := range []string{"theirs", "shared", "sticky", "roots"} {
		err = errors.Join(err, os.Symlink("../precious", dir+"/"+sub+"/link"), os.Symlink("../precious", dir+"/"+sub+"/own"))
	}
	err = errors.Join(err, os.Lchown(dir+"/sticky/link", stranger, stranger))
	if err != nil {
		t.Fatal(err)
	}
	for path, good := range map[string]bool{"theirs/link": false, "shared/link": false, "sticky/link": false, "sticky/own": true, "roots/own": true, "theirs": true, "precious": true} {
		f, err := Write(dir+"/"+path+"/a.pid", true)
		if good != (err == nil) {
			t.Errorf("%s: %v", path, err)
		}
		if err == nil {
			_ = f.Remove()
		} else if !strings.Contains(err.Error(), "somebody else than root") {
			t.Errorf("%s: %v", path, err)
		}
	}
	only(t, dir+"/precious")
	// A stranger who exchanges the file for a link all the time gets nothing overwritten.
	if err := os.WriteFile(dir+"/precious/file", []byte("12345"), 0o644); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for {
			select {
			case <-stop:
				return
			default:
				_ = os.Remove(dir + "/theirs/a.pid")
				_ = os.Symlink("../precious/file", dir+"/theirs/a.pid")
				_ = os.WriteFile(dir+"/theirs/n", []byte("1"), 0o644)
				_ = os.Rename(dir+"/theirs/n", dir+"/theirs/a.pid")
			}
		}
	}()
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
		if f, err := Write(dir+"/theirs/a.pid", true); err == nil {
			_ = f.Remove()
		}
	}
	close(stop)
	<-gone
	if text, err := os.ReadFile(dir + "/precious/file"); string(text) != "12345" {
		t.Errorf("the file of somebody else holds %q, %v", text, err)
	}
}

func TestAFolderThatIsMissing(t *testing.T) {
	dir := folder(t)
	_, err := Write(dir+"/x/y/a.pid", false)
	if err == nil || !strings.Contains(err.Error(), "mkdir -p "+dir+"/x") {
		t.Error(err)
	}
}

// An emperor that has given up root cannot remove its file; then it is empty.
func TestAFileThatMayNotBeRemovedIsEmptied(t *testing.T) {
	path := folder(t) + "/a.pid"
	f, err := Write(path, true)
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		t.Log("not root: tested in CI")
		_ = f.Remove()
		return
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 61710, 61710, 61710); errno != 0 {
			done <- errno
			return
		}
		done <- f.Remove()
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || len(text) > 0 {
		t.Errorf("it holds %q, %v", text, err)
	}
	if f, err = Write(path, true); err != nil {
		t.Fatal(err)
	}
	_ = f.Remove()
}
