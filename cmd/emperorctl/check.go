package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/configs/check"
	"github.com/emperord/emperord/configs/sources"
)

// Exit codes of check beside exitDone. A file with errors is like a mistake on a command line: exitUsage.
const exitWarnings = 1

func newCheck(o *options) *cobra.Command {
	var strict, asJSON, exec, all bool
	var c check.Options
	verb := &cobra.Command{
		Use:   "check PATH...",
		Short: "Look over vassal files: what is wrong, why it matters, how to mend it",
		Long: `check reads vassal files as the emperor would and says what is wrong or will surprise: place, what, why, and the line or
command that mends it. A PATH is a file, FILE:SECTION, a folder (its vassal files, as the emperor reads them) or a pattern in quotes.

It needs no emperor, changes nothing and runs nothing: a program that a file names (exec://) is shown, not run, unless --exec.
Whose application it is, is told by --uid, or by the file's owner (tyrant mode), or by the file's uid.

Exit codes: 0 no errors, 1 warnings with --strict, 2 errors, or a mistake on the command line.`,
		Args: between(1, -1, "files, folders or patterns"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if exec {
				c.Sources = openSources(cmd.Context())
			}
			for _, kv := range c.Env {
				if name, _, ok := strings.Cut(kv, "="); !ok || name == "" {
					return usageError{fmt.Errorf("--env %s: write --env NAME=VALUE", kv)}
				}
			}
			report, err := check.Run(cmd.Context(), args, c)
			if report == nil {
				return usageError{err}
			}
			if err != nil {
				return err
			}
			if err := writeReport(o.out, report, asJSON, check.Style{All: all, Colour: colourful(o.out)}); err != nil {
				return err
			}
			switch {
			case report.Errors > 0:
				return silent{exitUsage}
			case strict && report.Warnings > 0:
				return silent{exitWarnings}
			}
			return nil
		},
	}
	f := verb.Flags()
	f.BoolVar(&strict, "strict", false, "exit code 1 on warnings too")
	f.BoolVar(&asJSON, "json", false, "write one JSON document")
	f.BoolVar(&all, "all", false, fmt.Sprintf("show every finding, not only the worst %d of a file", check.Most))
	f.BoolVar(&exec, "exec", false, "run and fetch what the files name as sources (exec://, http://), as you")
	f.BoolVar(&c.Tyrant, "tyrant", false, "check as for an emperor in tyrant mode: the file's owner is the application's user")
	f.StringVar(&c.User, "uid", "", "check for this user, name or number")
	f.StringVar(&c.EmperorFile, "emperor-ini", "", "the emperor's own file: tyrant mode, socket folders and groups, vassals-include")
	f.BoolVar(&c.Follow, "follow", false, "where a PATH is an emperor's own file, check its vassals too")
	f.StringArrayVar(&c.Env, "env", nil, "NAME=VALUE in the emperor's environment; may be repeated (PATH alone when not given)")
	f.StringVar(&c.NginxUser, "nginx-user", "", "who nginx connects as (from /etc/nginx/nginx.conf, else www-data, nginx or http)")
	return verb
}

// openSources opens exec:// and its like, for --exec, until ctx ends: nobody should have to wait for a program after Ctrl-C.
func openSources(ctx context.Context) func(dir string, env []string) func(scheme, rest string) (io.ReadCloser, error) {
	return func(dir string, env []string) func(scheme, rest string) (io.ReadCloser, error) {
		return (&sources.Opener{Context: ctx, Dir: dir, Env: env, Stderr: os.Stderr}).Open
	}
}

func writeReport(w io.Writer, r *check.Report, asJSON bool, style check.Style) error {
	if !asJSON {
		return r.Print(w, style)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

// colourful reports whether w is a terminal that is not told to stay plain (no-color.org).
func colourful(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
