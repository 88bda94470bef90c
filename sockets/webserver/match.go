package webserver

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/emperord/emperord/sockets/nginxconf"
)

// A Socket is one that a vassal asks for, or that somebody listens on.
type Socket struct {
	Address  string             // path, @abstract, host:port, [v6]:port
	Protocol nginxconf.Protocol // what is spoken there; empty: not known
	Vassal   string             // empty: not known
	File     string             // the vassal file that asks for it; empty: not known
	Line     int                // in File
}

func (s Socket) name() string {
	if s.Vassal != "" {
		return s.Vassal
	}
	return s.Address
}

// key is the same for two names of one socket: links are resolved, as far as the path is there.
func key(address string) string {
	if !strings.HasPrefix(address, "/") {
		host, port, found := cutPort(address)
		if !found {
			return address
		}
		switch host {
		case "", "0.0.0.0", "localhost", "::", "::1", "127.0.0.1", "*":
			host = "*"
		}
		return host + ":" + port
	}
	path := filepath.Clean(address)
	if r, err := filepath.EvalSymlinks(path); err == nil {
		return r
	}
	if r, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		return filepath.Join(r, filepath.Base(path))
	}
	return path
}

func cutPort(address string) (host, port string, found bool) {
	at := strings.LastIndexByte(address, ':')
	if at < 0 || strings.HasPrefix(address, "@") {
		return "", "", false
	}
	if _, err := strconv.Atoi(address[at+1:]); err != nil {
		return "", "", false
	}
	return strings.Trim(address[:at], "[]"), address[at+1:], true
}

// A near is a socket that a target may have meant.
type near struct {
	Socket
	cost int    // 1 is as good as sure, from 10 on it is a guess
	how  string // what differs, in words: "the ending differs"
}

// nearest returns the sockets that a target's address may have meant, the most probable ones first: only those of the
// lowest cost.
func nearest(address string, all []Socket) []near {
	var found []near
	for _, s := range all {
		if cost, how := distance(address, s.Address); cost > 0 {
			found = append(found, near{s, cost, how})
		}
	}
	slices.SortStableFunc(found, func(a, b near) int { return cmp.Compare(a.cost, b.cost) })
	for i, n := range found {
		if n.cost > found[0].cost {
			return found[:i]
		}
	}
	return found
}

// distance says how an address differs from a socket's; cost 0 is not at all alike.
func distance(target, socket string) (cost int, how string) {
	if isPath(target) != isPath(socket) {
		return 0, ""
	}
	if !isPath(target) {
		host, port, ok1 := cutPort(target)
		host2, port2, ok2 := cutPort(socket)
		switch {
		case !ok1 || !ok2:
			return 0, ""
		case port == port2:
			return 3, "the host differs"
		case host == host2 && edits(port, port2) == 1:
			return 6, "the port differs"
		}
		return 0, ""
	}
	t, s := filepath.Clean(target), filepath.Clean(socket)
	if !strings.HasPrefix(t, "/") && "/"+t == s {
		return 1, "the first slash is missing, so nginx takes it for a path relative to its own folder"
	}
	if old, ok := strings.CutPrefix(t, "/var/run/"); ok && "/run/"+old == s {
		return 1, "/var/run is not /run here"
	}
	if old, ok := strings.CutPrefix(s, "/var/run/"); ok && "/run/"+old == t {
		return 1, "/run is not /var/run here"
	}
	if strings.EqualFold(t, s) {
		return 1, "upper and lower case differ"
	}
	sameDir := filepath.Dir(t) == filepath.Dir(s)
	base, base2 := filepath.Base(t), filepath.Base(s)
	stem, stem2 := strings.TrimSuffix(base, filepath.Ext(base)), strings.TrimSuffix(base2, filepath.Ext(base2))
	switch {
	case sameDir && stem == stem2:
		return 2, "the ending differs"
	case base == base2 && !commonplace[stem]:
		return 3, "the folder differs"
	case sameDir && near2(stem, stem2):
		return 4, "the name is spelled otherwise"
	case filepath.Base(filepath.Dir(t)) == filepath.Base(filepath.Dir(s)) && base == base2: // /run/uwsgi/app/shop/socket, as Debian has it
		return 3, "the folder differs"
	case stem == stem2 && !commonplace[stem]:
		return 5, "folder and ending differ"
	case base == base2 && slip(filepath.Dir(t), filepath.Dir(s)):
		return 4, "the folder is spelled otherwise"
	}
	return 0, ""
}

// commonplace are names that say nothing about whose socket it is.
var commonplace = map[string]bool{"uwsgi": true, "socket": true, "app": true, "sock": true, "web": true, "wsgi": true, "site": true, "main": true}

func isPath(address string) bool {
	_, _, port := cutPort(address)
	return !port && !strings.HasPrefix(address, "@")
}

// near2 tells whether two names differ by a slip of the fingers: one edit, or two in a long name.
func near2(a, b string) bool {
	n := edits(a, b)
	return n == 1 && min(len(a), len(b)) > 2 && !digitsDiffer(a, b) || n == 2 && min(len(a), len(b)) > 7 && !digitsDiffer(a, b)
}

// slip tells whether one folder of a path is spelled otherwise, and no more.
func slip(a, b string) bool {
	parts, others := strings.Split(a, "/"), strings.Split(b, "/")
	if len(parts) != len(others) {
		return false
	}
	differ := 0
	for i, part := range parts {
		if part != others[i] {
			if differ++; !near2(part, others[i]) {
				return false
			}
		}
	}
	return differ == 1
}

// digitsDiffer tells whether names are numbered: app1 and app2 are two applications, not one and a slip.
func digitsDiffer(a, b string) bool {
	digits := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return r
			}
			return -1
		}, s)
	}
	return digits(a) != digits(b)
}

// edits is the number of letters to change, add, remove, or to swap with a neighbour, to make b of a (the restricted
// Damerau–Levenshtein distance). Long names are not compared: they are len(a)+len(b) apart.
func edits(a, b string) int {
	if a == b {
		return 0
	}
	if len(a) > 200 || len(b) > 200 {
		return len(a) + len(b)
	}
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			same := 1
			if a[i-1] == b[j-1] {
				same = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+same)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}

// names lists what may be meant, for people.
func names(all []near) string {
	var text []string
	for _, n := range all[:min(len(all), 5)] {
		text = append(text, fmt.Sprintf("%s of %s", n.Address, n.name()))
	}
	return strings.Join(text, ", ")
}
