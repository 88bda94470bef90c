package emperor

import (
	"os/user"
	"strconv"
	"strings"

	"github.com/emperord/emperord/sockets"
)

// private are variables of the emperor that would mislead a vassal: those of systemd for the emperor's own process,
// and those of the words between an emperor and its vassals.
var private = []string{
	"NOTIFY_SOCKET=", "WATCHDOG_PID=", "WATCHDOG_USEC=", "LISTEN_PID=", "LISTEN_FDS=", "LISTEN_FDNAMES=", "MAINPID=", "INVOCATION_ID=",
	"JOURNAL_STREAM=", "CREDENTIALS_DIRECTORY=", "MANAGERPID=", "SYSTEMD_EXEC_PID=", "FDSTORE=", "MEMORY_PRESSURE_WATCH=", "MEMORY_PRESSURE_WRITE=",
	"UWSGI_RELOADS=", "UWSGI_EMPEROR_FD=", "UWSGI_EMPEROR_FD_CONFIG=", "UWSGI_EMPEROR_PROXY=", "UWSGI_ORIGINAL_PROC_NAME=", "UWSGI_VASSALS_DIR=",
	"EMPERORD_",
}

// emperorOnly are settings of the emperor that came by the environment and must not become settings of each vassal.
var emperorOnly = []string{"UWSGI_EMPEROR", "UWSGI_VASSAL_SET=", "UWSGI_VASSALS_"}

// environment returns what a vassal's processes get of the emperor's environment. UWSGI_VASSAL_X=v becomes UWSGI_X=v.
// A process with another user than the emperor gets that user's HOME, USER, LOGNAME and SHELL.
func environment(own []string, as *sockets.Identity, extra ...string) []string {
	var env []string
	for _, kv := range own {
		switch {
		case hasAnyPrefix(kv, private), hasAnyPrefix(kv, emperorOnly):
		case as != nil && hasAnyPrefix(kv, []string{"HOME=", "USER=", "LOGNAME=", "SHELL=", "MAIL=", "SUDO_", "XDG_", "SSH_", "TMPDIR="}):
		case strings.HasPrefix(kv, "UWSGI_VASSAL_"):
			env = append(env, "UWSGI_"+strings.TrimPrefix(kv, "UWSGI_VASSAL_"))
		default:
			env = append(env, kv)
		}
	}
	if as != nil {
		env = append(env, "USER="+as.Name, "LOGNAME="+as.Name, "SHELL=/bin/sh")
		home := "/"
		if u, err := user.LookupId(strconv.Itoa(as.UID)); err == nil && u.HomeDir != "" {
			home = u.HomeDir
		}
		env = append(env, "HOME="+home)
	}
	return append(env, extra...)
}

func hasAnyPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}
