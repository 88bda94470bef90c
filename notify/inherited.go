package notify

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// first is the number of the first descriptor (SD_LISTEN_FDS_START).
const first = 3

// What is taken of a starter at most: as many descriptors as the unit lets a process have, and what the kernel lets one
// variable hold (MAX_ARG_STRLEN, execve(2)).
const (
	maxDescriptors = 1 << 16
	maxNames       = 128 << 10
)

// A Descriptor is one that this process was started with.
type Descriptor struct {
	FD   int
	Name string // of the socket unit or of FDNAME=; "unknown" where nobody gave one
}

// Inherited returns what LISTEN_FDS and LISTEN_FDNAMES of an environment say, if LISTEN_PID is pid, this process. The
// descriptors are open, and close-on-exec now. An error says that all of it is ignored.
func Inherited(env []string, pid int) ([]Descriptor, error) {
	names, err := parse(variable(env, "LISTEN_PID"), variable(env, "LISTEN_FDS"), variable(env, "LISTEN_FDNAMES"), pid)
	if err != nil {
		return nil, err
	}
	all := make([]Descriptor, len(names))
	for i, name := range names {
		fd := first + i
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			return nil, fmt.Errorf("LISTEN_FDS=%d, and descriptor %d is not open", len(names), fd)
		}
		all[i] = Descriptor{fd, name}
	}
	for _, d := range all {
		unix.CloseOnExec(d.FD)
	}
	return all, nil
}

// parse returns the name of each descriptor.
func parse(listenPID, listenFDs, listenNames string, pid int) ([]string, error) {
	if listenFDs == "" || listenPID != strconv.Itoa(pid) {
		return nil, nil // nobody's, or our parent's
	}
	n, err := strconv.ParseUint(listenFDs, 10, 32)
	switch {
	case err != nil:
		return nil, fmt.Errorf("LISTEN_FDS=%q is no number", Line(listenFDs, 40))
	case n > maxDescriptors:
		return nil, fmt.Errorf("LISTEN_FDS=%d; at most %d are taken", n, maxDescriptors)
	case len(listenNames) > maxNames:
		return nil, fmt.Errorf("LISTEN_FDNAMES has %d bytes; at most %d are read", len(listenNames), maxNames)
	}
	names := make([]string, n)
	var given []string
	if listenNames != "" {
		given = strings.Split(listenNames, ":")
	}
	for i := range names {
		names[i] = "unknown"
		if len(given) == len(names) && given[i] != "" { // with another number nobody knows which is whose
			names[i] = Line(given[i], 255)
		}
	}
	return names, nil
}
