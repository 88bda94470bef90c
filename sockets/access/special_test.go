package access

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var stranger = User{Name: "61540", UID: 61540, GID: 61540}

// ground is a folder that everybody may enter.
func ground(t *testing.T) string {
	t.Helper()
	needRoot(t)
	dir, err := os.MkdirTemp("/tmp", "emperord-access-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func walk(t *testing.T, u User, path string, want Right) []Obstacle {
	t.Helper()
	list, err := Walk(u, path, want)
	must(t, err)
	return list
}

func TestAllObstaclesAreNamedNotOnlyTheFirst(t *testing.T) {
	dir := ground(t)
	must(t, os.MkdirAll(dir+"/one/two/three", 0o755))
	must(t, os.WriteFile(dir+"/one/two/three/file", nil, 0o600))
	must(t, os.Chmod(dir+"/one", 0o700))
	must(t, os.Chmod(dir+"/one/two/three", 0o700))
	must(t, os.Symlink("one/two/../two", dir+"/link"))
	list := walk(t, stranger, dir+"/link/three/file", Read)
	var at []string
	for _, o := range list {
		at = append(at, strings.TrimPrefix(o.Path, dir))
	}
	if got := strings.Join(at, " "); got != "/one /one/two/three /one/two/three/file" {
		t.Errorf("got %s: %s", got, causes(list))
	}
	run(t, list)
	if list := walk(t, stranger, dir+"/link/three/file", Read); len(list) > 0 {
		t.Errorf("after the commands: %s", causes(list))
	}
}

func TestMissingAndDanglingAndCircle(t *testing.T) {
	dir := ground(t)
	must(t, os.Symlink("gone", dir+"/dangling"))
	must(t, os.Symlink("b", dir+"/a"))
	must(t, os.Symlink("a", dir+"/b"))
	must(t, os.WriteFile(dir+"/file", nil, 0o644))
	for _, c := range []struct {
		path    string
		missing bool
		cause   string
	}{
		{"/none/x", true, dir + "/none is not there"},
		{"/dangling", true, "the link " + dir + "/dangling leads nowhere: " + dir + "/gone is not there"},
		{"/a", false, "the links on the way to " + dir + "/a lead in a circle (more than 40 of them)"},
		{"/file/x", false, dir + "/file is no folder"},
		{"/file/", false, dir + "/file is no folder"},
	} {
		list := walk(t, stranger, dir+c.path, Read)
		if len(list) != 1 || list[0].Missing != c.missing || list[0].Cause != c.cause || list[0].Unseen {
			t.Errorf("%s: got %+v", c.path, list)
		}
	}
	if _, err := Walk(stranger, "relative", Read); err == nil {
		t.Error("a relative path was taken")
	}
	if list := walk(t, stranger, dir+"/"+strings.Repeat("x", 300), Read); len(list) != 1 || list[0].Unseen {
		t.Errorf("a name that is too long: %+v", list)
	}
}

// TestWhoMayNotLookSaysSo: a verdict of "all is well" from somebody who could not look would be a lie.
func TestWhoMayNotLookSaysSo(t *testing.T) {
	dir := ground(t)
	must(t, os.MkdirAll(dir+"/shut/in", 0o755))
	must(t, os.Chown(dir+"/shut", stranger.UID, stranger.GID))
	must(t, os.Chmod(dir+"/shut", 0o700))
	must(t, asUser(User{UID: 61541, GID: 61541}, func() {
		list := walk(t, stranger, dir+"/shut/in", Enter)
		if len(list) != 1 || !list[0].Unseen || list[0].Missing || !strings.Contains(list[0].Note, "root") {
			t.Errorf("stranger, who may: got %+v", list)
		}
		list = walk(t, User{Name: "x", UID: 61542, GID: 61542}, dir+"/shut/in", Enter)
		if len(list) != 2 || list[0].Lacks != Enter || !list[1].Unseen {
			t.Errorf("somebody who may not: got %+v", list)
		}
	}))
}

func TestReadOnlyAndImmutable(t *testing.T) {
	dir := ground(t)
	must(t, os.Mkdir(dir+"/ro", 0o777))
	must(t, os.Chmod(dir+"/ro", 0o777))
	if err := unix.Mount("none", dir+"/ro", "tmpfs", 0, "mode=777"); err != nil {
		t.Logf("cannot mount here: %v", err)
	} else {
		t.Cleanup(func() { _ = unix.Unmount(dir+"/ro", unix.MNT_DETACH) })
		must(t, os.WriteFile(dir+"/ro/file", nil, 0o666))
		must(t, os.Chmod(dir+"/ro/file", 0o666))
		if list := walk(t, stranger, dir+"/ro/file", Write); len(list) > 0 {
			t.Errorf("writable: %s", causes(list))
		}
		must(t, unix.Mount("none", dir+"/ro", "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		for _, path := range []string{"/ro", "/ro/file"} {
			list := walk(t, stranger, dir+path, Write)
			if len(list) != 1 || len(list[0].Commands) > 0 || !strings.HasSuffix(list[0].Note, "mount -o remount,rw "+dir+"/ro") {
				t.Errorf("%s, read-only: got %+v", path, list)
			}
			if list := walk(t, stranger, dir+path, Read); len(list) > 0 {
				t.Errorf("%s: reading: %s", path, causes(list))
			}
		}
	}
	must(t, os.Mkdir(dir+"/fixed", 0o700))
	must(t, os.WriteFile(dir+"/fixed/file", nil, 0o600))
	for _, path := range []string{"/fixed/file", "/fixed"} {
		if out, err := exec.Command("chattr", "+i", dir+path).CombinedOutput(); err != nil {
			t.Logf("cannot make anything immutable here: %v: %s", err, out)
			return
		}
		t.Cleanup(func() { _ = exec.Command("chattr", "-i", dir+path).Run() })
	}
	q := []question{{path: dir + "/fixed/file", want: Read}}
	interview(t, stranger, q)
	run(t, q[0].found) // the mode can be changed only when it is not immutable; and it stays immutable
	interview(t, stranger, q)
	if q[0].said != nil || len(q[0].found) > 0 {
		t.Errorf("reading: the kernel says %v, Walk says %+v", q[0].said, q[0].found)
	}
	q[0].want = Write
	interview(t, stranger, q)
	if q[0].said == nil || len(q[0].found) == 0 || q[0].found[0].Commands[0] != "chattr -i "+dir+"/fixed/file" {
		t.Errorf("writing: the kernel says %v, Walk says %+v", q[0].said, q[0].found)
	}
	run(t, q[0].found)
	interview(t, stranger, q)
	if q[0].said != nil || len(q[0].found) > 0 {
		t.Errorf("writing after the commands: the kernel says %v, Walk says %+v", q[0].said, q[0].found)
	}
}

func TestLinksInStickyFoldersAreGuarded(t *testing.T) {
	dir := ground(t)
	must(t, os.Mkdir(dir+"/tmp", 0o777))
	must(t, unix.Chmod(dir+"/tmp", 0o1777))
	must(t, os.Mkdir(dir+"/real", 0o755))
	must(t, os.Symlink(dir+"/real", dir+"/tmp/link"))
	must(t, os.Lchown(dir+"/tmp/link", 61543, 61543))
	for _, c := range []struct {
		who     User
		path    string
		guarded bool
		want    int
	}{
		{stranger, "/tmp/link", true, 1},
		{User{Name: "root"}, "/tmp/link", true, 1}, // no capability helps
		{User{Name: "its owner", UID: 61543}, "/tmp/link", true, 0},
		{stranger, "/tmp/link/.", true, 0}, // not the last link of the way
		{stranger, "/tmp/link//", true, 1},
		{stranger, "/tmp/link", false, 0},
	} {
		k := walker{user: c.who, want: Enter, tools: installed, guarded: c.guarded}
		k.walk(dir + c.path)
		if len(k.obstacles) != c.want {
			t.Errorf("%s by %s, guarded %v: got %s", c.path, c.who.Name, c.guarded, causes(k.obstacles))
		}
		if c.guarded == linksGuarded() {
			q := []question{{path: dir + c.path, want: 0}}
			interview(t, c.who, q)
			if (q[0].said == nil) != (c.want == 0) {
				t.Errorf("%s by %s: the kernel says %v", c.path, c.who.Name, q[0].said)
			}
		}
	}
	k := walker{user: stranger, want: Enter, tools: installed, guarded: true}
	k.walk(dir + "/tmp/link")
	run(t, k.obstacles)
	again := walker{user: stranger, want: Enter, tools: installed, guarded: true}
	if again.walk(dir + "/tmp/link"); len(again.obstacles) > 0 {
		t.Errorf("after the command: %s", causes(again.obstacles))
	}
}

// TestCommandsOnAStrangersGroundChangeNothingElse: between the walk and the command the owner of a folder puts a link to
// something of root's in the place of what was to be changed.
func TestCommandsOnAStrangersGroundChangeNothingElse(t *testing.T) {
	for name, c := range map[string]struct {
		owner int
		tools func(string) bool
		want  string
	}{
		"the stranger's own file":    {61543, installed, "setpriv"},
		"root's, left by a deploy":   {0, installed, "/proc/self/fd/3"},
		"another's":                  {61544, installed, "/proc/self/fd/3"},
		"root's, without setfacl":    {0, func(string) bool { return false }, "chgrp 61540 /proc/self/fd/3"},
		"the stranger's, no setpriv": {61543, func(tool string) bool { return tool == "setfacl" }, "/proc/self/fd/3"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := ground(t)
			must(t, os.MkdirAll(dir+"/home/app", 0o755))
			must(t, os.WriteFile(dir+"/secret", []byte("x"), 0o600))
			must(t, os.WriteFile(dir+"/home/app/file", nil, 0o600))
			for _, p := range []string{"/home", "/home/app"} {
				must(t, os.Chown(dir+p, 61543, 61543))
			}
			must(t, os.Chown(dir+"/home/app/file", c.owner, c.owner))
			look := func() []Obstacle {
				k := walker{user: stranger, want: Read, tools: c.tools}
				k.walk(dir + "/home/app/file")
				return k.obstacles
			}
			list := look()
			if len(list) != 1 || !strings.Contains(commands(list), c.want) {
				t.Fatalf("got %+v", list)
			}
			must(t, os.Rename(dir+"/home/app/file", dir+"/home/app/away"))
			must(t, os.Symlink(dir+"/secret", dir+"/home/app/file"))
			before, err := Look(dir + "/secret")
			must(t, err)
			for _, command := range list[0].Commands {
				if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err == nil {
					t.Errorf("%s was done: %s", command, out)
				}
			}
			after, err := Look(dir + "/secret")
			must(t, err)
			if fmt.Sprint(before) != fmt.Sprint(after) {
				t.Errorf("the tenant had root change its secret from %v to %v", before, after)
			}
			must(t, os.Rename(dir+"/home/app/away", dir+"/home/app/file"))
			run(t, list)
			if list := look(); len(list) > 0 {
				t.Errorf("after the commands: %s", causes(list))
			}
		})
	}
	if !Trusted("/usr") || Trusted("/no/such/path") {
		t.Error("only what is there, and root's, is trusted")
	}
}

// TestNoCommandOfRootsForWhatNothingPins: a socket has no descriptor for the shell to hold, so its owner changes it, or nobody.
func TestNoCommandOfRootsForWhatNothingPins(t *testing.T) {
	dir := ground(t)
	must(t, os.Mkdir(dir+"/home", 0o755))
	must(t, os.Chown(dir+"/home", 61543, 61543))
	for name, owner := range map[string]int{"own": 61543, "root's": 0} {
		path := dir + "/home/" + name
		must(t, unix.Mkfifo(path, 0o600))
		must(t, os.Chown(path, owner, owner))
		for _, o := range walk(t, stranger, path, Write) {
			if owner == 0 && (len(o.Commands) > 0 || o.Note == "") || owner != 0 && (len(o.Commands) != 1 || !strings.HasPrefix(o.Commands[0], "setpriv --reuid=61543 ")) {
				t.Errorf("%s: %+v", name, o)
			}
		}
	}
}

// TestInAStickyFolderTheOwnerMovesItsOwn: what stands in /tmp can be exchanged by its owner, though the folder is root's.
func TestInAStickyFolderTheOwnerMovesItsOwn(t *testing.T) {
	dir := ground(t)
	must(t, os.Mkdir(dir+"/tmp", 0o755))
	must(t, os.Chmod(dir+"/tmp", 0o777|os.ModeSticky))
	must(t, os.Mkdir(dir+"/tmp/d", 0o700))
	must(t, os.Chown(dir+"/tmp/d", 61543, 61543))
	if Trusted(dir + "/tmp/d") {
		t.Error("its owner can put a link in its place")
	}
	if as := AsOwner(dir + "/tmp/d"); as != "setpriv --reuid=61543 --regid=61543 --clear-groups " {
		t.Errorf("%q", as)
	}
	must(t, os.Mkdir(dir+"/tmp/r", 0o755))
	if !Trusted(dir + "/tmp/r") {
		t.Error("root's own folder in a sticky one stays where it is")
	}
}

func TestUsers(t *testing.T) {
	root, err := Lookup("root")
	if err != nil || root.UID != 0 || root.Name != "root" || !root.in(0) {
		t.Errorf("got %+v, %v", root, err)
	}
	if u, err := Lookup("61599"); err != nil || u.UID != 61599 || u.GID != 61599 || u.Name != "61599" {
		t.Errorf("got %+v, %v", u, err)
	}
	for _, none := range []string{"", "no-such-user-here", "-G", "99999999999"} {
		if u, err := Lookup(none); err == nil {
			t.Errorf("%q: got %+v", none, u)
		}
	}
	me, err := OfProcess(os.Getpid())
	if err != nil || me.UID != os.Geteuid() || me.GID != os.Getegid() || me.Caps == nil {
		t.Errorf("got %+v, %v", me, err)
	}
	if _, err := OfProcess(0); err == nil {
		t.Error("there is no process 0")
	}
	for _, text := range []string{"", "Uid:\t1 2 3\nGid:\t1 2 3 4\n", "Uid:\t1 1 1 x\nGid:\t1 1 1 1\n", "Uid:\t1 1 1 1\n", "Uid:\t1 1 1 1\nGid:\t1 1 1 1\nGroups:\tx\n", "Uid:\t1 1 1 1\nGid:\t1 1 1 1\nCapEff:\tq\n"} {
		if u, err := parseStatus(text); err == nil {
			t.Errorf("%q: got %+v", text, u)
		}
	}
	if _, err := exec.LookPath("useradd"); err != nil || os.Geteuid() != 0 {
		return
	}
	const name = "emperord-t-access"
	for _, c := range [][]string{{"groupadd", "--gid", "61550", name + "g"}, {"useradd", "--uid", "61550", "--no-user-group", "--gid", "61550", "--groups", "daemon", name}} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	t.Cleanup(func() {
		_ = exec.Command("userdel", name).Run()
		_ = exec.Command("groupdel", name+"g").Run()
	})
	for _, text := range []string{name, "61550"} {
		u, err := Lookup(text)
		if err != nil || u.Name != name || u.UID != 61550 || u.GID != 61550 || !u.in(1) {
			t.Errorf("%s: got %+v, %v; want the group daemon (1) among the groups", text, u, err)
		}
	}
	c := exec.Command("setpriv", "--reuid=61550", "--regid=61550", "--groups=1,61551", "sleep", "60")
	must(t, c.Start())
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	for range 500 {
		u, err := OfProcess(c.Process.Pid)
		if err == nil && u.UID == 61550 {
			if u.Name != name || u.GID != 61550 || !u.in(61551) || *u.Caps != 0 {
				t.Errorf("got %+v", u)
			}
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("the process never took its rights")
}
