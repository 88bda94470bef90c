package guard

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func table(t *testing.T) *Table {
	t.Helper()
	tab, err := NewTable()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tab.Close() })
	return tab
}

func TestTheTableSaysWhatWasPutThere(t *testing.T) {
	tab := table(t)
	long := strings.Repeat("x", slotSize)
	put := []Record{{100, 61650, 7, time.Minute, "/sys/fs/cgroup/a"}, {101, 0, 1 << 63, 0, ""}, {102, 1<<31 + 5, 1, 0, long}}
	for _, r := range put {
		if err := tab.Put(r); err != nil {
			t.Fatal(err)
		}
	}
	put[2].Folder = "" // no record holds it
	all, err := read(tab.File())
	if err != nil || len(all) != 3 {
		t.Fatalf("%v, %v", all, err)
	}
	for i, k := range all {
		if k.Record != put[i] || k.ended != 0 {
			t.Errorf("%+v, want %+v", k, put[i])
		}
	}
	put[0].Mercy = time.Hour
	if err := tab.Put(put[0]); err != nil { // changes it
		t.Fatal(err)
	}
	if err := tab.End(100); err != nil {
		t.Fatal(err)
	}
	if err := tab.Put(Record{Session: 100, UID: 1}); err != nil { // a number that was given again
		t.Fatal(err)
	}
	all, _ = read(tab.File())
	if len(all) != 4 || all[0].ended == 0 || all[0].Mercy != time.Hour || all[3].Session != 100 || all[3].UID != 1 || all[3].ended != 0 {
		t.Errorf("%+v", all)
	}
	tab.tidy(boottime() + Lingering + time.Second)
	if all, _ = read(tab.File()); len(all) != 3 || slices.ContainsFunc(all, func(k known) bool { return k.ended != 0 }) {
		t.Errorf("what ended long ago is there: %+v", all)
	}
	if n := tab.Leaders(); n != 3 {
		t.Errorf("%d leaders, want those of 100 (the second one), 101 and 102", n)
	}
	if err := tab.Put(Record{Session: 103}); err != nil || tab.slots != 4 {
		t.Errorf("%d records, %v; the free one was to be taken", tab.slots, err)
	}
	for _, wrong := range []Record{{Session: 1}, {Session: 0}, {Session: 5, UID: -1}} {
		if tab.Put(wrong) == nil {
			t.Errorf("%+v was taken", wrong)
		}
	}
}

func FuzzRead(f *testing.F) {
	tab, err := NewTable()
	if err != nil {
		f.Fatal(err)
	}
	defer tab.Close()
	_ = tab.Put(Record{100, 61650, 7, time.Minute, "/a"})
	text, _ := io.ReadAll(io.NewSectionReader(tab.File(), 0, 1<<20))
	f.Add(text)
	f.Add(text[:slotSize+40])
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := read(bytes.NewReader(text))
		if err != nil {
			return
		}
		for _, k := range all {
			if k.Session <= 1 || k.Mercy < 0 || k.UID < 0 {
				t.Errorf("%+v", k)
			}
		}
	})
}

// stranger is who the processes of these tests are, where root runs them.
const stranger = 61650

// run starts a shell in a session of its own, and waits until it says that it is ready.
func run(t *testing.T, uid int, mark uint64, script string) *exec.Cmd {
	t.Helper()
	c := exec.Command("/bin/sh", "-c", script)
	c.Dir, c.Env = "/", []string{"PATH=/usr/bin:/bin", Variable + "=" + MarkText(mark)}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if os.Geteuid() == 0 {
		c.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
	}
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return c
}

// marked returns who carries a mark, the dead left out.
func marked(mark uint64) (pids []int) {
	all, _ := processes()
	for pid, p := range all {
		if !p.dead && markOf(pid) == mark {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Error(what)
			return
		}
	}
}

// watching begins a watch at this moment.
func watching(t *testing.T, tab *Table, mercy time.Duration) *watch {
	t.Helper()
	w, err := begin(tab.File(), mercy, boottime())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *watch) mustLook(t *testing.T, after time.Duration) time.Duration {
	t.Helper()
	next, err := w.look(w.at + after)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func uid() int {
	if os.Geteuid() == 0 {
		return stranger
	}
	return os.Geteuid()
}

// TestALeaderHasItsTime: who leads a session ends it by itself. Nobody is touched before the time is over, then everybody is killed.
func TestALeaderHasItsTime(t *testing.T) {
	mark := uint64(os.Getpid())<<20 | 1
	c := run(t, uid(), mark, "trap '' TERM; sleep 1000 & setsid sleep 1000 & echo; wait")
	tab := table(t)
	if err := tab.Put(Record{Session: c.Process.Pid, UID: uid(), Mark: mark, Mercy: 30 * time.Second}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "three processes", func() bool { return len(marked(mark)) == 3 })
	w := watching(t, tab, time.Second)
	for _, after := range []time.Duration{0, time.Second, 29 * time.Second} {
		if next := w.mustLook(t, after); next <= 0 || len(w.killed) > 0 {
			t.Fatalf("after %s: next look in %s, killed %v", after, next, w.killed)
		}
	}
	if left := marked(mark); len(left) != 3 {
		t.Fatalf("%v are left while there is time", left)
	}
	w.mustLook(t, 30*time.Second)
	eventually(t, "somebody is left", func() bool { return len(marked(mark)) == 0 })
	for w.mustLook(t, 30*time.Second) != 0 {
	}
	if len(w.killed) != 3 {
		t.Errorf("killed %v", w.killed)
	}
}

// TestWhatADeadLeaderLeavesIsToldAndKilled: in its session, out of it, and without a name where the parent is still there.
func TestWhatADeadLeaderLeavesIsToldAndKilled(t *testing.T) {
	mark := uint64(os.Getpid())<<20 | 2
	c := run(t, uid(), mark, "sleep 1000 & (trap '' TERM; exec sleep 1000) & setsid sleep 1000 & setsid sh -c 'env -i setsid sleep 1002.5 & wait' & sleep 0.3; echo; wait")
	nameless := func() (pids []int) {
		all, _ := processes()
		for pid, p := range all {
			args, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
			if user, _ := userOf(pid); !p.dead && string(args) == "sleep\x001002.5\x00" && user == uid() {
				pids = append(pids, pid)
			}
		}
		return pids
	}
	eventually(t, "somebody without a name", func() bool { return len(nameless()) == 1 && len(marked(mark)) == 5 })
	tab := table(t)
	if err := tab.Put(Record{Session: c.Process.Pid, UID: uid(), Mark: mark, Mercy: 30 * time.Second}); err != nil {
		t.Fatal(err)
	}
	_ = c.Process.Kill()
	_ = c.Wait()
	w := watching(t, tab, time.Second)
	w.mustLook(t, 0)
	eventually(t, "told to end, and not gone", func() bool { return len(marked(mark)) == 1 && len(nameless()) == 0 })
	w.mustLook(t, 990*time.Millisecond)
	if len(w.killed) > 0 {
		t.Error("killed too early")
	}
	eventually(t, "somebody is left", func() bool { w.mustLook(t, time.Second); return len(marked(mark)) == 0 })
}

// TestNobodyElseIsTouched: whoever only calls himself so, and who has a number that was somebody else's.
func TestNobodyElseIsTouched(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	mark := uint64(os.Getpid())<<20 | 3
	tab := table(t)
	before := boottime() - time.Minute
	impostor := run(t, stranger+1, mark, "echo; exec sleep 1000")
	another := run(t, stranger, 0, "echo; exec sleep 1000")
	ended := run(t, stranger, 0, "echo; exec sleep 1000")
	for _, r := range []Record{{Session: 1 << 30, UID: stranger, Mark: mark}, {Session: another.Process.Pid, UID: stranger}, {Session: ended.Process.Pid, UID: stranger}} {
		if err := tab.Put(r); err != nil {
			t.Fatal(err)
		}
	}
	w := watching(t, tab, time.Second)
	w.sessions[1].written = before // another's leader is younger than the record: the number was given again
	all, _ := read(tab.File())
	w.sessions[2].led, w.sessions[2].ended = false, before // the leader ended, and its number was given again
	if len(all) != 3 {
		t.Fatal(all)
	}
	for range 3 {
		w.mustLook(t, 2*time.Second) // their time is up, and not yet hopeless
	}
	for _, c := range []*exec.Cmd{impostor, another, ended} {
		if p, there := look(c.Process.Pid); !there || p.dead {
			t.Errorf("%v was killed", c.Process.Pid)
		}
	}
	if next := w.mustLook(t, 2*time.Second); next != 0 || len(w.killed) > 0 {
		t.Errorf("next look in %s, killed %v", next, w.killed)
	}
}

// TestALateGuardTouchesNobodyWhoHasANumberAgain: it may have been stopped, or swapped out, for as long as numbers need to be given again, and
// an emperor that came next may have made control groups with the names of those before.
func TestALateGuardTouchesNobodyWhoHasANumberAgain(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	mark := uint64(os.Getpid())<<20 | 4
	leader := run(t, stranger, mark, "echo; exec sleep 1000")
	daemon := run(t, stranger+1, mark, "sleep 1000 & echo; wait")
	eventually(t, "three processes", func() bool { return len(marked(mark)) == 3 })
	_ = daemon.Process.Kill() // its child is in a session without a leader, as every daemon's
	_ = daemon.Wait()
	group := t.TempDir() + "/g1"
	if err := errors.Join(os.Mkdir(group, 0o755), os.WriteFile(group+"/cgroup.procs", []byte(strconv.Itoa(leader.Process.Pid)), 0o644)); err != nil {
		t.Fatal(err)
	}
	tab := table(t)
	for i, pid := range []int{leader.Process.Pid, daemon.Process.Pid} {
		r := Record{Session: pid, UID: stranger, Mark: mark ^ 1, Folder: group}
		if err := tab.write(i+1, encode(known{Record: r, written: boottime() - time.Hour, ino: inode(group) + 1})); err != nil {
			t.Fatal(err)
		}
	}
	w := watching(t, tab, 0)
	for range 3 {
		if next := w.mustLook(t, time.Second); len(w.killed) > 0 {
			t.Fatalf("next look in %s, killed %v", next, w.killed)
		}
	}
	if left := marked(mark); len(left) != 2 {
		t.Errorf("%v are left", left)
	}
	for _, pid := range marked(mark) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// TestTheNumberOfALostControlGroupIsNotTakenForAnother: its name may be given again, its number not.
func TestTheNumberOfALostControlGroupIsNotTakenForAnother(t *testing.T) {
	dir := t.TempDir() + "/g1"
	write := func(pid int) uint64 {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/cgroup.procs", []byte(strconv.Itoa(pid)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return inode(dir)
	}
	ino := write(4242)
	if got := housed(dir, ino); !slices.Equal(got, []int{4242}) {
		t.Errorf("%v", got)
	}
	keep, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) // on other file systems a number is used again
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(keep)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	write(4243)
	if got := housed(dir, ino); got != nil {
		t.Errorf("%v are taken for those before", got)
	}
}

// TestWatchRefusesWhatIsNoTable, before it waits for anybody.
func TestWatchRefusesWhatIsNoTable(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if err := Watch(os.Getppid(), null, time.Second, io.Discard); err == nil {
		t.Error("taken")
	}
}

// TestWatchOfWhoHasGone: the emperor may end before its guard has begun.
func TestWatchOfWhoHasGone(t *testing.T) {
	if err := Watch(1<<30, table(t).File(), 0, io.Discard); err != nil {
		t.Error(err)
	}
}
