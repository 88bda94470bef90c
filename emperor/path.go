package emperor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks bounds the symbolic links on the way to a vassal file, as the kernel does (path_resolution(7)).
const maxLinks = 40

// A trail is the way to a vassal file, and who could have made it lead elsewhere.
type trail struct {
	file    *os.File
	movers  []mover
	shared  bool // somebody else than root may write the folder that holds the file
	visited int  // links
	link    *lastLink
}

// A lastLink is the symbolic link that stands where the vassal file should.
type lastLink struct {
	st     unix.Stat_t
	before int  // movers of the way to it
	shared bool // somebody else than root may write the folder that holds it
}

// A mover is a user who owns a folder or a link on the way. Uid -1 is everybody.
type mover struct {
	uid  int
	what string
}

// follow opens path step by step. In tyrant mode the owner of the file decides who the application runs as, so a
// stranger who can put a link on the way could run code of his as the owner of any file whose content he chose.
func follow(path string) (trail, error) {
	var t trail
	dir, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return t, fmt.Errorf("cannot open /: %w", err)
	}
	defer func() { unix.Close(dir) }()
	at, rest := "/", steps(path)
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			rest = append(steps(filepath.Dir(at)), rest...)
			if dir, err = restart(dir); err != nil {
				return t, err
			}
			at = "/"
			continue
		}
		fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return t, &os.PathError{Op: "open", Path: filepath.Join(at, name), Err: err}
		}
		var st, folder unix.Stat_t
		if err := errors.Join(unix.Fstat(fd, &st), unix.Fstat(dir, &folder)); err != nil {
			unix.Close(fd)
			return t, err
		}
		t.enter(&folder, &st, at)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			target, err := linkTarget(fd)
			unix.Close(fd)
			if t.visited++; err != nil || t.visited > maxLinks {
				return t, refuse("cannot follow the links of %s: there are too many, or one cannot be read", path)
			}
			if len(rest) == 0 && t.link == nil {
				t.link = &lastLink{st: st, before: len(t.movers), shared: writableByOthers(&folder)}
			}
			t.movers = append(t.movers, mover{int(st.Uid), "the link " + filepath.Join(at, name)})
			rest = append(steps(target), rest...)
			if strings.HasPrefix(target, "/") {
				if dir, err = restart(dir); err != nil {
					return t, err
				}
				at = "/"
			}
		case unix.S_IFDIR:
			unix.Close(dir)
			dir, at = fd, filepath.Join(at, name)
		default:
			defer unix.Close(fd)
			if len(rest) > 0 {
				return t, &os.PathError{Op: "open", Path: path, Err: unix.ENOTDIR}
			}
			if st.Mode&unix.S_IFMT != unix.S_IFREG {
				return t, refuse("%s is not a regular file", path)
			}
			t.shared = writableByOthers(&folder)
			t.file, err = os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
			return t, err
		}
	}
	return t, refuse("%s is not a regular file", path)
}

func writableByOthers(folder *unix.Stat_t) bool { return folder.Uid != 0 || folder.Mode&0o022 != 0 }

// enter notes who may change the entry that was found in a folder.
func (t *trail) enter(folder, entry *unix.Stat_t, at string) {
	if folder.Mode&unix.S_ISVTX != 0 && folder.Uid == 0 {
		if folder.Mode&0o022 != 0 {
			t.movers = append(t.movers, mover{int(entry.Uid), "what is in " + at}) // only the entry's owner can move it
		}
		return
	}
	t.movers = append(t.movers, mover{int(folder.Uid), "the folder " + at})
	if folder.Mode&0o002 != 0 {
		t.movers = append(t.movers, mover{-1, "the folder " + at})
	}
}

// stranger finds somebody who is none of trusted and could have made the path lead elsewhere.
func stranger(movers []mover, trusted ...int) (mover, bool) {
	i := slices.IndexFunc(movers, func(m mover) bool { return !slices.Contains(trusted, m.uid) })
	if i < 0 {
		return mover{}, false
	}
	return movers[i], true
}

// restart goes back to the root.
func restart(dir int) (int, error) {
	unix.Close(dir)
	fd, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot open /: %w", err)
	}
	return fd, nil
}

// steps cuts a path into names, ".." kept: what it means depends on the links before it.
func steps(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(n string) bool { return n == "" || n == "." })
}

func linkTarget(fd int) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return "", err
	}
	if n == len(buf) {
		return "", unix.ENAMETOOLONG
	}
	return string(buf[:n]), nil
}
