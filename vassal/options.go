package vassal

import (
	"errors"
	"os"
	"strings"

	"github.com/emperord/emperord/procname"
	"github.com/emperord/emperord/protocol/pipe"
)

// usage stands above the options in --help.
const usage = `vassald runs one application: it speaks the uwsgi protocol, emperord starts it, and it also runs alone.

  vassald --ini FILE[:section]              run the application of a uWSGI file; --yaml, --json, --xml likewise
  vassald --resolve --ini FILE[:section]    print what the file means for the emperor, as JSON
  vassald --show-config --ini FILE          print the settings as uWSGI does, all references resolved
  vassald --help [OPTION], --version

Each start names the options that are known and not honoured yet.
As root, use emperord: it takes the rights of the file's owner. vassald keeps the rights it was started with.
`

// Options are what main passes to Run.
type Options struct {
	Args []string // the command line without the program's name
	Env  []string // the environment, "NAME=value"
	Dir  string   // the working folder, absolute

	Title *procname.Title // what ps shows; nil: it stays

	config    *os.File // where a uWSGI emperor hands over emperor://NAME; nil without one
	inherited []int    // descriptors that a configuration may read
}

// FromSystem returns the options of this process.
func FromSystem() Options {
	dir, _ := os.Getwd() // a folder that has gone: relative names will fail, and say so
	return Options{Args: os.Args[1:], Env: os.Environ(), Dir: dir}
}

// Version is the version of vassald.
const Version = "0.1.0"

// A Refusal is a fault of the command line or the configuration.
type Refusal struct{ Text string }

func (r *Refusal) Error() string { return r.Text }

// ExitCode returns the exit code for what Run has returned: 0 asked to stop, 2 usage or configuration, 26 the
// application asked an emperor not to start it again (pipe.Exile), 1 anything else.
func ExitCode(err error) int {
	var refusal *Refusal
	var failed *failedLoad
	switch {
	case err == nil:
		return 0
	case errors.As(err, &failed) && failed.exile:
		return pipe.Exile
	case errors.As(err, &refusal):
		return 2
	}
	return 1
}

// take removes the first argument that is one of names and tells whether there was one.
func take(args []string, names ...string) ([]string, bool) {
	for i, arg := range args {
		for _, name := range names {
			if arg == name {
				return append(append([]string(nil), args[:i]...), args[i+1:]...), true
			}
		}
	}
	return args, false
}

// lookup returns the value of an environment variable.
func lookup(env []string, name string) (string, bool) {
	for i := len(env) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(env[i], name+"="); ok {
			return value, true
		}
	}
	return "", false
}
