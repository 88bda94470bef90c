package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/configs/check"
	"github.com/emperord/emperord/protocol/api"
	"github.com/emperord/emperord/sockets"
	"github.com/emperord/emperord/sockets/access"
	"github.com/emperord/emperord/sockets/doctor"
	"github.com/emperord/emperord/sockets/nginxconf"
	"github.com/emperord/emperord/sockets/webserver"
)

// diagnosisVersion is the version of the document that --json prints. It changes when a field changes its meaning.
const diagnosisVersion = 1

// A complaint is what doctor is asked for.
type complaint struct {
	socket  string   // the emperor's control socket
	names   []string // vassals, vassal files or sockets; none: everything
	as      string   // the web server's user; empty: found out
	nginx   string   // its main configuration file; empty: found out
	folders []string // of vassal files, besides what the emperor watches; none, and no emperor: the usual ones
}

// A diagnosis is what doctor answers.
type diagnosis struct {
	Version  int              `json:"version"`
	Emperor  bool             `json:"emperor"` // one was asked
	Web      []webUser        `json:"web"`
	Vassals  int              `json:"vassals"` // examined
	Sockets  int              `json:"sockets"`
	Findings []doctor.Finding `json:"findings"` // a page does not come
	Notes    []doctor.Finding `json:"notes"`    // no page fails by it, or nothing could be said
}

// A webUser is who connects to the sockets.
type webUser struct {
	Name   string `json:"name"`
	UID    int    `json:"uid"`
	GID    int    `json:"gid"`
	Groups []int  `json:"groups"`
	Told   string `json:"told"` // how that is known
	Conf   string `json:"conf,omitempty"`
}

func newDoctor(o *options) *cobra.Command {
	var asJSON bool
	c := complaint{}
	verb := &cobra.Command{
		Use:   "doctor [VASSAL|SOCKET...]",
		Short: "Find out why a page does not come (502), and what mends it",
		Long: `doctor goes the way of a request: nginx's configuration and its user, every folder of every socket's path, the socket,
who listens there and whether it answers, and what the application itself needs. It says what is wrong, what one sees of it,
and the commands that mend it, for sh as root. It changes nothing.

A VASSAL is a vassal's name or its file, a SOCKET a path, @name or host:port, of a real uWSGI too. Without names everything
is examined. Without an emperor the vassal files of the usual folders are read; --vassals names others. Run it as root: others
are told what they could not look at.

Exit codes: 0 nothing found, 2 findings, or a mistake on the command line, 1 anything else.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			c.socket, c.names = o.socket, args
			d, err := diagnose(cmd.Context(), c)
			if err != nil {
				return err
			}
			if asJSON {
				err = o.json(d, nil)
			} else {
				err = d.print(o.out, colourful(o.out))
			}
			if err == nil && len(d.Findings) > 0 {
				err = silent{exitUsage}
			}
			return err
		},
	}
	f := verb.Flags()
	f.StringVar(&c.as, "as", "", "the web server's user, name or number (found out where nginx runs or is configured)")
	f.StringVar(&c.nginx, "nginx", "", "nginx's main configuration file (that of the nginx that runs, else /etc/nginx/nginx.conf)")
	f.StringArrayVar(&c.folders, "vassals", nil, "a folder of vassal files; may be repeated")
	f.BoolVar(&asJSON, "json", false, "write one JSON document")
	return verb
}

// diagnose examines what a complaint names. An error means that the question makes no sense, or that ctx has ended.
func diagnose(ctx context.Context, c complaint) (*diagnosis, error) {
	d := &diagnosis{Version: diagnosisVersion, Web: []webUser{}, Findings: []doctor.Finding{}, Notes: []doctor.Finding{}}
	servers, err := webserver.Find(ctx, c.as, c.nginx)
	if err != nil {
		return nil, usageError{err}
	}
	for _, s := range servers {
		for _, u := range s.Users {
			d.Web = append(d.Web, webUser{u.Name, u.UID, u.GID, append([]int{}, u.Groups...), s.Told, s.Conf})
		}
	}
	g := gathering{Examiner: &doctor.Examiner{}, d: d}
	g.emperor(ctx, c.socket)
	g.folders(c.folders)
	chosen, err := g.choose(c.names)
	if err != nil {
		return nil, usageError{err}
	}
	for _, p := range chosen {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if p.file == "" {
			continue
		}
		d.Vassals++
		for _, f := range g.Tenant(ctx, doctor.Tenant{Vassal: p.name, File: p.file, User: p.user}) {
			if strings.HasPrefix(f.Code, "socket-") { // the sockets are examined themselves
				continue
			}
			if !g.Asked && f.Code == string(check.WrongValue) { // the file may be a real uWSGI's, which takes what vassald does not
				continue
			}
			d.find(f)
		}
	}
	g.listen(ctx, chosen)
	g.web(ctx, servers, chosen, len(c.names) == 0)
	g.again()
	d.address(c.socket)
	slices.SortStableFunc(d.Findings, func(a, b doctor.Finding) int { return cmp.Compare(a.Subject, b.Subject) })
	slices.SortStableFunc(d.Notes, func(a, b doctor.Finding) int { return cmp.Compare(a.Subject, b.Subject) })
	return d, ctx.Err()
}

// find adds a finding, once. What could not be looked at is a note: nobody knows whether a page fails by it.
func (d *diagnosis) find(f doctor.Finding) {
	list := &d.Findings
	if f.Code == doctor.CannotLook {
		list = &d.Notes
	}
	if !slices.ContainsFunc(*list, func(o doctor.Finding) bool { return o.Code == f.Code && o.Place == f.Place && o.Cause == f.Cause }) {
		*list = append(*list, f)
	}
}

// address makes commands that ask the emperor ask this one.
func (d *diagnosis) address(socket string) {
	if socket == api.DefaultSocket {
		return
	}
	for i := range d.Findings {
		for j, command := range d.Findings[i].Commands {
			if rest, ok := strings.CutPrefix(command, "emperorctl "); ok {
				d.Findings[i].Commands[j] = "emperorctl --socket " + access.Quote(socket) + " " + rest
			}
		}
	}
}

// web examines the sockets, for everybody who connects to them, and what nginx's configuration says of them.
func (g *gathering) web(ctx context.Context, servers []webserver.Server, chosen []*patient, everything bool) {
	var all []webserver.Socket
	for _, p := range g.patients {
		for _, s := range p.sockets {
			all = append(all, webserver.Socket{Address: s.Address, Protocol: s.protocol, Vassal: p.vassal()})
		}
	}
	subjects := make(map[string]bool)
	for _, p := range chosen {
		subjects[p.name] = true
		for _, s := range p.sockets {
			subjects[s.Address] = true
		}
	}
	used := make(map[string][]*webserver.Server)
	unused := make(map[string]int)
	for i := range servers {
		s := &servers[i]
		r := s.Examine(all)
		for _, f := range r.Findings {
			if everything || subjects[f.Subject] || f.Code == webserver.NginxRefuses || f.Code == webserver.NginxNotReloaded {
				g.d.find(f)
			}
		}
		for _, f := range r.Notes {
			switch {
			case f.Code == webserver.SocketUnused:
				if unused[f.Place]++; unused[f.Place] < len(servers) {
					continue // another nginx may use it
				}
				if subjects[f.Subject] {
					g.d.Notes = append(g.d.Notes, f)
				}
			case everything || f.Code == webserver.NginxUnread:
				g.d.Notes = append(g.d.Notes, f)
			}
		}
		for _, u := range r.Used {
			used[u.Address] = append(used[u.Address], s)
		}
		if everything {
			for _, other := range r.Others {
				g.d.Sockets++
				g.examine(ctx, doctor.Socket{Address: other.Address}, other.Protocol, s)
			}
		}
	}
	for _, p := range chosen {
		for _, s := range p.sockets {
			g.d.Sockets++
			list := used[s.Address]
			if len(list) == 0 {
				for i := range servers {
					list = append(list, &servers[i])
				}
			}
			for _, server := range list {
				g.examine(ctx, s.Socket, s.protocol, server)
			}
		}
	}
}

// examine examines a socket for every user of one nginx. Where a user gets no further because its processes are older than its
// groups, that takes the place of what else could be done about it.
func (g *gathering) examine(ctx context.Context, s doctor.Socket, protocol nginxconf.Protocol, server *webserver.Server) {
	for _, u := range server.Users {
		list := g.one(ctx, s, protocol, u)
		if now, changed := webserver.OldGroups(u); changed && denies(list) {
			if again := g.one(ctx, s, protocol, now); !denies(again) {
				list = append(again, server.Stale(s, u))
			}
		}
		for _, f := range list {
			g.d.find(f)
		}
	}
}

// denies tells whether rights are what is missing.
func denies(list []doctor.Finding) bool {
	return slices.ContainsFunc(list, func(f doctor.Finding) bool { return f.Code == doctor.NoWay || f.Code == doctor.SocketClosed })
}

// one examines a socket for one user. Where something else than uwsgi is spoken, answers do not count.
func (g *gathering) one(ctx context.Context, s doctor.Socket, protocol nginxconf.Protocol, u access.User) []doctor.Finding {
	x := *g.Examiner
	foreign := protocol != nginxconf.UWSGI && protocol != ""
	if foreign {
		x.Patience = 50 * time.Millisecond // who connects is told at once whether anybody listens
	}
	list := x.Socket(ctx, s, u)
	if foreign {
		list = slices.DeleteFunc(list, func(f doctor.Finding) bool { return slices.Contains(answers, f.Code) })
	}
	for i, f := range list {
		if f.Code == doctor.VassalNotReady {
			list[i] = g.leftOver(s, f)
		}
	}
	return list
}

// leftOver looks whether a vassal does not start because a dead socket of somebody else is in its place: emperord removes only
// those of the vassal's own user, and its own.
func (g *gathering) leftOver(s doctor.Socket, f doctor.Finding) doctor.Finding {
	v := g.known(s.Vassal)
	if v == nil || v.State != api.Backoff && v.State != api.Refused {
		return f
	}
	at, err := access.Look(s.Address)
	if err != nil || at.Mode.Type() != fs.ModeSocket || at.UID == v.UID || at.UID == 0 || webserver.Listening(s.Address) {
		return f
	}
	return doctor.Finding{Code: doctor.NobodyListens, Subject: f.Subject, Place: s.Address,
		Cause: fmt.Sprintf("a dead socket (%s) is in the place of the vassal's, and emperord does not remove what is another user's", at),
		Why:   "nginx answers 502: connect() to the socket failed (111: Connection refused)",
		// as the folder's owner: whoever may change names on the way could have root remove something else
		Commands: []string{access.AsOwner(filepath.Dir(s.Address)) + "rm -f " + access.Quote(s.Address), start(v.Name)},
		Note:     "a uWSGI that ran as that user has left it"}
}

func start(vassal string) string { return "emperorctl start " + access.Quote(vassal) }

// known is what the emperor says of a vassal; nil: nothing.
func (g *gathering) known(name string) *api.Vassal {
	if i := slices.IndexFunc(g.Vassals, func(v api.Vassal) bool { return v.Name == name }); name != "" && i >= 0 {
		return &g.Vassals[i]
	}
	return nil
}

// again lets a vassal that has failed be started at once, behind the commands that mend why it fails. Where no such command is
// known, starting it again would not help.
func (g *gathering) again() {
	for i, f := range g.d.Findings {
		v := g.known(f.Subject)
		if f.Code != doctor.SocketMissing && f.Code != doctor.VassalNotReady || len(f.Commands) > 0 || v == nil || v.State != api.Backoff {
			continue
		}
		if slices.ContainsFunc(g.d.Findings[:i], func(o doctor.Finding) bool { return o.Subject == f.Subject && len(o.Commands) > 0 }) {
			g.d.Findings[i].Commands = []string{start(v.Name)}
		}
	}
}

// answers are findings about what is spoken at a socket.
var answers = []string{doctor.SpeaksHTTP, doctor.SpeaksOther, doctor.NoAnswer}

// listen finds out what is spoken at sockets of which only the address is known.
func (g *gathering) listen(ctx context.Context, chosen []*patient) {
	me, err := access.OfProcess(os.Getpid())
	if err != nil {
		return
	}
	for _, p := range chosen {
		for i := range p.sockets {
			if s := &p.sockets[i]; s.protocol == "" {
				switch list := g.Socket(ctx, s.Socket, me); {
				case len(list) == 0:
					s.protocol = nginxconf.UWSGI
				case list[0].Code == doctor.SpeaksHTTP:
					s.protocol = nginxconf.HTTP
				}
			}
		}
	}
}

// choose returns the patients that are named. A socket of nobody is a patient of its own.
func (g *gathering) choose(names []string) ([]*patient, error) {
	if len(names) == 0 {
		return g.patients, nil
	}
	var chosen []*patient
	for _, name := range names {
		p, err := g.named(name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(chosen, p) {
			chosen = append(chosen, p)
		}
	}
	return chosen, nil
}

// named finds a vassal by its name, its file or one of its sockets.
func (g *gathering) named(name string) (*patient, error) {
	for _, p := range g.patients {
		if p.name == name || p.file == name || strings.TrimSuffix(p.name, ".ini") == name {
			return p, nil
		}
	}
	for _, p := range g.patients {
		if slices.ContainsFunc(p.sockets, func(s listener) bool { return s.Address == name }) {
			return p, nil
		}
	}
	if p := patientFile(name); p != nil {
		g.patients = append(g.patients, p)
		return p, nil
	}
	a, err := sockets.ParseAddress(strings.TrimPrefix(name, "unix:"))
	if err == nil && (a.Kind != sockets.Unix || strings.HasPrefix(a.Path, "/")) {
		p := &patient{sockets: []listener{{Socket: doctor.Socket{Address: a.String()}}}}
		g.patients = append(g.patients, p)
		return p, nil
	}
	var known []string
	for _, p := range g.patients[:min(len(g.patients), 5)] {
		known = append(known, p.vassal())
	}
	if len(known) == 0 {
		return nil, fmt.Errorf("there is no vassal %s: no emperor was found, and no vassal file; name a socket's path, or --vassals FOLDER", configs.Printable(name))
	}
	return nil, fmt.Errorf("there is no vassal and no socket %s; there are: %s", configs.Printable(name), configs.Printable(strings.Join(known, ", ")))
}

// emperor asks the emperor for its vassals, and notes why that cannot be done.
func (g *gathering) emperor(ctx context.Context, socket string) {
	status, err := api.NewClient(socket).Status(ctx)
	var far *api.ConnectError
	switch {
	case err == nil:
		g.Asked, g.d.Emperor = true, true
		g.Vassals, g.Tyrant, g.PIDs = status.Vassals, status.Tyrant, []int{status.PID}
		g.EmperorFile = emperorFile(status.PID)
		for _, v := range status.Vassals {
			g.add(patientOf(v))
		}
	case errors.As(err, &far) && far.Cause == "there is no such socket" && socket == api.DefaultSocket: // a machine with a real uWSGI
	default:
		g.d.Notes = append(g.d.Notes, doctor.Finding{Code: noEmperor, Subject: "emperor", Place: socket, Cause: err.Error(), Note: "the vassal files alone are looked at"})
	}
}

// noEmperor is the code of the note that an emperor could not be asked.
const noEmperor = "no-emperor"
