package sockets

import (
	"errors"
	"strconv"

	"golang.org/x/sys/unix"
)

// ErrPolicy is wrapped by errors that only a change of the configuration can mend.
var ErrPolicy = errors.New("not allowed")

// An Error says why a socket cannot be had.
type Error struct {
	Address string
	Cause   string
	Remedy  string // empty where there is none to give
	// Passing is true where it may go away without any change to the configuration: somebody still answers on the
	// address, the kernel has no memory.
	Passing bool
	Policy  bool  // not allowed, whatever the file system says
	Err     error // what the kernel said; may be nil

	dev, ino uint64 // the socket that is in the way; 0: none
}

// Is makes errors.Is(err, ErrPolicy) work.
func (e *Error) Is(target error) bool { return target == ErrPolicy && e.Policy }

// Error returns `cannot listen on /run/uwsgi/shop.sock: cause; remedy`.
func (e *Error) Error() string {
	address := e.Address
	if quoted := strconv.Quote(address); len(quoted) != len(address)+2 || address == "" {
		address = quoted // it holds something that does not belong on a terminal
	}
	text := "cannot listen on " + address + ": " + e.Cause
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	if e.Remedy != "" {
		text += "; " + e.Remedy
	}
	return text
}

// Blocks tells whether err says that this very listener is in the way of another one: its file, its abstract name or its
// port.
func (l *Listener) Blocks(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	if l.Address.Kind == Unix {
		return e.ino != 0 && e.ino == l.ino && e.dev == l.dev
	}
	wanted, bad := ParseAddress(e.Address)
	if bad != nil || !errors.Is(e.Err, unix.EADDRINUSE) || wanted.Kind != l.Address.Kind {
		return false
	}
	every := func(host string) bool { return host == "" || host == "0.0.0.0" || host == "::" }
	return wanted == l.Address || wanted.Kind == TCP && wanted.Port == l.Address.Port && (every(wanted.Host) || every(l.Address.Host))
}

// Unwrap returns what the kernel said.
func (e *Error) Unwrap() error { return e.Err }
