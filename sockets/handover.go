package sockets

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Snapshot is all that is known of a Listener but its descriptor. Another program that has the descriptor, or the same
// one after it has executed itself, makes the Listener again with Restore. Its form as JSON is part of a versioned document:
// fields are added, never changed.
type Snapshot struct {
	Address Address          `json:"address"`
	Owned   Owned            `json:"owned"`
	Backlog int              `json:"backlog"`
	Made    []FolderSnapshot `json:"made,omitempty"` // outermost first
	At      string           `json:"at,omitempty"`
	Dev     uint64           `json:"dev,omitempty"`
	Ino     uint64           `json:"ino,omitempty"`
	Tenant  *Identity        `json:"tenant,omitempty"`
	Shared  bool             `json:"shared,omitempty"`
	As      *Identity        `json:"as,omitempty"`
	Given   bool             `json:"given,omitempty"`
}

// A FolderSnapshot is a folder that was made for a socket.
type FolderSnapshot struct {
	Path string `json:"path"`
	Dev  uint64 `json:"dev,omitempty"`
	Ino  uint64 `json:"ino,omitempty"`
}

// Snapshot returns what Restore needs beside the descriptor. It does not wait: not to be called while Remove is under way.
func (l *Listener) Snapshot() Snapshot {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Snapshot{Address: l.Address, Owned: l.owned, Backlog: l.backlog, Made: foldersTo(l.made), At: l.at,
		Dev: l.dev, Ino: l.ino, Tenant: l.tenant, Shared: l.shared, As: l.as, Given: l.given}
}

func foldersTo(list []folder) (made []FolderSnapshot) {
	for _, f := range list {
		made = append(made, FolderSnapshot{f.path, f.dev, f.ino})
	}
	return made
}

func foldersFrom(list []FolderSnapshot) (made []folder, err error) {
	if len(list) > 2*maxFolders {
		return nil, fmt.Errorf("%d folders are said to have been made for one socket; at most %d are", len(list), maxFolders)
	}
	for _, f := range list {
		if !filepath.IsAbs(f.Path) || filepath.Clean(f.Path) != f.Path || f.Path == "/" {
			return nil, fmt.Errorf("a folder is said to be %q, which is no plain absolute path", f.Path)
		}
		made = append(made, folder{f.Path, f.Dev, f.Ino})
	}
	return made, nil
}

// Check tells whether a snapshot can be one of a Listener.
func (s Snapshot) Check() error {
	a := s.Address
	switch _, folders := foldersFrom(s.Made); {
	case a.Kind < Unix || a.Kind > TCP, a.Kind == TCP && (a.Path != "" || a.Port < 0 || a.Port > 65535), a.Kind != TCP && (a.Path == "" || len(a.Path) > maxPath || a.Host != "" || a.Port != 0):
		return fmt.Errorf("there is no address of kind %d, path %q, host %q, port %d", a.Kind, a.Path, a.Host, a.Port)
	case a.Kind == Unix && (!filepath.IsAbs(a.Path) || s.Ino == 0 && !s.Given):
		return fmt.Errorf("the socket %s has no file of its own", s.Address)
	case s.Owned.Mode&^fs.ModePerm != 0:
		return fmt.Errorf("the socket %s has the mode %v", s.Address, s.Owned.Mode)
	default:
		return folders
	}
}

// Restore makes the Listener of a snapshot again. It verifies that fd is open and listens on the very address; the caller
// keeps fd after an error. The file is not looked at: Condition tells what has become of it.
func Restore(fd int, s Snapshot) (*Listener, error) {
	fail := func(cause string, err error) (*Listener, error) {
		return nil, &Error{Address: s.Address.String(), Cause: fmt.Sprintf("descriptor %d %s", fd, cause), Err: err}
	}
	if err := s.Check(); err != nil {
		return nil, err
	}
	listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return fail("is no socket", err)
	}
	if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_STREAM || listening != 1 {
		return fail("does not listen", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return fail("has no name", err)
	}
	if err := s.Address.names(name); err != nil {
		return fail("is another socket", err)
	}
	made, err := foldersFrom(s.Made)
	if err != nil {
		return nil, err
	}
	return &Listener{File: os.NewFile(uintptr(fd), s.Address.String()), Address: s.Address, owned: s.Owned, backlog: s.Backlog,
		made: made, at: s.At, dev: s.Dev, ino: s.Ino, tenant: s.Tenant, shared: s.Shared, as: s.As, given: s.Given}, nil
}

// names tells whether the kernel's name of a socket is this address. The host may be a name that has had another meaning
// when the socket was made, so only its port counts, and its numbers where it is some.
func (a Address) names(kernel unix.Sockaddr) error {
	same, is := false, ""
	switch k := kernel.(type) {
	case *unix.SockaddrUnix:
		is = k.Name
		same = a.Kind == Unix && is == a.Path || a.Kind == Abstract && (is == "@"+a.Path || is == "@"+a.Path+"\x00")
	case *unix.SockaddrInet4:
		same, is = a.hasPort(net.IP(k.Addr[:]), k.Port)
	case *unix.SockaddrInet6:
		same, is = a.hasPort(net.IP(k.Addr[:]), k.Port)
	default:
		return errors.New("it is of a kind that nobody has made")
	}
	if !same {
		return fmt.Errorf("it listens on %q", is)
	}
	return nil
}

func (a Address) hasPort(ip net.IP, port int) (bool, string) {
	is := Address{Kind: TCP, Host: ip.String(), Port: port}.String()
	want := net.ParseIP(a.Host)
	return a.Kind == TCP && (a.Port == 0 || a.Port == port) && (want == nil || want.Equal(ip)), is
}

// A LeftoverSnapshot is what is known of folders whose socket has gone and that others still use.
type LeftoverSnapshot struct {
	Made []FolderSnapshot `json:"made"`
	At   string           `json:"at,omitempty"`
}

// Snapshot returns all leftovers.
func (o *Leftovers) Snapshot() (all []LeftoverSnapshot) {
	for _, l := range o.of {
		all = append(all, LeftoverSnapshot{foldersTo(l.made), l.at})
	}
	return all
}

// Restore adds leftovers of a snapshot.
func (o *Leftovers) Restore(all []LeftoverSnapshot) error {
	for _, s := range all {
		made, err := foldersFrom(s.Made)
		if err != nil {
			return err
		}
		o.keep(&Listener{made: made, at: s.At})
	}
	return nil
}

// A DatagramSnapshot is what is known of a Datagram but its descriptor.
type DatagramSnapshot struct {
	Path string `json:"path,omitempty"` // of a Unix socket's file
	Dev  uint64 `json:"dev,omitempty"`
	Ino  uint64 `json:"ino,omitempty"`
}

// Check tells whether a snapshot can be one of a Datagram.
func (s DatagramSnapshot) Check() error {
	if s.Path != "" && (!filepath.IsAbs(s.Path) || len(s.Path) > maxPath || s.Ino == 0) {
		return fmt.Errorf("there is no datagram socket at %q", s.Path)
	}
	return nil
}

// Snapshot returns what RestoreDatagram needs beside the descriptor.
func (d *Datagram) Snapshot() DatagramSnapshot { return DatagramSnapshot{d.path, d.dev, d.ino} }

// FD returns the number of the descriptor, which stays the Datagram's.
func (d *Datagram) FD() (number int, err error) {
	c, ok := d.PacketConn.(syscall.Conn)
	if !ok {
		return 0, errors.New("it has no descriptor")
	}
	raw, err := c.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { number = int(fd) })
	}
	return number, err
}

// RestoreDatagram makes the Datagram of a snapshot again. It keeps fd open beside its own copy until Remove, and the caller
// keeps it after an error.
func RestoreDatagram(fd int, s DatagramSnapshot) (*Datagram, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	fail := func(cause string, err error) (*Datagram, error) {
		return nil, &Error{Address: s.Path, Cause: fmt.Sprintf("descriptor %d %s", fd, cause), Err: err}
	}
	if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_DGRAM {
		return fail("is no datagram socket", err)
	}
	if name, err := unix.Getsockname(fd); err != nil {
		return fail("has no name", err)
	} else if u, ok := name.(*unix.SockaddrUnix); s.Path != "" && (!ok || u.Name != s.Path) {
		return fail("is another socket", nil)
	}
	f := os.NewFile(uintptr(fd), s.Path)
	conn, err := net.FilePacketConn(f)
	if err != nil {
		return fail("cannot be used", err)
	}
	return &Datagram{PacketConn: conn, handed: f, path: s.Path, dev: s.Dev, ino: s.Ino}, nil
}
