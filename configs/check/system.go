package check

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/user"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/sockets/access"
)

// A System is where files and users are looked up.
type System interface {
	Lstat(path string) (Entry, error)
	Readlink(path string) (string, error)
	Open(path string) (io.ReadCloser, error)                          // regular files only; never waits
	List(dir string, most int) (names []string, more bool, err error) // more: there are more than most
	User(nameOrNumber string) (User, bool)
	Group(nameOrNumber string) (Group, bool)
}

// An Entry is what the file system says of a name.
type Entry struct {
	Mode     fs.FileMode
	UID, GID int
	Size     int64
	ACL      access.ACL // nil: mode and owner are all there is
}

// A User is a user and the groups that its processes have.
type User struct {
	Name     string
	UID, GID int
	Groups   []int // the primary one among them
	Home     string
}

// A Group is a group by its name.
type Group struct {
	Name string
	GID  int
}

const linkMode = fs.ModeSymlink

// Machine is this machine.
type Machine struct{}

// Lstat looks at a name and follows no link.
func (Machine) Lstat(path string) (Entry, error) {
	fi, err := os.Lstat(path)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Mode: fi.Mode(), Size: fi.Size()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		e.UID, e.GID = int(st.Uid), int(st.Gid)
	}
	if n, err := access.Look(path); err == nil {
		e.ACL = n.ACL
	}
	return e, nil
}

// Readlink reads a link.
func (Machine) Readlink(path string) (string, error) { return os.Readlink(path) }

var errNoFile = errors.New("it is not a regular file")

// Open opens a regular file. A FIFO or a device must not hold us, nor notice that it was opened.
func (Machine) Open(path string) (io.ReadCloser, error) {
	if fi, err := os.Stat(path); err == nil && !fi.Mode().IsRegular() {
		return nil, errNoFile
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG { // it may have been swapped meanwhile
		unix.Close(fd)
		return nil, errNoFile
	}
	return descriptor(fd), nil
}

// A descriptor reads without ever waiting: an os.File would wait for what calls itself a regular file and has nothing to
// give yet, such as /proc/kmsg.
type descriptor int

func (d descriptor) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(int(d), p)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, err
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func (d descriptor) Close() error { return unix.Close(int(d)) }

// List names what is in a folder.
func (Machine) List(dir string, most int) ([]string, bool, error) {
	f, err := os.OpenFile(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	names, err := f.Readdirnames(most + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, err
	}
	if len(names) > most {
		return names[:most], true, nil
	}
	return names, false, nil
}

// User finds a user. A number that no user has is its own name.
func (Machine) User(text string) (User, bool) {
	u, err := user.Lookup(text)
	if err != nil {
		n, bad := strconv.ParseUint(text, 10, 31)
		if bad != nil {
			return User{}, false
		}
		if u, err = user.LookupId(text); err != nil {
			return User{Name: text, UID: int(n), GID: int(n), Groups: []int{int(n)}}, true
		}
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err1 != nil || err2 != nil {
		return User{}, false
	}
	found := User{Name: u.Username, UID: uid, GID: gid, Groups: []int{gid}, Home: u.HomeDir}
	groups, _ := u.GroupIds() // without them the primary one counts
	for _, g := range groups {
		if n, err := strconv.Atoi(g); err == nil && !slices.Contains(found.Groups, n) {
			found.Groups = append(found.Groups, n)
		}
	}
	return found, true
}

// Group finds a group. A number that no group has is its own name.
func (Machine) Group(text string) (Group, bool) {
	g, err := user.LookupGroup(text)
	if err != nil {
		n, bad := strconv.ParseUint(text, 10, 31)
		if bad != nil {
			return Group{}, false
		}
		if g, err = user.LookupGroupId(text); err != nil {
			return Group{text, int(n)}, true
		}
	}
	gid, err := strconv.Atoi(g.Gid)
	return Group{g.Name, gid}, err == nil
}
