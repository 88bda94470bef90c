package emperor

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMonitorSeesWhatOperatorsDo(t *testing.T) {
	w := newWatch(t, never, false)
	time.Sleep(50 * time.Millisecond)
	w.write("a.ini", "one")
	w.want(time.Second, "Seen a.ini")
	w.write("notes.txt", "no vassal")
	w.write(".a.ini.swp", "no vassal")
	os.Mkdir(w.dir+"/folder.ini", 0o755)
	w.write("b.ini.tmp", "half")
	os.Rename(w.dir+"/b.ini.tmp", w.dir+"/b.ini") // as editors and deploy tools do
	w.want(time.Second, "Seen b.ini")
	now := time.Now()
	os.Chtimes(w.dir+"/a.ini", now, now)
	w.want(time.Second, "Seen a.ini")
	os.Chmod(w.dir+"/a.ini", 0o600)
	w.want(time.Second, "Seen a.ini")
	os.Rename(w.dir+"/a.ini", w.dir+"/c.ini")
	w.want(time.Second, "Gone a.ini", "Seen c.ini")
	os.Remove(w.dir + "/b.ini")
	os.Remove(w.dir + "/c.ini")
	w.want(time.Second, "Gone b.ini", "Gone c.ini")
}

func TestMonitorWaitsForHalfWrittenFiles(t *testing.T) {
	w := newWatch(t, never, false)
	time.Sleep(50 * time.Millisecond)
	f, err := os.Create(w.dir + "/a.ini")
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		fmt.Fprintln(f, "line")
		time.Sleep(quiet / 4)
	}
	f.Close()
	w.want(time.Second, "Seen a.ini")
	time.Sleep(3 * restless)
	w.want(0) // one report, not five
}

// TestAFileThatIsGoneForAMomentIsNotGone has files that are removed and made anew, as git checkout and some editors do: the
// vassal must keep its sockets.
func TestAFileThatIsGoneForAMomentIsNotGone(t *testing.T) {
	one, two := sighting{name: "a.ini", stamp: stamp{ino: 1}}, sighting{name: "b.ini", stamp: stamp{ino: 2}}
	m := &monitor{seen: map[string]sighting{"a.ini": one, "b.ini": two}, lapsed: map[string]time.Time{}}
	left := func(there ...sighting) string {
		now := map[string]sighting{}
		for _, v := range there {
			now[v.name] = v
		}
		m.linger(now)
		return strings.Join(slices.Sorted(maps.Keys(now)), " ")
	}
	if got := left(two); got != "a.ini b.ini" {
		t.Errorf("the first look leaves %q", got)
	}
	m.lapsed["a.ini"] = time.Now().Add(-lapse)
	if got := left(one, two); got != "a.ini b.ini" || len(m.lapsed) != 0 {
		t.Errorf("it is back: %q, %v", got, m.lapsed)
	}
	left(two)
	m.lapsed["a.ini"] = time.Now().Add(-lapse)
	if got := left(two); got != "b.ini" || len(m.lapsed) != 0 {
		t.Errorf("after a while it leaves %q, %v", got, m.lapsed)
	}
	for name, there := range map[string][]sighting{
		"c.ini":       {{name: "c.ini", stamp: one.stamp}, {name: "b.ini", stamp: two.stamp}},
		"over b.ini":  {{name: "b.ini", stamp: one.stamp}}, // it may have the same socket: the other must not keep it
		"two at once": {{name: "c.ini", stamp: one.stamp}, {name: "d.ini", stamp: two.stamp}},
	} {
		want := len(there)
		if got := left(there...); len(strings.Fields(got)) != want {
			t.Errorf("renamed to %s: %q are left", name, got)
		}
	}
}

// TestTwoChangesAtTheSameMomentAreTwo has a file system whose times are whole seconds: the second touch looks like the first.
func TestTwoChangesAtTheSameMomentAreTwo(t *testing.T) {
	w := newWatch(t, never, false, ".", "sub/*.ini")
	mustDo(t, os.Mkdir(w.dir+"/sub", 0o755))
	time.Sleep(3 * restless)
	for _, name := range []string{"a.ini", "sub/b.ini"} {
		w.write(name, "one")
		w.eventually("Seen " + name)
		soon := time.Now().Truncate(time.Second).Add(time.Hour) // it stays young, however slow this machine is
		for range 3 {
			mustDo(t, os.Chtimes(w.dir+"/"+name, soon, soon))
			w.eventually("Seen " + name)
			time.Sleep(restless)
		}
		long := time.Now().Truncate(time.Second).Add(-time.Hour)
		mustDo(t, os.Chtimes(w.dir+"/"+name, long, long))
		w.eventually("Seen " + name)
		time.Sleep(restless)
		mustDo(t, os.Chtimes(w.dir+"/"+name, long, long)) // nothing has changed
		mustDo(t, os.Chmod(w.dir+"/"+name, 0o644))
	}
	w.write("c.ini", "one")
	w.eventually("Seen c.ini")
}

// TestWhatIsNotTakenIsSaid has names that end as vassals do, and are none.
func TestWhatIsNotTakenIsSaid(t *testing.T) {
	w := newWatch(t, never, false, ".", "*/glob.ini")
	time.Sleep(3 * restless)
	mustDo(t, os.Symlink("missing", w.dir+"/link.ini"), os.Symlink("loop.ini", w.dir+"/loop.ini"), os.Symlink("me@host.1:2", w.dir+"/.#lock.ini"),
		os.Mkdir(w.dir+"/folder.ini", 0o755), unix.Mkfifo(w.dir+"/fifo.ini", 0o644), os.Symlink("fifo.ini", w.dir+"/tofifo.ini"))
	w.write("file", "no folder")
	w.write("a.ini", "one")
	w.want(5*time.Second, "Seen a.ini")
	for _, words := range []string{
		"link.ini for a vassal: it is a link to missing: no such file or directory; mend or remove the link", "loop.ini for a vassal: it is a link to loop.ini: too many levels",
		"folder.ini for a vassal: it is a folder", "/fifo.ini for a vassal: it is a FIFO", "tofifo.ini for a vassal: it is a FIFO",
	} {
		w.says(words)
	}
	w.write("missing", "here it is")
	mustDo(t, os.Chtimes(w.dir+"/a.ini", time.Now(), time.Now())) // what a link leads to is not watched
	w.eventually("Seen a.ini", "Seen link.ini")
	mustDo(t, os.Remove(w.dir+"/missing"), os.Chtimes(w.dir+"/a.ini", time.Now(), time.Now()))
	w.eventually("Seen a.ini", "Gone link.ini")
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := strings.Count(strings.Join(w.said, "\n"), "link.ini for"); n != 2 {
		t.Errorf("said %d times, want once each time that it is so: %q", n, w.said)
	}
	if strings.Contains(strings.Join(w.said, "\n"), "lock.ini") {
		t.Errorf("an editor's lock is spoken of: %q", w.said)
	}
}

func TestMonitorLinks(t *testing.T) {
	w := newWatch(t, 50*time.Millisecond, false)
	os.Symlink(w.dir+"/../"+filepath.Base(w.dir)+"/skeleton", w.dir+"/a.ini")
	time.Sleep(200 * time.Millisecond)
	w.want(0) // dangling: not there
	w.write("skeleton", "one")
	w.want(time.Second, "Seen a.ini") // by the slow look
	later := time.Now().Add(time.Hour)
	os.Chtimes(w.dir+"/skeleton", later, later)
	w.want(time.Second, "Seen a.ini")
	os.Remove(w.dir + "/skeleton")
	w.want(time.Second, "Gone a.ini")
}

func TestMonitorWithNofollowLooksAtTheLink(t *testing.T) {
	w := newWatch(t, 50*time.Millisecond, true)
	w.write("skeleton", "one")
	os.Symlink("skeleton", w.dir+"/a.ini")
	os.Symlink("skeleton", w.dir+"/b.ini")
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		w.mu.Lock()
		n := len(w.seen)
		w.mu.Unlock()
		if n == 2 {
			break
		}
	}
	w.want(0, "Seen a.ini", "Seen b.ini")
	later := time.Now().Add(time.Hour)
	os.Chtimes(w.dir+"/skeleton", later, later)
	w.write("skeleton", "another text, of another length")
	os.Chmod(w.dir+"/skeleton", 0o755)
	time.Sleep(200 * time.Millisecond)
	w.want(0)
	tv := []unix.Timespec{{Sec: later.Unix()}, {Sec: later.Unix()}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, w.dir+"/b.ini", tv, unix.AT_SYMLINK_NOFOLLOW); err != nil { // touch -h
		t.Fatal(err)
	}
	w.want(time.Second, "Seen b.ini")
	os.Remove(w.dir + "/a.ini")
	os.Symlink("skeleton", w.dir+"/a.ini")
	w.want(time.Second, "Seen a.ini")
}

func TestMonitorFolderThatIsMadeLater(t *testing.T) {
	w := newWatch(t, 50*time.Millisecond, false, "later")
	time.Sleep(120 * time.Millisecond)
	w.mu.Lock()
	said := slices.Clone(w.said)
	w.mu.Unlock()
	if len(said) != 1 || !strings.Contains(said[0], "mkdir -p "+w.dir+"/later") {
		t.Errorf("it says %q, want once what to do", said)
	}
	os.Mkdir(w.dir+"/later", 0o755)
	w.write("later/a.ini", "one")
	w.want(time.Second, "Seen a.ini")
	os.RemoveAll(w.dir + "/later")
	w.want(time.Second, "Gone a.ini")
	os.Mkdir(w.dir+"/later", 0o755)
	w.write("later/a.ini", "one")
	w.want(time.Second, "Seen a.ini")
}

func TestMonitorGlobsAndTwins(t *testing.T) {
	w := newWatch(t, 50*time.Millisecond, false, "*/app.ini", "one", "two")
	for _, d := range []string{"one", "two"} {
		os.Mkdir(w.dir+"/"+d, 0o755)
	}
	w.write("one/app.ini", "x")
	w.write("two/app.ini", "x")
	end := time.Now().Add(2 * time.Second)
	for {
		w.mu.Lock()
		seen, said := slices.Clone(w.seen), strings.Join(w.said, "\n")
		w.mu.Unlock()
		slices.Sort(seen)
		seen = slices.Compact(seen) // the slow look may come between the making and the writing of a file
		if slices.Equal(seen, []string{"Seen app.ini", "Seen one/app.ini", "Seen two/app.ini"}) && strings.Contains(said, "another vassal has the same name, "+w.dir+"/one/app.ini") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("reported %q, said %s", seen, said)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestFolderThatCannotBeReadKeepsItsVassals(t *testing.T) {
	dir := t.TempDir()
	s := source{pattern: dir + "/file/inside"}
	os.WriteFile(dir+"/file", nil, 0o644)
	if _, err := s.look(nil, nil, links{}); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Fatalf("look: %v", err)
	}
	m := &monitor{sources: []source{s}, wrong: map[string]complaint{}, report: func(c []change) { t.Errorf("reported %v", c) }, say: func(string, error) {},
		missing: map[string]time.Time{}, seen: map[string]sighting{"a.ini": {name: "a.ini", base: s.pattern}}}
	m.look()
	if len(m.seen) != 1 {
		t.Error("the vassal is forgotten")
	}
}

func TestNewSource(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(dir+"/app.ini", nil, 0o644)
	for text, want := range map[string]source{
		dir:                    {dir, false, "/cwd"},
		"dir://" + dir:         {dir, false, "/cwd"},
		"rel":                  {"/cwd/rel", false, "/cwd"},
		dir + "/*.ini":         {dir + "/*.ini", true, "/cwd"},
		"glob://" + dir + "/x": {dir + "/x", true, "/cwd"},
		dir + "/app.ini":       {dir + "/app.ini", true, "/cwd"},
	} {
		if got, err := newSource(text, "/cwd"); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "pg://x", "dir://", "/a/[z"} {
		if got, err := newSource(text, "/cwd"); err == nil {
			t.Errorf("%q is %+v", text, got)
		}
	}
}

// TestNobodyTakesTheNameOfAVassalThatRuns puts a file of the same name into a source that comes first.
func TestNobodyTakesTheNameOfAVassalThatRuns(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	w := newWatch(t, never, false, first, second)
	time.Sleep(50 * time.Millisecond)
	w.dir = second
	w.write("shop.ini", "the one that runs")
	w.want(time.Second, "Seen shop.ini")
	w.dir = first
	w.write("shop.ini", "a stranger's")
	w.write("last.ini", "so that a look is seen")
	w.want(time.Second, "Seen last.ini")
	w.mu.Lock()
	said := slices.Clone(w.said)
	w.mu.Unlock()
	if len(said) != 1 || !strings.Contains(said[0], "cannot take "+first+"/shop.ini") {
		t.Errorf("it says %q, want that the newcomer is not taken", said)
	}
	os.Remove(second + "/shop.ini")
	w.want(time.Second, "Seen shop.ini")
}

// TestAHangingFolderBlindsTheMonitorForItselfAlone has a link and a tenant's folder on a file system that does not answer.
func TestAHangingFolderBlindsTheMonitorForItselfAlone(t *testing.T) {
	needRoot(t)
	homes := t.TempDir()
	mustDo(t, os.MkdirAll(homes+"/well", 0o755), os.MkdirAll(homes+"/evil", 0o755))
	mustDo(t, os.WriteFile(homes+"/evil/evil.ini", nil, 0o644), os.WriteFile(homes+"/well/well.ini", nil, 0o644))
	w := newWatch(t, 100*time.Millisecond, false, ".", homes+"/*/*.ini")
	mustDo(t, os.Symlink(homes+"/evil/evil.ini", w.dir+"/link.ini"))
	w.further("Seen "+homes+"/evil/evil.ini", "Seen "+homes+"/well/well.ini", "Seen link.ini")
	release := hang(t, homes+"/evil")
	for i := range 3 {
		name := fmt.Sprintf("new%d.ini", i)
		w.write(name, "[uwsgi]\n")
		w.further("Seen " + name)
	}
	exchange := func(name string) { // in one step: a file that is emptied and then written has changed twice
		mustDo(t, os.WriteFile(name+"~", []byte("[uwsgi]\n"), 0o644), os.Rename(name+"~", name))
	}
	exchange(homes + "/well/well.ini")
	w.further("Seen " + homes + "/well/well.ini") // and nothing is gone
	w.mu.Lock()
	said := strings.Join(w.said, "\n")
	w.mu.Unlock()
	if !strings.Contains(said, homes+"/evil") || !strings.Contains(said, "not answer") {
		t.Errorf("it does not name the folder: %s", said)
	}
	release()
	exchange(homes + "/evil/evil.ini")
	w.further("Seen "+homes+"/evil/evil.ini", "Seen link.ini")
}

// TestLinksCountForWhoMakesThem has a stranger make links to files of a tenant and of root's in great number: its own
// number is used up, and not theirs.
func TestLinksCountForWhoMakesThem(t *testing.T) {
	needRoot(t)
	homes, err := os.MkdirTemp("/run", "links-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(homes) })
	file := func(name string, uid int) {
		t.Helper()
		mustDo(t, os.WriteFile(homes+name, nil, 0o644), os.Chown(homes+name, uid, uid))
	}
	link := func(to, name string, uid int) {
		t.Helper()
		mustDo(t, os.Symlink(homes+to, homes+name), os.Lchown(homes+name, uid, uid))
	}
	mustDo(t, os.MkdirAll(homes+"/src/shop", 0o755), os.MkdirAll(homes+"/src/evil", 0o755), os.Mkdir(homes+"/root", 0o755))
	file("/root/root.ini", 0)
	file("/src/shop/app.ini", shopID)
	for i := range 5 {
		link("/src/shop/app.ini", fmt.Sprintf("/src/evil/a%d.ini", i), evilID)
		link("/root/root.ini", fmt.Sprintf("/src/evil/b%d.ini", i), evilID)
		link("/src/shop", fmt.Sprintf("/src/more%d", i), evilID)
		file(fmt.Sprintf("/src/shop/z%d.ini", i), shopID)
		file(fmt.Sprintf("/root/shop%d.ini", i), otherID)
		link(fmt.Sprintf("/root/shop%d.ini", i), fmt.Sprintf("/src/shop/of-root%d.ini", i), 0)
	}
	s, err := newSource(homes+"/src/*/*.ini", "/")
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	m := &monitor{sources: []source{s}, most: 6, wrong: map[string]complaint{}, missing: map[string]time.Time{}, seen: map[string]sighting{}, lines: allowances{},
		users: newDirectory(nil), report: func([]change) {}, say: func(_ string, err error) { said = append(said, err.Error()) }}
	m.look()
	of := map[uint32]int{}
	for _, v := range m.seen {
		of[v.maker]++
	}
	if want := map[uint32]int{evilID: 6, shopID: 6, otherID: 5}; !maps.Equal(of, want) {
		t.Errorf("taken are %v, want %v; said %q", of, want, said)
	}
	if len(said) != 1 || !strings.Contains(said[0], fmt.Sprint("uid ", evilID)) {
		t.Errorf("said %q", said)
	}
}
