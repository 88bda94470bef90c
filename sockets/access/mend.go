package access

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/emperord/emperord/shell"
)

// systemFolders are root's folders that every program on a machine goes through (hier(7)); o+x is their usual mode.
var systemFolders = []string{"/", "/etc", "/home", "/mnt", "/media", "/opt", "/run", "/srv", "/tmp", "/usr", "/usr/bin", "/usr/lib", "/usr/local", "/usr/local/bin", "/usr/local/lib", "/usr/share",
	"/var", "/var/cache", "/var/lib", "/var/log", "/var/tmp", "/var/www"}

// mend returns the commands that give the user what it lacks; the package's comment says why which.
func (k *walker) mend(at step, want, lacks Right) (commands []string, note string) {
	u, bits := k.user, lacks.bits()
	path := shell.Quote(at.path)
	passing := at.Mode.IsDir() && bits == mayX
	acl := !at.noACL && k.tools("setfacl")
	// A group that has less than all others is shut out by its digit; given to another group, it would let its members in.
	shuts := Perm(at.Mode.Perm()&7)&^Perm(at.Mode.Perm()>>3&7) != 0
	var command string
	switch member := at.ACL == nil && u.in(at.GID); {
	case u.UID == at.UID:
		command = fmt.Sprintf("chmod u+%s %s", bits, path)
	case member:
		command = fmt.Sprintf("chmod g+%s %s", bits, path)
	case passing && at.ACL == nil && at.UID == 0 && slices.Contains(systemFolders, at.path):
		command = fmt.Sprintf("chmod o+x %s", path)
	case acl || at.ACL != nil || shuts && !passing && !at.noACL:
		command = at.SetACL(u, at.path, want)
		if !acl {
			note = "setfacl is in the package acl, which is not installed"
		}
	case shuts && !passing:
		return nil, fmt.Sprintf("the members of %s are shut out on purpose, and this file system has no ACLs: give the file another group, or move it", GroupName(at.GID))
	case passing:
		command = fmt.Sprintf("chmod o+x %s", path)
		note = fmt.Sprintf("it lets everybody pass and nobody list; with setfacl (package acl), setfacl -m u:%s:x %s would let %s alone", qualifier(u), path, u.Name)
	default: // its group alone, and no more than it needs
		_, without := at.judge(u, 7)
		command = fmt.Sprintf("chgrp %s %s", shell.Quote(GroupName(u.GID)), path)
		commands = append(commands, command)
		command = fmt.Sprintf("chmod g=%s %s", bits|7&^without, path)
		if at.Mode.Perm()&0o070 != 0 {
			note = fmt.Sprintf("members of %s lose what they had through it", GroupName(at.GID))
		}
	}
	commands = append(commands, command)
	commands, unsafe := k.safely(at, commands)
	if unsafe != "" {
		note = strings.TrimPrefix(note+"; "+unsafe, "; ")
	}
	if at.immutable && want&Write == 0 { // else it is taken away for good, which is said before
		commands = append([]string{"chattr -i " + path}, append(commands, "chattr +i "+path)...)
	}
	return commands, note
}

// SetACL returns the command that gives a user rights at one file or folder by an ACL entry, and nobody else any.
func (n Inode) SetACL(u User, path string, want Right) string {
	return fmt.Sprintf("setfacl -m %s %s", n.entries(u, want.bits()), shell.Quote(path))
}

// entries are what setfacl -m has to be told: the user's own entry, the mask, and those whom the mask would give more.
func (n Inode) entries(u User, want Perm) string {
	_, lacks := n.judge(u, 7)
	mine := want | 7&^lacks // what it had, it keeps
	if c, _ := n.judge(u, want); c == group {
		for _, one := range []Perm{mayR, mayW, mayX} { // the groups give it one by one, not together
			if _, lacks := n.judge(u, one); lacks == 0 {
				mine |= one
			}
		}
	}
	list := n.ACL
	if list == nil { // the mode, as an ACL
		list = ACL{{Tag: TagOwningGroup, Perm: Perm(n.Mode.Perm() >> 3 & 7)}}
	}
	old := list.mask()
	if n.ACL == nil {
		old = list[0].Perm
	}
	mask := old | mine
	words := []string{fmt.Sprintf("u:%s:%s", qualifier(u), dash(mine))}
	for _, e := range list {
		if kept := e.Perm & old; e.Perm&mask != kept {
			switch {
			case e.Tag == TagUser && e.ID != u.UID:
				words = append(words, fmt.Sprintf("u:%d:%s", e.ID, dash(kept)))
			case e.Tag == TagGroup:
				words = append(words, fmt.Sprintf("g:%d:%s", e.ID, dash(kept)))
			case e.Tag == TagOwningGroup:
				words = append(words, "g::"+dash(kept))
			}
		}
	}
	return strings.Join(append(words, "m::"+dash(mask)), ",")
}

// dash writes rights where setfacl wants something.
func dash(p Perm) string {
	if p == 0 {
		return "-"
	}
	return p.String()
}

var plainName = regexp.MustCompile(`^[a-z_][a-z0-9_-]*\$?$`)

// qualifier names a user for setfacl: by number where the name holds what setfacl would take for something else.
func qualifier(u User) string {
	if plainName.MatchString(u.Name) {
		return shell.Quote(u.Name)
	}
	return fmt.Sprint(u.UID)
}

// safely makes commands that nobody can turn on another file by changing a name on the way before they run. Where only the file's
// owner may do that, the owner runs them, who gains nothing. Else, and where they are root's alone (chgrp), they are
// run on a descriptor of the file that was judged. A socket has none: then the note says so.
func (k *walker) safely(at step, commands []string) ([]string, string) {
	if !k.swappable(at) {
		return commands, ""
	}
	if prefix := k.as(at); prefix != "" && len(commands) == 1 {
		return []string{prefix + commands[0]}, ""
	}
	if !at.Mode.IsDir() && !at.Mode.IsRegular() { // no descriptor pins it
		return nil, "no command of root's is safe there, since others may put something else in its place meanwhile: let its owner, or who makes it, change it"
	}
	path := shell.Quote(at.path)
	pinned := fmt.Sprintf(`(exec 3<%s && test "$(stat -Lc %%d:%%i /proc/self/fd/3)" = %d:%d`, path, at.dev, at.ino)
	for _, c := range commands {
		pinned += " && " + strings.TrimSuffix(c, path) + "/proc/self/fd/3"
	}
	return []string{pinned + ")"}, "it changes what was judged, and nothing that somebody puts in its place meanwhile"
}

// as is put before a command where the file's owner, and nobody else but root, may change the names on the way, and can get
// there.
func (k *walker) as(at step) string {
	u := User{UID: at.UID, GID: at.GID}
	for _, s := range k.way {
		if s.UID != 0 && s.UID != at.UID || s.open() || s.Lacks(u, Enter) != 0 {
			return ""
		}
	}
	if at.UID == 0 || !k.tools("setpriv") {
		return ""
	}
	return fmt.Sprintf("setpriv --reuid=%d --regid=%d --clear-groups ", at.UID, at.GID)
}

// open tells whether others than a folder's owner may change the names in it.
func (f found) open() bool {
	return f.Mode.Perm()&0o022 != 0 && f.Mode&os.ModeSticky == 0
}

// Trusted tells whether nobody but root may change the names on the way to a path, so that a command of root's finds there what was
// judged. A way that cannot be looked at is not trusted.
func Trusted(path string) bool {
	k := walker{user: User{}, tools: installed}
	k.walk(path)
	at, err := look(path)
	return err == nil && len(k.obstacles) == 0 && !k.swappable(step{path, at})
}

// AsOwner returns what to put before a command that changes a file, on a way that is not Trusted: the file's owner runs it. It
// is empty where that is not possible.
func AsOwner(path string) string {
	k := walker{user: User{}, tools: installed}
	k.walk(path)
	at, err := look(path)
	if err != nil || len(k.obstacles) > 0 || !k.swappable(step{path, at}) {
		return ""
	}
	return k.as(step{path, at})
}

// swappable tells whether anybody but root may change the names on the way. In a sticky folder such as /tmp those are the owners
// of what is in it.
func (k *walker) swappable(at step) bool {
	if n := len(k.way); n > 0 && at.UID != 0 && k.way[n-1].Mode.Perm()&0o022 != 0 {
		return true
	}
	return slices.ContainsFunc(k.way, func(s step) bool {
		return s.UID != 0 || s.open()
	})
}

// kept are folders whose contents are root's to give: no tenant's file gets anybody in there by naming a path.
var kept = []string{"/root", "/etc", "/boot", "/proc", "/sys", "/dev", "/usr", "/bin", "/sbin", "/lib", "/lib64",
	"/run/credentials", "/var/backups", "/var/cache", "/var/lib", "/var/log", "/var/mail", "/var/spool"}

// Kept tells whether a user is to be given no right to what is at a path, whatever a configuration asks for: it is a third
// user's, or root's own in a folder such as /etc or /root. A vassal file is a stranger's wish, and the remedy is run by root.
func (n Inode) Kept(u User, path string) bool {
	if n.UID != 0 {
		return n.UID != u.UID
	}
	return slices.ContainsFunc(kept, func(dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") })
}

// installed tells whether root's shell would find a command.
func installed(name string) bool {
	for _, dir := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		if fi, err := os.Stat(filepath.Join(dir, name)); err == nil && fi.Mode().IsRegular() {
			return true
		}
	}
	return false
}
