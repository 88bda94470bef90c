package sockets

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// Condition looks at the listener's file once. lost says why nobody can reach the listener by its path any more: the
// file was removed, or something else stands in its place. drift says how the owner or mode differ from what the file was
// given: its owner may change them, and keeps what it has chosen until the socket is adjusted. Both are empty where all is
// well, or where nothing can be seen at the moment.
func (l *Listener) Condition() (lost, drift string) {
	if l.Address.Kind != Unix || l.given {
		return "", ""
	}
	var st unix.Stat_t
	err := l.look(&st)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return "its file was removed", ""
	case err != nil: // a folder that nobody may enter for now; a new socket could not be made there either
		return "", ""
	case !l.is(&st):
		kind := "a " + kindOf(&st)
		if st.Mode&unix.S_IFMT == unix.S_IFSOCK {
			kind = "another socket"
		}
		return fmt.Sprintf("%s of uid %d stands in its place", kind, st.Uid), ""
	case l.Owned().UID == int(st.Uid) && l.Owned().GID == int(st.Gid) && uint32(l.Owned().Mode.Perm()) == st.Mode&0o7777:
		return "", ""
	}
	return "", fmt.Sprintf("mode %04o, uid %d, gid %d instead of mode %04o, uid %d, gid %d", st.Mode&0o7777, st.Uid, st.Gid, l.Owned().Mode.Perm(), l.Owned().UID, l.Owned().GID)
}

// Watch asks an inotify instance for one event when the socket's file is removed, moved, or given another owner or mode.
// After it the watch is gone, so that nobody can make it a flood. It returns the number of the watch. Only the socket's
// own file is ever watched, wherever the path leads by now: an instance has one watch for each file, so that of somebody
// else's socket would be taken from it.
func (l *Listener) Watch(inotify int) (int, error) {
	if l.Address.Kind != Unix || l.given {
		return 0, errors.ErrUnsupported
	}
	file, err := unix.Open(l.Address.Path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("cannot watch %s: %w", l.Address.Path, err)
	}
	defer unix.Close(file)
	var st unix.Stat_t
	if err := unix.Fstat(file, &st); err != nil || !l.is(&st) {
		return 0, fmt.Errorf("cannot watch %s: something else stands there", l.Address.Path)
	}
	wd, err := unix.InotifyAddWatch(inotify, "/proc/self/fd/"+strconv.Itoa(file), unix.IN_ATTRIB|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_ONESHOT)
	if err != nil {
		return 0, fmt.Errorf("cannot watch %s: %w", l.Address.Path, err)
	}
	return wd, nil
}
