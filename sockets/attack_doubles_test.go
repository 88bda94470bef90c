package sockets

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A double is a binder as somebody in a hurry would write it. Each looks reasonable, and each is caught by other attacks.
type double struct {
	name   string
	binder binder
	caught []string // the still attacks under which it does harm, all of them
	races  []string // and races that it loses
}

// naive is what the doubles have in common: how they bind, and how they find the file again.
type naive struct {
	bind   func(path string, p Policy) (int, error)
	own    func(path string, uid, gid int, mode uint32) error
	unlink func(path string, p Policy) error
}

type naiveSocket struct {
	naive
	fd     int
	path   string
	policy Policy
}

func (n naive) Bind(r Request, p Policy) (bound, error) {
	uid, gid, mode, err := p.owner(r)
	if err != nil {
		return nil, err
	}
	fd, err := n.bind(r.Address.Path, p)
	if err != nil {
		return nil, err
	}
	s := &naiveSocket{n, fd, r.Address.Path, p}
	if err := errors.Join(n.own(s.path, uid, gid, uint32(mode)), unix.Listen(fd, 8)); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return s, nil
}

func (s *naiveSocket) Adjust(r Request, p Policy) ([]string, error) {
	uid, gid, mode, err := p.owner(r)
	if err != nil {
		return nil, err
	}
	return nil, s.own(s.path, uid, gid, uint32(mode))
}

func (s *naiveSocket) Remove() error {
	return errors.Join(unix.Close(s.fd), s.unlink(s.path, s.policy))
}

func bindUnix(path string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func removeByPath(path string, _ Policy) error { return os.Remove(path) }

func ownByPath(path string, uid, gid int, mode uint32) error {
	return errors.Join(os.Chown(path, uid, gid), os.Chmod(path, os.FileMode(mode)))
}

// allowedPlace is what all doubles check: below a runtime root, or in a folder that belongs to the tenant.
func allowedPlace(path string, p Policy) error {
	folder := filepath.Dir(path)
	if _, rooted := p.root(path); rooted {
		return os.MkdirAll(folder, 0o755)
	}
	st, err := lstat(folder)
	if err != nil {
		return err
	}
	if int(st.Uid) != p.Tenant.UID && st.Mode&unix.S_ISVTX == 0 {
		return fmt.Errorf("%s belongs to uid %d", folder, st.Uid)
	}
	return nil
}

var doubles = []double{
	// As uWSGI does it: whatever is in the way goes, and the rest is done by path.
	{"naive by path", naive{
		bind: func(path string, p Policy) (int, error) {
			if err := allowedPlace(path, p); err != nil {
				return -1, err
			}
			if err := os.Remove(path); err != nil && !errors.Is(err, unix.ENOENT) {
				return -1, err
			}
			return bindUnix(path)
		},
		own: ownByPath, unlink: removeByPath,
	}, []string{
		"a FIFO",
		"a device",
		"a file of root's in the way",
		"a folder",
		"a folder that is a link to a neighbour's",
		"a folder that is a link to root's",
		"a folder that is a link to root's, with a dead socket in it",
		"a hard link to a file of root's",
		"a hard link to a neighbour's dead socket",
		"a hard link to a neighbour's live socket",
		"a hard link to root's live socket",
		"a link to /etc/passwd",
		"a link to a file of root's",
		"a link to a place where nothing is yet",
		"a link to a socket that root serves",
		"a missing runtime root in a tenant's folder",
		"a neighbour's dead socket in a runtime root",
		"a neighbour's dead socket in a sticky folder",
		"a neighbour's live socket in a runtime root",
		"a neighbour's live socket in a sticky folder",
		"a runtime root that belongs to the tenant, with a link in it",
		"a runtime root that the tenant has made a link",
		"a sticky runtime root with a hard link to root's own link",
		"an own file in the way",
		"more folders than anybody needs",
	}, []string{
		"race: a hard link to root's file takes the place of the socket",
		"race: a link to root's file takes the place of the socket",
		"race: the folder becomes a link to root's, where a dead socket has the name",
	}},
	// Looks at everything on the way before it acts, with root's rights.
	{"naive check, then bind", naive{
		bind: func(path string, p Policy) (int, error) {
			if err := allowedPlace(path, p); err != nil {
				return -1, err
			}
			for at := filepath.Dir(path); at != "/"; at = filepath.Dir(at) {
				st, err := lstat(at)
				if err != nil {
					return -1, err
				}
				if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Uid != 0 && int(st.Uid) != p.Tenant.UID {
					return -1, fmt.Errorf("%s is a link, or belongs to uid %d", at, st.Uid)
				}
			}
			if st, err := lstat(path); err == nil {
				if st.Mode&unix.S_IFMT != unix.S_IFSOCK || int(st.Uid) != p.Tenant.UID {
					return -1, fmt.Errorf("%s is in the way: mode %o, uid %d", path, st.Mode, st.Uid)
				}
				if err := unix.Unlink(path); err != nil {
					return -1, err
				}
			}
			return bindUnix(path)
		},
		own: func(path string, uid, gid int, mode uint32) error {
			if st, err := lstat(path); err != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK || st.Nlink != 1 {
				return fmt.Errorf("%s was changed: %v", path, err)
			}
			return ownByPath(path, uid, gid, mode)
		},
		unlink: func(path string, p Policy) error {
			if st, err := lstat(path); err != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
				return fmt.Errorf("%s was changed: %v", path, err)
			}
			return os.Remove(path)
		},
	}, []string{
		"a missing runtime root in a tenant's folder",
		"more folders than anybody needs",
	}, []string{
		"race: a link to root's file takes the place of the socket",
		"race: the folder becomes a link to root's, where nothing is in the way",
		"race: the folder becomes a link to the runtime root",
	}},
	// Lets the kernel judge where to bind, and follows no link when it gives the file its owner; what it opens must be the socket.
	{"naive as the tenant, then through a descriptor that it trusts", naive{
		bind: func(path string, p Policy) (fd int, err error) {
			if !filepath.IsAbs(path) || strings.Contains(path, "/../") {
				return -1, errors.New("no plain path")
			}
			if _, rooted := p.root(path); rooted && filepath.Dir(path) == filepath.Clean(p.Roots[0]) {
				if st, err := lstat(path); err == nil {
					return -1, fmt.Errorf("something of uid %d is in the way", st.Uid)
				}
				return bindUnix(path)
			}
			err = withRights(*p.Tenant, func() error {
				if st, err := lstat(path); err == nil && st.Mode&unix.S_IFMT == unix.S_IFSOCK && int(st.Uid) == p.Tenant.UID {
					_ = unix.Unlink(path)
				}
				fd, err = bindUnix(path)
				return err
			})
			return fd, err
		},
		own: func(path string, uid, gid int, mode uint32) error {
			file, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(file)
			if err := unix.Fchownat(file, "", uid, gid, unix.AT_EMPTY_PATH); err != nil {
				return err
			}
			return unix.Chmod("/proc/self/fd/"+strconv.Itoa(file), mode)
		},
		unlink: func(path string, p Policy) error {
			if err := withRights(*p.Tenant, func() error { return unix.Unlink(path) }); err == nil {
				return nil
			}
			_, rooted := p.root(path)
			if st, err := lstat(path); err != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK || int(st.Uid) != p.Tenant.UID || !rooted {
				return fmt.Errorf("%s was changed: %v", path, err)
			}
			return unix.Unlink(path)
		},
	}, []string{
		"a runtime root that the tenant has made a link",
	}, []string{
		"race: a hard link to a neighbour's socket takes the place of the socket",
		"race: a hard link to root's file takes the place of the socket",
		"race: a hard link to root's socket takes the place of the socket",
	}},
}
