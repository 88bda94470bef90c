package emperor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/shell"
	"github.com/emperord/emperord/sockets"
)

// userID reads a user given by name or number, and returns its primary group too.
func (d *directory) userID(text string) (uid, gid int, err error) {
	if p, known := d.user(text); known {
		return p.uid, p.gid, nil
	}
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return int(n), int(n), nil
	}
	return 0, 0, noName{fmt.Errorf("there is no user %q; make it, or write another one: getent passwd", text)}
}

// A noName is an error about a name that nobody has, or that a directory which does not answer would know.
type noName struct{ error }

// groupID reads a group given by name or number.
func (d *directory) groupID(text string) (int, error) {
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return int(n), nil
	}
	if gid, known := d.group(text); known {
		return gid, nil
	}
	return 0, noName{fmt.Errorf("there is no group %q; make it, or write another one: getent group", text)}
}

// A judgement is what has been found out about a vassal file through one descriptor of it.
type judgement struct {
	file    *os.File
	owner   sockets.Identity
	trusted bool // nobody but root can have written it
	program bool // it is to be run
}

// A law says how vassal files are judged.
type law struct {
	tyrant     bool // their owners are who they run as
	linkOwners bool // of a link, its own owner
	rootsLinks bool // of a link of root's too, which is refused then; otherwise the owner of what it leads to
	initgroups bool // with the owner's supplementary groups
	exec       bool // those that may be executed are run to print the configuration (emperor-magic-exec)
}

// A refusal is an error that only a change of the file or its rights can mend.
type refusal struct{ error }

func refuse(format string, args ...any) error { return refusal{fmt.Errorf(format, args...)} }

// judge opens the vassal file once and decides on owner and mode. Everything afterwards uses the descriptor, so that a
// file that is swapped later changes nothing. base is the folder that root has named as a source: who owns it may put
// vassals there.
func (d *directory) judge(path, base string, by law) (_ judgement, err error) {
	if by.tyrant && by.linkOwners {
		if j, judged, err := d.judgeLink(path, base, by); judged {
			return j, err
		}
	}
	var way trail
	var f *os.File
	if by.tyrant || by.exec {
		way, err = follow(path)
		f = way.file
	} else {
		f, err = os.OpenFile(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0) // NONBLOCK: a FIFO must not hold us
	}
	if errors.Is(err, fs.ErrPermission) {
		return judgement{}, fmt.Errorf("cannot read the vassal file: %w; the emperor runs as uid %d: chmod or chown %s", err, os.Geteuid(), shell.Word(path))
	}
	if errors.As(err, new(refusal)) {
		return judgement{}, err
	}
	if err != nil {
		return judgement{}, fmt.Errorf("cannot read the vassal file: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return judgement{}, fmt.Errorf("cannot look at %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return judgement{}, refuse("%s is not a regular file", path)
	}
	owner := d.identify(int(st.Uid), int(st.Gid), by.initgroups)
	if by.tyrant {
		switch {
		case st.Uid == 0:
			return judgement{}, refuse("cannot run %s in tyrant mode: the file belongs to %s (uid %d, gid %d), and its owner is who the application runs as; give it to the application's user: chown USER:GROUP %s", path, owner.Name, st.Uid, st.Gid, shell.Word(path))
		case st.Gid == 0:
			return judgement{}, refuse("cannot run %s in tyrant mode: the file's group is root (uid %d, gid 0), and its group is what the application runs as; run: chgrp %s %s", path, st.Uid, d.primaryGroup(owner), shell.Word(path))
		case st.Mode&0o002 != 0:
			return judgement{}, refuse("cannot run %s in tyrant mode: everybody may write it (mode %04o), so everybody could act as %s; run: chmod o-w %s", path, st.Mode&0o7777, owner.Name, shell.Word(path))
		}
	}
	writers, err := writersOf(int(f.Fd()), &st)
	if err != nil {
		return judgement{}, fmt.Errorf("cannot see who may write %s: %w", path, err)
	}
	if by.tyrant {
		if err := d.writable(path, owner, &st, writers); err != nil {
			return judgement{}, err
		}
	}
	if by.tyrant {
		if err := way.fair(d, path, base, &st, owner); err != nil {
			return judgement{}, err
		}
	}
	program := by.exec && executable(&st)
	if program {
		if err := d.steady(way.movers, path, owner); err != nil {
			return judgement{}, err
		}
	}
	trusted := st.Uid == 0 && st.Mode&0o002 == 0 && !slices.ContainsFunc(writers, func(w writer) bool { return w.id != 0 })
	return judgement{file: f, owner: owner, trusted: trusted, program: program}, nil
}

func executable(st *unix.Stat_t) bool { return st.Mode&0o111 != 0 }

// steady refuses a program that somebody could exchange for another one before it is run: it is run by its path, which is its
// name for itself, and not by the descriptor that was judged. Who owns the source may put vassals there, but not that.
func (d *directory) steady(movers []mover, path string, owner sockets.Identity) error {
	m, found := stranger(movers, 0, owner.UID, os.Geteuid())
	if !found {
		return nil
	}
	who := d.nameOf(m)
	return refuse("cannot run %s as a program (emperor-magic-exec): its owner is %s, and %s could exchange it (%s is %s's); let %s or root own the folders and links on the way, or run: chmod a-x %s", path, owner.Name, who, m.what, who, owner.Name, shell.Word(path))
}

// writable refuses a file that somebody may write whose word is not its owner's: a group is, if its owner is in it.
func (d *directory) writable(path string, owner sockets.Identity, st *unix.Stat_t, writers []writer) error {
	for _, w := range writers {
		switch {
		case !w.group && w.id != 0 && w.id != owner.UID:
			who := d.identify(w.id, 0, false).Name
			return refuse("cannot run %s in tyrant mode: its ACL lets %s (uid %d) write it, so %s could act as %s; run: setfacl -x u:%d %s", path, who, w.id, who, owner.Name, w.id, path)
		case !w.group || w.acl && w.id == 0 || d.belongs(owner, w.id):
		case w.acl && w.id != int(st.Gid):
			return refuse("cannot run %s in tyrant mode: its ACL lets the members of group %s (gid %d) write it, and %s is none of them; so they could act as %s; run: setfacl -x g:%d %s", path, groupName(w.id), w.id, owner.Name, owner.Name, w.id, path)
		default:
			remedy := "chmod g-w"
			if w.acl {
				remedy = "setfacl -m g::r"
			}
			return refuse("cannot run %s in tyrant mode: the members of group %s (gid %d) may write it (mode %04o), and %s is none of them; so they could act as %s; run: %s %s", path, groupName(w.id), w.id, st.Mode&0o7777, owner.Name, owner.Name, remedy, path)
		}
	}
	return nil
}

// belongs tells whether a user is in a group by what the system knows of it, not by what the file says. A number that is
// no user's has the group of the same number.
func (d *directory) belongs(owner sockets.Identity, gid int) bool {
	own := d.primaryGID(owner)
	if own < 0 {
		return gid == owner.UID
	}
	return slices.Contains(d.identify(owner.UID, own, true).Groups, gid)
}

// nameable refuses a name that would mean something else on the vassal's command line.
func nameable(path, file string) error {
	if strings.Contains(file, ":") {
		return refuse("cannot run %q: what follows a colon is the name of a section on a command line (--ini FILE:SECTION), so another file would be read; rename it", path)
	}
	return nil
}

// sameOwner holds the judged file against the one that was seen: when another one has been put in its place in between,
// the next look decides, which also knows what has to end first if the owner is another.
func (v *vassal) sameOwner(j judgement) error {
	if j.owner.UID != int(v.uid) || j.owner.GID != int(v.gid) {
		return fmt.Errorf("cannot run %s: it was given to another owner, or exchanged, while it was looked at: from uid %d, gid %d to uid %d, gid %d", v.path, v.uid, v.gid, j.owner.UID, j.owner.GID)
	}
	return nil
}

// fair refuses a file that its owner may never have meant to be run.
func (t *trail) fair(d *directory, path, base string, st *unix.Stat_t, owner sockets.Identity) error {
	trusted := []int{0, owner.UID}
	var source unix.Stat_t
	if err := unix.Stat(base, &source); err == nil {
		trusted = append(trusted, int(source.Uid))
	}
	if m, found := stranger(t.movers, trusted...); found {
		who := d.nameOf(m)
		return refuse("cannot run %s in tyrant mode: its owner is %s, and %s could have put another file of theirs there (%s is %s's); let %s or root own the folders and links on the way, or copy the file into a folder of root's", path, owner.Name, who, m.what, who, owner.Name)
	}
	if t.shared && st.Nlink > 1 {
		return refuse("cannot run %s in tyrant mode: the file has %d names (hard links), so somebody else may have put it there; run: cp --remove-destination %s %s.new && mv %s.new %s", path, st.Nlink, path, path, path, path)
	}
	if t.shared || t.visited > 0 {
		return d.ownGroup(path, owner, "chgrp")
	}
	return nil
}

// ownGroup refuses a group that its owner, should it be a user of the system, is not in.
func (d *directory) ownGroup(path string, owner sockets.Identity, remedy string) error {
	if own := d.primaryGID(owner); own >= 0 && !slices.Contains(d.identify(owner.UID, own, true).Groups, owner.GID) {
		return refuse("cannot run %s in tyrant mode: its group (gid %d) is none of %s's; run: %s %s %s", path, owner.GID, owner.Name, remedy, d.primaryGroup(owner), shell.Word(path))
	}
	return nil
}

// nameOf names a mover in a message.
func (d *directory) nameOf(m mover) string {
	if m.uid < 0 {
		return "everybody"
	}
	return d.identify(m.uid, 0, false).Name
}

// primaryGID returns the primary group of a user, -1 where it has none.
func (d *directory) primaryGID(id sockets.Identity) int {
	if p, known := d.user(strconv.Itoa(id.UID)); known {
		return p.gid
	}
	return -1
}

// primaryGroup names the group of a user in a remedy.
func (d *directory) primaryGroup(id sockets.Identity) string {
	gid := d.primaryGID(id)
	if gid < 0 {
		return strconv.Itoa(id.UID)
	}
	return groupName(gid)
}
