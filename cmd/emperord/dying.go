package main

import (
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
)

// maxStacks bounds what is written of all goroutines, in bytes.
const maxStacks = 1 << 20

// dieBySignal keeps the exit code 2 for mistakes in the configuration, after which systemd does not start us again. Go's
// runtime exits with it too: after a panic, and after SIGABRT, which systemd's watchdog sends. With traceback "crash" a panic
// ends in SIGABRT. For a SIGABRT from outside, that mode asks all threads by SIGQUIT for their stacks, which we catch, and it
// waits 10 s for them; so here the stacks are written and the end comes by SIGKILL, at once.
func dieBySignal() {
	debug.SetTraceback("crash")
	abort := make(chan os.Signal, 1)
	signal.Notify(abort, syscall.SIGABRT)
	go func() {
		<-abort
		stacks := make([]byte, maxStacks)
		_, _ = os.Stderr.Write(append([]byte("emperord: SIGABRT, as of systemd's watchdog; this is where everything stood:\n"), stacks[:runtime.Stack(stacks, true)]...))
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}()
}
