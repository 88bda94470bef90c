package main

import (
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// blockedVariable tells the program that it has been started once more with SIGURG blocked.
const blockedVariable = "EMPERORD_URGENT"

// siginfo begins as the kernel's struct siginfo does (siginfo_t in sigaction(2)) for a signal that somebody sent.
type siginfo struct {
	signo, errno, code int32
	_                  int32
	pid                int32
	uid                uint32
	_                  [104]byte
}

// hearUrgent returns a channel that tells of each SIGURG that somebody has sent to this process; nil where that cannot be
// had: then SIGURG is ignored.
//
// os/signal cannot: Go's runtime interrupts its own threads with SIGURG, thousands of times, and hands these on too. So the
// signal has to be blocked in every thread, which only a program can have that was started so: it starts itself once more, in
// place. The runtime then interrupts goroutines only where they call functions. Programs that emperord starts begin
// with nothing blocked (room rights).
func hearUrgent() <-chan struct{} {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	set, old := urgentSet(), unix.Sigset_t{}
	if unix.PthreadSigmask(unix.SIG_BLOCK, &set, &old) != nil {
		return nil
	}
	if old.Val[(unix.SIGURG-1)/64]&set.Val[(unix.SIGURG-1)/64] == 0 {
		if _, tried := os.LookupEnv(blockedVariable); !tried {
			if self, err := os.Executable(); err == nil {
				_ = syscall.Exec(self, os.Args, append(slices.Clone(os.Environ()), blockedVariable+"=1"))
			}
		}
		_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
		return nil
	}
	urgent := make(chan struct{}, 1)
	go awaitUrgent(&set, urgent)
	return urgent
}

// releaseUrgent has the calling thread take SIGURG as usual: before another program runs in our place.
func releaseUrgent() {
	runtime.LockOSThread()
	set := urgentSet()
	_ = unix.PthreadSigmask(unix.SIG_UNBLOCK, &set, nil)
}

func urgentSet() (set unix.Sigset_t) {
	set.Val[(unix.SIGURG-1)/64] |= 1 << ((unix.SIGURG - 1) % 64)
	return set
}

// awaitUrgent never returns.
func awaitUrgent(set *unix.Sigset_t, urgent chan<- struct{}) {
	runtime.LockOSThread()
	for {
		var info siginfo
		n, _, errno := syscall.Syscall6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(&info)), 0, 8, 0, 0)
		switch {
		case errno == unix.EINTR: // another signal was served
			continue
		case errno != 0: // a kernel without it
			return
		case syscall.Signal(n) != unix.SIGURG || info.code == siTkill: // the runtime meant this thread
			continue
		}
		select {
		case urgent <- struct{}{}:
		default: // the last one has not been heard yet
		}
	}
}

// siTkill is the code of a signal for one thread (SI_TKILL).
const siTkill = -6

// environ is the environment without our own note in it.
func environ() []string {
	return slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, blockedVariable+"=") })
}
