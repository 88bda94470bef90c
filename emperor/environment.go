package emperor

import (
	"slices"
	"strconv"
	"strings"

	"github.com/emperord/emperord/sockets"
)

// private are variables of the emperor that would mislead a vassal: those of systemd for the emperor's own process (systemd.exec(5), "Environment variables set or propagated"),
// and those of the words between an emperor and its vassals.
var private = []string{
	"NOTIFY_SOCKET=", "WATCHDOG_PID=", "WATCHDOG_USEC=", "LISTEN_PID=", "LISTEN_FDS=", "LISTEN_FDNAMES=", "MAINPID=", "INVOCATION_ID=",
	"JOURNAL_STREAM=", "CREDENTIALS_DIRECTORY=", "MANAGERPID=", "SYSTEMD_EXEC_PID=", "FDSTORE=", "MEMORY_PRESSURE_WATCH=", "MEMORY_PRESSURE_WRITE=",
	"RUNTIME_DIRECTORY=", "STATE_DIRECTORY=", "CACHE_DIRECTORY=", "LOGS_DIRECTORY=", "CONFIGURATION_DIRECTORY=", "LOG_NAMESPACE=", "PIDFILE=",
	"LISTEN_PIDFDID=", "MAINPIDFDID=", "MANAGERPIDFDID=", "DEBUG_INVOCATION=", "REMOTE_ADDR=", "REMOTE_PORT=", "TRIGGER_", "DBUS_SESSION_BUS_ADDRESS=",
	"UWSGI_RELOADS=", "UWSGI_EMPEROR_FD=", "UWSGI_EMPEROR_FD_CONFIG=", "UWSGI_EMPEROR_PROXY=", "UWSGI_ORIGINAL_PROC_NAME=", "UWSGI_VASSALS_DIR=",
	"EMPERORD_",
}

// kept returns the variables of the emperor's environment that vassals may get a part of: all, or those that
// emperor-keep-env names and those that are meant for vassals.
func (e *Emperor) kept() []string {
	if len(e.c.KeepVariable) == 0 {
		return e.o.Env
	}
	var env []string
	for _, kv := range e.o.Env {
		name, _, _ := strings.Cut(kv, "=")
		if slices.Contains(e.c.KeepVariable, name) || strings.HasPrefix(kv, forVassals) {
			env = append(env, kv)
		}
	}
	return env
}

// secrets returns the names of variables that look as if their values were secrets, and that vassals get.
func secrets(env []string) []string {
	var names []string
	for _, kv := range environment(nil, env, nil) {
		name, value, _ := strings.Cut(kv, "=")
		if value != "" && slices.ContainsFunc([]string{"PASSWORD", "PASSWD", "SECRET", "TOKEN", "PRIVATE_KEY", "API_KEY", "ACCESS_KEY", "DATABASE_URL"}, func(part string) bool { return strings.Contains(strings.ToUpper(name), part) }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// emperorOnly are settings of the emperor that came by the environment and must not become settings of each vassal.
var emperorOnly = []string{"UWSGI_EMPEROR", "UWSGI_VASSAL_SET=", "UWSGI_VASSALS_"}

// environment returns what a vassal's processes get of the emperor's environment. UWSGI_VASSAL_X=v becomes UWSGI_X=v, in the
// place of one that is there already. That is what uWSGI means to do: 2.0.21 loses the variable instead, and makes one from
// the text of its neighbour. UWSGI_VASSAL_SET is an option of the emperor (vassal-set) and comes by the command line.
// A process with another user than the emperor gets that user's HOME, USER, LOGNAME and SHELL.
func environment(d *directory, own []string, as *sockets.Identity, extra ...string) []string {
	var env []string
	for _, kv := range own {
		switch {
		case hasAnyPrefix(kv, private), hasAnyPrefix(kv, emperorOnly):
		case as != nil && hasAnyPrefix(kv, []string{"HOME=", "USER=", "LOGNAME=", "SHELL=", "MAIL=", "SUDO_", "XDG_", "SSH_", "TMPDIR="}):
		case strings.HasPrefix(kv, forVassals):
			if meant := "UWSGI_" + kv[len(forVassals):]; !hasAnyPrefix(meant, private) {
				env = append(env, meant)
			}
		case !renamed(own, kv):
			env = append(env, kv)
		}
	}
	if as != nil {
		env = append(env, "USER="+as.Name, "LOGNAME="+as.Name, "SHELL=/bin/sh")
		home := "/"
		if p, known := d.user(strconv.Itoa(as.UID)); known && p.home != "" {
			home = p.home
		}
		env = append(env, "HOME="+home)
	}
	return append(env, extra...)
}

// forVassals is how variables begin that are meant for the vassals.
const forVassals = "UWSGI_VASSAL_"

// renamed tells whether another variable takes the place of this one.
func renamed(own []string, kv string) bool {
	name, _, _ := strings.Cut(kv, "=")
	short, ok := strings.CutPrefix(name, "UWSGI_")
	return ok && !hasAnyPrefix(forVassals+short+"=", emperorOnly) && slices.ContainsFunc(own, func(other string) bool { return strings.HasPrefix(other, forVassals+short+"=") })
}

func hasAnyPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}
