// Command emperord watches uWSGI vassal files, owns the applications' sockets and runs each application as its own
// user.
package main

import (
	"context"
	"os"
	"runtime"

	"github.com/emperord/emperord/procname"
)

func main() {
	runtime.LockOSThread() // the first thread is the one that lives through upgrades: see emperor.Run
	if is, code := guards(); is {
		os.Exit(code)
	}
	urgent, title := hearUrgent(), procname.Take()
	dieBySignal()
	os.Exit(start(context.Background(), os.Args, outside{environ(), os.Stdout, os.Stderr, urgent, title}))
}
