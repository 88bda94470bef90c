package access

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// systemFolders are root's folders that every program on a machine goes through (hier(7)); o+x is their usual mode.
var systemFolders = []string{"/", "/etc", "/home", "/mnt", "/media", "/opt", "/run", "/srv", "/tmp", "/usr", "/usr/bin", "/usr/lib", "/usr/local", "/usr/local/bin", "/usr/local/lib", "/usr/share",
	"/var", "/var/cache", "/var/lib", "/var/log", "/var/tmp", "/var/www"}

// mend returns the commands that give the user what it lacks; the package's comment says why which.
func (k *walker) mend(at step, want, lacks Right) (commands []string, note string) {
	u, bits := k.user, lacks.bits()
	path := Quote(at.path)
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
		return nil, fmt.Sprintf("the members of %s are shut out on purpose, and this file system has no ACLs: give the file another group, or move it", groupName(at.GID))
	case passing:
		command = fmt.Sprintf("chmod o+x %s", path)
		note = fmt.Sprintf("it lets everybody pass and nobody list; with setfacl (package acl), setfacl -m u:%s:x %s would let %s alone", qualifier(u), path, u.Name)
	default: // its group alone, and no more than it needs
		_, without := at.judge(u, 7)
		command = fmt.Sprintf("chgrp %s %s", Quote(groupName(u.GID)), path)
		commands = append(commands, command)
		command = fmt.Sprintf("chmod g=%s %s", bits|7&^without, path)
		if at.Mode.Perm()&0o070 != 0 {
			note = fmt.Sprintf("members of %s lose what they had through it", groupName(at.GID))
		}
	}
	commands = append(commands, command)
	if len(commands) == 1 { // chgrp to a group that is not the owner's is root's alone
		commands[0] = k.as(at) + commands[0]
	}
	if at.immutable && want&Write == 0 { // else it is taken away for good, which is said before
		commands = append([]string{"chattr -i " + path}, append(commands, "chattr +i "+path)...)
	}
	return commands, note
}

// SetACL returns the command that gives a user rights at one file or folder by an ACL entry, and nobody else any.
func (n Inode) SetACL(u User, path string, want Right) string {
	return fmt.Sprintf("setfacl -m %s %s", n.entries(u, want.bits()), Quote(path))
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
		return Quote(u.Name)
	}
	return fmt.Sprint(u.UID)
}

// as is put before a command on a file that a stranger could swap for another before it runs: then its owner runs it,
// who may do that anyway. Where the owner cannot get there itself, it cannot swap anything either.
func (k *walker) as(at step) string {
	if at.UID == 0 || !k.swappable() {
		return ""
	}
	u := User{UID: at.UID, GID: at.GID}
	for _, s := range k.way {
		if s.Lacks(u, Enter) != 0 {
			return ""
		}
	}
	if !k.tools("setpriv") {
		return ""
	}
	return fmt.Sprintf("setpriv --reuid=%d --regid=%d --clear-groups ", at.UID, at.GID)
}

// AsOwner returns what to put before a command that root is to run on a file, so that nobody who may change the names on the way
// can have root change something else: the file's owner runs it. It is empty where only root may, and where the owner
// cannot get there itself.
func AsOwner(path string) string {
	k := walker{user: User{Caps: new(uint64)}, want: Write, tools: installed}
	k.walk(path)
	at, err := look(path)
	if err != nil {
		return ""
	}
	return k.as(step{path, at})
}

// swappable tells whether anybody but root may change the names on the way.
func (k *walker) swappable() bool {
	return slices.ContainsFunc(k.way, func(s step) bool {
		return s.UID != 0 || s.Mode.Perm()&0o022 != 0 && s.Mode&os.ModeSticky == 0
	})
}

var plain = regexp.MustCompile(`^[A-Za-z0-9_./,:=@%+-]+$`)

// Quote writes a word as sh reads it.
func Quote(word string) string {
	if plain.MatchString(word) && !strings.HasPrefix(word, "-") {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
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
