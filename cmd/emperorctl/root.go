package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/emperord/emperord/protocol/api"
)

// Exit codes. exitAnswer is that of curl -f, so that scripts can tell an application's refusal from a broken socket.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
	exitAnswer = 22
)

// streams are where a verb reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// A usageError is a command line that makes no sense.
type usageError struct{ error }

// A silent error has been reported already.
type silent struct{ code int }

func (silent) Error() string { return "reported above" }

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, s streams) int {
	root := newRoot(s)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var reported silent
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &reported):
		return reported.code
	case errors.As(err, new(usageError)):
		fmt.Fprintf(s.err, "emperorctl: %v\n", err)
		return exitUsage
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(s.err, "emperorctl: interrupted")
	default:
		fmt.Fprintf(s.err, "emperorctl: %v\n", err)
	}
	return exitFailed
}

// options are what all verbs share.
type options struct {
	streams
	socket string
}

func (o *options) client() *api.Client { return api.NewClient(o.socket) }

func newRoot(s streams) *cobra.Command {
	o := &options{streams: s}
	root := &cobra.Command{
		Use:   "emperorctl",
		Short: "Ask and steer an emperor",
		Long: `emperorctl asks and steers an emperor over its control socket, and sends requests to application sockets.
Root may do everything; a tenant sees and steers its own vassals.

Exit codes: 0 done, 2 usage, 1 anything else; request: 22 when the application answers with status 400 or more.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("no verb; see emperorctl --help")}
			}
			return usageError{fmt.Errorf("there is no verb %q; see emperorctl --help", args[0])}
		},
		RunE: func(*cobra.Command, []string) error { return nil }, // Args refuses first
	}
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
	})
	root.PersistentFlags().StringVar(&o.socket, "socket", api.DefaultSocket, "the emperor's control socket")
	root.AddCommand(newStatus(o), newWhy(o), newReload(o), newStop(o), newStart(o), newUpgrade(o), newRequest(o), newCheck(o), newDoctor(o), newOptions(o), newDemo(o))
	return root
}

// between makes a check that there are from low to high arguments; high < 0 is any number.
func between(low, high int, usage string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < low || (high >= 0 && len(args) > high) {
			return usageError{fmt.Errorf("%s takes %s; see %s --help", c.Name(), usage, c.CommandPath())}
		}
		return nil
	}
}
