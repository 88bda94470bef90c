package configs

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Block is what `uwsgi --show-config` prints for these settings. Values go out as they are, line feeds and bytes that
// are no UTF-8 included.
func Block(settings Settings) []byte {
	text := []byte("\n;uWSGI instance configuration\n[uwsgi]\n")
	for _, s := range settings {
		if !s.Unlisted {
			text = append(text, s.Key+" = "+s.Shown()+"\n"...)
		}
	}
	return append(text, ";end of configuration\n\n"...)
}

// Show reads what a program was given for its --show-config: as a uWSGI does whose languages are plugins. The texts are
// what uWSGI would only have warned of.
func Show(in Reading) (Settings, []string, error) {
	in.Plugged = true
	if in.Env == nil {
		in.Env = os.Environ()
	}
	if in.Binary == "" {
		in.Binary = installed(in.Env)
	}
	return read(in)
}

// installed is the path of the uWSGI that answers to its name, links resolved, and "" where there is none: %b is its own
// path there, and the question is what it would print.
func installed(env []string) string {
	path, _ := (&reader{Reading: Reading{Env: env}}).getenv("PATH")
	for _, dir := range strings.Split(path, ":") {
		if name, err := filepath.EvalSymlinks(dir + "/uwsgi"); err == nil && filepath.IsAbs(name) && unix.Access(name, unix.X_OK) == nil {
			return name
		}
	}
	return ""
}

// Shows reports whether settings ask for the block: show-config is an option like any other, and the last one counts.
func Shows(settings Settings) bool {
	asked := false
	for _, s := range settings {
		if s.Key == showConfig {
			asked = s.Bare || truth(s.Value)
		}
	}
	return asked
}

const showConfig = "show-config"

// AsksToShow reports whether command line or environment ask for the block, before anything is read: by the flag in
// full or abbreviated, or by UWSGI_SHOW_CONFIG.
func AsksToShow(args, env []string) bool {
	for _, kv := range env {
		if value, ok := strings.CutPrefix(kv, "UWSGI_SHOW_CONFIG="); ok && truth(value) {
			return true
		}
	}
	takesNext := false
	for _, arg := range args {
		switch {
		case takesNext:
			takesNext = false
		case arg == "--":
			return false
		case strings.HasPrefix(arg, "--"):
			name, _, given := strings.Cut(arg[2:], "=")
			opt, err := (&reader{}).abbreviated(name)
			if err == nil && opt.Name == showConfig && !given {
				return true
			}
			takesNext = err == nil && !given && opt.Argument == Required
		case len(arg) > 1 && arg[0] == '-':
			takesNext = lettersTakeNext(arg[1:])
		}
	}
	return false
}

// lettersTakeNext reports whether the last of clustered letters has the next argument for its value.
func lettersTakeNext(text string) bool {
	for i := range len(text) {
		opt, ok := byLetter(text[i])
		if !ok {
			return false
		}
		if opt.Argument != NoArgument {
			return opt.Argument == Required && i == len(text)-1
		}
	}
	return false
}
