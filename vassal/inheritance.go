package vassal

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/protocol/pipe"
)

// An inheritance is what an emperor has handed over. The zero value of a field means that it has not.
type inheritance struct {
	name      string     // the vassal's name
	settings  *os.File   // the resolution
	board     *os.File   // the notice board
	pipe      *os.File   // the emperor pipe
	listeners []*os.File // in the order of the resolution's sockets; only with settings
	kept      bool       // should the emperor be killed, another one takes the listeners over

	activated *os.File // the listening socket that was standard input; only without settings
	socket    string   // its address
}

// inherit takes over the descriptors that the environment names, and marks them as not to be inherited any further.
func inherit(env []string) (inheritance, error) {
	var in inheritance
	var err error
	in.name, _ = lookup(env, pipe.VassalVariable)
	_, in.kept = lookup(env, pipe.KeptVariable)
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

// standard takes over a listening socket that is standard input, as uWSGI does: a uWSGI emperor hands it over to a vassal on
// demand, and inetd or systemd can. The configuration does not have to name it.
func (in *inheritance) standard(o Options) (Options, error) {
	accepting, err := unix.GetsockoptInt(0, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if in.settings != nil || err != nil || accepting == 0 {
		return o, nil
	}
	name, err := unix.Getsockname(0)
	if err != nil {
		return o, fmt.Errorf("cannot tell the address of the socket that is standard input: %w", err)
	}
	switch a := name.(type) {
	case *unix.SockaddrUnix:
		in.socket = strings.TrimRight(a.Name, "\x00")
	case *unix.SockaddrInet4:
		in.socket = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)).String()
	case *unix.SockaddrInet6:
		in.socket = netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)).String()
	default:
		return o, &Refusal{"standard input is a listening socket of a kind that is not served"}
	}
	fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return o, fmt.Errorf("cannot take over standard input: %w", err)
	}
	in.activated = os.NewFile(uintptr(fd), "listener")
	null, err := os.Open(os.DevNull)
	if err != nil {
		return o, fmt.Errorf("cannot open %s: %w", os.DevNull, err)
	}
	defer null.Close()
	if err := unix.Dup2(int(null.Fd()), 0); err != nil {
		return o, fmt.Errorf("cannot replace standard input: %w", err)
	}
	o.Args = append([]string{"--uwsgi-socket", in.socket}, o.Args...)
	return o, nil
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
var private = []string{pipe.FDVariable, pipe.ConfigVariable, pipe.FileVariable, pipe.SettingsVariable, pipe.BoardVariable, pipe.ListenersVariable, pipe.KeptVariable, children.SlackVariable, "NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}

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
