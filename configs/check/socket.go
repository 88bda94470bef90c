package check

import (
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/sockets"
)

// maxPath is the longest path of a UNIX socket (unix(7)).
const maxPath = 107

// A claim is who has an address.
type claim struct {
	file  string // absolute
	real  string // the same behind all links
	place string
	text  string // the address
	ip    net.IP // of TCP; nil for a name that is not looked up
	host  string // of TCP
}

// overlaps reports whether the kernel takes two TCP addresses of one port for the same: an unspecified one has all of
// its family, and [::] the IPv4 ones as well.
func (c claim) overlaps(d claim) bool {
	switch {
	case c.ip == nil || d.ip == nil:
		return c.host == d.host
	case c.ip.Equal(d.ip):
		return true
	}
	wide := func(a, b net.IP) bool { return a.IsUnspecified() && (a.To4() == nil || b.To4() != nil) }
	return wide(c.ip, d.ip) || wide(d.ip, c.ip)
}

// A wish is how the socket files of one vassal are to be.
type wish struct {
	mode     fs.FileMode
	modeAt   configs.Setting
	hasMode  bool
	uid, gid int
	ownerAt  configs.Setting
	hasOwner bool
	known    bool // uid and gid are
}

// sockets checks every socket that speaks uwsgi.
func (s *subject) sockets() {
	protocol, _ := s.last("protocol")
	abstract, isAbstract := s.last("abstract-socket")
	w := s.wish()
	for _, x := range s.settings {
		option := first(x.Key)
		if option != "socket" && option != "uwsgi-socket" || !names(x) {
			continue
		}
		value := x.Value
		if isAbstract && on(abstract) && !strings.Contains(value, ":") {
			value = "@" + strings.TrimLeft(value, "@")
		}
		if s.long(x, value) {
			continue
		}
		a, err := sockets.ParseAddress(value)
		if err != nil || strings.Contains(value, ", ") || strings.HasPrefix(value, "=") {
			continue // a wrong value, said elsewhere
		}
		if a.Kind == sockets.Unix && !filepath.IsAbs(a.Path) {
			base := s.chdir
			if base == "" {
				if c, ok := s.last("chdir"); ok && names(c) {
					base = from(s.dir, c.Value)
				} else {
					base = s.dir
				}
			}
			a.Path = filepath.Join(base, a.Path)
			s.add(Finding{Place: x.Place, Level: Note, Code: SocketRelative, Option: x.Key, Value: x.Value, What: fmt.Sprintf("%s = %s is %s: a relative path starts at chdir", x.Key, clip(x.Value), a.Path),
				Why: "nginx has to be told the whole path", Mend: x.Key + " = " + a.Path})
		}
		s.claim(x, a)
		speaksUwsgi := option == "uwsgi-socket" || protocol.Value == "" || protocol.Value == "uwsgi"
		switch a.Kind {
		case sockets.Unix:
			a.Path = filepath.Clean(a.Path)
			s.folder(x, a.Path, w)
			s.nginx(x, a.Path, w)
		case sockets.Abstract:
			s.add(Finding{Place: x.Place, Level: Warning, Code: SocketAbstract, Option: x.Key, Value: x.Value, What: fmt.Sprintf("%s = %s is an abstract socket: it has no owner and no mode, and every user of the machine may connect", x.Key, clip(x.Value)),
				Why: exposed, Mend: s.instead(x)})
		case sockets.TCP:
			if speaksUwsgi {
				s.tcp(x, a)
			}
		}
	}
	if w.hasMode && w.mode&0o002 != 0 && len(s.each("socket"))+len(s.each("uwsgi-socket")) > 0 && s.unix() {
		s.add(Finding{Place: w.modeAt.Place, Level: Warning, Code: SocketOpen, Option: w.modeAt.Key, Value: w.modeAt.Value, What: fmt.Sprintf("with %s = %03o every user of the machine may connect to the socket", w.modeAt.Key, w.mode),
			Why: exposed, Mend: s.closed()})
	}
}

const exposed = "whoever may connect can send any request in anybody's name; in real uWSGI, which obeys UWSGI_* variables of a request, it can also run code as the application's user"

// unix reports whether any socket is a file.
func (s *subject) unix() bool {
	return slices.ContainsFunc(append(s.each("socket"), s.each("uwsgi-socket")...), func(x configs.Setting) bool {
		return !strings.Contains(x.Value, ":") && !strings.HasPrefix(x.Value, "@")
	})
}

// instead is a socket that only nginx may use.
func (s *subject) instead(x configs.Setting) string {
	path := s.root() + "/" + strings.TrimSuffix(filepath.Base(s.path), filepath.Ext(s.path)) + ".sock"
	return fmt.Sprintf("%s = %s with %s, and in nginx: uwsgi_pass unix:%s;", x.Key, path, s.closed(), path)
}

// root is the first folder that sockets may be in.
func (s *subject) root() string {
	if len(s.roots) == 0 {
		return "/run/uwsgi"
	}
	return s.roots[0]
}

// closed are the lines that let in nginx alone.
func (s *subject) closed() string {
	user, group := "USER", "GROUP"
	if s.user != nil {
		user = s.user.Name
	}
	if s.run.nginx != nil {
		group = s.groupName(s.run.nginx.GID)
	}
	return fmt.Sprintf("chmod-socket = 660 and chown-socket = %s:%s", user, group)
}

// long refuses a path that the kernel does not take.
func (s *subject) long(x configs.Setting, value string) bool {
	path := strings.TrimLeft(value, " \t")
	if strings.Contains(path, ":") || strings.HasPrefix(path, "@") {
		return false
	}
	if !filepath.IsAbs(path) {
		if c, ok := s.last("chdir"); ok && names(c) {
			path = filepath.Join(from(s.dir, c.Value), path)
		} else {
			path = filepath.Join(s.dir, path)
		}
	}
	if len(path) <= maxPath {
		return false
	}
	s.add(Finding{Place: x.Place, Level: Error, Code: SocketLong, Option: x.Key, Value: x.Value, What: fmt.Sprintf("%s: the socket's path has %d bytes, and the kernel takes %d", x.Key, len(path), maxPath),
		Why: "nobody can listen there", Mend: x.Key + " = " + s.root() + "/NAME.sock"})
	return true
}

// claim finds two vassals that ask for one address.
func (s *subject) claim(x configs.Setting, a sockets.Address) {
	text := a.String()
	mine := claim{file: s.path, real: s.path, place: s.at(x.Place), text: text, host: a.Host}
	if _, end, err := s.walk(s.path); err == nil {
		mine.real = end.path
	}
	key := text
	switch a.Kind {
	case sockets.Unix:
		text = s.real(a.Path)
		key, mine.text = text, text
	case sockets.TCP:
		if a.Port == 0 {
			return
		}
		key = fmt.Sprintf("port %d", a.Port)
		switch a.Host {
		case "":
			mine.ip = net.IPv4zero
		case "localhost":
			mine.ip = net.IPv4(127, 0, 0, 1)
		default:
			mine.ip = net.ParseIP(a.Host)
		}
	}
	var before *claim
	for i, c := range s.taken[key] {
		if c.file == s.path && c.overlaps(mine) {
			return
		}
		// One file under two names in two folders is what is available and what is enabled, not two vassals.
		again := c.real == mine.real && filepath.Dir(c.file) != filepath.Dir(mine.file)
		if before == nil && !again && c.overlaps(mine) {
			before = &s.taken[key][i]
		}
	}
	if before == nil || before.host != mine.host {
		s.taken[key] = append(s.taken[key], mine)
	}
	if before == nil {
		return
	}
	what := fmt.Sprintf("%s: %s asks for the same socket, %s", x.Key, before.place, text)
	if before.text != text {
		what = fmt.Sprintf("%s: %s asks for %s, and %s overlaps with it", x.Key, before.place, before.text, text)
	}
	s.add(Finding{Place: x.Place, Level: Error, Code: SocketShared, Option: x.Key, Value: x.Value, What: what,
		Why: "one of the two vassals does not start", Mend: "write another address in one of the two lines"})
}

// real resolves the links of a socket's folder as far as it is there: /var/run is /run nearly everywhere.
func (s *subject) real(path string) string {
	rest := filepath.Base(path)
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if _, end, err := s.walk(dir); err == nil {
			return filepath.Join(end.path, rest)
		}
		if dir == "/" {
			return path
		}
		rest = filepath.Join(filepath.Base(dir), rest)
	}
}

// tcp judges who may connect to a TCP socket.
func (s *subject) tcp(x configs.Setting, a sockets.Address) {
	ip := net.ParseIP(a.Host)
	f := Finding{Place: x.Place, Level: Warning, Code: SocketPublic, Option: x.Key, Value: x.Value, Why: exposed, Mend: s.instead(x)}
	switch {
	case a.Host == "localhost" || ip != nil && ip.IsLoopback():
		f.Code, f.What = SocketLoopback, fmt.Sprintf("%s = %s: every user of the machine may connect", x.Key, clip(x.Value))
	case a.Host == "" || ip != nil && ip.IsUnspecified():
		f.What = fmt.Sprintf("%s = %s listens on every address: every machine that reaches this one may connect", x.Key, clip(x.Value))
	default:
		f.What = fmt.Sprintf("%s = %s: every machine that reaches this address may connect", x.Key, clip(x.Value))
	}
	s.add(f)
}

// wish reads chmod-socket and chown-socket.
func (s *subject) wish() wish {
	w := wish{mode: 0o755, known: s.user != nil}
	if s.user != nil {
		w.uid, w.gid = s.user.UID, s.user.GID
	}
	if x, ok := s.last("chmod-socket"); ok {
		w.modeAt, w.hasMode = x, true
		n, err := strconv.ParseUint(x.Value, 8, 32)
		switch {
		case x.Bare || x.Value == "1":
			w.mode = 0o666
		case err == nil && len(x.Value) == 3:
			w.mode = fs.FileMode(n)
		case err == nil && len(x.Value) == 4: // refused, said elsewhere
			w.mode = fs.FileMode(n) & 0o777
		default:
			w.known = false
		}
	}
	x, ok := s.last("chown-socket")
	if !ok {
		return w
	}
	w.ownerAt, w.hasOwner = x, true
	if !names(x) {
		w.known = false
		return w
	}
	user, group, _ := strings.Cut(x.Value, ":")
	if user != "" {
		u := s.run.user(user)
		if u == nil {
			s.nobody(x, "user", "the socket is not made, and the application does not start")
			w.known = false
			return w
		}
		w.uid = u.UID
	}
	if group != "" {
		g := s.group(group)
		if g == nil {
			s.nobody(x, "group", "the socket is not made, and the application does not start")
			w.known = false
			return w
		}
		w.gid = g.GID
	}
	s.granted(x, w)
	w.known = w.known || user != "" && group != ""
	return w
}

// granted judges chown-socket in tyrant mode.
func (s *subject) granted(x configs.Setting, w wish) {
	if !s.tyrant || s.user == nil {
		return
	}
	switch {
	case w.uid != s.user.UID:
		s.add(Finding{Place: x.Place, Level: Error, Code: SocketOwner, Option: x.Key, Value: x.Value, What: fmt.Sprintf("%s asks for the owner %s, and the application's user is %s", x.Key, s.userName(w.uid), s.user.Name),
			Why: "in tyrant mode a socket belongs to its application's user: the emperor refuses the file", Mend: fmt.Sprintf("%s = %s:%s", x.Key, s.user.Name, s.groupName(w.gid))})
	case w.gid != s.user.GID && !slices.Contains(s.user.Groups, w.gid) && !slices.Contains(s.groups, w.gid):
		s.add(Finding{Place: x.Place, Level: Error, Code: SocketOwner, Option: x.Key, Value: x.Value, What: fmt.Sprintf("%s asks for the group %s, which %s is not in and emperor-socket-groups does not name", x.Key, s.groupName(w.gid), s.user.Name),
			Why: "in tyrant mode the emperor refuses the file", Mend: fmt.Sprintf("write a group that %s is in; or, if every tenant may give its sockets to %s: emperor-socket-groups in the emperor's file", s.user.Name, s.groupName(w.gid))})
	}
}

// folder checks where a socket file is to be.
func (s *subject) folder(x configs.Setting, path string, w wish) {
	dir := filepath.Dir(path)
	root := slices.ContainsFunc(s.roots, func(r string) bool { return strings.HasPrefix(path, strings.TrimSuffix(filepath.Clean(r), "/")+"/") })
	end, o := s.reach(nil, dir, 0)
	f := Finding{Place: x.Place, Level: Error, Code: SocketFolder, Option: x.Key, Value: x.Value}
	switch {
	case o != nil && o.hidden:
		s.stuck(x, o, f)
	case o != nil && o.missing && root:
		f.Level, f.Code, f.What, f.Why = Note, SocketFolderMade, fmt.Sprintf("%s: the folder %s is not there", x.Key, dir), "emperord makes it at every start; real uWSGI does not"
		s.add(f)
	case o != nil && o.missing:
		f.What, f.Why = fmt.Sprintf("%s: the folder %s is not there", x.Key, dir), "the application does not start; emperord makes folders only below "+strings.Join(s.roots, ", ")
		f.Mend, f.Runs = s.makes(dir, "755")
		s.add(f)
	case o != nil:
		f.What, f.Why = fmt.Sprintf("%s: %s", x.Key, o.what), "nobody can listen there"
		s.add(f)
	case s.tyrant && root && s.user != nil && (end.UID != 0 || end.Mode.Perm()&0o022 != 0): // then it is bound with the user's own rights
		if _, o := s.reach(s.user, dir, mayWrite|maySearch); o != nil {
			f.What, f.Why = fmt.Sprintf("%s: %s", x.Key, o.what), "a folder for sockets that is not root's alone could be somebody's trap: emperord makes the socket there with the rights of the application's user"
			f.Mend, f.Runs = fmt.Sprintf("chown root:root %s && chmod 755 %s", quote(dir), quote(dir)), true
			s.add(f)
		}
	case s.tyrant && !root && s.user != nil:
		if _, o := s.reach(s.user, dir, mayWrite|maySearch); o != nil {
			f.What, f.Why = fmt.Sprintf("%s: %s, and %s is below none of the folders for sockets", x.Key, o.what, dir), "in tyrant mode a socket may be below "+strings.Join(s.roots, ", ")+", or where the application's user may write"
			f.Mend = x.Key + " = " + s.root() + "/" + filepath.Base(path)
			s.add(f)
		}
	}
}

// nginx judges whether nginx may connect to a socket file.
func (s *subject) nginx(x configs.Setting, path string, w wish) {
	n := s.run.nginx
	if n == nil {
		return
	}
	if _, o := s.reach(n, filepath.Dir(path), maySearch); o != nil && !o.missing && !o.hidden {
		s.add(Finding{Place: x.Place, Level: Error, Code: SocketNginx, Option: x.Key, Value: x.Value, What: fmt.Sprintf("%s: nginx cannot reach the socket: %s", x.Key, o.what),
			Why: "nginx answers 502: connect() failed (13: Permission denied)", Mend: o.mend, Runs: o.mend != ""})
	}
	if !w.known {
		return
	}
	socket := Entry{Mode: w.mode, UID: w.uid, GID: w.gid}
	if may(n, socket, mayWrite) {
		return
	}
	at := w.ownerAt
	if !w.hasOwner || w.mode&0o020 == 0 && w.hasMode {
		at = w.modeAt
	}
	if at.Key == "" {
		at = x
	}
	f := Finding{Place: at.Place, Level: Error, Code: SocketNginx, Option: at.Key, Value: at.Value,
		What: fmt.Sprintf("nginx may not connect to %s: the socket gets %s:%s and mode %03o, and nginx is %s", path, s.userName(w.uid), s.groupName(w.gid), w.mode, n.Name),
		Why:  "nginx answers 502: connect() failed (13: Permission denied)"}
	if !w.hasMode {
		f.Why += "; without chmod-socket only the owner may connect"
	}
	group := s.groupName(n.GID)
	granted := !s.tyrant || slices.Contains(s.groups, n.GID) || s.user != nil && slices.Contains(s.user.Groups, n.GID)
	inGroup := n.GID == w.gid || slices.Contains(n.Groups, w.gid)
	mode := ""
	if w.mode&0o020 == 0 {
		mode = "chmod-socket = 660"
	}
	switch {
	case inGroup:
		f.Mend = mode
	case granted:
		f.Mend = strings.TrimPrefix(mode+" and ", " and ") + fmt.Sprintf("chown-socket = %s:%s", s.userName(w.uid), group)
	case w.gid != 0:
		f.Mend = fmt.Sprintf("usermod -aG %s %s && systemctl restart nginx", quote(s.groupName(w.gid)), quote(n.Name))
		if f.Runs = mode == ""; mode != "" {
			f.Mend = mode + ", and run: " + f.Mend
		}
	}
	s.add(f)
}
