package emperor

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// ownUser returns who the emperor is once it has given up root, and whether that is a change.
func (e *Emperor) ownUser() (uid, gid int, changes bool, err error) {
	uid, gid = os.Geteuid(), os.Getegid()
	if e.c.UID == "" && e.c.GID == "" || !e.powers.changeUsers() {
		return uid, gid, false, nil
	}
	if e.c.UID != "" {
		if uid, gid, err = e.directory.userID(e.c.UID); err != nil {
			return 0, 0, false, fmt.Errorf("uid = %s: %w", e.c.UID, err)
		}
	}
	if e.c.GID != "" {
		if gid, err = e.directory.groupID(e.c.GID); err != nil {
			return 0, 0, false, fmt.Errorf("gid = %s: %w", e.c.GID, err)
		}
	}
	return uid, gid, true, nil
}

// drop gives up root where the emperor's own uid and gid say so. Folders that need root are made before.
func (e *Emperor) drop() error {
	uid, gid, changes, err := e.ownUser()
	if err != nil || !changes {
		return err
	}
	for _, root := range e.c.SocketRoots {
		if err := os.Mkdir(root, 0o755); err == nil {
			if err := os.Chown(root, uid, gid); err != nil {
				return fmt.Errorf("cannot give the runtime folder to uid %d: %w", uid, err)
			}
		}
	}
	take := func() error { return e.directory.takeUser(uid, gid) }
	if e.c.Keep != nil && uid != 0 {
		err = e.keeping(*e.c.Keep, take)
	} else {
		err = take()
	}
	if err != nil {
		return err
	}
	e.powers, err = ownPowers()
	return err
}

// takeUser makes all threads of this process another user, in the order of every drop: groups, gid, uid.
func (d *directory) takeUser(uid, gid int) error {
	if err := syscall.Setgroups(d.identify(uid, gid, true).Groups); err != nil {
		return fmt.Errorf("cannot take the groups of uid %d: %w", uid, err)
	}
	if err := syscall.Setgid(gid); err != nil {
		return fmt.Errorf("cannot take gid %d: %w", gid, err)
	}
	if err := syscall.Setuid(uid); err != nil {
		return fmt.Errorf("cannot take uid %d: %w", uid, err)
	}
	return nil
}

// closeOnExec marks every descriptor that this process was started with, beyond standard input, output and error, as
// not to be inherited: what a shell or an init script has left open is nobody else's.
func closeOnExec() error {
	err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	names, listed := os.ReadDir("/proc/self/fd") // a kernel before 5.11
	if listed != nil {
		return fmt.Errorf("cannot keep the own descriptors from children: %w", errors.Join(err, listed))
	}
	for _, n := range names {
		if fd, err := strconv.Atoi(n.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
	return nil
}

// shedInheritance takes from the calling thread the capabilities that an exec would hand on to children that are not
// root: the inheritable and the ambient set. Some container runtimes start their processes with an inheritable set.
// Children are forked from this thread only, so the others do not matter. An emperor that is not root needs what it has
// to be inheritable for the exec of an upgrade; that set alone gives nothing, and rights.Start takes it from children.
func shedInheritance() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData // 64 capabilities in two halves
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fmt.Errorf("cannot read the own capabilities: %w", err)
	}
	for i := range sets {
		if sets[i].Inheritable &= sets[i].Permitted; os.Geteuid() == 0 {
			sets[i].Inheritable = 0
		}
	}
	if err := unix.Capset(&header, &sets[0]); err != nil {
		return fmt.Errorf("cannot give up inheritable capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot give up ambient capabilities: %w", err)
	}
	return nil
}
