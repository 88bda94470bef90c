// Command vassald runs one application of a uWSGI file: it starts the language host and keeps its workers alive.
//
// The runtime's watch over the container's processor limit is off: it costs descriptors and wake-ups in every vassal,
// for a program that hardly computes.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/emperord/emperord/procname"
	"github.com/emperord/emperord/vassal"
)

func main() {
	title := procname.Take()
	o := vassal.FromSystem()
	o.Title = title
	err := vassal.Run(context.Background(), o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "vassald:", err)
	}
	os.Exit(vassal.ExitCode(err))
}
