package sockets

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestConditionOfASocketsFile(t *testing.T) {
	dir := t.TempDir()
	path := dir + "/s.sock"
	l, err := Bind(Request{Address: Address{Kind: Unix, Path: path}, UID: Anyone, GID: Anyone}, Policy{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Remove()
	want := func(lost, drift string) {
		t.Helper()
		gotLost, gotDrift := l.Condition()
		if !strings.Contains(gotLost, lost) || (lost == "") != (gotLost == "") || !strings.Contains(gotDrift, drift) || (drift == "") != (gotDrift == "") {
			t.Errorf("lost %q, drift %q; want %q, %q", gotLost, gotDrift, lost, drift)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	want("", "")
	must(os.Chmod(path, 0o600))
	want("", "mode 0600")
	must(os.Chmod(path, 0o755))
	want("", "")
	must(os.Rename(path, dir+"/away"))
	want("its file was removed", "")
	for kind, put := range map[string]func() error{
		"a file of uid":          func() error { return os.WriteFile(path, nil, 0o600) },
		"a symbolic link of uid": func() error { return os.Symlink(dir+"/away", path) }, // though it leads to the socket: it may lead elsewhere next time
		"a folder of uid":        func() error { return os.Mkdir(path, 0o755) },
	} {
		must(put())
		want(kind, "")
		must(os.Remove(path))
	}
	must(os.Rename(dir+"/away", path))
	want("", "")
}

// TestWhatIsInClosedFoldersIsNotTold moves a tenant's folder away and puts a link there that leads into root's folder: the
// tenant must learn nothing of what is in it, and a socket of somebody else's there keeps its own watch.
func TestWhatIsInClosedFoldersIsNotTold(t *testing.T) {
	dir, p := place(t, &shop)
	mkdir(t, dir+"/closed", 0o700, 0, 0)
	mkdir(t, dir+"/blog", 0o755, blog.UID, blog.GID)
	mkdir(t, dir+"/home", 0o755, shop.UID, shop.GID)
	mine := mustBind(t, request(dir+"/home/s.sock", 0o600, Anyone, Anyone), p)
	p.Tenant = &blog
	theirs := mustBind(t, request(dir+"/blog/s.sock", 0o600, Anyone, Anyone), p)
	inotify, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(inotify)
	if _, err := theirs.Watch(inotify); err != nil {
		t.Fatal(err)
	}
	must := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	lead := func(to string) {
		t.Helper()
		_ = os.Remove(dir + "/home")
		must(os.Symlink(to, dir+"/home"))
	}
	must(os.Rename(dir+"/home", dir+"/away"))
	lead(dir + "/closed")
	without, _ := mine.Condition()
	must(os.WriteFile(dir+"/closed/s.sock", nil, 0o600))
	with, _ := mine.Condition()
	if without != with {
		t.Errorf("the tenant sees what is in a closed folder: %q without a file there, %q with one", without, with)
	}
	if mine.Intact() {
		t.Error("it is intact behind a link that leads elsewhere")
	}
	lead(dir + "/blog")
	if wd, err := mine.Watch(inotify); err == nil {
		t.Errorf("the tenant has the neighbour's socket watched as %d", wd)
	}
	if lost, _ := mine.Condition(); !strings.Contains(lost, "another socket of uid 61002") {
		t.Errorf("lost %q, want to hear of the socket that it may see", lost)
	}
	must(os.Remove(dir+"/home"), os.Rename(dir+"/away", dir+"/home"))
	if lost, drift := mine.Condition(); lost+drift != "" || !mine.Intact() {
		t.Errorf("it is back, and %q, %q", lost, drift)
	}
	if _, err := mine.Watch(inotify); err != nil {
		t.Error(err)
	}
	must(os.Remove(dir + "/home/s.sock"))
	var event [64]byte
	if n, err := unix.Read(inotify, event[:]); err != nil || n < unix.SizeofInotifyEvent {
		t.Errorf("its end is not seen: %v", err)
	}
}

// TestFoldersOfOthersAreKnownToBeSlow has the emperor remove what is there beside its loop, with and without tyrant.
func TestFoldersOfOthersAreKnownToBeSlow(t *testing.T) {
	dir, p := place(t, &shop)
	mkdir(t, dir+"/home", 0o755, shop.UID, shop.GID)
	for path, policy := range map[string]Policy{dir + "/home/a": p, dir + "/home/b": {}} {
		if l := mustBind(t, request(path, 0o600, Anyone, Anyone), policy); !l.InTenantsFolder() {
			t.Errorf("%s counts as root's own folder", path)
		}
	}
	if l := mustBind(t, request(dir+"/root/c", 0o600, Anyone, Anyone), p); l.InTenantsFolder() {
		t.Error("a runtime root counts as a tenant's folder")
	}
}

// TestARefusalTellsNothingOfClosedFolders asks for sockets in a folder that the tenant may not search.
func TestARefusalTellsNothingOfClosedFolders(t *testing.T) {
	dir, p := place(t, &shop)
	mkdir(t, dir+"/closed", 0o700, 0, 0)
	mkdir(t, dir+"/closed/there", 0o700, 0, 0)
	if err := errors.Join(os.WriteFile(dir+"/closed/plain", nil, 0o600), os.Symlink("loop", dir+"/closed/loop")); err != nil {
		t.Fatal(err)
	}
	var first string
	for _, name := range []string{"there", "plain", "loop", "nothing"} {
		_, err := Bind(request(dir+"/closed/"+name+"/s.sock", 0o600, Anyone, Anyone), p)
		if err == nil {
			t.Fatal("it is bound")
		}
		text := strings.ReplaceAll(err.Error(), name, "NAME")
		if first == "" {
			first = text
		}
		if text != first || !errors.Is(err, ErrPolicy) {
			t.Errorf("%s: %q, a folder that is there: %q", name, text, first)
		}
	}
	wantError(t, request(dir+"/nothing/s.sock", 0o600, Anyone, Anyone), p, "does not exist", "make it")
}
