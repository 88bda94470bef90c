// Command emperord watches uWSGI vassal files, owns the applications' sockets and runs each application as its own
// user.
package main

import (
	"context"
	"os"
)

func main() {
	dieBySignal()
	os.Exit(run(context.Background(), os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}
