package sockets

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/shell"
)

// A Datagram is a bound datagram socket of our own: Unix, abstract or UDP.
type Datagram struct {
	net.PacketConn
	handed   *os.File // what it was restored from; nil: nothing
	dev, ino uint64   // of the file of a Unix socket
	path     string
}

// BindDatagram makes a datagram socket for this process itself. A Unix socket has the mode, less the umask, from the
// beginning and belongs to us; one that nobody reads any more is replaced. Abstract and UDP sockets take datagrams of everybody who can reach
// them. Errors are *Error.
func BindDatagram(a Address, mode fs.FileMode) (*Datagram, error) {
	fault := func(cause, remedy string, err error) (*Datagram, error) {
		return nil, &Error{Address: a.String(), Cause: cause, Remedy: remedy, Err: err, Passing: errors.Is(err, unix.EADDRINUSE)}
	}
	if a.Kind == TCP {
		ip, err := resolveHost(a)
		if err != nil {
			return nil, err
		}
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: ip, Port: a.Port})
		if err != nil {
			return fault("bind failed", "see who has it: ss -lnup", err)
		}
		return &Datagram{PacketConn: conn}, nil
	}
	name := a.Path
	if a.Kind == Abstract {
		name = "@" + a.Path
	} else if err := clearDatagram(a.Path); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fault("cannot make a socket", "", err)
	}
	f := os.NewFile(uintptr(fd), a.String())
	defer f.Close()
	if err := unix.Fchmod(fd, uint32(mode.Perm())); err != nil { // the mode of the file that bind makes (unix(7))
		return fault("cannot set the mode of a socket", "", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: name}); err != nil {
		remedy := "see who has it: ss -xlp"
		if a.Kind == Unix {
			remedy = "see the folder: ls -ld " + shell.Word(filepath.Dir(a.Path))
		}
		return fault("bind failed", remedy, err)
	}
	d := &Datagram{}
	if a.Kind == Unix {
		var st unix.Stat_t
		if err := unix.Lstat(a.Path, &st); err != nil {
			return fault("cannot look at the new socket", "", err)
		}
		d.path, d.dev, d.ino = a.Path, st.Dev, st.Ino
	}
	if d.PacketConn, err = net.FilePacketConn(f); err != nil {
		return fault("cannot use the new socket", "", err)
	}
	return d, nil
}

// clearDatagram removes a datagram socket that nobody reads.
func clearDatagram(path string) error {
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case err != nil:
		return &Error{Address: path, Cause: "cannot look at what is in the way", Err: err}
	case st.Mode&unix.S_IFMT != unix.S_IFSOCK:
		return &Error{Address: path, Cause: "a " + kindOf(&st) + " of uid " + strconv.Itoa(int(st.Uid)) + ", not a socket, is in the way", Remedy: "look at it and remove it: ls -ld " + shell.Word(path)}
	}
	probe, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return &Error{Address: path, Cause: "cannot make a socket", Err: err, Passing: true}
	}
	defer unix.Close(probe)
	if err := unix.Connect(probe, &unix.SockaddrUnix{Name: path}); !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.ENOENT) {
		return &Error{Address: path, Cause: "somebody reads the socket of uid " + strconv.Itoa(int(st.Uid)) + " that is there, or may", Err: err, Remedy: "see who: ss -xlp src " + path + "; stop it, or choose another path"}
	}
	if err := unix.Unlink(path); err != nil && !errors.Is(err, unix.ENOENT) {
		return &Error{Address: path, Cause: "a dead socket is in the way and cannot be removed", Err: err, Remedy: "remove it: rm " + path}
	}
	return nil
}

// Remove removes the socket's file, if that is still ours, and closes the socket, which keeps the number of the inode from being
// given to another file until then.
func (d *Datagram) Remove() error {
	defer d.handed.Close() // no error where there is none
	var st unix.Stat_t
	if d.path == "" || unix.Lstat(d.path, &st) != nil || st.Dev != d.dev || st.Ino != d.ino {
		return d.Close()
	}
	return errors.Join(os.Remove(d.path), d.Close())
}
