package check

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/emperord/emperord/sockets/access"
)

// maxLinks bounds the links followed on one way, as the kernel does (path_resolution(7)).
const maxLinks = 40

// looked is what Lstat has answered.
type looked struct {
	Entry
	err error
}

func (r *run) lstat(path string) (Entry, error) {
	if l, ok := r.entries[path]; ok {
		return l.Entry, l.err
	}
	e, err := r.System.Lstat(path)
	r.entries[path] = looked{e, err}
	return e, err
}

// A step is one folder on the way to something.
type step struct {
	path string
	Entry
}

// A broken way ends at a name that is missing, that may not be looked at, or that is no folder.
type broken struct {
	at  string
	err error
}

func (b *broken) Error() string { return b.at + ": " + reason(b.err) }
func (b *broken) Unwrap() error { return b.err }

// walk goes to an absolute path as the kernel does, and returns the folders passed and what is at the end, with the name
// that it has after all links.
func (r *run) walk(path string) (way []step, end step, err error) {
	return r.trail(path, func(_, _ step) {})
}

// trail is walk; it calls each for everything that is found on the way, links too, with the folder that holds it.
func (r *run) trail(path string, each func(folder, found step)) (way []step, end step, err error) {
	root, err := r.lstat("/")
	if err != nil {
		return nil, end, &broken{"/", err}
	}
	names := strings.Split(path, "/")
	at, here, links := "/", root, 0
	for len(names) > 0 {
		name := names[0]
		names = names[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			if here, err = r.lstat(at); err != nil {
				return way, end, &broken{at, err}
			}
			continue
		}
		if !here.Mode.IsDir() {
			return way, end, &broken{at, errNoFolder}
		}
		way = append(way, step{at, here})
		next := filepath.Join(at, name)
		e, err := r.lstat(next)
		if err != nil {
			return way, end, &broken{next, err}
		}
		each(step{at, here}, step{next, e})
		if e.Mode.Type() != linkMode {
			at, here = next, e
			continue
		}
		target, err := r.System.Readlink(next)
		if links++; err == nil && links > maxLinks {
			err = errors.New("too many links")
		}
		if err != nil {
			return way, end, &broken{next, err}
		}
		names = append(strings.Split(target, "/"), names...)
		if strings.HasPrefix(target, "/") {
			at, here = "/", root
		}
	}
	return way, step{at, here}, nil
}

// follow looks at what a path leads to.
func (r *run) follow(path string) (Entry, error) {
	_, end, err := r.walk(path)
	return end.Entry, err
}

// What a user may want of a file or folder.
const (
	mayRead   = 4
	mayWrite  = 2
	maySearch = 1
)

// class is the one of the three mode digits that counts for a user: "u", "g" or "o", and its bits.
func class(u *User, e Entry) (string, fs.FileMode) {
	switch {
	case u.UID == e.UID:
		return "u", e.Mode.Perm() >> 6
	case u.GID == e.GID || slices.Contains(u.Groups, e.GID):
		return "g", e.Mode.Perm() >> 3 & 7
	}
	return "o", e.Mode.Perm() & 7
}

// may tells what the kernel would (sockets/access), ACLs included.
func may(u *User, e Entry, want fs.FileMode) bool {
	return u.UID == 0 || e.inode().Lacks(u.access(), rights(e, want)) == 0
}

func (e Entry) inode() access.Inode {
	return access.Inode{Mode: e.Mode, UID: e.UID, GID: e.GID, ACL: e.ACL}
}

// access is a user as sockets/access knows it.
func (u *User) access() access.User {
	return access.User{Name: u.Name, UID: u.UID, GID: u.GID, Groups: u.Groups}
}

// rights are the wanted bits as rights to this file or folder.
func rights(e Entry, want fs.FileMode) (r access.Right) {
	if want&mayRead != 0 {
		r |= access.Read
	}
	if want&mayWrite != 0 {
		r |= access.Write
	}
	switch {
	case want&maySearch == 0:
	case e.Mode.IsDir():
		r |= access.Enter
	default:
		r |= access.Run
	}
	return r
}

// An obstacle is why a user cannot have what it wants.
type obstacle struct {
	missing bool   // it is not there
	hidden  bool   // whoever checks may not look
	at      string // the name where the way ends
	what    string // "is not there", "may not be entered by shop (drwx------ root:root)"
	mend    string // a command; empty where none is known
	kept    bool   // it is somebody else's, and not to be given away because a file names it
	move    bool   // it lies where nobody but root should go
}

// reach asks whether a user may reach a path and has the wanted rights there. A nil user asks only whether it is there.
func (r *run) reach(u *User, path string, want fs.FileMode) (step, *obstacle) {
	way, end, err := r.walk(path)
	if u != nil {
		for _, s := range way {
			if !may(u, s.Entry, maySearch) {
				letter, _ := class(u, s.Entry)
				if s.path == "/root" {
					return end, &obstacle{at: s.path, what: fmt.Sprintf("%s may not enter /root (%s)", u.Name, r.rights(s.Entry)), move: true}
				}
				o := &obstacle{at: s.path, what: fmt.Sprintf("%s may not enter %s (%s)", u.Name, s.path, r.rights(s.Entry)), mend: fmt.Sprintf("chmod %s+x %s", letter, quote(s.path))}
				if s.ACL != nil {
					o.mend = s.inode().SetACL(u.access(), s.path, access.Enter)
				}
				if want&mayWrite == 0 && err == nil {
					o.mend = r.better(u, path, rights(end.Entry, want), o.mend)
				} else {
					o.mend = r.better(u, filepath.Dir(path), access.Enter, o.mend)
				}
				if r.kept(u, s) {
					o.mend, o.kept = "", true
				}
				return end, o
			}
		}
	}
	var b *broken
	if errors.As(err, &b) {
		o := &obstacle{at: b.at, missing: errors.Is(err, fs.ErrNotExist), hidden: errors.Is(err, fs.ErrPermission)}
		o.what = b.at + " " + strings.TrimPrefix(reason(b.err), "it ")
		if b.at != filepath.Clean(path) && o.missing {
			o.what = fmt.Sprintf("%s is not there: %s is missing", path, b.at)
		}
		return end, o
	}
	if u != nil && !may(u, end.Entry, want) {
		letter, _ := class(u, end.Entry)
		verb, bits := "read", ""
		for _, b := range []struct {
			bit   fs.FileMode
			text  string
			doing string
		}{{mayRead, "r", "read"}, {mayWrite, "w", "write"}, {maySearch, "x", "enter"}} {
			if want&b.bit != 0 {
				if bits == "" || b.bit == mayWrite {
					verb = b.doing
				}
				bits += b.text
			}
		}
		if want&maySearch != 0 && want&mayWrite == 0 && end.Mode.IsDir() && !may(u, end.Entry, maySearch) {
			verb = "enter" // what is read in a folder is reached through it
		}
		o := &obstacle{at: end.path, what: fmt.Sprintf("%s may not %s %s (%s)", u.Name, verb, end.path, r.rights(end.Entry)), mend: r.better(u, path, rights(end.Entry, want), r.admit(u, end, want, letter, bits))}
		if r.kept(u, end) {
			o.mend, o.kept = "", true
		}
		return end, o
	}
	return end, nil
}

// kept tells whether it is not for a vassal file to ask for this. nginx has to get into tenants' folders.
func (r *run) kept(u *User, at step) bool {
	return u != r.nginx && at.inode().Kept(u.access(), at.path)
}

// better asks whoever checks for a remedy.
func (r *run) better(u *User, path string, want access.Right, mend string) string {
	if r.Mend != nil {
		if m := r.Mend(u.access(), path, want); m != "" {
			return m
		}
	}
	return mend
}

// admit is the command that gives a user what it wants. What it is to write has to be its own: the right to write for
// everybody is no remedy.
func (r *run) admit(u *User, end step, want fs.FileMode, letter, bits string) string {
	if end.ACL != nil && letter != "u" && want&mayWrite == 0 { // g+ would change its mask
		return end.inode().SetACL(u.access(), end.path, rights(end.Entry, want))
	}
	if want&mayWrite == 0 && want&mayRead != 0 && letter == "o" && u.GID != 0 { // it may be a secret: its group, not everybody
		return fmt.Sprintf("chgrp %s %s && chmod g+%s %s", quote(r.groupName(u.GID)), quote(end.path), bits, quote(end.path))
	}
	if want&mayWrite == 0 || letter == "u" {
		return fmt.Sprintf("chmod %s+%s %s", letter, bits, quote(end.path))
	}
	command := fmt.Sprintf("chown %s %s", quote(u.Name), quote(end.path))
	if end.Mode.Perm()>>6&want != want {
		command += fmt.Sprintf(" && chmod u+%s %s", bits, quote(end.path))
	}
	return command
}

// rights writes mode and owner as ls does.
func (r *run) rights(e Entry) string {
	plus := ""
	if e.ACL != nil {
		plus = "+"
	}
	return fmt.Sprintf("%s%s %s:%s", e.Mode, plus, r.userName(e.UID), r.groupName(e.GID))
}
