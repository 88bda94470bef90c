package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/sockets"
)

// parseAddress reads an address as vassal files write it.
func parseAddress(arg string) (sockets.Address, error) {
	a, err := sockets.ParseAddress(arg)
	var bad *sockets.Error
	if errors.As(err, &bad) {
		return a, usageError{fmt.Errorf("%q is no address of a socket: %s; %s", arg, bad.Cause, bad.Remedy)}
	}
	return a, err
}

// connect connects to a, and explains why when it cannot.
func connect(ctx context.Context, a sockets.Address) (net.Conn, error) {
	network, address := "unix", a.String()
	if a.Kind == sockets.TCP {
		network = "tcp"
		if a.Host == "" {
			address = net.JoinHostPort("127.0.0.1", strconv.Itoa(a.Port))
		}
	}
	var d net.Dialer
	nc, err := d.DialContext(ctx, network, address)
	if err == nil {
		return nc, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	cause, remedy := whyNot(a, err)
	return nil, fmt.Errorf("cannot connect to %s: %s; %s", a, cause, remedy)
}

const askStatus = "see what its vassal is doing: emperorctl status"

// whyNot explains a failed connect(2).
func whyNot(a sockets.Address, err error) (cause, remedy string) {
	switch {
	case a.Kind != sockets.Unix && errors.Is(err, syscall.ECONNREFUSED):
		return "nobody listens there", askStatus
	case a.Kind != sockets.Unix:
		return err.Error(), "mend the address"
	case errors.Is(err, fs.ErrNotExist):
		return missing(a.Path), askStatus
	case errors.Is(err, syscall.ENOTDIR):
		return "a part of the path is no folder", "mend the path"
	case errors.Is(err, fs.ErrPermission):
		return denied(a.Path)
	case errors.Is(err, syscall.EAGAIN):
		return "its backlog is full: the application does not accept as fast as requests arrive, or not at all", askStatus
	case errors.Is(err, syscall.EPROTOTYPE):
		return "it is a datagram socket", "name a socket that a vassal listens on"
	case errors.Is(err, syscall.ECONNREFUSED):
		if info, statErr := os.Stat(a.Path); statErr == nil && info.Mode()&fs.ModeSocket == 0 {
			return "it is no socket: " + describe(info), "name a socket that a vassal listens on"
		}
		return "the socket is there, but nobody listens on it; whoever made it has gone", askStatus
	}
	return err.Error(), askStatus
}

// missing names the first part of a path that is not there.
func missing(path string) string {
	for _, folder := range parents(path) {
		if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
			return fmt.Sprintf("there is no folder %s", folder)
		}
	}
	return "there is no such file"
}

// denied names the folder that may not be entered, or else the mode and owner of the socket.
func denied(path string) (cause, remedy string) {
	for _, folder := range parents(path) {
		if unix.Faccessat(unix.AT_FDCWD, folder, unix.X_OK, unix.AT_EACCESS) == nil {
			continue
		}
		info, err := os.Stat(folder)
		if err != nil {
			return fmt.Sprintf("permission denied: uid %d may not look at the folder %s", os.Geteuid(), folder), "run the command as root"
		}
		return fmt.Sprintf("permission denied: uid %d may not enter the folder %s (%s)", os.Geteuid(), folder, describe(info)),
			"run the command as root or as a user who may"
	}
	info, err := os.Stat(path)
	if err != nil {
		return "permission denied", "run the command as root"
	}
	return fmt.Sprintf("permission denied: uid %d may not write to the socket (%s)", os.Geteuid(), describe(info)),
		"run the command as root or as its owner; for its vassal, chmod-socket and chown-socket decide"
}

// parents returns the folders above a path, from the top.
func parents(path string) []string {
	var all []string
	for folder := filepath.Dir(path); ; folder = filepath.Dir(folder) {
		all = append([]string{folder}, all...)
		if folder == filepath.Dir(folder) {
			return all
		}
	}
}

// describe returns mode and owner: "srw-rw---- shop:www-data".
func describe(info fs.FileInfo) string {
	mode := strings.ToLower(info.Mode().String())
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return mode
	}
	owner, group := strconv.Itoa(int(st.Uid)), strconv.Itoa(int(st.Gid))
	if u, err := user.LookupId(owner); err == nil {
		owner = u.Username
	}
	if g, err := user.LookupGroupId(group); err == nil {
		group = g.Name
	}
	return fmt.Sprintf("%s %s:%s", mode, owner, group)
}
