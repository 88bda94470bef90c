package vassal

import (
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/protocol/pipe"
)

// An inheritance is what an emperor has handed over. The zero value of a field means that it has not.
type inheritance struct {
	name      string     // the vassal's name
	settings  *os.File   // the resolution
	board     *os.File   // the notice board
	pipe      *os.File   // the emperor pipe
	listeners []*os.File // in the order of the resolution's sockets; only with settings
}

// inherit takes over the descriptors that the environment names, and marks them as not to be inherited any further.
func inherit(env []string) (inheritance, error) {
	var in inheritance
	var err error
	in.name, _ = lookup(env, pipe.VassalVariable)
	for _, d := range []struct {
		variable string
		file     **os.File
	}{{pipe.SettingsVariable, &in.settings}, {pipe.BoardVariable, &in.board}, {pipe.FDVariable, &in.pipe}} {
		if *d.file, err = descriptor(env, d.variable); err != nil {
			return in, err
		}
	}
	if in.settings == nil {
		return in, nil
	}
	text, _ := lookup(env, pipe.ListenersVariable)
	count, err := strconv.Atoi(text)
	if err != nil || count < 0 || count > 1000 {
		return in, &Refusal{fmt.Sprintf("the environment variable %s is %q, not a number of listeners", pipe.ListenersVariable, text)}
	}
	for fd := pipe.FirstListener; fd < pipe.FirstListener+count; fd++ {
		accepting, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		if err != nil || accepting == 0 {
			return in, &Refusal{fmt.Sprintf("descriptor %d is no listening socket, though %s is %d", fd, pipe.ListenersVariable, count)}
		}
		syscall.CloseOnExec(fd)
		in.listeners = append(in.listeners, os.NewFile(uintptr(fd), "listener"))
	}
	return in, nil
}

// descriptor returns the file whose number is in an environment variable, nil where the variable is not set.
func descriptor(env []string, variable string) (*os.File, error) {
	text, ok := lookup(env, variable)
	if !ok {
		return nil, nil
	}
	fd, err := strconv.Atoi(text)
	if err != nil || fd < 3 {
		return nil, &Refusal{fmt.Sprintf("the environment variable %s is %q, not the number of a descriptor", variable, text)}
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
		return nil, &Refusal{fmt.Sprintf("the environment variable %s names descriptor %d, which is not open", variable, fd)}
	}
	if variable == pipe.FDVariable {
		if err := unix.SetNonblock(fd, true); err != nil {
			return nil, fmt.Errorf("cannot use the emperor pipe: %w", err)
		}
	}
	return os.NewFile(uintptr(fd), variable), nil
}

// private are the variables that are between the emperor and vassald; the application does not get them.
var private = []string{pipe.FDVariable, pipe.ConfigVariable, pipe.FileVariable, pipe.SettingsVariable, pipe.BoardVariable, pipe.ListenersVariable, "NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}

// without returns env without the named variables.
func without(env []string, names ...string) []string {
	var kept []string
	for _, e := range env {
		if !named(e, names) {
			kept = append(kept, e)
		}
	}
	return kept
}

func named(assignment string, names []string) bool {
	for _, n := range names {
		if len(assignment) > len(n) && assignment[len(n)] == '=' && assignment[:len(n)] == n {
			return true
		}
	}
	return false
}
