package sockets

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// A Listener is a listening socket and, for a Unix path, the file that stands for it. It is in blocking mode, as the
// processes that inherit it expect.
type Listener struct {
	File     *os.File
	Address  Address
	Warnings []string // said once: what could not be had as asked, such as the backlog

	Owned Owned // what a Unix socket's file was given

	backlog  int      // as asked for
	made     []string // folders, outermost first
	dev, ino uint64
	tenant   *Identity // whose rights remove the file; nil: ours
	as       *Identity // who listens; nil: we
}

// removeFolders removes the folders that were made for a socket, as far as they are empty: names in a runtime root are
// for everybody, and who has gone keeps none. What is in a tenant's folder is removed with the tenant's rights.
func removeFolders(made []string, tenant *Identity) {
	for i := len(made) - 1; i >= 0; i-- {
		way, err := walkTo(filepath.Dir(made[i]))
		if err != nil {
			return
		}
		switch {
		case len(way.missing) > 0:
		case way.private:
			err = unix.Unlinkat(way.fd, filepath.Base(made[i]), unix.AT_REMOVEDIR)
		case tenant != nil:
			err = withRights(*tenant, func() error { return unix.Rmdir(made[i]) })
		default:
			err = unix.EACCES // somebody else's folder: no path in it means anything to us
		}
		way.close()
		if err != nil {
			return
		}
	}
}

// Owned is the owner and mode of a socket file.
type Owned struct {
	UID, GID int
	Mode     fs.FileMode
}

// Intact tells whether the path still leads to this listener. A socket whose file was deleted or replaced goes on
// listening, but nobody can reach it.
func (l *Listener) Intact() bool {
	if l.Address.Kind != Unix {
		return true
	}
	var st unix.Stat_t
	if err := unix.Lstat(l.Address.Path, &st); err != nil {
		return false
	}
	return st.Dev == l.dev && st.Ino == l.ino
}

// Close closes the descriptor and leaves the file, for a process that has inherited the listener.
func (l *Listener) Close() error { return l.File.Close() }

// InTenantsFolder tells whether somebody else than root may write the folder of the socket's file, so that Remove may
// take as long as that folder's file system wants.
func (l *Listener) InTenantsFolder() bool { return l.tenant != nil }

// Remove closes the descriptor and removes the file if it is still this listener's, and the folders that were made for
// it if they are empty.
func (l *Listener) Remove() error {
	closed := l.File.Close()
	if l.Address.Kind != Unix {
		return closed
	}
	remove := func() error {
		dir, err := unix.Open(filepath.Dir(l.Address.Path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return err
		}
		defer unix.Close(dir)
		var st unix.Stat_t
		base := filepath.Base(l.Address.Path)
		if err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil || st.Dev != l.dev || st.Ino != l.ino {
			return nil // not ours any more
		}
		return unix.Unlinkat(dir, base, 0)
	}
	var err error
	if l.tenant != nil {
		err = withRights(*l.tenant, remove)
	} else {
		err = remove()
	}
	removeFolders(l.made, l.as)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("cannot remove the socket %s: %w", l.Address.Path, err)
	}
	return closed
}

// Fits tells whether the listener is as r wants it, which asks for the same address. The error says that p does not
// allow r.
func (l *Listener) Fits(r Request, p Policy) (bool, error) {
	uid, gid, mode, err := p.owner(r)
	if err != nil {
		return false, err
	}
	same := l.backlog == r.Backlog
	if l.Address.Kind == Unix {
		same = same && (uid == Anyone || uid == l.Owned.UID) && (gid == Anyone || gid == l.Owned.GID) && mode == l.Owned.Mode
	}
	return same, nil
}

// Adjust gives a listener the owner, mode and backlog of r, which asks for the same address, without closing it. Like
// Bind it refuses what p does not allow, and never touches a file that is not this listener's.
func (l *Listener) Adjust(r Request, p Policy) error {
	uid, gid, mode, err := p.owner(r)
	if err != nil {
		return err
	}
	fail := func(cause string, err error) error {
		return &Error{Address: r.Address.String(), Cause: cause, Err: err}
	}
	if l.Address.Kind == Unix {
		file, err := unix.Open(l.Address.Path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return fail("the socket cannot be opened", err)
		}
		defer unix.Close(file)
		var st unix.Stat_t
		if err := unix.Fstat(file, &st); err != nil || st.Dev != l.dev || st.Ino != l.ino || st.Nlink != 1 {
			return fail("the socket was changed by somebody else", err)
		}
		if err := own(file, &st, uid, gid, mode); err != nil {
			return &Error{Address: r.Address.String(), Cause: "owner and mode of the socket cannot be changed", Err: err, Remedy: chownRemedy(err)}
		}
		l.Owned = Owned{int(st.Uid), int(st.Gid), mode}
	}
	l.Warnings, err = listen(l.Address, int(l.File.Fd()), r.Backlog, l.as)
	l.backlog = r.Backlog
	return err
}

// own gives the file behind an O_PATH descriptor its owner and mode, and notes the owner in st.
func own(file int, st *unix.Stat_t, uid, gid int, mode fs.FileMode) error {
	if uid == Anyone {
		uid = int(st.Uid)
	}
	if gid == Anyone {
		gid = int(st.Gid)
	}
	if uid != int(st.Uid) || gid != int(st.Gid) {
		if err := unix.Fchownat(file, "", uid, gid, unix.AT_EMPTY_PATH); err != nil {
			return fmt.Errorf("chown to uid %d, gid %d: %w", uid, gid, err)
		}
		st.Uid, st.Gid = uint32(uid), uint32(gid)
	}
	chmod := func() error { return unix.Chmod("/proc/self/fd/"+strconv.Itoa(file), uint32(mode.Perm())) }
	err := chmod()
	if errors.Is(err, unix.EPERM) && st.Uid != 0 && has(unix.CAP_SETUID) && has(unix.CAP_SETGID) { // its owner may
		err = withRights(Identity{Name: strconv.Itoa(int(st.Uid)), UID: int(st.Uid), GID: int(st.Gid)}, chmod)
	}
	return err
}

// chownRemedy says what to do when the kernel does not let us set owner and mode.
func chownRemedy(err error) string {
	switch {
	case !errors.Is(err, unix.EPERM):
		return ""
	case os.Geteuid() != 0 && has(unix.CAP_SETUID) && !MayChown():
		return "this needs CAP_CHOWN: add chown to the line of the emperor's file, cap = setgid,setuid,chown, or leave chown-socket out"
	}
	return "run emperord as root, or leave chown-socket out"
}
