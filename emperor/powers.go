package emperor

import (
	"fmt"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// powers are the effective capabilities of this process: what it may do though it is not the owner. Root normally has
// all; one that has given up root keeps what its option cap names; systemd may start one with a few.
type powers uint64

// ownPowers reads the capabilities of the calling thread, which are those of all threads but for short moments.
func ownPowers() (powers, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData // 64 capabilities in two halves
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return 0, fmt.Errorf("cannot read the own capabilities: %w", err)
	}
	return powers(sets[0].Effective) | powers(sets[1].Effective)<<32, nil
}

func (p powers) have(capability int) bool { return p>>capability&1 == 1 }

// changeUsers tells whether children may be other users than this process.
func (p powers) changeUsers() bool { return p.have(unix.CAP_SETUID) && p.have(unix.CAP_SETGID) }

// signal sends sig to a child of the loop, or to its group where pid is negative, neither of them reaped. An emperor
// without CAP_KILL may not signal other users' processes, but it may become that user for the moment of one call.
func (e *Emperor) signal(pid int, uid int, sig syscall.Signal) error {
	err := syscall.Kill(pid, sig)
	if err != unix.EPERM || !e.powers.changeUsers() || uid <= 0 {
		return err
	}
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime ends the thread with the goroutine
		const keep = ^uintptr(0)
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, keep, uintptr(uid), keep); errno != 0 { // the others are ours, so nobody else may signal the thread
			result <- errno
			return
		}
		result <- syscall.Kill(pid, sig)
	}()
	return <-result
}

// userOf returns the real uid of a process, -1 where there is none.
func userOf(pid int) int {
	var uid int
	text, err := readLimited(fmt.Sprintf("/proc/%d/status", pid), 4<<10)
	if err != nil {
		return -1
	}
	for line := range linesOf(text) {
		if n, err := fmt.Sscanf(line, "Uid:\t%d", &uid); err == nil && n == 1 {
			return uid
		}
	}
	return -1
}
