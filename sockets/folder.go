package sockets

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks bounds the symbolic links followed on the way to a folder, as the kernel does (path_resolution(7)).
const maxLinks = 40

// A walk is the way to a folder, looked at step by step so that nobody can change it behind our back.
type walk struct {
	fd      int      // O_PATH descriptor of the last folder reached
	at      string   // its name, with links resolved
	private bool     // no folder on the way can be written by anybody but root and this process's user
	open    opening  // where private is false: who else may change what is in at
	missing []string // names that do not exist yet, outermost first
}

func (w *walk) close() { _ = unix.Close(w.fd) }

// errNoWay marks what no waiting mends; it has no words of its own.
var errNoWay = errors.New("")

// walkTo goes to folder, which is absolute and clean. It stops, with private false, at the first folder that somebody
// else may write: what comes behind it may be changed at any time and means nothing. It stops with missing filled at
// the first name that does not exist.
func walkTo(folder string) (*walk, error) {
	fd, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open /: %w", err)
	}
	w := &walk{fd: fd, at: "/", private: true}
	names := split(folder)
	links := 0
	for len(names) > 0 {
		name := names[0]
		open, sticky, err := openTo(w.fd)
		if err != nil {
			w.close()
			return nil, fmt.Errorf("cannot look at %s: %w", w.at, err)
		}
		own := open == ""
		next, err := unix.Openat(w.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			w.private, w.open = own, open
			w.missing = names
			return w, nil
		}
		if err != nil {
			w.close()
			return nil, fmt.Errorf("cannot open %s: %w", filepath.Join(w.at, name), err)
		}
		var st unix.Stat_t
		if err := unix.Fstat(next, &st); err != nil {
			_ = unix.Close(next)
			w.close()
			return nil, fmt.Errorf("cannot look at %s: %w", filepath.Join(w.at, name), err)
		}
		// In a sticky folder nobody can rename or remove what is ours, but a link of ours may have come from anywhere: who
		// may write where it was can move it, and with fs.protected_hardlinks=0 anybody can give it another name.
		if !own && !(sticky && ours(st.Uid) && st.Mode&unix.S_IFMT == unix.S_IFDIR) {
			_ = unix.Close(next)
			w.private, w.open = false, open
			return w, nil
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			target, err := readLink(next)
			_ = unix.Close(next)
			if links++; err != nil || links > maxLinks {
				w.close()
				return nil, fmt.Errorf("cannot follow %s: too many links, or unreadable%w", filepath.Join(w.at, name), errNoWay)
			}
			names = append(split(target), names[1:]...)
			if strings.HasPrefix(target, "/") {
				root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
				if err != nil {
					w.close()
					return nil, fmt.Errorf("cannot open /: %w", err)
				}
				w.close()
				w.fd, w.at = root, "/"
			}
		case unix.S_IFDIR:
			w.close()
			w.fd, w.at, names = next, filepath.Join(w.at, name), names[1:]
		default:
			_ = unix.Close(next)
			at := filepath.Join(w.at, name)
			w.close()
			return nil, fmt.Errorf("%s is not a folder%w", at, errNoWay)
		}
	}
	if w.open, _, err = openTo(w.fd); err != nil {
		w.close()
		return nil, fmt.Errorf("cannot look at %s: %w", w.at, err)
	}
	w.private = w.open == ""
	return w, nil
}

// RootsAlone tells whether nobody but root and this process's user may change what is in a folder, or the way to it as far
// as it exists. It looks into such folders only, so no tenant can make it hang.
func RootsAlone(folder string) bool {
	way, err := walkTo(filepath.Clean(folder))
	if err != nil {
		return false
	}
	defer way.close()
	return way.private
}

// A folder was made for a socket.
type folder struct {
	path     string
	dev, ino uint64
}

// errRaced says that a folder came or went while one was about to be made: walk again.
var errRaced = errors.New("a folder on the way was made or removed at the same moment")

// maxFolders is how many folders may be made for one socket.
const maxFolders = 8

// make creates the missing folders. A runtime root and what leads to the last folder belong to this process, so that
// /run/uwsgi/app/shop/socket does not give /run/uwsgi/app to the shop, and the others have their folders there too. The
// last one, and any that has the user's name and what is below it, goes to uid and gid, so that their owner may keep other
// files beside its socket. They get their name when all of them are as they
// should be, so that nobody meets a half-made one. It returns those below the root, outermost first.
func (w *walk) make(root, user string, uid, gid int) (below []folder, err error) {
	if len(w.missing) > maxFolders {
		return nil, fmt.Errorf("%d folders are missing; at most %d are made", len(w.missing), maxFolders)
	}
	type fresh struct {
		parent, fd int
		name, path string
	}
	var made []fresh
	defer func() {
		for i := len(made) - 1; i >= 0; i-- {
			_ = unix.Close(made[i].fd)
			if err != nil {
				_ = unix.Unlinkat(made[i].parent, made[i].name, unix.AT_REMOVEDIR)
			}
		}
	}()
	at, dir := w.at, w.fd
	for i, name := range w.missing {
		at = filepath.Join(at, name)
		if i == 0 {
			name = fmt.Sprintf(".emperord-%016x", rand.Uint64())
		}
		err := unix.Mkdirat(dir, name, 0o700)
		if i == 0 && errors.Is(err, unix.ENOENT) { // the last socket in it went this very moment, and the folder with it
			return nil, errRaced
		}
		if err != nil {
			return nil, fmt.Errorf("cannot make the folder %s: %w", at, err)
		}
		fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			_ = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
			return nil, fmt.Errorf("cannot open the new folder %s: %w", at, err)
		}
		made, dir = append(made, fresh{dir, fd, name, at}), fd
	}
	theirs := slices.IndexFunc(made, func(f fresh) bool { return isBelow(f.path, root) && filepath.Base(f.path) == user })
	if theirs < 0 {
		theirs = len(made) - 1
	}
	for i := len(made) - 1; i >= 0; i-- {
		if err := unix.Fchmod(made[i].fd, 0o755); err != nil { // whatever the umask is
			return nil, fmt.Errorf("cannot set the mode of the new folder %s: %w", made[i].path, err)
		}
		if !isBelow(made[i].path, root) {
			continue
		}
		var st unix.Stat_t
		if err := unix.Fstat(made[i].fd, &st); err != nil {
			return nil, fmt.Errorf("cannot look at the new folder %s: %w", made[i].path, err)
		}
		below = append([]folder{{made[i].path, st.Dev, st.Ino}}, below...)
		if i < theirs || uid == Anyone && gid == Anyone {
			continue
		}
		if err := unix.Fchown(made[i].fd, uid, gid); err != nil {
			return nil, fmt.Errorf("cannot give the new folder %s to uid %d, gid %d: %w", made[i].path, uid, gid, err)
		}
	}
	err = unix.Renameat2(w.fd, made[0].name, w.fd, w.missing[0], unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EEXIST) {
		return nil, errRaced
	}
	if err != nil {
		return nil, fmt.Errorf("cannot give the new folder %s its name: %w", made[0].path, err)
	}
	return below, nil
}

// makeAsTenant creates with the calling thread's rights, a tenant's, what is missing of the folder path below a runtime
// root; the first of the folders on the way belongs to the tenant already, or the kernel says no. It returns what it
// made, outermost first.
func makeAsTenant(path, root string) (made []folder, err error) {
	var missing []string
	for at := path; at != root && at != "/"; at = filepath.Dir(at) {
		var st unix.Stat_t
		if err := unix.Stat(at, &st); !errors.Is(err, unix.ENOENT) {
			break
		}
		missing = append(missing, at)
	}
	if len(missing) > maxFolders {
		return nil, fmt.Errorf("%d folders are missing; at most %d are made", len(missing), maxFolders)
	}
	for i := len(missing) - 1; i >= 0; i-- {
		if err := unix.Mkdir(missing[i], 0o755); err == nil {
			made = append(made, folder{path: missing[i]})
		} else if !errors.Is(err, unix.EEXIST) {
			return made, err
		}
	}
	return made, nil
}

// isBelow tells whether path lies below root, where root may be written with links that path has resolved.
func isBelow(path, root string) bool {
	if real, err := filepath.EvalSymlinks(root); err == nil {
		root = real
	}
	return strings.HasPrefix(path, strings.TrimSuffix(root, "/")+"/")
}

// An opening says what lets somebody else than root and this process's own user change the entries of a folder, in
// words that follow the folder's name; empty where nothing does.
type opening string

// remedy is the command that closes the opening of folder.
func (o opening) remedy(folder string) string {
	switch {
	case strings.HasPrefix(string(o), "belongs"):
		return "run: chown root:root " + folder + "; chmod go-w " + folder
	case strings.Contains(string(o), "ACL"):
		return "run: setfacl -b " + folder + "; chmod go-w " + folder
	}
	return "run: chmod go-w " + folder
}

// openTo tells who else may change the entries of the folder, and whether it is a sticky one of ours. The mode is
// enough to see a POSIX ACL too: with one, the group's bits are its mask, and no user or group that it names has more
// than the mask (acl(5)).
func openTo(fd int) (open opening, sticky bool, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", false, err
	}
	switch {
	case !ours(st.Uid):
		open = opening(fmt.Sprintf("belongs to uid %d", st.Uid))
	case st.Mode&0o002 != 0:
		open = opening(fmt.Sprintf("may be written by everybody (mode %04o)", st.Mode&0o7777))
	case st.Mode&0o020 != 0 && hasACL(fd):
		open = opening(fmt.Sprintf("may be written by others through its ACL (see getfacl; group %d, mode %04o)", st.Gid, st.Mode&0o7777))
	case st.Mode&0o020 != 0:
		open = opening(fmt.Sprintf("may be written by its group %d (mode %04o)", st.Gid, st.Mode&0o7777))
	}
	return open, st.Mode&unix.S_ISVTX != 0 && ours(st.Uid), nil
}

// hasACL asks by way of /proc, because a descriptor that is only a path has no attributes itself.
func hasACL(fd int) bool {
	n, err := unix.Getxattr("/proc/self/fd/"+strconv.Itoa(fd), "system.posix_acl_access", nil)
	return err == nil && n > 0
}

func ours(uid uint32) bool { return uid == 0 || int(uid) == os.Geteuid() }

func split(path string) []string {
	var names []string
	for _, n := range strings.Split(filepath.Clean(path), "/") {
		if n != "" && n != "." {
			names = append(names, n)
		}
	}
	return names
}

// readLink reads the link that fd (O_PATH|O_NOFOLLOW) stands for.
func readLink(fd int) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return "", err
	}
	if n == len(buf) {
		return "", fs.ErrInvalid
	}
	return string(buf[:n]), nil
}
