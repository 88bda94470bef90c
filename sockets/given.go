package sockets

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A Given socket was made by somebody else who listens with it and keeps it: a socket unit of systemd's. The maker decides
// on its owner, mode and backlog, and takes its file away.
type Given struct {
	Name  string // what its maker calls it
	fd    int
	name  unix.Sockaddr
	owned Owned // of a Unix socket's file, as it was found
}

// NewGiven looks at a descriptor, which it takes over. The error says that it is no stream socket that listens.
func NewGiven(fd int, name string) (*Given, error) {
	listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return nil, fmt.Errorf("descriptor %d is no socket: %w", fd, err)
	}
	if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_STREAM || listening != 1 {
		return nil, fmt.Errorf("descriptor %d is no stream socket that listens; write ListenStream= and Accept=no into its socket unit", fd)
	}
	g := &Given{Name: name, fd: fd}
	if g.name, err = unix.Getsockname(fd); err != nil {
		return nil, fmt.Errorf("descriptor %d has no address: %w", fd, err)
	}
	var st unix.Stat_t
	if path := g.path(); path != "" && unix.Lstat(path, &st) == nil {
		g.owned = Owned{int(st.Uid), int(st.Gid), fs.FileMode(st.Mode).Perm()}
	}
	return g, nil
}

func (g *Given) path() string {
	if u, ok := g.name.(*unix.SockaddrUnix); ok && strings.HasPrefix(u.Name, "/") {
		return u.Name
	}
	return ""
}

// String returns the address.
func (g *Given) String() string {
	switch n := g.name.(type) {
	case *unix.SockaddrUnix:
		return strings.TrimRight(n.Name, "\x00")
	case *unix.SockaddrInet4:
		return Address{Kind: TCP, Host: net.IP(n.Addr[:]).String(), Port: n.Port}.String()
	case *unix.SockaddrInet6:
		return Address{Kind: TCP, Host: net.IP(n.Addr[:]).String(), Port: n.Port}.String()
	}
	return "an address of another kind"
}

// Serves tells whether the socket is what somebody means by an address. Every address of IPv4 is also meant by [::],
// which systemd binds for a bare port.
func (g *Given) Serves(a Address) bool {
	switch n := g.name.(type) {
	case *unix.SockaddrUnix:
		return a.Kind == Unix && g.path() != "" && run(a.Path) == run(n.Name) || a.Kind == Abstract && strings.TrimRight(n.Name, "\x00") == "@"+a.Path
	case *unix.SockaddrInet4:
		return a.Kind == TCP && a.Port == n.Port && a.host(net.IP(n.Addr[:]))
	case *unix.SockaddrInet6:
		return a.Kind == TCP && a.Port == n.Port && a.host(net.IP(n.Addr[:]))
	}
	return false
}

// host tells whether ip is the host of a.
func (a Address) host(ip net.IP) bool {
	want := net.ParseIP(a.Host)
	if a.Host == "" || want != nil && want.IsUnspecified() {
		return ip.IsUnspecified()
	}
	return want != nil && want.Equal(ip)
}

// run gives a path below /var/run, which is a link nearly everywhere, its usual name.
func run(path string) string {
	if rest, below := strings.CutPrefix(path, "/var/run/"); below {
		return "/run/" + rest
	}
	return path
}

// For tells whether a tenant's vassal may have the socket: it belongs to the tenant, or its maker calls it as the vassal is
// called, without ending. names are the vassal's.
func (g *Given) For(tenant *Identity, names ...string) error {
	if tenant == nil || g.path() != "" && g.owned.UID == tenant.UID && tenant.UID != 0 {
		return nil
	}
	for _, n := range names {
		if g.Name == n || strings.TrimSuffix(strings.TrimSuffix(g.Name, ".socket"), ".ini") == strings.TrimSuffix(n, ".ini") {
			return nil
		}
	}
	return &Error{Address: g.String(), Policy: true, Cause: fmt.Sprintf("the socket unit of this address, %q, is not for this vassal", g.Name),
		Remedy: fmt.Sprintf("write FileDescriptorName=%s into the unit, or SocketUser=%s", firstOf(names), tenant.Name)}
}

// Listener returns a listener on the socket, whose descriptor is a copy. Remove closes the copy and nothing else.
func (g *Given) Listener(a Address, as *Identity) (*Listener, error) {
	fd, err := unix.FcntlInt(uintptr(g.fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, &Error{Address: a.String(), Cause: "the socket that systemd has made cannot be used", Err: err, Passing: true}
	}
	_ = unix.SetNonblock(fd, false) // as the processes that inherit it expect
	return &Listener{File: os.NewFile(uintptr(fd), a.String()), Address: a, owned: g.owned, as: as, given: true}, nil
}

// FD returns the number of the descriptor, which stays the socket's.
func (g *Given) FD() int { return g.fd }

// Close gives the socket up.
func (g *Given) Close() error { return unix.Close(g.fd) }

// Given tells whether somebody else has made the listener and keeps it.
func (l *Listener) Given() bool { return l.given }
