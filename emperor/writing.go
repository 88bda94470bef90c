package emperor

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/sockets"
)

// How long a vassal file that somebody has open for writing is waited for, and how often it is looked at. Who never closes
// it is only late itself.
const (
	writersTime = 3 * time.Second
	writersStep = 10 * time.Millisecond
	writersSaid = time.Second // after this long it is said that the file is waited for
)

// awaitWriters waits until nobody has the file open for writing, or until over is closed: what is half written would be a
// configuration too, one without the lines that are to come, and a program could not be run. It tells whether somebody
// still writes; waits is called once if that takes a while.
func awaitWriters(f *os.File, over <-chan struct{}, waits func()) (written bool) {
	written, known := beingWritten(f)
	if !known {
		var st unix.Stat_t
		if unix.Fstat(int(f.Fd()), &st) != nil || st.Uid == 0 {
			return false
		}
		owner := sockets.Identity{Name: "the file's owner", UID: int(st.Uid), GID: int(st.Gid)}
		_ = sockets.As(owner, func() error { // without the right to become its owner nothing can be told
			written = writersLeft(f, over, waits)
			return nil
		})
		return written
	}
	return written && writersLeft(f, over, waits)
}

func writersLeft(f *os.File, over <-chan struct{}, waits func()) bool {
	for begin := time.Now(); ; {
		written, _ := beingWritten(f)
		passed := time.Since(begin)
		if !written || passed >= writersTime {
			return written
		}
		if waits != nil && passed >= writersSaid {
			waits()
			waits = nil
		}
		select {
		case <-over:
			return true
		case <-time.After(writersStep):
		}
	}
}

// beingWritten asks for a lease, which the kernel refuses while the file is open for writing (fcntl(2), "Leases"), and gives
// it back at once. known is false where the lease is not ours to take: only the owner of a file may, and who has CAP_LEASE,
// which neither a container nor our systemd unit has. Where there are no leases, nobody writes.
func beingWritten(f *os.File) (written, known bool) {
	fd := f.Fd()
	_, err := unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_RDLCK)
	switch {
	case err == nil:
		_, _ = unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_UNLCK)
		return false, true
	case errors.Is(err, unix.EACCES):
		return false, false
	case errors.Is(err, unix.EAGAIN):
		var st unix.Statfs_t
		return unix.Fstatfs(int(fd), &st) == nil && !leasesOfServers[int64(st.Type)], true
	}
	return false, true
}

// leasesOfServers are the file systems where only the server can give a lease: it is refused as well where nobody writes.
var leasesOfServers = map[int64]bool{
	unix.NFS_SUPER_MAGIC: true, unix.SMB_SUPER_MAGIC: true, unix.CIFS_SUPER_MAGIC: true, unix.SMB2_SUPER_MAGIC: true, unix.CEPH_SUPER_MAGIC: true,
}
