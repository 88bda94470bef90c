package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/emperor"
)

// guards is the program as the guard of an emperor, if it was started as one. It ends with the emperor, or is killed by it: what is
// sent to all processes of that name, or of a terminal, must not end it before.
func guards() (is bool, code int) {
	if len(os.Args) < 2 || os.Args[1] != emperor.GuardFlag {
		return false, 0
	}
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE)
	name := []byte("emperord-guard\x00") // of our first thread; it was run as /proc/self/exe
	_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0)
	if err := emperor.RunGuard(os.Args[2:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "emperord:", err)
		return true, exitFailed
	}
	return true, exitAsked
}
