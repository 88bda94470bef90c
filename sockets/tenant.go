package sockets

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// As runs f with the effective rights of id, as far as the file system asks for them, and nothing of ours. It needs root,
// or CAP_SETUID and CAP_SETGID.
func As(id Identity, f func() error) error { return withRights(id, f) }

// withRights runs f on a thread that has the effective rights of id: its uid, gid and supplementary groups, and none of
// root's powers. The thread ends afterwards, so no right has to be given back and none can stay by
// mistake; threads that the runtime starts meanwhile do not descend from it (runtime.LockOSThread). The process's first
// thread is never used: the runtime cannot end it, it would keep the tenant's rights for ever.
func withRights(id Identity, f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime ends the thread with the goroutine
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			result <- withRights(id, f) // cannot get the first thread too: this goroutine holds it
			return
		}
		if err := takeRights(id); err != nil {
			result <- err
			return
		}
		result <- f()
	}()
	return <-result
}

// takeRights changes the calling thread only. The order is that of every drop: groups, gid, uid, capabilities. The
// kernel clears the effective ones by itself only where uid 0 is left, and not with the secure bit no-setuid-fixup
// (capabilities(7)); a thread that kept CAP_DAC_OVERRIDE would not be judged as the tenant. The real and the saved uid
// stay ours, so that the tenant may not signal the thread.
func takeRights(id Identity) error {
	groups := make([]uint32, len(id.Groups))
	for i, g := range id.Groups {
		groups[i] = uint32(g)
	}
	var first unsafe.Pointer
	if len(groups) > 0 {
		first = unsafe.Pointer(&groups[0])
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(first), 0); errno != 0 {
		return fmt.Errorf("cannot take the groups of %s: %w", id.Name, errno)
	}
	const keep = ^uintptr(0) // -1
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, keep, uintptr(id.GID), keep); errno != 0 {
		return fmt.Errorf("cannot take the gid %d of %s: %w", id.GID, id.Name, errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, keep, uintptr(id.UID), keep); errno != 0 {
		return fmt.Errorf("cannot take the uid %d of %s: %w", id.UID, id.Name, errno)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none, have [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("cannot give up the capabilities for %s: %w", id.Name, err)
	}
	if err := unix.Capget(&header, &have[0]); err != nil || have != none {
		return fmt.Errorf("the kernel left the capabilities %+v for %s: %v", have, id.Name, err)
	}
	uid, _ := unix.SetfsuidRetUid(-1) // an invalid number changes nothing and tells what is (setfsuid(2))
	gid, _ := unix.SetfsgidRetGid(-1)
	if uid != id.UID || gid != id.GID || unix.Geteuid() != id.UID || unix.Getegid() != id.GID {
		return fmt.Errorf("the kernel did not give the rights of %s (uid %d, gid %d): they are %d and %d", id.Name, id.UID, id.GID, uid, gid)
	}
	return nil
}

// MayChown tells whether this process may give files to others: it has CAP_CHOWN, as root normally does. One that may
// not leaves its sockets with itself, or with the tenant with whose rights it has made them.
func MayChown() bool { return has(unix.CAP_CHOWN) }

func has(capability int) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return false
	}
	return sets[capability/32].Effective>>(capability%32)&1 == 1
}
