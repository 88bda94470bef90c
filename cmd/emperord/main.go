// Command emperord watches uWSGI vassal files, owns the applications' sockets and runs each application as its own
// user.
package main

import (
	"context"
	"os"
)

func main() {
	urgent := hearUrgent()
	dieBySignal()
	os.Exit(start(context.Background(), os.Args, environ(), os.Stdout, os.Stderr, urgent))
}
