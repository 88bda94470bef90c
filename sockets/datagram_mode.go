package sockets

import (
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// SetMode gives the file of a Unix socket a mode, which the umask narrows while it is made. What stands there by now and
// is not a socket of ours with one name is left as it is.
func (d *Datagram) SetMode(mode fs.FileMode) error {
	if d.path == "" {
		return nil
	}
	fd, err := unix.Open(d.path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &Error{Address: d.path, Cause: "the new socket cannot be opened", Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &Error{Address: d.path, Cause: "cannot look at the new socket", Err: err}
	}
	if st.Dev != d.dev || st.Ino != d.ino || st.Mode&unix.S_IFMT != unix.S_IFSOCK || st.Nlink != 1 || int(st.Uid) != os.Geteuid() {
		return stolen(d.path, fd, nil)
	}
	if err := unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), uint32(mode.Perm())); err != nil {
		return &Error{Address: d.path, Cause: "cannot set the mode of the new socket", Err: err}
	}
	return nil
}
