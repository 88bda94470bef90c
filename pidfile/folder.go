package pidfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks bounds the links on the way, as the kernel does (path_resolution(7)).
const maxLinks = 40

// openFolder opens the folder at an absolute path. Root follows only links that nobody but root can have put there;
// everybody else has no rights to lose.
func openFolder(path string) (int, error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
	if os.Geteuid() != 0 {
		fd, err := unix.Open(path, flags, 0)
		return fd, missing(path, err)
	}
	dir, err := unix.Open("/", flags, 0)
	if err != nil {
		return -1, err
	}
	at, rest, links := "/", split(path), 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		next, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		here := filepath.Join(at, name)
		if err != nil {
			unix.Close(dir)
			return -1, missing(here, err)
		}
		var folder, entry unix.Stat_t
		if err := errors.Join(unix.Fstat(dir, &folder), unix.Fstat(next, &entry)); err != nil {
			unix.Close(dir)
			unix.Close(next)
			return -1, err
		}
		if entry.Mode&unix.S_IFMT != unix.S_IFLNK {
			unix.Close(dir)
			if entry.Mode&unix.S_IFMT != unix.S_IFDIR {
				unix.Close(next)
				return -1, missing(here, unix.ENOTDIR)
			}
			dir, at = next, here
			continue
		}
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(next, "", buf)
		unix.Close(next)
		links++
		switch {
		case err != nil || n == len(buf) || links > maxLinks:
			unix.Close(dir)
			return -1, fmt.Errorf("the link %s cannot be followed", here)
		case !rootsWord(&folder, &entry):
			unix.Close(dir)
			return -1, fmt.Errorf("the link %s could have been made by somebody else than root; write the path that it leads to", here)
		}
		target := string(buf[:n])
		if !strings.HasPrefix(target, "/") {
			target = filepath.Join(at, target) // what is above "..", root has decided as well
		}
		rest = append(split(target), rest...)
		unix.Close(dir)
		if dir, err = unix.Open("/", flags, 0); err != nil {
			return -1, err
		}
		at = "/"
	}
	return dir, nil
}

// rootsWord tells whether only root can have put an entry into a folder.
func rootsWord(folder, entry *unix.Stat_t) bool {
	if folder.Uid != 0 {
		return false
	}
	return folder.Mode&0o022 == 0 || folder.Mode&unix.S_ISVTX != 0 && entry.Uid == 0
}

func missing(path string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("the folder %s does not exist; make it: mkdir -p %s", path, path)
	}
	return &os.PathError{Op: "open", Path: path, Err: err}
}

func split(path string) []string {
	return strings.FieldsFunc(filepath.Clean(path), func(r rune) bool { return r == '/' })
}
