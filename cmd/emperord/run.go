package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/configs/sources"
	"github.com/emperord/emperord/emperor"
	"github.com/emperord/emperord/procname"
)

// version is set by the Makefile.
var version = "0.1.0-dev"

// Exit codes: 0 asked to stop, 2 usage or configuration, 1 anything else.
const (
	exitAsked   = 0
	exitFailed  = 1
	exitMistake = 2
)

const usage = `usage: emperord --emperor FOLDER|GLOB [--emperor-tyrant] [--ini FILE] [--OPTION VALUE]...
       emperord --show-config [--OPTION VALUE]...   print the settings as uWSGI does
       emperord --help [OPTION] | --version

Signals: TERM, INT, QUIT stop; HUP reloads all, a few at a time; URG forgets failures and tries at once; USR1 writes the status to the log; WINCH looks at the folders now.
`

// An outside is what the program was started with, beside its arguments.
type outside struct {
	env            []string
	stdout, stderr io.Writer
	urgent         <-chan struct{} // SIGURG has come; nil: never
	title          *procname.Title // what ps shows; nil: it stays
}

func run(ctx context.Context, args []string, o outside) int {
	handover, args, env, err := emperor.Inherit(args, o.env)
	if err != nil {
		fmt.Fprintln(o.stderr, "emperord:", err)
		return exitFailed
	}
	o.env, o.stderr = env, handover.Stderr(o.stderr)
	return handover.End(govern(ctx, args, o, handover), version)
}

func govern(ctx context.Context, args []string, o outside, handover *emperor.Handover) int {
	env, stdout, stderr := o.env, o.stdout, o.stderr
	if i := slices.IndexFunc(args, func(a string) bool { return a == "--help" || a == "-h" }); i >= 0 {
		text, err := configs.Help(usage, configs.ByEmperor|configs.ByReader, slices.Delete(slices.Clone(args), i, i+1))
		if err != nil {
			fmt.Fprintln(stderr, "emperord:", err)
			return exitMistake
		}
		fmt.Fprint(stdout, text)
		return exitAsked
	}
	if slices.Contains(args, "--version") {
		fmt.Fprintln(stdout, "emperord", version)
		return exitAsked
	}
	dir, err := os.Getwd()
	if err != nil {
		fmt.Fprintln(stderr, "emperord: cannot tell the working folder:", err)
		return exitFailed
	}
	superior, err := emperor.FromSuperior(env)
	if err != nil {
		fmt.Fprintln(stderr, "emperord:", err)
		return exitFailed
	}
	env, started, daemon := daemonOf(env)
	// From here on, also while a source is read: PID 1 would not end by a signal that it does not handle, and what is told to end
	// by one ends with exit code 0.
	ctx, release := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT)
	defer release()
	reads := ctx
	if handover != nil { // who is told to end while it takes over does so in order, in its loop
		reads = context.WithoutCancel(ctx)
	}
	// Before any loop that waits for children, and with the rights of who starts emperord: it is his own configuration.
	from := &sources.Opener{Context: reads, Dir: dir, Env: env, Stdin: os.Stdin, Stderr: os.Stderr, Inherited: sources.Inherited()}
	reading := configs.Reading{Args: args, Env: env, Dir: dir, Source: from.Open, Setenv: from.Setenv}
	if configs.AsksToShow(args, env) {
		return show(reading, stdout, stderr)
	}
	var said []string
	reading.Notice = func(at configs.Place, text string) { said = append(said, at.String()+": "+text) }
	settings, refused := handover.Settings()
	switch {
	case settings != nil || refused != nil:
	case superior != nil && superior.Settings != nil:
		settings = superior.Settings // it has read them with our rights, and said what there is to say
	default:
		settings, refused = configs.Read(reading)
	}
	if reads.Err() != nil {
		return exitAsked
	}
	if settings == nil {
		fmt.Fprintln(stderr, "emperord:", refused)
		return exitMistake
	}
	if refused == nil && configs.Shows(settings) { // in a file: uWSGI prints, and goes on
		_, _ = stdout.Write(configs.Block(settings))
	}
	c, notices, err := configs.ParseEmperor(settings)
	if err = configs.Join(settings, refused, err); err != nil {
		for _, n := range said { // a misspelt section is the likeliest reason for a file that names no vassals
			fmt.Fprintln(stderr, "emperord:", n)
		}
		fmt.Fprintln(stderr, "emperord:", err)
		return exitMistake
	}
	if said = append(said, notices...); superior != nil && superior.Settings != nil {
		said = nil
	}
	switch {
	case c.Daemonize == "" || daemon || handover != nil: // who takes over is where the one before was
	case os.Getpid() == 1:
		said = append(said, "daemonize has no effect: PID 1 cannot leave, and the log of a container is its standard error")
	default:
		return daemonize(c.Daemonize, stderr)
	}
	err = emperor.Run(ctx, emperor.Options{Config: c, Notices: said, Env: env, Dir: dir, Version: version, Stderr: stderr, Superior: superior, Urgent: o.urgent, Started: started, Title: o.title, OwnEnv: calmed(env), Guard: true, Args: os.Args, Settings: settings, Handover: handover})
	if err == nil {
		return exitAsked
	}
	if superior != nil {
		superior.Failed(err)
	}
	fmt.Fprintln(stderr, "emperord:", err)
	if errors.As(err, new(emperor.Mistake)) {
		return exitMistake
	}
	return exitFailed
}
