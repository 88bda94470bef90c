package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/emperor"
)

// compatible is the version of uWSGI whose command line and files are understood; scripts ask `uwsgi --version`.
const compatible = "2.0.21"

// start does what the program is called for: by a link named uwsgi it takes that program's place, as far as it can.
func start(ctx context.Context, argv []string, o outside) int {
	if len(argv) > 0 && emperor.Keeps(argv[1:]) {
		return emperor.Keep(argv[1:], o.stderr)
	}
	if len(argv) == 0 || !calledUwsgi(argv[0]) || emperor.TakesOver(argv[1:], o.env) {
		return run(ctx, argv[min(1, len(argv)):], o)
	}
	code := asUwsgi(ctx, argv, o)
	if code == exitMistake {
		return exitFailed // uWSGI knows no other
	}
	return code
}

// calledUwsgi tells whether a program's name is one of uWSGI's: uwsgi, and uwsgi-core or uwsgi_python3 as Debian has them.
func calledUwsgi(name string) bool {
	rest, ok := strings.CutPrefix(filepath.Base(name), "uwsgi")
	return ok && (rest == "" || rest[0] == '-' || rest[0] == '_')
}

// asUwsgi is the program under uWSGI's name: commands for a running one, an emperor where the settings name vassals, and an
// application, for vassald, where they do not.
func asUwsgi(ctx context.Context, argv []string, o outside) int {
	env, stdout, stderr := o.env, o.stdout, o.stderr
	args := argv[1:]
	if code, done := command(args, stderr); done {
		return code
	}
	if slices.Contains(args, "--version") {
		fmt.Fprintf(stdout, "%s-emperord\n", compatible)
		return exitAsked
	}
	if slices.Contains(args, "--help") || slices.Contains(args, "-h") || len(args) == 0 && !setsAny(env) || governs(args, env) {
		return run(ctx, args, o)
	}
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(stderr, "uwsgi: cannot find the own program:", err)
		return exitFailed
	}
	vassald := filepath.Join(filepath.Dir(self), "vassald")
	err = syscall.Exec(vassald, append([]string{"vassald"}, args...), env)
	fmt.Fprintf(stderr, "uwsgi: the settings name no vassals, so this is an application; cannot run %s, which runs those: %v; install it beside emperord\n", vassald, err)
	return exitFailed
}

// setsAny tells whether the environment holds settings: UWSGI_EMPEROR=/etc/vassals is --emperor.
func setsAny(env []string) bool {
	return slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "UWSGI_") })
}

// governs tells whether the settings name vassals. It runs no program: what only exec:// and its like would tell is not seen, and
// who reads the settings for good says what is wrong with them.
func governs(args, env []string) bool {
	dir, err := os.Getwd()
	if err != nil {
		return true
	}
	settings, _ := configs.Read(configs.Reading{Args: args, Env: env, Dir: dir})
	return slices.ContainsFunc(settings, func(s configs.Setting) bool {
		o, known := configs.Lookup(s.Key)
		return known && o.First() == "emperor"
	})
}
