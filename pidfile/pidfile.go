package pidfile

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// A File is a pid file that this process has written.
type File struct {
	path string
	dir  int // its folder
	file *os.File
}

// longest is the largest size of what counts as a pid file, in bytes.
const longest = 32

// tries bounds how often a file that others exchange meanwhile is looked at again.
const tries = 20

// A Live error says that a process which runs has this pid file.
type Live struct {
	Path string
	PID  int // 0: the file does not say
}

func (l *Live) Error() string {
	return fmt.Sprintf("%s belongs to process %d, which runs: stop it first (kill %d), or write another pid file for this one", l.Path, l.PID, l.PID)
}

// Write writes this process's id into a file, which everybody may read whatever the umask is. path is absolute. An older pid file is replaced; anything else that stands there
// is an error. With alone, a pid file whose process was started with alone and runs is a *Live error: the lock that
// tells so ends with the process, so a file that was left behind never keeps anybody from starting.
func Write(path string, alone bool) (*File, error) {
	path = filepath.Clean(path)
	f := &File{path: path}
	var err error
	if f.dir, err = openFolder(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("cannot write the pid file %s: %w", path, err)
	}
	if err = f.write(alone); err != nil {
		_ = unix.Close(f.dir)
		var live *Live
		if errors.As(err, &live) {
			return nil, err
		}
		return nil, fmt.Errorf("cannot write the pid file %s: %w", path, err)
	}
	return f, nil
}

func (f *File) write(alone bool) error {
	name := filepath.Base(f.path)
	fresh := fmt.Sprintf(".%.200s.%d-%08x", name, os.Getpid(), rand.Uint32())
	fd, err := unix.Openat(f.dir, fresh, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f.file = os.NewFile(uintptr(fd), f.path)
	_, err = f.file.WriteString(strconv.Itoa(os.Getpid()) + "\n")
	if err == nil && alone { // before anybody else can open it
		err = lock(fd)
	}
	if err == nil {
		err = unix.Fchmod(fd, 0o644)
	}
	if err == nil {
		err = f.put(fresh, name, alone)
	}
	if err != nil {
		_ = unix.Unlinkat(f.dir, fresh, 0)
		_ = f.file.Close()
	}
	return err
}

// put gives the fresh file its name.
func (f *File) put(fresh, name string, alone bool) error {
	for range tries {
		err := unix.Renameat2(f.dir, fresh, f.dir, name, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // a file system that cannot; it is seen below
			var st unix.Stat_t
			if err = unix.Fstatat(f.dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil {
				err = unix.EEXIST
			} else if errors.Is(err, unix.ENOENT) {
				err = unix.Renameat(f.dir, fresh, f.dir, name)
			}
		}
		if !errors.Is(err, unix.EEXIST) {
			return err
		}
		if done, err := f.replace(fresh, name, alone); done || err != nil {
			return err
		}
	}
	return errors.New("somebody else writes it all the time")
}

// replace takes the place of an older pid file. It returns false where that one is another by now.
func (f *File) replace(fresh, name string, alone bool) (bool, error) {
	fd, err := unix.Openat(f.dir, name, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT):
		return false, nil
	case errors.Is(err, unix.ELOOP):
		return false, errors.New("a symbolic link stands there; remove it, or write the path that it leads to")
	case errors.Is(err, unix.EISDIR), errors.Is(err, unix.ENXIO):
		return false, errors.New("what stands there is not a regular file; choose another path")
	case err != nil:
		return false, err
	}
	defer unix.Close(fd)
	pid, err := read(fd)
	if err != nil {
		return false, err
	}
	if alone {
		if err := lock(fd); errors.Is(err, unix.EAGAIN) && held(fd) {
			return false, &Live{Path: f.path, PID: pid}
		}
	}
	var now, then unix.Stat_t
	if err := unix.Fstat(fd, &then); err != nil {
		return false, err
	}
	if err := unix.Fstatat(f.dir, name, &now, unix.AT_SYMLINK_NOFOLLOW); err != nil || now.Ino != then.Ino || now.Dev != then.Dev {
		return false, nil
	}
	return true, unix.Renameat(f.dir, fresh, f.dir, name)
}

// read returns the number in a pid file, 0 for an empty one. What holds anything else is none.
func read(fd int) (int, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	buf := make([]byte, longest+1)
	n, err := 0, error(nil)
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		n, err = unix.Pread(fd, buf, 0)
	}
	text := bytes.TrimSpace(buf[:max(n, 0)])
	if err != nil {
		return 0, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || n > longest || len(bytes.Trim(text, "0123456789")) > 0 {
		return 0, errors.New("what stands there is not a pid file; choose another path, or remove it")
	}
	pid, _ := strconv.Atoi(string(text))
	return pid, nil
}

// lock takes the write lock of a file for as long as fd is open. Reading a file is enough for a read lock, so strangers
// may have those, and they mean nothing.
func lock(fd int) error {
	return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
}

// held tells whether somebody else has the write lock.
func held(fd int) bool {
	l := unix.Flock_t{Type: unix.F_RDLCK} // only a write lock is in the way of it
	return unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, &l) == nil && l.Type == unix.F_WRLCK
}

// Remove removes the file if it is still the one that was written. A process that may not remove it any more, because
// it has given up root, empties it: nobody shall signal what has this number later.
func (f *File) Remove() error {
	defer unix.Close(f.dir)
	defer f.file.Close()
	var ours, now unix.Stat_t
	if err := unix.Fstat(int(f.file.Fd()), &ours); err != nil {
		return err
	}
	name := filepath.Base(f.path)
	err := unix.Fstatat(f.dir, name, &now, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) || err == nil && (now.Ino != ours.Ino || now.Dev != ours.Dev) {
		return nil // somebody else's by now
	}
	if err == nil {
		err = unix.Unlinkat(f.dir, name, 0)
	}
	if err == nil || f.file.Truncate(0) == nil {
		return nil
	}
	return fmt.Errorf("cannot remove the pid file %s: %w", f.path, err)
}
