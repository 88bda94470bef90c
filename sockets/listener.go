package sockets

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// A Listener is a listening socket and, for a Unix path, the file that stands for it. It is in blocking mode, as the
// processes that inherit it expect.
type Listener struct {
	File     *os.File
	Address  Address
	Warnings []string // said once: what could not be had as asked, such as the backlog

	busy sync.Mutex // held while the file is changed or removed
	gone bool       // it was removed; guarded by busy

	mu      sync.Mutex // held for a moment only, for what follows
	owned   Owned      // what a Unix socket's file was given
	backlog int        // as asked for

	made     []folder // outermost first; after Remove those that others still use
	at       string   // the folder of the file, as far as the way to it is root's alone
	dev, ino uint64
	tenant   *Identity // whose rights remove the file; nil: ours
	shared   bool      // somebody else than root may write the folder
	as       *Identity // who listens; nil: we
	given    bool      // somebody else has made it and keeps it
}

// removeFolders removes the folders that were made for a socket, as far as they are empty: names in a runtime root are
// for everybody, and who has gone keeps none. What is in a tenant's folder is removed with the tenant's rights. It
// returns those in root's folders that are still in use.
func removeFolders(made []folder, tenant *Identity) (left []folder) {
	for i := len(made) - 1; i >= 0; i-- {
		path := made[i].path
		way, err := walkTo(filepath.Dir(path))
		if err != nil {
			return nil
		}
		switch {
		case len(way.missing) > 0:
		case way.private:
			var st unix.Stat_t
			err = unix.Fstatat(way.fd, filepath.Base(path), &st, unix.AT_SYMLINK_NOFOLLOW)
			if err == nil && st.Dev == made[i].dev && st.Ino == made[i].ino {
				err = unix.Unlinkat(way.fd, filepath.Base(path), unix.AT_REMOVEDIR)
			}
			if errors.Is(err, unix.ENOTEMPTY) {
				left = made[:i+1]
			}
		case tenant != nil:
			err = withRights(*tenant, func() error { return unix.Rmdir(path) })
		default:
			err = unix.EACCES // somebody else's folder: no path in it means anything to us
		}
		way.close()
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return left
		}
	}
	return nil
}

// Leftovers are folders that were made for sockets that have gone, and that other sockets still use. The last one of
// these takes them along. The zero value is none; it belongs to one goroutine.
type Leftovers struct{ of map[string]*Listener }

// Gone notes that l was removed. It looks into root's folders only, so it never hangs.
func (o *Leftovers) Gone(l *Listener) {
	o.keep(l)
	for at := l.at; len(at) > 1; at = filepath.Dir(at) {
		if old := o.of[at]; old != nil && old != l {
			delete(o.of, at)
			old.made = removeFolders(old.made, nil)
			o.keep(old)
		}
	}
}

func (o *Leftovers) keep(l *Listener) {
	if len(l.made) == 0 {
		return
	}
	if o.of == nil {
		o.of = map[string]*Listener{}
	}
	o.of[l.made[len(l.made)-1].path] = l
}

// Owned is the owner and mode of a socket file.
type Owned struct {
	UID, GID int
	Mode     fs.FileMode
}

// Owned returns the owner and mode that the socket's file was given last.
func (l *Listener) Owned() Owned {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.owned
}

// Intact tells whether the path still leads to this listener. A socket whose file was deleted or replaced goes on
// listening, but nobody can reach it.
func (l *Listener) Intact() bool {
	if l.Address.Kind != Unix || l.given {
		return true
	}
	var st unix.Stat_t
	return l.look(&st) == nil && l.is(&st)
}

// is tells whether st describes the listener's own file.
func (l *Listener) is(st *unix.Stat_t) bool { return st.Dev == l.dev && st.Ino == l.ino }

// look stats what the listener's path leads to. With our rights first, because that needs no thread; but what is not the
// listener's own file is looked at with the tenant's rights: it has chosen where the path leads, and must not learn from
// our answer what is in folders that are closed to it. And some folders let the tenant in, but not root (FUSE, NFS).
func (l *Listener) look(st *unix.Stat_t) error {
	err := unix.Lstat(l.Address.Path, st)
	if l.tenant == nil || err == nil && l.is(st) {
		return err
	}
	return withRights(*l.tenant, func() error { return unix.Lstat(l.Address.Path, st) })
}

// Close closes the descriptor and leaves the file, for a process that has inherited the listener.
func (l *Listener) Close() error { return l.File.Close() }

// InTenantsFolder tells whether somebody else than root may write the folder of the socket's file, so that Remove may
// take as long as that folder's file system wants.
func (l *Listener) InTenantsFolder() bool { return l.shared }

// Remove closes the descriptor and removes the file if it is still this listener's, and the folders that were made for
// it if they are empty.
func (l *Listener) Remove() error {
	l.busy.Lock()
	defer l.busy.Unlock()
	l.gone = true
	if l.Address.Kind != Unix || l.given {
		return l.File.Close()
	}
	err := l.unlink() // before the close: as long as the socket is open, no other file can get its inode's number
	closed := l.File.Close()
	l.made = removeFolders(l.made, l.as)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("cannot remove the socket %s: %w", l.Address.Path, err)
	}
	return closed
}

// unlink removes the socket's file if it is still this listener's, with the tenant's rights where the folder is not
// root's alone.
func (l *Listener) unlink() error {
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
	if l.tenant != nil {
		return withRights(*l.tenant, remove)
	}
	return remove()
}

// Fits tells whether the listener is as r wants it, which asks for the same address. The error says that p does not
// allow r.
func (l *Listener) Fits(r Request, p Policy) (bool, error) {
	if l.given {
		return true, nil
	}
	uid, gid, mode, err := p.owner(r)
	if err != nil {
		return false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	same := l.backlog == r.Backlog
	if l.Address.Kind == Unix {
		same = same && (uid == Anyone || uid == l.owned.UID) && (gid == Anyone || gid == l.owned.GID) && mode == l.owned.Mode
	}
	return same, nil
}

// Adjust gives a listener the owner, mode and backlog of r, which asks for the same address, without closing it. Like
// Bind it refuses what p does not allow, and never touches a file that is not this listener's: the file is opened with
// the tenant's rights where the folder is not root's alone, whatever the path leads to by now, and its inode's number
// belongs to this socket as long as the socket is open. It takes as long as that folder's file system wants. The
// warnings say what could not be had as asked.
func (l *Listener) Adjust(r Request, p Policy) (warnings []string, err error) {
	if l.given {
		return nil, nil
	}
	uid, gid, mode, err := p.owner(r)
	if err != nil {
		return nil, err
	}
	l.busy.Lock()
	defer l.busy.Unlock()
	if l.gone {
		return nil, &Error{Address: r.Address.String(), Cause: "the socket was removed meanwhile", Passing: true}
	}
	if l.Address.Kind == Unix {
		owned, err := l.own(uid, gid, mode)
		if err != nil {
			return nil, err
		}
		l.mu.Lock()
		l.owned = owned
		l.mu.Unlock()
	}
	raw, err := l.File.SyscallConn()
	if err != nil {
		return nil, &Error{Address: r.Address.String(), Cause: "the socket is gone", Err: err}
	}
	e := raw.Control(func(fd uintptr) { warnings, err = listen(l.Address, int(fd), r.Backlog, l.as) })
	if e != nil || err != nil {
		return nil, &Error{Address: r.Address.String(), Cause: "cannot listen again", Err: errors.Join(e, err)}
	}
	l.mu.Lock()
	l.backlog = r.Backlog
	l.mu.Unlock()
	return warnings, nil
}

// own opens the listener's file again and gives it its owner and mode.
func (l *Listener) own(uid, gid int, mode fs.FileMode) (Owned, error) {
	path := l.Address.Path
	fail := func(cause string, err error) (Owned, error) {
		return Owned{}, &Error{Address: path, Cause: cause, Err: err}
	}
	file := -1
	open := func() (err error) {
		file, err = unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	}
	var err error
	if l.tenant != nil {
		err = withRights(*l.tenant, open)
	} else {
		err = open()
	}
	if err != nil {
		return fail("the socket cannot be opened", err)
	}
	defer unix.Close(file)
	var st unix.Stat_t
	if err := unix.Fstat(file, &st); err != nil {
		return fail("cannot look at the socket", err)
	}
	if st.Dev != l.dev || st.Ino != l.ino || st.Nlink != 1 {
		return fail(replaced(&st, l.dev, l.ino), nil)
	}
	if err := own(file, &st, uid, gid, mode); err != nil {
		return Owned{}, &Error{Address: path, Cause: "owner and mode of the socket cannot be changed", Err: err, Remedy: chownRemedy(err)}
	}
	return Owned{int(st.Uid), int(st.Gid), mode}, nil
}

// replaced says what stands where the socket with these numbers should be.
func replaced(st *unix.Stat_t, dev, ino uint64) string {
	if st.Dev == dev && st.Ino == ino {
		return fmt.Sprintf("the socket was changed by somebody else: it has %d names, and may have only one", st.Nlink)
	}
	return fmt.Sprintf("the socket was changed by somebody else: in its place is a %s of uid %d", kindOf(st), st.Uid)
}

// kindOf names what st describes.
func kindOf(st *unix.Stat_t) string {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		return "socket"
	case unix.S_IFREG:
		return "file"
	case unix.S_IFDIR:
		return "folder"
	case unix.S_IFLNK:
		return "symbolic link"
	case unix.S_IFIFO:
		return "FIFO"
	}
	return "device"
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
