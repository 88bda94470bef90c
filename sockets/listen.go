package sockets

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// defaultBacklog is how many connections may wait where nothing was asked for: enough to bridge the restart of a busy
// application, and what current kernels allow.
const defaultBacklog = 4096

// listen makes fd listen, again if it does already, as as. A backlog that the kernel does not allow becomes a warning.
func listen(a Address, fd, backlog int, as *Identity) (warnings []string, err error) {
	limit := somaxconn()
	switch {
	case backlog <= 0:
		backlog = min(defaultBacklog, limit)
	case backlog > limit:
		warnings = append(warnings, fmt.Sprintf("listen = %d is more than net.core.somaxconn allows; %d connections may wait on %s; to have more: sysctl net.core.somaxconn=%d", backlog, limit, a, backlog))
		backlog = limit
	}
	if as == nil {
		err = unix.Listen(fd, backlog)
	} else {
		err = withRights(*as, func() error { return unix.Listen(fd, backlog) })
	}
	if err != nil {
		return nil, &Error{Address: a.String(), Cause: "listen failed", Err: err, Passing: errors.Is(err, unix.EADDRINUSE)}
	}
	return warnings, nil
}

// listener makes fd, which is bound, a Listener; it closes fd where it cannot.
func (l *Listener) listener(fd, backlog int) (*Listener, error) {
	var err error
	if l.Warnings, err = listen(l.Address, fd, backlog, l.as); err != nil {
		if l.ino != 0 {
			_ = l.unlink()
		}
		_ = unix.Close(fd)
		return nil, err
	}
	l.File, l.backlog = os.NewFile(uintptr(fd), l.Address.String()), backlog
	return l, nil
}

// somaxconn returns the kernel's limit, or the limit of old kernels where it cannot be read.
func somaxconn() int {
	text, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err != nil {
		return unix.SOMAXCONN
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || n <= 0 {
		return unix.SOMAXCONN
	}
	return n
}

// bindAbstract binds the name as uWSGI does, which counts one NUL behind it to the name.
func bindAbstract(r Request, p Policy) (*Listener, error) {
	fd, err := bindAs(p.Tenant, unix.AF_UNIX, &unix.SockaddrUnix{Name: "@" + r.Address.Path + "\x00"}, func(int) error { return nil })
	if err != nil {
		return nil, inUse(r.Address, err)
	}
	return (&Listener{Address: r.Address, as: p.Tenant}).listener(fd, r.Backlog)
}

func bindTCP(r Request, p Policy) (*Listener, error) {
	a := r.Address
	if p.Tenant != nil && a.Port > 0 && a.Port < 1024 {
		return nil, &Error{Address: a.String(), Policy: true, Cause: fmt.Sprintf("ports below 1024 are not for tenants, and the vassal's user is %s", p.Tenant.Name), Remedy: "choose a port from 1024 on, or a path below " + firstOf(p.Roots)}
	}
	ip, err := resolveHost(a)
	if err != nil {
		return nil, err
	}
	family, addr := unix.AF_INET, unix.Sockaddr(nil)
	if four := ip.To4(); four != nil && !strings.Contains(a.Host, ":") {
		addr = &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(four)}
	} else {
		family, addr = unix.AF_INET6, &unix.SockaddrInet6{Port: a.Port, Addr: [16]byte(ip.To16())}
	}
	fd, err := bindAs(p.Tenant, family, addr, func(fd int) error {
		// Never SO_REUSEPORT: with it, another process of the same user could take a share of the connections.
		err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		if err == nil && family == unix.AF_INET6 {
			err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0) // [::]:port takes IPv4 too, as in uWSGI
		}
		return err
	})
	if err != nil {
		return nil, inUse(a, err)
	}
	return (&Listener{Address: a, as: p.Tenant}).listener(fd, r.Backlog)
}

// bindAs makes and binds a stream socket with the rights of as, or with ours. A port or an abstract name has no owner:
// the tenant gets no more than what it could take by itself.
func bindAs(as *Identity, family int, addr unix.Sockaddr, prepare func(fd int) error) (fd int, err error) {
	bind := func() error {
		if fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if err = prepare(fd); err == nil {
			err = unix.Bind(fd, addr)
		}
		if err != nil {
			_ = unix.Close(fd)
		}
		return err
	}
	if as == nil {
		err = bind()
	} else {
		err = withRights(*as, bind)
	}
	return fd, err
}

// lookupTime bounds the search for a host name.
const lookupTime = 3 * time.Second

// resolveHost returns the address to bind: IPv4 first, as uWSGI does. An unknown host is an error (uWSGI listens on
// 255.255.255.255 instead).
func resolveHost(a Address) (net.IP, error) {
	if a.Host == "" {
		return net.IPv4zero, nil
	}
	if ip := net.ParseIP(a.Host); ip != nil {
		return ip, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	ips, err := net.DefaultResolver.LookupIP(ctx, "ip", a.Host)
	if err != nil || len(ips) == 0 {
		return nil, &Error{Address: a.String(), Cause: fmt.Sprintf("the host %q is unknown", a.Host), Err: err, Passing: true, Remedy: "write an IP address"}
	}
	for _, ip := range ips {
		if ip.To4() != nil {
			return ip, nil
		}
	}
	return ips[0], nil
}

func inUse(a Address, err error) error {
	e := &Error{Address: a.String(), Cause: "bind failed", Err: err}
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		e.Passing = true
		e.Remedy = "see who has it: ss -lntp"
		if a.Kind == Abstract {
			e.Remedy = "see who has it: ss -xlp"
		}
	case errors.Is(err, unix.EADDRNOTAVAIL):
		e.Passing = true
		e.Remedy = "write an address that this machine has: ip address"
	case errors.Is(err, unix.EACCES):
		e.Remedy = "choose a higher port: sysctl net.ipv4.ip_unprivileged_port_start shows the first that is free for users"
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ENOMEM):
		e.Passing = true
	}
	return e
}
