package emperor

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// How long a vassal file that somebody has open for writing is waited for, and how often it is looked at. Who never closes
// it is only late itself.
const (
	writersTime = 3 * time.Second
	writersStep = 10 * time.Millisecond
)

// awaitWriters waits until nobody has the file open for writing, or until over is closed: what is half written would be a
// configuration too, one without the lines that are to come, and a program could not be run.
func awaitWriters(fd int, over <-chan struct{}) {
	for begin := time.Now(); beingWritten(fd) && time.Since(begin) < writersTime; {
		select {
		case <-over:
			return
		case <-time.After(writersStep):
		}
	}
}

// beingWritten asks for a lease, which the kernel refuses while the file is open for writing (fcntl(2), "Leases"), and gives
// it back at once. Where there are no leases, or they are not ours to take, nobody writes.
func beingWritten(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK)
	if err == nil {
		_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK)
	}
	return errors.Is(err, unix.EAGAIN)
}
