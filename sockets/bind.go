package sockets

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/shell"
)

// Bind makes the listening socket that r asks for, as far as p allows it. Errors are *Error.
func Bind(r Request, p Policy) (*Listener, error) {
	uid, gid, mode, err := p.owner(r)
	if err != nil {
		return nil, err
	}
	switch r.Address.Kind {
	case Unix:
		r.UID, r.GID, r.Mode = uid, gid, &mode
		return bindPath(r, p)
	case Abstract:
		return bindAbstract(r, p)
	}
	return bindTCP(r, p)
}

func bindPath(r Request, p Policy) (*Listener, error) {
	path := r.Address.Path
	fault := func(cause, remedy string, err error) error {
		return &Error{Address: path, Cause: cause, Remedy: remedy, Err: err}
	}
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return nil, fault("the path must be absolute and plain", "write "+filepath.Clean("/"+path), nil)
	}
	if len(path) > maxPath {
		return nil, fault(fmt.Sprintf("the path has %d bytes, a socket's path at most %d", len(path), maxPath), "choose a shorter path", nil)
	}
	folder := filepath.Dir(path)
	way, made, err := enter(folder, r, p)
	if err != nil {
		return nil, err
	}
	defer way.close()
	l, err := bindAt(r, p, way)
	if err != nil {
		_ = removeFolders(made, p.Tenant)
		return nil, err
	}
	l.made, l.at = append(made, l.made...), way.at
	return l, nil
}

// bindAt chooses the way to bind from who may write the folder.
func bindAt(r Request, p Policy, way *walk) (*Listener, error) {
	path := r.Address.Path
	_, rooted := p.root(path)
	switch {
	case way.private && (p.Tenant == nil || rooted):
		return bindPrivate(r, p, way)
	case p.Tenant == nil:
		return bindShared(r)
	case way.private:
		return nil, p.elsewhere(path)
	}
	return bindForTenant(r, p, way)
}

// enter walks to folder and makes what is missing, if it may. It returns the folders that it made.
func enter(dir string, r Request, p Policy) (*walk, []folder, error) {
	fault := func(cause, remedy string, err error) error {
		return &Error{Address: r.Address.Path, Cause: cause, Remedy: remedy, Err: err}
	}
	var made []folder
	for tries := 0; ; tries++ {
		way, err := walkTo(dir)
		root, rooted := p.root(r.Address.Path)
		if err != nil {
			_ = removeFolders(made, p.Tenant)
			if errors.Is(err, errNoWay) && p.Tenant != nil && !rooted && !p.sees(dir, unix.ENOTDIR) {
				return nil, nil, p.elsewhere(r.Address.Path)
			}
			return nil, nil, fault("the folder cannot be reached", "", err)
		}
		if rooted && way.private {
			if err := p.named(r.Address.Path, root, len(way.missing)); err != nil {
				way.close()
				return nil, nil, err
			}
		}
		if len(way.missing) == 0 || !way.private && p.Tenant != nil {
			return way, made, nil // a tenant's own folder: its rights will tell
		}
		gone := filepath.Join(way.at, way.missing[0])
		if p.Tenant != nil && !rooted && !p.sees(gone, unix.ENOENT) {
			way.close()
			return nil, nil, p.elsewhere(r.Address.Path)
		}
		if rooted && p.Tenant == nil && !way.private && tries < maxFolders {
			way.close() // nobody's word needs to be doubted, and the bind takes the folder as one that others may write
			new, err := makeOpen(gone)
			if err != nil {
				_ = removeFolders(made, nil)
				return nil, nil, fault("a missing folder could not be made", "mkdir "+gone, err)
			}
			if isBelow(gone, root) && new.path != "" {
				made = append(made, new)
			}
			continue
		}
		if !rooted || !way.private {
			way.close()
			_ = removeFolders(made, p.Tenant)
			how := "make it"
			if p.Tenant != nil { // one of root's would be none of the tenant's places
				how = fmt.Sprintf("make it for %s (install -d -o %s %s)", p.Tenant.Name, p.Tenant.Name, gone)
			}
			return nil, nil, fault("the folder "+gone+" does not exist", how+", or write a path below "+firstOf(p.Roots), nil)
		}
		user := ""
		if p.Tenant != nil {
			user = p.Tenant.Name
		}
		more, err := way.make(root, user, r.UID, r.GID)
		made = append(made, more...)
		way.close()
		if err != nil && (!errors.Is(err, errRaced) || tries == 5) {
			_ = removeFolders(made, p.Tenant)
			return nil, nil, fault("a missing folder could not be made", "", err)
		}
	}
}

// makeOpen makes a folder where others may write, too: the /run of a container whose user is anybody. The folder without a name
// is one that it has not made.
func makeOpen(path string) (folder, error) {
	if err := unix.Mkdir(path, 0o755); errors.Is(err, unix.EEXIST) {
		return folder{}, nil // somebody else was faster
	} else if err != nil {
		return folder{}, fmt.Errorf("cannot make the folder %s: %w", path, err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return folder{}, fmt.Errorf("cannot look at the new folder %s: %w", path, err)
	}
	return folder{path, st.Dev, st.Ino}, nil
}

// bindPrivate binds where only we may write: nothing moves under our hands.
func bindPrivate(r Request, p Policy, way *walk) (*Listener, error) {
	dir := way.fd
	base := filepath.Base(r.Address.Path)
	maker := Anyone
	if p.Tenant != nil {
		maker = p.Tenant.UID
	}
	if err := clearWay(dir, base, r, maker); err != nil {
		return nil, err
	}
	fd, err := makeSocket(r)
	if err != nil {
		return nil, err
	}
	file, err := unix.Openat(dir, base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		_ = unix.Close(fd)
		return nil, &Error{Address: r.Address.Path, Cause: "the new socket cannot be opened", Err: err}
	}
	defer unix.Close(file)
	return finish(r, fd, file, os.Geteuid(), &Listener{as: p.Tenant})
}

// bindShared binds on the word of whoever runs this process, in a folder that others may write too: the file found
// afterwards may be another one, so it has to prove that it leads to our socket before it gets owner and mode.
func bindShared(r Request) (*Listener, error) {
	dir, err := unix.Open(filepath.Dir(r.Address.Path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &Error{Address: r.Address.Path, Cause: "the folder cannot be opened", Err: err}
	}
	defer unix.Close(dir)
	base := filepath.Base(r.Address.Path)
	if err := clearWay(dir, base, r, Anyone); err != nil {
		return nil, err
	}
	fd, err := makeSocket(r)
	if err != nil {
		return nil, err
	}
	file, err := unix.Openat(dir, base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(file)
		err = proveOurs(fd, file)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, stolen(r.Address.Path, file, err)
	}
	return finish(r, fd, file, os.Geteuid(), &Listener{shared: true})
}

// stolen says what stands where the new socket should be, which file, if it is a descriptor, has been opened for.
func stolen(path string, file int, err error) error {
	e := &Error{Address: path, Cause: "the new socket was changed by somebody else while it was made", Passing: true, Err: err,
		Remedy: "look who may write " + filepath.Dir(path)}
	var st unix.Stat_t
	if file >= 0 && unix.Fstat(file, &st) == nil {
		e.Cause += fmt.Sprintf(": in its place is a %s of uid %d with %d names", kindOf(&st), st.Uid, st.Nlink)
	}
	return e
}

// openFolder opens a folder by its path. A tenant's path may not lead through /proc/PID/fd and the like, where this
// process's descriptors are: they lead past folders that are closed to the tenant.
func openFolder(path string) (int, error) {
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS})
	if errors.Is(err, unix.ENOSYS) { // before Linux 5.6
		fd, err = unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	}
	return fd, err
}

// bindForTenant binds with the tenant's own rights, so that the kernel judges. The way, as far as it was walked, is for
// messages only.
func bindForTenant(r Request, p Policy, way *walk) (*Listener, error) {
	t := *p.Tenant
	fd, file := -1, -1
	var made []folder
	err := withRights(t, func() error {
		folder := filepath.Dir(r.Address.Path)
		var err error
		if root, rooted := p.root(r.Address.Path); rooted {
			if made, err = makeAsTenant(folder, root); err != nil {
				return &Error{Address: r.Address.Path, Cause: "as " + t.Name + ": a missing folder could not be made", Err: err}
			}
		}
		dir, err := openFolder(folder)
		if err != nil {
			return &Error{Address: r.Address.Path, Cause: "as " + t.Name + ": the folder cannot be opened", Err: err,
				Remedy: "make it for " + t.Name + ", or write a path below " + firstOf(p.Roots)}
		}
		defer unix.Close(dir)
		base := filepath.Base(r.Address.Path)
		if err := clearWay(dir, base, r, t.UID); err != nil {
			return err
		}
		if fd, err = makeSocket(r); err != nil {
			return err
		}
		if file, err = unix.Openat(dir, base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err == nil {
			err = proveOurs(fd, file)
		}
		if err != nil {
			return stolen(r.Address.Path, file, err)
		}
		return nil
	})
	if file >= 0 {
		defer unix.Close(file)
	}
	if err != nil {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
		_ = removeFolders(made, &t)
		var e *Error
		if errors.As(err, &e) && errors.Is(err, unix.EACCES) {
			e.Cause = "as " + t.Name + ": " + strings.TrimPrefix(e.Cause, "as "+t.Name+": ")
			e.Remedy = "let " + t.Name + " write " + filepath.Dir(r.Address.Path) + ", or write a path below " + firstOf(p.Roots)
			if root, rooted := p.root(r.Address.Path); rooted && (root == way.at || isBelow(root, way.at)) {
				e.Cause += fmt.Sprintf(", where root's place for sockets, %s, a runtime root, is not root's alone: %s %s", root, way.at, way.open)
				e.Remedy = way.open.remedy(way.at)
			}
		}
		return nil, err
	}
	l, err := finish(r, fd, file, t.UID, &Listener{tenant: &t, as: &t, shared: true})
	if err != nil {
		_ = removeFolders(made, &t)
		return nil, err
	}
	l.made = made
	return l, nil
}

// clearWay removes a dead socket that stands in the way. maker is the user to whom the socket must belong if it is not
// ours, or Anyone.
func clearWay(dir int, base string, r Request, maker int) error {
	path := r.Address.Path
	var st unix.Stat_t
	err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return &Error{Address: path, Cause: "cannot look at what is in the way", Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return &Error{Address: path, Cause: fmt.Sprintf("a %s of uid %d, not a socket, is in the way", kindOf(&st), st.Uid), Remedy: "look at it and remove it: ls -ld " + shell.Word(path)}
	}
	if owner := int(st.Uid); maker != Anyone && owner != maker && !ours(st.Uid) {
		return &Error{Address: path, Cause: fmt.Sprintf("a socket of uid %d is in the way", owner), Remedy: "choose another path; if nobody listens there: emperorctl doctor " + path, dev: st.Dev, ino: st.Ino}
	}
	probe, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return &Error{Address: path, Cause: "cannot make a socket", Err: err, Passing: true}
	}
	defer unix.Close(probe)
	err = unix.Connect(probe, &unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(dir) + "/" + base})
	if !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.ENOENT) {
		cause := fmt.Sprintf("another process answers on the socket of uid %d that is there", st.Uid)
		if err != nil && !errors.Is(err, unix.EAGAIN) {
			cause = "it cannot be seen whether somebody answers on the socket that is in the way: " + err.Error()
		}
		return &Error{Address: path, Cause: cause, Passing: true, dev: st.Dev, ino: st.Ino, Remedy: "see who: ss -xlp src " + path + "; stop it, or choose another path"}
	}
	if err := unix.Unlinkat(dir, base, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return &Error{Address: path, Cause: "a dead socket is in the way and cannot be removed", Err: err, Remedy: "remove it: rm " + path}
	}
	return nil
}

// makeSocket returns a bound socket that nobody but its maker may connect to yet: the mode of the descriptor's inode,
// set before bind, is the mode of the new file (unix(7) says it of the umask; unix_bind takes both).
func makeSocket(r Request) (int, error) {
	path := r.Address.Path
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, &Error{Address: path, Cause: "cannot make a socket", Err: err, Passing: true}
	}
	if err := unix.Fchmod(fd, 0o600); err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
		if err == nil {
			return fd, nil
		}
		_ = unix.Close(fd)
		remedy := ""
		switch {
		case errors.Is(err, unix.EACCES):
			remedy = "let the vassal's user write the folder " + filepath.Dir(path) + ", or choose another one"
		case errors.Is(err, unix.EROFS):
			remedy = "choose a folder on a file system that can be written"
		case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
			remedy = fmt.Sprintf("make room there: see df -h %s and df -i %[1]s", filepath.Dir(path))
		}
		return -1, &Error{Address: path, Cause: "bind failed", Err: err, Remedy: remedy, Passing: errors.Is(err, unix.EADDRINUSE)}
	} else {
		_ = unix.Close(fd)
		return -1, &Error{Address: path, Cause: "cannot set the mode of a socket", Err: err}
	}
}

// proveOurs listens on fd and connects through the file: if the connection arrives, the file is this socket's. Only
// the file's maker can connect so far.
func proveOurs(fd, file int) error {
	if err := unix.Listen(fd, 1); err != nil {
		return err
	}
	probe, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(probe)
	if err := unix.Connect(probe, &unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(file)}); err != nil {
		return err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	conn, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(conn)
	peer, err := unix.GetsockoptUcred(conn, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return err
	}
	if int(peer.Pid) != os.Getpid() {
		return errors.New("another process connected first")
	}
	return unix.SetNonblock(fd, false)
}

// finish checks the socket's file, gives it owner and mode, and makes it listen as l.
func finish(r Request, fd, file, maker int, l *Listener) (*Listener, error) {
	path := r.Address.Path
	fail := func(cause string, err error, remedy string) (*Listener, error) {
		_ = l.unlink() // nothing, as long as it is not known to be ours
		_ = unix.Close(fd)
		return nil, &Error{Address: path, Cause: cause, Err: err, Remedy: remedy}
	}
	l.Address = r.Address
	var st unix.Stat_t
	if err := unix.Fstat(file, &st); err != nil {
		return fail("cannot look at the new socket", err, "")
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK || int(st.Uid) != maker || st.Nlink != 1 {
		_ = unix.Close(fd)
		return nil, stolen(path, file, nil)
	}
	l.dev, l.ino = st.Dev, st.Ino
	if err := own(file, &st, r.UID, r.GID, *r.Mode); err != nil {
		return fail("owner and mode of the new socket cannot be set", err, chownRemedy(err))
	}
	l.owned = Owned{int(st.Uid), int(st.Gid), r.Mode.Perm()}
	return l.listener(fd, r.Backlog)
}

func firstOf(roots []string) string {
	if len(roots) == 0 {
		return "/run/uwsgi"
	}
	return roots[0]
}
