package pidfile

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Snapshot returns what Restore needs: the path, and the descriptors of its folder and of the file itself.
func (f *File) Snapshot() (path string, folder, file int) { return f.path, f.dir, int(f.file.Fd()) }

// Restore makes a File again that this process had before it executed another program. The descriptors are the File's
// then; after an error they stay the caller's.
func Restore(path string, folder, file int) (*File, error) {
	var dir, is unix.Stat_t
	if !filepath.IsAbs(path) || unix.Fstat(folder, &dir) != nil || dir.Mode&unix.S_IFMT != unix.S_IFDIR || unix.Fstat(file, &is) != nil || is.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("descriptors %d and %d are no folder with the pid file %s", folder, file, path)
	}
	return &File{path: path, dir: folder, file: os.NewFile(uintptr(file), path)}, nil
}
