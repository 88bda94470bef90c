package emperor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/shell"
	"github.com/emperord/emperord/sockets"
)

// judgeLink judges a vassal file where the owner of a link is the user of the vassal, so that many users can have links to one
// skeleton. That is so with emperor-tyrant-nofollow, and in uWSGI 2.0.21 with emperor-nofollow alone too; there, links
// of root's are refused, which here only the former does. It returns judged = false if the link's owner does not count. Only a user itself, or root, can
// make a link that belongs to it, but others may be able to move one to where it leads elsewhere. So whatever the link
// names has to be root's or its owner's, every folder on the way from the link on too; and it is read with the rights
// of the link's owner: a link must open nothing to who could not open it himself.
func (d *directory) judgeLink(path, base string, by law) (j judgement, judged bool, err error) {
	var link unix.Stat_t
	if err := unix.Lstat(path, &link); err != nil {
		return j, true, fmt.Errorf("cannot read the vassal file: %w", &os.PathError{Op: "lstat", Path: path, Err: err})
	}
	if link.Mode&unix.S_IFMT != unix.S_IFLNK || link.Uid == 0 && !by.rootsLinks {
		return j, false, nil
	}
	owner := d.identify(int(link.Uid), int(link.Gid), by.initgroups)
	switch {
	case link.Uid == 0:
		return j, true, refuse("cannot run %s in tyrant mode: the link belongs to %s (uid 0, gid %d), and with emperor-tyrant-nofollow its owner is who the application runs as; give it to the application's user: chown -h USER:GROUP %s", path, owner.Name, link.Gid, shell.Word(path))
	case link.Gid == 0:
		return j, true, refuse("cannot run %s in tyrant mode: the link's group is root (uid %d, gid 0), and with emperor-tyrant-nofollow its group is what the application runs as; run: chgrp -h %s %s", path, link.Uid, d.primaryGroup(owner), path)
	}
	var way trail
	err = sockets.As(owner, func() (err error) {
		way, err = follow(path)
		return err
	})
	switch {
	case errors.As(err, new(refusal)):
		return j, true, err
	case errors.Is(err, fs.ErrPermission):
		return j, true, fmt.Errorf("cannot read the vassal file: %w as %s (uid %d), who owns the link; let %s read it: chmod o+r the file, and o+x the folders on the way", err, owner.Name, owner.UID, owner.Name)
	case err != nil:
		return j, true, fmt.Errorf("cannot read the vassal file: %w", err)
	}
	if j.program, err = d.fairLink(&way, path, base, owner, by.exec); err != nil {
		way.file.Close()
		return judgement{}, true, err
	}
	j.file, j.owner = way.file, owner
	return j, true, nil
}

// fairLink refuses a link whose owner may never have meant to run what it leads to. It tells whether that is a program.
func (d *directory) fairLink(way *trail, path, base string, owner sockets.Identity, exec bool) (program bool, err error) {
	l := way.link
	if l == nil || int(l.st.Uid) != owner.UID || int(l.st.Gid) != owner.GID {
		return false, fmt.Errorf("cannot run %s: the link was exchanged while it was looked at", path)
	}
	trusted := []int{0, owner.UID}
	var source unix.Stat_t
	if err := unix.Stat(base, &source); err == nil {
		trusted = append(trusted, int(source.Uid))
	}
	if m, found := stranger(way.movers[:l.before], trusted...); found {
		who := d.nameOf(m)
		return false, refuse("cannot run %s in tyrant mode: the link belongs to %s, and %s could have moved it there (%s is %s's); let %s or root own the folders and links on the way", path, owner.Name, who, m.what, who, owner.Name)
	}
	if m, found := stranger(way.movers[l.before:], 0, owner.UID); found {
		who := d.nameOf(m)
		return false, refuse("cannot run %s in tyrant mode: it would run as %s, who owns the link, and %s could put another file where it leads (%s is %s's); let %s or root own the folders and links on the way", path, owner.Name, who, m.what, who, owner.Name)
	}
	if l.shared && l.st.Nlink > 1 {
		return false, refuse("cannot run %s in tyrant mode: the link has %d names (hard links), so somebody else may have put it there; make it anew: ln -sfn TARGET %s && chown -h %d:%d %s", path, l.st.Nlink, shell.Word(path), owner.UID, owner.GID, shell.Word(path))
	}
	var st unix.Stat_t
	fd := int(way.file.Fd())
	if err := unix.Fstat(fd, &st); err != nil {
		return false, fmt.Errorf("cannot look at %s: %w", path, err)
	}
	if st.Uid != 0 && int(st.Uid) != owner.UID {
		who := d.identify(int(st.Uid), 0, false).Name
		return false, refuse("cannot run %s in tyrant mode: it would run as %s, who owns the link, and what it leads to belongs to %s, who could act as %s; give that file to root, or the link to %s: chown -h %d:%d %s", path, owner.Name, who, owner.Name, who, st.Uid, st.Gid, shell.Word(path))
	}
	if st.Mode&0o002 != 0 {
		return false, refuse("cannot run %s in tyrant mode: everybody may write the file that it leads to (mode %04o), so everybody could act as %s; run: chmod o-w %s", path, st.Mode&0o7777, owner.Name, shell.Word(path))
	}
	writers, err := writersOf(fd, &st)
	if err != nil {
		return false, fmt.Errorf("cannot see who may write %s: %w", path, err)
	}
	if err := d.writable(path, owner, &st, writers); err != nil {
		return false, err
	}
	if program = exec && executable(&st); program {
		if err := d.steady(way.movers, path, owner); err != nil {
			return false, err
		}
	}
	return program, d.ownGroup(path, owner, "chgrp -h")
}
