package main

import (
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/emperord/emperord/children"
)

// Go's runtime interrupts its own threads with SIGURG, thousands of times, and os/signal hands these on too; nobody can tell
// them from one that an operator sends. With this setting the runtime does without: goroutines are interrupted where they call
// functions, which is enough here. It is read when a program starts.
const (
	debugVariable   = "GODEBUG"
	calm            = "asyncpreemptoff=1"
	restoreVariable = "EMPERORD_GODEBUG" // what GODEBUG was before, with an "=" in front; our own note
)

// hearUrgent returns a channel that tells of each SIGURG that somebody has sent to this process; nil where that cannot be
// had: then SIGURG is ignored. It starts the program once more, in place, with the setting that this takes.
func hearUrgent() <-chan struct{} {
	if _, again := os.LookupEnv(restoreVariable); !again {
		if self, err := os.Executable(); err == nil {
			env, restore := children.Lazily(calmed(os.Environ()))
			_ = syscall.Exec(self, os.Args, env)
			restore()
		}
		return nil
	}
	children.Punctually(os.Environ()) // the first thread is the one that starts others
	arrived, urgent := make(chan os.Signal, 1), make(chan struct{}, 1)
	signal.Notify(arrived, syscall.SIGURG)
	go func() {
		for range arrived {
			select {
			case urgent <- struct{}{}:
			default: // the last one has not been heard yet
			}
		}
	}()
	return urgent
}

// calmed is an environment with the setting, and the note of how it was without.
func calmed(env []string) []string {
	note, debug := "", calm
	for _, kv := range env {
		if value, set := strings.CutPrefix(kv, debugVariable+"="); set {
			note, debug = "="+value, value+","+calm
		}
	}
	return append(without(env, debugVariable), restoreVariable+"="+note, debugVariable+"="+debug)
}

// environ is the environment as it was when the program was started first.
func environ() []string {
	env := os.Environ()
	note, noted := os.LookupEnv(restoreVariable)
	if !noted {
		return env
	}
	env = without(env, debugVariable, restoreVariable, children.SlackVariable)
	if value, set := strings.CutPrefix(note, "="); set {
		env = append(env, debugVariable+"="+value)
	}
	return env
}

func without(env []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(names, name)
	})
}
