package configs

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// maxPath is the longest path of a socket: sun_path less its final NUL (unix(7)).
const maxPath = 107

// address reads the address of a socket. A path stays as written; "@name" is abstract, ":port" listens on every IPv4 address.
// What uWSGI would quietly take for something else (a host that has no address for 255.255.255.255, "80abc" for 80) is a fault.
func address(s Setting, abstract bool) (string, error) {
	text := strings.TrimLeft(s.Value, " \t")
	switch {
	case text == "":
		return "", wrong(s, "names no address", "write for example socket = /run/uwsgi/shop.sock")
	case strings.IndexFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f }) >= 0:
		return "", wrong(s, "holds a control character", "remove it")
	case hasReference(text):
		return "", wrong(s, "refers to something that is not defined", "define it, or write the address itself")
	case strings.Contains(text, ", "):
		return "", wrong(s, "is one address with a comma in it, as in uWSGI", "write one socket line for each address")
	case strings.HasPrefix(text, "@"), strings.HasPrefix(text, `\0`):
		name := strings.TrimPrefix(strings.TrimPrefix(text, "@"), `\0`)
		if name == "" || len(name) >= maxPath {
			return "", wrong(s, "has a name of the wrong length", fmt.Sprintf("write @ and 1 to %d bytes", maxPath-1))
		}
		return "@" + name, nil
	case strings.Contains(text, "://"):
		return "", wrong(s, "is not an address: schemes are not served", "write a path, host:port, [v6]:port or @name")
	case strings.HasPrefix(text, "="):
		return "", notYet(s, "is the number of a shared socket, which is not supported yet", "write the address itself")
	case strings.HasPrefix(text, "unix:"):
		return "", wrong(s, "is not an address: uWSGI has no unix: in front", "write "+s.Key+" = "+text[len("unix:"):])
	}
	colon := strings.LastIndexByte(text, ':')
	if colon < 0 {
		if abstract {
			return "@" + text, nil
		}
		return text, nil
	}
	host, port := text[:colon], text[colon+1:]
	if strings.Contains(host, "/") {
		return "", wrong(s, "is not an address: a path must not hold a colon", "choose a path without one")
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < 1 || n > 65535 || !isDigits(port) {
		return "", wrong(s, "has no port", "write a port from 1 to 65535 behind the colon")
	}
	v6 := strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]")
	switch {
	case host == "":
		host = "0.0.0.0"
	case strings.Contains(host, "*"):
		return "", notYet(s, "asks for the first address that fits a pattern, which is not supported yet", "write the address itself, or :"+port+" for all of them")
	case strings.Contains(host, ":") && !v6:
		return "", wrong(s, "is not an address: an IPv6 address stands in brackets", fmt.Sprintf("write %s = [%s]:%s", s.Key, host, port))
	case strings.ContainsAny(host, " @"):
		return "", wrong(s, "has no proper host name", "write host:port")
	}
	return host + ":" + strconv.Itoa(n), nil
}

// absolute makes the path of a socket absolute. As in uWSGI, a relative one starts at the folder after chdir.
func absolute(wish SocketWish, dir, chdir string) (SocketWish, error) {
	a := wish.Address
	if strings.HasPrefix(a, "@") || strings.IndexByte(a, ':') >= 0 {
		return wish, nil
	}
	if !filepath.IsAbs(a) {
		if chdir != "" && !filepath.IsAbs(chdir) {
			chdir = filepath.Join(dir, chdir)
		}
		if chdir == "" {
			chdir = dir
		}
		a = chdir + "/" + a
	}
	a = filepath.Clean(a)
	if len(a) > maxPath {
		return wish, &Error{Place: wish.Place, Option: "socket", Value: a, Cause: fmt.Sprintf("is a path of %d bytes, and the kernel takes %d", len(a), maxPath), Remedy: "choose a shorter one, such as /run/uwsgi/NAME.sock"}
	}
	wish.Address = a
	return wish, nil
}
