// Command bench measures emperord and vassald beside the installed uWSGI: the same vassal files, the same nginx, the
// same machine, one after the other in small turns, so that what disturbs one disturbs the other. It prints one table:
// the median of each side with its spread, their ratio, and the goal of the project.
//
// It reads nothing from inside the servers: vassal files, sockets, signals and /proc are all it uses.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
