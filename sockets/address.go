package sockets

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
)

// maxPath is the longest path of a Unix socket in bytes: sun_path has 108, one of them the final NUL (unix(7)).
const maxPath = 107

// A Kind is a kind of socket.
type Kind int

// The kinds of sockets.
const (
	Unix     Kind = iota // a path
	Abstract             // a name without a file, Linux only
	TCP
)

// An Address is where a socket listens.
type Address struct {
	Kind Kind
	Path string // Unix: the path; Abstract: the name without "@"
	Host string // TCP: IPv4, IPv6 without brackets, or a name; empty is every IPv4 address
	Port int    // TCP: 0 lets the kernel choose
}

// String returns the address in the form that ParseAddress reads.
func (a Address) String() string {
	switch a.Kind {
	case Unix:
		return a.Path
	case Abstract:
		return "@" + a.Path
	}
	return net.JoinHostPort(a.Host, strconv.Itoa(a.Port))
}

// ParseAddress reads an address as the option `socket` of uWSGI has it: a path, @name or \0name (abstract), host:port,
// :port, [v6]:port. Where uWSGI would listen on something else than what was meant (a port that is no number, a host
// that does not resolve, "unix:/path"), it is an error. A relative path stays relative.
func ParseAddress(text string) (Address, error) {
	s := strings.TrimLeft(text, " \t")
	fault := func(cause, remedy string) (Address, error) {
		return Address{}, &Error{Address: text, Cause: cause, Remedy: remedy}
	}
	if s == "" {
		return fault("the address is empty", "write a path such as /run/uwsgi/app.sock, or host:port")
	}
	for _, b := range []byte(s) {
		if b < ' ' || b == 0x7f {
			return fault(fmt.Sprintf("the address holds the control character %#02x", b), "remove it")
		}
	}
	if name, ok := cutAbstract(s); ok {
		if name == "" || len(name) > maxPath-1 {
			return fault("an abstract name has 1 to 106 bytes", "choose a shorter name")
		}
		return Address{Kind: Abstract, Path: name}, nil
	}
	for _, scheme := range []string{"unix:", "tcp:", "http:", "https:", "uwsgi:", "fd:"} {
		if rest, ok := strings.CutPrefix(s, scheme); ok {
			return fault(fmt.Sprintf("%q is no part of an address here", scheme), "write "+strings.TrimLeft(rest, "/")+" with what belongs before it: a path starts with /, TCP is host:port")
		}
	}
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 || strings.HasPrefix(s, "/") || strings.HasPrefix(s, "./") {
		if colon >= 0 {
			return fault("a path with a colon would be read as host:port by uWSGI", "choose a path without a colon")
		}
		if len(s) > maxPath {
			return fault(fmt.Sprintf("the path has %d bytes, a socket's path at most %d", len(s), maxPath), "choose a shorter path")
		}
		for _, part := range strings.Split(s, "/") {
			if part == ".." {
				return fault(`the path holds ".."`, "write "+filepath.Clean(s))
			}
		}
		return Address{Kind: Unix, Path: s}, nil
	}
	host, digits := s[:colon], s[colon+1:]
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		if ip := net.ParseIP(inner); !ok || ip == nil || ip.To4() != nil && !strings.Contains(inner, ":") {
			return fault("what stands in brackets is no IPv6 address", "write for example [::1]:3031")
		}
		host = inner
	} else if strings.Contains(host, ":") {
		return fault("an IPv6 address needs brackets", "write ["+host+"]:"+digits)
	}
	port := 0
	if digits != "" { // "host:" lets the kernel choose, as in uWSGI
		n, err := strconv.ParseUint(digits, 10, 16)
		if err != nil {
			return fault(fmt.Sprintf("the port %q is no number from 0 to 65535", digits), "write for example "+net.JoinHostPort(host, "3031"))
		}
		port = int(n)
	}
	return Address{Kind: TCP, Host: host, Port: port}, nil
}

func cutAbstract(s string) (string, bool) {
	if name, ok := strings.CutPrefix(s, "@"); ok {
		return name, true
	}
	return strings.CutPrefix(s, `\0`)
}
