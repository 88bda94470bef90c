package emperor

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// says waits until the monitor has said something with these words.
func (w *watch) says(words string) string {
	w.t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		w.mu.Lock()
		said := slices.Clone(w.said)
		w.mu.Unlock()
		for _, line := range said {
			if strings.Contains(line, words) {
				return line
			}
		}
		if time.Now().After(end) {
			w.t.Fatalf("said %q, want %q", said, words)
		}
	}
}

// eventually waits until exactly these have been reported, whatever the order and the repetitions.
func (w *watch) eventually(reports ...string) {
	w.t.Helper()
	slices.Sort(reports)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		w.mu.Lock()
		got := slices.Clone(w.seen)
		w.mu.Unlock()
		slices.Sort(got)
		if slices.Equal(slices.Compact(got), reports) {
			break
		}
		if time.Now().After(end) {
			w.t.Fatalf("reported %q, want %q", got, reports)
		}
	}
	w.mu.Lock()
	w.seen = nil
	w.mu.Unlock()
}

// TestOverflowLosesNothing makes more events than the kernel keeps while the monitor is held up.
func TestOverflowLosesNothing(t *testing.T) {
	text, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	mustDo(t, err)
	most, err := strconv.Atoi(strings.TrimSpace(string(text)))
	mustDo(t, err)
	if most > 1<<18 {
		t.Fatalf("%d events are more than this test can make", most)
	}
	w := newWatch(t, never, false)
	time.Sleep(50 * time.Millisecond)
	w.write("kept.ini", "one")
	w.want(time.Second, "Seen kept.ini")
	w.mu.Lock() // the next report waits for us
	w.write("first.ini", "one")
	time.Sleep(5 * restless)
	name := w.dir + "/noise.txt"
	for range most/2 + 1000 { // a creation and a removal each
		fd, err := unix.Open(name, unix.O_CREAT|unix.O_WRONLY, 0o644)
		mustDo(t, err)
		unix.Close(fd)
		mustDo(t, unix.Unlink(name))
	}
	for i := range 100 {
		mustDo(t, os.WriteFile(fmt.Sprintf("%s/lost%d.ini", w.dir, i), nil, 0o644))
	}
	mustDo(t, os.Remove(w.dir+"/kept.ini"))
	w.mu.Unlock()
	want := []string{"Gone kept.ini", "Seen first.ini"}
	for i := range 100 {
		want = append(want, fmt.Sprintf("Seen lost%d.ini", i))
	}
	w.eventually(want...)
	w.says("lost sight of some changes, looking again")
}

// TestFoldersAreExchanged moves and links folders as deployments do. The slow look never comes.
func TestFoldersAreExchanged(t *testing.T) {
	w := newWatch(t, never, false, "v")
	w.says("mkdir -p")
	for _, dir := range []string{"/new", "/v"} {
		mustDo(t, os.Mkdir(w.dir+dir, 0o755))
	}
	w.write("new/a.ini", "of the new folder")
	w.write("new/b.ini", "one")
	w.write("v/a.ini", "of the old folder")
	w.eventually("Seen a.ini")
	mustDo(t, os.Rename(w.dir+"/v", w.dir+"/old"))
	time.Sleep(3 * restless) // a folder that is gone for a moment takes nothing with it
	mustDo(t, os.Rename(w.dir+"/new", w.dir+"/v"))
	w.eventually("Seen a.ini", "Seen b.ini")
	w.write("v/c.ini", "it is watched")
	w.eventually("Seen c.ini")
	w.write("old/d.ini", "it is not watched any more")
	mustDo(t, unix.Renameat2(unix.AT_FDCWD, w.dir+"/v", unix.AT_FDCWD, w.dir+"/old", unix.RENAME_EXCHANGE))
	w.eventually("Seen a.ini", "Gone b.ini", "Gone c.ini", "Seen d.ini")
	mustDo(t, os.Rename(w.dir+"/v", w.dir+"/older"), os.Symlink("old", w.dir+"/v"))
	w.eventually("Seen a.ini", "Seen b.ini", "Seen c.ini", "Gone d.ini")
	w.write("old/e.ini", "it is watched behind the link")
	w.eventually("Seen e.ini")
}

// TestFolderWhoseParentComesLater is seen at once, in whatever steps it comes.
func TestFolderWhoseParentComesLater(t *testing.T) {
	for _, pause := range []time.Duration{0, time.Millisecond, 15 * time.Millisecond, 3 * restless} {
		t.Run(pause.String(), func(t *testing.T) {
			w := newWatch(t, never, false, "a/b/c/d", "*/x/y/*.ini")
			w.says("mkdir -p")
			for _, dir := range []string{"a", "a/b", "a/b/c", "a/b/c/d", "a/x", "a/x/y"} {
				time.Sleep(pause)
				mustDo(t, os.Mkdir(w.dir+"/"+dir, 0o755))
			}
			w.write("a/b/c/d/one.ini", "one")
			w.eventually("Seen one.ini")
			time.Sleep(3 * restless) // below a glob, only what the look before has seen is watched
			w.write("a/x/y/two.ini", "two")
			w.eventually("Seen a/x/y/two.ini")
			mustDo(t, os.RemoveAll(w.dir+"/a/b/c/d"), os.Mkdir(w.dir+"/a/b/c/d", 0o755))
			w.write("a/b/c/d/three.ini", "three")
			w.eventually("Gone one.ini", "Seen three.ini")
		})
	}
}

// TestMountedOver has another file system put over the folder, and taken away again. The kernel tells nothing of the first.
func TestMountedOver(t *testing.T) {
	needRoot(t)
	w := newWatch(t, 50*time.Millisecond, false, "v")
	mustDo(t, os.Mkdir(w.dir+"/v", 0o755))
	w.write("v/below.ini", "one")
	w.eventually("Seen below.ini")
	mustDo(t, unix.Mount("over", w.dir+"/v", "tmpfs", 0, "size=1m"))
	t.Cleanup(func() { _ = unix.Unmount(w.dir+"/v", unix.MNT_DETACH) })
	w.eventually("Gone below.ini")
	w.write("v/above.ini", "one")
	w.eventually("Seen above.ini")
	mustDo(t, unix.Unmount(w.dir+"/v", unix.MNT_DETACH))
	w.eventually("Gone above.ini", "Seen below.ini")
	w.write("v/below.ini", "two, and it is watched again")
	w.eventually("Seen below.ini")
}

// TestTheSameFolderByTwoWays is one folder.
func TestTheSameFolderByTwoWays(t *testing.T) {
	w := newWatch(t, never, false, "v", "v", "link")
	w.says("mkdir -p")
	mustDo(t, os.Symlink("v", w.dir+"/link"), os.Mkdir(w.dir+"/v", 0o755))
	time.Sleep(3 * restless)
	w.write("v/a.ini", "one")
	w.eventually("Seen a.ini")
	w.write("v/a.ini", "two")
	w.eventually("Seen a.ini")
	w.mu.Lock()
	defer w.mu.Unlock()
	if said := strings.Join(w.said, "\n"); strings.Contains(said, "the same name") {
		t.Errorf("said %s", said)
	}
}

// watches counts what this process watches with inotify.
func watches(t *testing.T) (n int) {
	t.Helper()
	infos, err := filepath.Glob("/proc/self/fdinfo/*")
	mustDo(t, err)
	for _, name := range infos {
		text, _ := os.ReadFile(name)
		n += strings.Count(string(text), "inotify wd:")
	}
	return n
}

// TestLimitsOfInotify runs in a user namespace of its own, whose limits are nobody else's.
func TestLimitsOfInotify(t *testing.T) {
	if os.Getenv("INOTIFY_LIMITS") == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestLimitsOfInotify$", "-test.v")
		cmd.Env = append(os.Environ(), "INOTIFY_LIMITS=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}}
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	set := func(name string, n int) {
		t.Helper()
		mustDo(t, os.WriteFile("/proc/sys/user/"+name, []byte(strconv.Itoa(n)), 0))
	}
	obey := func(said string) { // does what the message says
		t.Helper()
		_, assignment, _ := strings.Cut(said, "sysctl -w user.")
		name, number, ok := strings.Cut(assignment, "=")
		n, err := strconv.Atoi(number)
		if !ok || err != nil {
			t.Fatalf("no remedy in %q", said)
		}
		set(name, n)
	}
	settled := func(n int) {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); watches(t) != n; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d folders are watched, want %d", watches(t), n)
			}
		}
	}
	t.Run("watches", func(t *testing.T) {
		set("max_inotify_watches", 2)
		w := newWatch(t, 50*time.Millisecond, false, "*/*.ini")
		for _, dir := range []string{"one", "two", "three"} {
			mustDo(t, os.Mkdir(w.dir+"/"+dir, 0o755))
		}
		said := w.says("has used up its inotify watches; changes there are found every 50ms; the limit is 2")
		for _, dir := range []string{"one", "two", "three"} {
			w.write(dir+"/a.ini", "one")
		}
		w.eventually("Seen one/a.ini", "Seen three/a.ini", "Seen two/a.ini") // the slow look carries on
		obey(said)
		settled(4)
	})
	t.Run("instances", func(t *testing.T) {
		set("max_inotify_instances", 0)
		w := newWatch(t, 50*time.Millisecond, false)
		said := w.says("changes are found every 50ms; the limit is 0")
		w.write("a.ini", "one")
		w.eventually("Seen a.ini")
		obey(said)
		settled(1)
	})
}
