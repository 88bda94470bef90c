package webserver

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/emperord/emperord/sockets/access"
	"github.com/emperord/emperord/sockets/doctor"
	"github.com/emperord/emperord/sockets/nginxconf"
)

// A Report is what is wrong between one nginx and the sockets of the vassals.
type Report struct {
	Findings []doctor.Finding // a request fails
	Notes    []doctor.Finding // no request fails by it, but whoever looks should know
	Used     []Socket         // sockets of the list that nginx connects to
	Others   []Socket         // sockets of nobody in the list that nginx connects to with uwsgi_pass, to be examined too
}

// Examine compares what nginx connects to with the sockets that there are.
func (s *Server) Examine(all []Socket) *Report {
	r := &Report{}
	if s.Config == nil {
		if s.Conf != "" {
			r.note(NginxUnread, s.Conf, s.Conf, s.Unread, "", "what nginx connects to is not known")
		}
		return r
	}
	x := examination{Server: s, Report: r, all: all, byKey: map[string][]Socket{}}
	for _, one := range all {
		x.byKey[key(one.Address)] = append(x.byKey[key(one.Address)], one)
	}
	refused := x.faults()
	for i := range s.Facts.Targets {
		x.target(&s.Facts.Targets[i])
	}
	x.headers()
	if !refused && !slices.ContainsFunc(r.Findings, func(f doctor.Finding) bool { return slices.Contains(f.Commands, s.Reload()) }) {
		x.reloaded()
	}
	x.unused()
	if s.Down && !refused {
		x.down()
	}
	return r
}

// down says first of all that nobody serves.
func (x *examination) down() {
	f := doctor.Finding{Code: NginxDown, Subject: x.Conf, Place: x.Conf, Cause: "nginx does not run",
		Why: "the browser gets no connection at all, not a 502", Note: "if another web server serves here, name its user: --as USER"}
	if slices.ContainsFunc(x.Findings, func(o doctor.Finding) bool { return slices.Contains(o.Commands, x.Reload()) }) {
		f.Note = "the commands below start it; " + f.Note
	} else {
		f.Commands = []string{x.Reload()}
	}
	x.Findings = slices.Insert(x.Findings, 0, f)
}

func (r *Report) note(code, subject, place, cause, why, note string) {
	r.Notes = append(r.Notes, doctor.Finding{Code: code, Subject: subject, Place: place, Cause: cause, Why: why, Note: note})
}

type examination struct {
	*Server
	*Report
	all       []Socket
	byKey     map[string][]Socket // key → sockets
	meant     []string            // keys of sockets that a near miss seems to mean
	variables bool
	unread    bool
}

// find adds a finding, once: a target may stand in an upstream block that several locations use.
func (x *examination) find(f doctor.Finding) {
	if !slices.ContainsFunc(x.Findings, func(o doctor.Finding) bool { return o.Code == f.Code && o.Place == f.Place && o.Cause == f.Cause }) {
		x.Findings = append(x.Findings, f)
	}
}

// faults says why nginx refuses its configuration, and what could not be read; it answers whether nginx refuses.
func (x *examination) faults() (refused bool) {
	for _, f := range x.Config.Faults {
		place := f.File
		if f.Line > 0 {
			place = fmt.Sprintf("%s:%d", f.File, f.Line)
		}
		if f.Unread {
			x.unread = true
			what := "what nginx connects to is known in part only"
			if os.Geteuid() != 0 {
				what += "; run the command as root"
			}
			x.note(NginxUnread, x.Conf, place, f.Cause, "", what)
			continue
		}
		refused = true
		x.find(doctor.Finding{Code: NginxRefuses, Subject: x.Conf, Place: place, Cause: f.Cause, Why: refusal, Note: "mend the line; `nginx -t` shows whether it is good, then: " + x.Reload()})
	}
	return refused
}

const refusal = "nginx does not start; one that runs goes on with what it had read before, and every reload fails"

// Why a page does not come, in the words of nginx's error log.
const (
	noFile     = "nginx answers 502: connect() failed (2: No such file or directory)"
	refusedTCP = "nginx answers 502: connect() failed (111: Connection refused)"
	closed     = "nginx answers 502: upstream prematurely closed connection"
	tooBig     = "nginx answers 502: upstream sent too big header while reading response header from upstream"
)

func place(file string, line int) string { return fmt.Sprintf("%s:%d", file, line) }

// target looks at one directive that passes requests on.
func (x *examination) target(t *nginxconf.Target) {
	if t.Variable {
		if t.Protocol == nginxconf.UWSGI {
			x.variables = true
			x.note(TargetVariable, t.Text, place(t.File, t.Line), fmt.Sprintf("%s %s: only a request tells where it leads", t.Directive, t.Text), "", "")
		}
		return
	}
	if t.Wrong != "" && t.Upstream == "" {
		x.wrong(t)
		return
	}
	for _, e := range t.Endpoints {
		switch {
		case e.Wrong != "":
			x.wrongServer(t, e)
		case !e.Down:
			x.endpoint(t, e)
		}
	}
}

// wrong looks at a text that nginx refuses.
func (x *examination) wrong(t *nginxconf.Target) {
	f := doctor.Finding{Code: NginxRefuses, Subject: t.Text, Place: place(t.File, t.Line), Why: refusal,
		Cause: fmt.Sprintf("%s %s: nginx says: %s", t.Directive, t.Text, t.Wrong)}
	f.Note = "mend the line: a path is written unix:/PATH, TCP is HOST:PORT"
	if len(t.Endpoints) == 1 && t.Endpoints[0].Path != "" {
		path := t.Endpoints[0].Path
		protocol := t.Protocol
		if known := x.byKey[key(path)]; len(known) > 0 {
			x.Used = append(x.Used, known[0])
			f.Subject, protocol = known[0].name(), meets(known[0], t.Protocol)
		} else if like := nearest(path, x.all); len(like) == 1 {
			path, f.Subject, protocol = like[0].Address, like[0].name(), meets(like[0].Socket, t.Protocol)
			x.meant = append(x.meant, key(path))
		}
		if filepath.IsAbs(path) {
			if change, ok := replace(t.File, t.Line, t.Directive+" "+t.Text, x.pass(t, protocol, path)); ok {
				f.Commands, f.Note = []string{change, x.Reload()}, ""
			}
		}
	}
	x.find(f)
}

// wrongServer looks at a server of an upstream block that nginx refuses.
func (x *examination) wrongServer(t *nginxconf.Target, e nginxconf.Endpoint) {
	f := doctor.Finding{Code: NginxRefuses, Subject: e.Text, Place: place(e.File, e.Line), Why: refusal,
		Cause: fmt.Sprintf("server %s: nginx says: %s", e.Text, e.Wrong), Note: "mend the line: a path is written unix:/PATH, TCP is HOST:PORT"}
	if known := x.byKey[key(e.Path)]; len(known) > 0 {
		f.Subject = known[0].name()
		x.Used = append(x.Used, known[0])
	}
	if filepath.IsAbs(e.Path) && word.MatchString(e.Path) {
		if change, ok := replace(e.File, e.Line, "server "+e.Text, "server unix:"+e.Path); ok {
			f.Commands, f.Note = []string{change, x.Reload()}, ""
		}
	}
	x.find(f)
}

// meets is the protocol that a socket speaks, or the fallback where that is not known.
func meets(s Socket, fallback nginxconf.Protocol) nginxconf.Protocol {
	if s.Protocol != "" {
		return s.Protocol
	}
	return fallback
}

// pass writes the directive, without its last ";", that passes requests to an address in a protocol, in place of t.
// It is empty for an address that nginx might read as more than one word: a tenant chose it.
func (x *examination) pass(t *nginxconf.Target, p nginxconf.Protocol, address string) string {
	if !word.MatchString(address) {
		return ""
	}
	to := address
	if isPath(address) {
		to = "unix:" + address
	}
	switch p {
	case nginxconf.HTTP:
		return "proxy_pass http://" + to
	case nginxconf.UWSGI:
		if include := x.params(); t.Params["REQUEST_METHOD"] == "" && include != "" {
			return include + " uwsgi_pass " + to
		}
		return "uwsgi_pass " + to
	}
	return t.Directive + " " + to
}

// params is the directive that gives a location the variables of a request; empty where their file is not found.
func (x *examination) params() string {
	for _, dir := range []string{filepath.Dir(x.Conf), "/etc/nginx"} {
		if _, err := os.Stat(filepath.Join(dir, "uwsgi_params")); err == nil {
			if dir == filepath.Dir(x.Conf) {
				return "include uwsgi_params;"
			}
			return "include " + dir + "/uwsgi_params;"
		}
	}
	return ""
}

// endpoint looks at one place that nginx connects to.
func (x *examination) endpoint(t *nginxconf.Target, e nginxconf.Endpoint) {
	known := x.byKey[key(e.String())]
	if strings.HasPrefix(e.Path, "@") {
		x.abstract(e, known)
		return
	}
	if len(known) == 0 {
		x.unknown(t, e)
		return
	}
	x.Used = append(x.Used, known...)
	one := known[0]
	for _, other := range known[1:] {
		if other.Vassal != "" && other.Vassal != one.Vassal {
			x.note(SocketShared, one.name(), one.Address, fmt.Sprintf("%s and %s ask for the same socket: only one of them gets it", one.name(), other.name()), "", "give one of them another")
		}
	}
	if one.Protocol != "" && one.Protocol != t.Protocol {
		x.protocol(t, e, one)
		return
	}
	x.variablesOf(t, one)
}

// abstract looks at a name without a file, which nginx (1.22) takes for that of a file all the same.
func (x *examination) abstract(e nginxconf.Endpoint, known []Socket) {
	f := doctor.Finding{Code: TargetNotServed, Subject: e.Path, Place: place(e.File, e.Line), Why: noFile,
		Cause: fmt.Sprintf("nginx has no abstract sockets: it looks for a file called %s", e.Path),
		Note:  "give the application a socket with a path below /run, and write that here"}
	if len(known) > 0 {
		x.Used = append(x.Used, known...)
		f.Subject = known[0].name()
	}
	x.find(f)
}

// variablesOf wants the variables of the request for whoever speaks uwsgi.
func (x *examination) variablesOf(t *nginxconf.Target, one Socket) {
	if t.Protocol != nginxconf.UWSGI || t.Params["REQUEST_METHOD"] != "" {
		return
	}
	f := doctor.Finding{Code: NoParams, Subject: one.name(), Place: place(t.File, t.Line),
		Cause: fmt.Sprintf("%s %s without the variables of the request: no uwsgi_param REQUEST_METHOD counts here", t.Directive, t.Text),
		Why:   closed + " (uWSGI), or 500 (vassald)", Note: "a location, server or http block that has one uwsgi_param of its own inherits none"}
	if include := x.params(); include != "" {
		if change, ok := replace(t.File, t.Line, t.Directive+" "+t.Text, include+" "+t.Directive+" "+t.Text); ok {
			f.Commands = []string{change, x.Reload()}
		}
	}
	x.find(f)
}

// protocol looks at a socket that is spoken to in another protocol than its own.
func (x *examination) protocol(t *nginxconf.Target, e nginxconf.Endpoint, one Socket) {
	f := doctor.Finding{Code: WrongProtocol, Subject: one.name(), Place: place(t.File, t.Line),
		Cause: fmt.Sprintf("%s speaks %s to %s, which speaks %s", t.Directive, t.Protocol, e, one.Protocol), Why: closed,
		Note: "where " + t.Directive + " is meant, the vassal file needs a socket of the other kind"}
	if one.Protocol == nginxconf.UWSGI {
		f.Why += "; or 400"
	}
	address := e.String()
	if t.Upstream != "" {
		address = t.Upstream
	}
	text := x.pass(t, one.Protocol, address)
	if t.Upstream != "" { // the upstream's name takes the place of an address
		text = strings.Replace(text, "unix:"+address, address, 1)
	}
	if change, ok := replace(t.File, t.Line, t.Directive+" "+t.Text, text); ok {
		f.Commands = []string{change, x.Reload()}
		f.Note = ""
	}
	x.find(f)
}

// reloaded says that nginx has not seen a change of its files.
func (x *examination) reloaded() {
	const slack = 2 * time.Second // began is told to a second
	for _, pid := range x.Workers {
		begin := began(pid)
		if begin.IsZero() {
			continue
		}
		for _, file := range x.Config.Files {
			info, err := os.Stat(file)
			if err != nil || !info.ModTime().After(begin.Add(slack)) || info.ModTime().After(time.Now()) {
				continue
			}
			x.find(doctor.Finding{Code: NginxNotReloaded, Subject: x.Conf, Place: file,
				Cause: fmt.Sprintf("it was changed %s, and nginx runs with what it had read %s", info.ModTime().Format("2006-01-02 15:04:05"), begin.Format("2006-01-02 15:04:05")),
				Why:   "what is right in the file does not count yet", Commands: []string{x.Reload()}})
			return
		}
	}
}

// unused notes sockets of vassals that nothing leads to.
func (x *examination) unused() {
	if x.variables || x.unread {
		return
	}
	for _, s := range x.all {
		if slices.ContainsFunc(x.Used, func(u Socket) bool { return u.Address == s.Address }) || slices.Contains(x.meant, key(s.Address)) {
			continue
		}
		x.note(SocketUnused, s.name(), s.Address, "nothing in "+x.Conf+" leads to this socket", "", "")
	}
}

// OldGroups tells whether a worker's user could do more if nginx were reloaded: it returns the user as its processes
// would be now. Changed is false where that is no different.
func OldGroups(u access.User) (now access.User, changed bool) {
	if u.PID == 0 {
		return u, false
	}
	now, err := access.Lookup(u.Name)
	if err != nil || now.UID != u.UID {
		return u, false
	}
	now.GID = u.GID // of the directive user, or of the process that started it
	return now, !sameRights(now, u)
}

// Stale is the finding for a user whose groups are old.
func (s *Server) Stale(socket doctor.Socket, u access.User) doctor.Finding {
	subject := socket.Vassal
	if subject == "" {
		subject = socket.Address
	}
	return doctor.Finding{Code: NginxOldGroups, Subject: subject, Place: socket.Address,
		Cause: fmt.Sprintf("%s is in the group that may use the socket, but nginx's worker %d has been running since before that", u.Name, u.PID),
		Why:   "nginx answers 502: connect() failed (13: Permission denied)", Commands: []string{s.Reload()}}
}
