package emperor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/sockets"
)

// identify returns the identity of uid with gid as its group: its name and its supplementary groups, as initgroups(3)
// would set them. A uid that no user has is its own name and has no groups but gid.
func identify(uid, gid int, groups bool) sockets.Identity {
	id := sockets.Identity{Name: strconv.Itoa(uid), UID: uid, GID: gid, Groups: []int{gid}}
	u, err := user.LookupId(id.Name)
	if err != nil {
		return id
	}
	id.Name = u.Username
	if !groups {
		return id
	}
	list, err := u.GroupIds()
	if err != nil {
		return id
	}
	for _, text := range list {
		if g, err := strconv.Atoi(text); err == nil && !slices.Contains(id.Groups, g) {
			id.Groups = append(id.Groups, g)
		}
	}
	return id
}

// userID reads a user given by name or number, and returns its primary group too.
func userID(text string) (uid, gid int, err error) {
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		if u, err := user.LookupId(text); err == nil {
			if g, err := strconv.Atoi(u.Gid); err == nil {
				return int(n), g, nil
			}
		}
		return int(n), int(n), nil
	}
	u, err := user.Lookup(text)
	if err != nil {
		return 0, 0, fmt.Errorf("there is no user %q; make it, or write another one: getent passwd", text)
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	return uid, gid, errors.Join(err1, err2)
}

// groupID reads a group given by name or number.
func groupID(text string) (int, error) {
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return int(n), nil
	}
	g, err := user.LookupGroup(text)
	if err != nil {
		return 0, fmt.Errorf("there is no group %q; make it, or write another one: getent group", text)
	}
	return strconv.Atoi(g.Gid)
}

// A judgement is what has been found out about a vassal file through one descriptor of it.
type judgement struct {
	file    *os.File
	owner   sockets.Identity
	trusted bool // nobody but root can have written it
}

// A refusal is an error that only a change of the file or its rights can mend.
type refusal struct{ error }

func refuse(format string, args ...any) error { return refusal{fmt.Errorf(format, args...)} }

// judge opens the vassal file once and decides on owner and mode. Everything afterwards uses the descriptor, so that a
// file that is swapped later changes nothing. base is the folder that root has named as a source: who owns it may put
// vassals there.
func judge(path, base string, tyrant, initgroups bool) (_ judgement, err error) {
	var way trail
	var f *os.File
	if tyrant {
		way, err = follow(path)
		f = way.file
	} else {
		f, err = os.OpenFile(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0) // NONBLOCK: a FIFO must not hold us
	}
	if errors.Is(err, fs.ErrPermission) {
		return judgement{}, fmt.Errorf("cannot read the vassal file: %w; the emperor runs as uid %d: chmod or chown %s", err, os.Geteuid(), path)
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
	owner := identify(int(st.Uid), int(st.Gid), initgroups)
	if tyrant {
		switch {
		case st.Uid == 0:
			return judgement{}, refuse("cannot run %s in tyrant mode: the file belongs to %s (uid %d, gid %d), and its owner is who the application runs as; give it to the application's user: chown USER:GROUP %s", path, owner.Name, st.Uid, st.Gid, path)
		case st.Gid == 0:
			return judgement{}, refuse("cannot run %s in tyrant mode: the file's group is root (uid %d, gid 0), and its group is what the application runs as; run: chgrp %s %s", path, st.Uid, primaryGroup(owner), path)
		case st.Mode&0o002 != 0:
			return judgement{}, refuse("cannot run %s in tyrant mode: everybody may write it (mode %04o), so everybody could act as %s; run: chmod o-w %s", path, st.Mode&0o7777, owner.Name, path)
		}
	}
	if tyrant {
		if err := way.fair(path, base, &st, owner); err != nil {
			return judgement{}, err
		}
	}
	trusted := st.Uid == 0 && st.Mode&0o002 == 0 && (st.Mode&0o020 == 0 || st.Gid == 0)
	return judgement{file: f, owner: owner, trusted: trusted}, nil
}

// fair refuses a file that its owner may never have meant to be run.
func (t *trail) fair(path, base string, st *unix.Stat_t, owner sockets.Identity) error {
	trusted := []int{0, owner.UID}
	var source unix.Stat_t
	if err := unix.Stat(base, &source); err == nil {
		trusted = append(trusted, int(source.Uid))
	}
	if m, found := t.stranger(trusted...); found {
		who := "everybody"
		if m.uid >= 0 {
			who = identify(m.uid, 0, false).Name
		}
		return refuse("cannot run %s in tyrant mode: its owner is %s, and %s could have put another file of theirs there (%s is %s's); let %s or root own the folders and links on the way, or copy the file into a folder of root's", path, owner.Name, who, m.what, who, owner.Name)
	}
	if t.shared && st.Nlink > 1 {
		return refuse("cannot run %s in tyrant mode: the file has %d names (hard links), so somebody else may have put it there; run: cp --remove-destination %s %s.new && mv %s.new %s", path, st.Nlink, path, path, path, path)
	}
	if own := primaryGID(owner); own >= 0 && (t.shared || t.visited > 0) && !slices.Contains(identify(owner.UID, own, true).Groups, int(st.Gid)) {
		return refuse("cannot run %s in tyrant mode: its group (gid %d) is none of %s's; run: chgrp %s %s", path, st.Gid, owner.Name, primaryGroup(owner), path)
	}
	return nil
}

// primaryGID returns the primary group of a user, -1 where it has none.
func primaryGID(id sockets.Identity) int {
	u, err := user.LookupId(strconv.Itoa(id.UID))
	if err != nil {
		return -1
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return -1
	}
	return gid
}

// primaryGroup names the group of a user in a remedy.
func primaryGroup(id sockets.Identity) string {
	u, err := user.Lookup(id.Name)
	if err != nil {
		return strconv.Itoa(id.UID)
	}
	if g, err := user.LookupGroupId(u.Gid); err == nil {
		return g.Name
	}
	return u.Gid
}
