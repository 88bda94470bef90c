package access

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// A found is what is at a path, and what the file system says of itself there.
type found struct {
	Inode
	immutable bool
	readOnly  bool // the mount, or the whole file system
	noACL     bool // the file system has none
	damaged   error
	dev, ino  uint64 // as stat(1) prints them
}

// Look returns what is at a path, which is not followed if it is a link.
func Look(path string) (Inode, error) {
	f, err := look(path)
	return f.Inode, err
}

func look(path string) (found, error) {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_BASIC_STATS, &st)
	if err != nil {
		return found{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	f := found{Inode: Inode{Mode: fileMode(uint32(st.Mode)), UID: int(st.Uid), GID: int(st.Gid)}, immutable: st.Attributes&unix.STATX_ATTR_IMMUTABLE != 0,
		dev: unix.Mkdev(st.Dev_major, st.Dev_minor), ino: st.Ino}
	if f.Mode.Type() == fs.ModeSymlink {
		return f, nil
	}
	buf := make([]byte, maxACL)
	n, err := unix.Lgetxattr(path, "system.posix_acl_access", buf)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		f.noACL = true
	case errors.Is(err, unix.ENODATA):
	case err != nil:
		f.damaged = fmt.Errorf("cannot read the ACL of %s: %w", path, err)
	default:
		if f.ACL, err = ParseACL(buf[:n]); err != nil {
			f.ACL, f.damaged = nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	if f.Mode.IsDir() || f.Mode.IsRegular() { // others may be written on any (a read-only socket is connected to)
		var at unix.Statfs_t
		f.readOnly = unix.Statfs(path, &at) == nil && at.Flags&unix.ST_RDONLY != 0
	}
	return f, nil
}

// fileMode translates st_mode (inode(7)).
func fileMode(m uint32) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	switch m & unix.S_IFMT {
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	case unix.S_IFLNK:
		mode |= fs.ModeSymlink
	case unix.S_IFSOCK:
		mode |= fs.ModeSocket
	case unix.S_IFIFO:
		mode |= fs.ModeNamedPipe
	case unix.S_IFBLK:
		mode |= fs.ModeDevice
	case unix.S_IFCHR:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	}
	if m&unix.S_ISVTX != 0 {
		mode |= fs.ModeSticky
	}
	if m&unix.S_ISUID != 0 {
		mode |= fs.ModeSetuid
	}
	if m&unix.S_ISGID != 0 {
		mode |= fs.ModeSetgid
	}
	return mode
}

// linksGuarded tells whether the kernel follows a last link in a sticky folder for its owner only.
func linksGuarded() bool {
	raw, err := os.ReadFile("/proc/sys/fs/protected_symlinks")
	return err != nil || len(raw) > 0 && raw[0] != '0'
}
