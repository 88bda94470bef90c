package sockets

import (
	"io/fs"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// attacks are everything that eve tries. Hard links to what is not hers are made by root here, as if
// fs.protected_hardlinks were 0: the promise must not hang on it.
func attacks() []attack {
	return append(append(stillAttacks(), spellings()...), races()...)
}

func modeOf(m fs.FileMode) func(*Request) { return func(r *Request) { r.Mode = &m } }

func stillAttacks() []attack {
	link := func(target, name string) func(*arena) {
		return func(a *arena) {
			a.must(os.Symlink(a.path(target), a.path(name)), os.Lchown(a.path(name), eve.UID, eve.GID))
		}
	}
	hard := func(target, name string) func(*arena) {
		return func(a *arena) { a.must(os.Link(a.path(target), a.path(name))) }
	}
	node := func(name string, mode uint32, device int, uid int) func(*arena) {
		return func(a *arena) {
			a.must(unix.Mknod(a.path(name), mode|0o666, device), os.Chown(a.path(name), uid, uid))
		}
	}
	acl := func(rule, name string) func(*arena) {
		return func(a *arena) {
			a.t.Helper()
			if out, err := exec.Command("setfacl", "-m", rule, a.path(name)).CombinedOutput(); err != nil {
				a.t.Fatalf("setfacl: %v: %s", err, out)
			}
		}
	}
	rootAt := func(name string) func(*arena, *Policy) {
		return func(a *arena, p *Policy) { p.Roots = []string{a.path(name)} }
	}
	spare := func(parts ...string) func(string) bool {
		return func(path string) bool {
			for _, p := range parts {
				if strings.HasSuffix(path, p) {
					return true
				}
			}
			return false
		}
	}
	return []attack{
		{name: "a folder that is a link to root's", arrange: link("precious", "home/in"), ask: "home/in/new.sock", refused: []string{"home/in", "eve", "permission denied"}},
		{name: "a folder that is a link to a neighbour's", arrange: link("bob", "home/in"), ask: "home/in/new.sock", refused: []string{"home/in", "eve", "permission denied"}},
		{name: "a folder that is a link to root's, with a dead socket in it", arrange: link("precious", "home/in"), ask: "home/in/a.sock", refused: []string{"home/in/a.sock"}},
		{name: "a file of root's in the way", arrange: func(a *arena) { a.file("home/a.sock", 0) }, ask: "home/a.sock", refused: []string{"home/a.sock", "a file of uid 0", "not a socket"}},
		{name: "an own file in the way", arrange: func(a *arena) { a.file("home/a.sock", eve.UID) }, ask: "home/a.sock", refused: []string{"a file of uid 61301"}},
		{name: "a link to a file of root's", arrange: link("precious/passwd", "home/a.sock"), ask: "home/a.sock", refused: []string{"home/a.sock", "a symbolic link of uid 61301"}},
		{name: "a link to /etc/passwd", arrange: link("/etc/passwd", "home/a.sock"), ask: "home/a.sock", refused: []string{"a symbolic link of uid 61301"}},
		{name: "a link to a place where nothing is yet", arrange: link("precious/new", "home/a.sock"), ask: "home/a.sock", refused: []string{"a symbolic link of uid 61301"}},
		{name: "a link to a socket that root serves", arrange: link("precious/live.sock", "home/a.sock"), ask: "home/a.sock", refused: []string{"a symbolic link"}},
		{name: "a hard link to a file of root's", arrange: hard("precious/passwd", "home/a.sock"), ask: "home/a.sock", refused: []string{"a file of uid 0"}},
		{name: "a hard link to a neighbour's dead socket", arrange: hard("bob/a.sock", "home/a.sock"), ask: "home/a.sock", refused: []string{"a socket of uid 61302"}},
		{name: "a hard link to a neighbour's live socket", arrange: hard("bob/live.sock", "home/a.sock"), ask: "home/a.sock", refused: []string{"a socket of uid 61302"}},
		{name: "a hard link to root's live socket", arrange: hard("precious/live.sock", "home/a.sock"), ask: "home/a.sock", refused: []string{"cannot be seen whether somebody answers", "permission denied"}},
		{name: "a FIFO", arrange: node("home/a.sock", unix.S_IFIFO, 0, eve.UID), ask: "home/a.sock", refused: []string{"a FIFO of uid 61301"}},
		{name: "a device", arrange: node("home/a.sock", unix.S_IFCHR, int(unix.Mkdev(1, 3)), 0), ask: "home/a.sock", refused: []string{"a device of uid 0"}},
		{name: "a folder", arrange: func(a *arena) { mkdir(a.t, a.path("home/a.sock"), 0o777, eve.UID, eve.GID) }, ask: "home/a.sock", refused: []string{"a folder of uid 61301"}},
		{name: "a neighbour's live socket in a runtime root", ask: "root/live.sock", refused: []string{"a socket of uid 61302"}},
		{name: "a neighbour's dead socket in a runtime root", ask: "root/bob.sock", refused: []string{"root/bob.sock", "a socket of uid 61302"}},
		{name: "a neighbour's live socket in a sticky folder", ask: "tmp/bob-live.sock", refused: []string{"a socket of uid 61302"}},
		{name: "a neighbour's dead socket in a sticky folder", ask: "tmp/bob-dead.sock", refused: []string{"a socket of uid 61302"}},
		{name: "a neighbour's folder", ask: "bob/new.sock", refused: []string{"eve", "permission denied", "bob"}},
		{name: "a neighbour's folder that does not exist yet", ask: "bob/new/a.sock", refused: []string{"bob/new"}},
		{name: "a folder of root's that is no runtime root", ask: "precious/new.sock", refused: []string{"emperor-socket-root", "precious"}},
		{name: "a missing folder outside the runtime roots", ask: "precious/new/a.sock", refused: []string{"precious/new", "does not exist"}},
		{name: "a runtime root itself", ask: "root", refused: []string{"root"}},
		{name: "more folders than anybody needs", ask: "root/1/2/3/4/5/6/7/8/9/a.sock", refused: []string{"at most 8"}},

		{name: "an own socket in a sticky folder", ask: "tmp/eve.sock"},
		{name: "an own socket in the runtime root", ask: "root/eve.sock"},
		{name: "set-uid and set-gid bits", ask: "root/eve.sock", change: modeOf(0o4777 | fs.ModeSetuid | fs.ModeSetgid)},
		{name: "a mode that lets nobody in", ask: "root/eve.sock", change: modeOf(0)},
		{name: "chown to root", ask: "root/eve.sock", change: func(r *Request) { r.UID = 0 }, refused: []string{"uid 0", "eve (uid 61301)"}},
		{name: "chown to a neighbour", ask: "home/a.sock", change: func(r *Request) { r.UID = bob.UID }, refused: []string{"uid 61302", "eve (uid 61301)"}},
		{name: "chown to root's group", ask: "root/eve.sock", change: func(r *Request) { r.GID = 0 }, refused: []string{"gid 0", "emperor-socket-groups"}},
		{name: "chown to a neighbour's group", ask: "root/eve.sock", change: func(r *Request) { r.GID = bob.GID }, refused: []string{"gid 61302", "emperor-socket-groups"}},
		{name: "chown to a group that is -1 in 32 bits", ask: "root/eve.sock", change: func(r *Request) { r.GID = 1<<32 - 1 }, refused: []string{"gid 4294967295"}},

		{name: "an open folder of root's through /proc", ask: "/proc/self/fd/0/../a.sock", refused: []string{"plain"}},
		{name: "the own folder through /proc/self/root", arrange: nil, ask: "/proc/self/root/etc/a.sock", refused: []string{"/proc/self/root/etc"}},

		{name: "an ACL that lets a neighbour write the runtime root", arrange: acl("u:61302:rwx", "root"), ask: "root/eve.sock", refused: []string{"root", "ACL", "setfacl -b"}},
		{name: "an ACL whose mask lets nobody write", arrange: acl("u:61302:rwx,m::rx", "root"), ask: "root/eve.sock"},
		{name: "an ACL that lets the tenant write the runtime root", arrange: acl("u:61301:rwx", "root"), ask: "root/eve.sock"},
		{name: "a runtime root that its group may write", arrange: func(a *arena) { a.must(os.Chmod(a.path("root"), 0o775)) }, ask: "root/eve.sock", refused: []string{"a runtime root", "group", "chmod go-w"}},
		{name: "a runtime root that belongs to a neighbour", policy: rootAt("bob"), ask: "bob/eve.sock", refused: []string{"a runtime root", "uid 61302", "chown root"}},
		{name: "a runtime root that belongs to the tenant, with a link in it", policy: rootAt("home"), arrange: link("precious", "home/in"), ask: "home/in/eve.sock", refused: []string{"eve", "permission denied"}},
		{name: "a runtime root that the tenant has made a link", policy: rootAt("home/root"), arrange: link("precious", "home/root"), ask: "home/root/eve.sock", refused: []string{"eve", "permission denied"}},
		{name: "a missing runtime root in a tenant's folder", policy: rootAt("home/root"), ask: "home/root/eve.sock", refused: []string{"home/root", "no such file"}},
		{name: "a runtime root that is a link of root's", arrange: func(a *arena) { a.must(os.Symlink("root", a.path("alias"))) }, policy: rootAt("alias"), ask: "alias/eve.sock", spare: spare("root/eve.sock")},
		{name: "a sticky runtime root with a hard link to root's own link", policy: rootAt("tmp"), arrange: func(a *arena) {
			a.must(os.Symlink(a.path("precious"), a.path("shortcut")), os.Link(a.path("shortcut"), a.path("tmp/in")))
		}, ask: "tmp/in/eve.sock", refused: []string{"tmp/in", "permission denied"}},
		{name: "a folder inside a sticky folder that eve may not write", arrange: func(a *arena) { mkdir(a.t, a.path("tmp/roots"), 0o755, 0, 0) }, ask: "tmp/roots/eve.sock", refused: []string{"emperor-socket-root"}},
		{name: "a hard link to root's dead socket, which only eve's name of it leaves", arrange: hard("precious/a.sock", "home/a.sock"), ask: "home/a.sock",
			spare: spare("precious/a.sock", "home/a.sock")},
	}
}

// spellings are paths that are not what they look like.
func spellings() []attack {
	var list []attack
	for name, path := range map[string]string{
		"..": "home/../precious/a.sock", "two slashes": "root//eve.sock", "a dot": "root/./eve.sock", "a slash at the end": "root/eve.sock/",
		"NUL": "root/eve.sock\x00.txt", "108 bytes": "root/eve" + strings.Repeat("x", 108), "300 bytes": "root/eve" + strings.Repeat("x", 300),
		"nothing but slashes": "///", ".. as the last": "root/..",
	} {
		list = append(list, attack{name: "a path with " + name, ask: path, refused: []string{"cannot listen on"},
			spare: func(path string) bool { return strings.HasSuffix(path, "/root/eve.sock") }})
	}
	return list
}

func races() []attack {
	own := func(a *arena, name string, mode os.FileMode) { mkdir(a.t, a.path(name), mode, eve.UID, eve.GID) }
	link := func(a *arena, target, name string) {
		a.must(os.Symlink(a.path(target), a.path(name)), os.Lchown(a.path(name), eve.UID, eve.GID))
	}
	args := func(names ...string) func(*arena) []string {
		return func(a *arena) (paths []string) {
			for _, n := range names {
				paths = append(paths, a.path(n))
			}
			return paths
		}
	}
	// A decoy that was removed instead of the socket, or is where nobody looks for it, would end the race: everything is
	// put back from time to time.
	decoy := func(socket, decoy string, make func(a *arena)) func(*arena) {
		return func(a *arena) {
			_, _ = unix.Unlink(a.path(socket)), unix.Unlink(a.path(decoy))
			make(a)
		}
	}
	hard := func(target string) func(*arena) { // as if root were careless
		return decoy("home/a.sock", "home/decoy", func(a *arena) { _ = os.Link(a.path(target), a.path("home/decoy")) })
	}
	soft := func(socket, name string) func(*arena) {
		return decoy(socket, name, func(a *arena) {
			_ = os.Symlink(a.path("precious/passwd"), a.path(name))
			_ = os.Lchown(a.path(name), eve.UID, eve.GID)
		})
	}
	return []attack{
		{name: "race: the folder becomes a link to root's, where nothing is in the way", race: "exchange", ask: "home/d/new.sock", args: args("home/d", "home/l"),
			arrange: func(a *arena) { own(a, "home/d", 0o755); link(a, "precious", "home/l") }},
		{name: "race: the folder becomes a link to root's, where a dead socket has the name", race: "exchange", ask: "home/d/a.sock", args: args("home/d", "home/l"),
			arrange: func(a *arena) { own(a, "home/d", 0o755); link(a, "precious", "home/l") }},
		{name: "race: the folder becomes a link to a neighbour's", race: "exchange", ask: "home/d/a.sock", args: args("home/d", "home/l"),
			arrange: func(a *arena) { own(a, "home/d", 0o755); link(a, "bob", "home/l") }},
		{name: "race: the folder becomes a link to the runtime root", race: "exchange", ask: "home/d/new.sock", args: args("home/d", "home/l"),
			arrange: func(a *arena) { own(a, "home/d", 0o755); link(a, "root", "home/l") }},
		{name: "race: a link to root's file takes the place of the socket", race: "replace", ask: "home/a.sock", args: args("home/a.sock", "home/decoy"),
			arrange: soft("home/a.sock", "home/decoy"), renew: soft("home/a.sock", "home/decoy")},
		{name: "race: a hard link to root's file takes the place of the socket", race: "replace", ask: "home/a.sock", args: args("home/a.sock", "home/decoy"),
			arrange: hard("precious/passwd"), renew: hard("precious/passwd")},
		{name: "race: a hard link to a neighbour's socket takes the place of the socket", race: "replace", ask: "home/a.sock", args: args("home/a.sock", "home/decoy"),
			arrange: hard("bob/live.sock"), renew: hard("bob/live.sock")},
		{name: "race: a hard link to root's socket takes the place of the socket", race: "replace", ask: "home/a.sock", args: args("home/a.sock", "home/decoy"),
			arrange: hard("precious/live.sock"), renew: hard("precious/live.sock")},
		{name: "race: FIFOs, folders and links take the place of the socket", race: "unlink", ask: "home/a.sock", args: args("home/a.sock", "precious/passwd")},
		{name: "race: the new socket gets a second name", race: "link", ask: "home/a.sock", args: args("home/a.sock", "home/second")},
		{name: "race: the folder opens and closes", race: "chmod", ask: "home/d/a.sock", args: args("home/d"), arrange: func(a *arena) { own(a, "home/d", 0o755) }},
		{name: "race: folders made for the socket are taken away and become links", race: "burrow", ask: "root/eve/sub/a.sock", args: args("root/eve", "sub", "precious")},
		{name: "race: a sticky folder, where the socket is exchanged", race: "replace", ask: "tmp/eve.sock", args: args("tmp/eve.sock", "tmp/eve-decoy"),
			arrange: soft("tmp/eve.sock", "tmp/eve-decoy"), renew: soft("tmp/eve.sock", "tmp/eve-decoy")},
	}
}
