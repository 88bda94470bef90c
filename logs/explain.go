package logs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/shell"
)

// explain says why a log could not be opened, and what helps, as commands for root.
func explain(path string, err error) error {
	uid, gid := os.Geteuid(), os.Getegid()
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EACCES):
		if remedy := way(path, uid, gid); remedy != "" {
			return fmt.Errorf("%w; %s", err, remedy)
		}
	case errors.Is(err, unix.EISDIR):
		return fmt.Errorf("%w; name a file, for example %s", err, filepath.Join(path, "uwsgi.log"))
	case errors.Is(err, unix.ENXIO):
		return fmt.Errorf("%w: it is a socket, or a FIFO that nobody reads; name a file", err)
	}
	return plainly(err)
}

// plainly adds what helps where the place for the log is at fault.
func plainly(err error) error {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("%w; make room there", err)
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("%w; name a file elsewhere (under systemd, ReadWritePaths= or LogsDirectory= of the unit makes the folder writable)", err)
	case errors.Is(err, unix.EAGAIN):
		return errors.New("nobody reads the FIFO fast enough")
	}
	return err
}

// way finds what is in the way to path for this process.
func way(path string, uid, gid int) string {
	at := "/"
	folders := strings.Split(strings.Trim(filepath.Dir(path), "/"), "/")
	for _, name := range folders {
		at = filepath.Join(at, name)
		info, err := os.Stat(at)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return fmt.Sprintf("there is no folder %s; run: install -d -o %d -g %d %s", at, uid, gid, shell.Word(filepath.Dir(path)))
		case err == nil && !info.IsDir():
			return fmt.Sprintf("%s is no folder; name a file elsewhere", at)
		case err == nil && unix.Access(at, unix.X_OK) != nil:
			return fmt.Sprintf("uid %d may not enter %s (mode %04o); run: chmod o+x %s", uid, at, info.Mode().Perm(), shell.Word(at))
		}
	}
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&os.ModeSymlink != 0 {
			return fmt.Sprintf("%s is a link; look along it with: namei -l %s", path, shell.Word(path))
		}
		return fmt.Sprintf("uid %d may not write it (mode %04o); run: chown %d %s && chmod u+rw %[4]s", uid, info.Mode().Perm(), uid, shell.Word(path))
	}
	return fmt.Sprintf("uid %d may not make files in %s; run: install -o %d -g %d -m 640 /dev/null %s", uid, at, uid, gid, shell.Word(path))
}
