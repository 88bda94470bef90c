package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/configs/check"
	"github.com/emperord/emperord/protocol/api"
	"github.com/emperord/emperord/shell"
	"github.com/emperord/emperord/sockets"
	"github.com/emperord/emperord/sockets/doctor"
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
	g.Again(d.Findings)
	d.address(c.socket)
	slices.SortStableFunc(d.Findings, func(a, b doctor.Finding) int {
		return cmp.Or(cmp.Compare(urgency(a), urgency(b)), cmp.Compare(a.Subject, b.Subject))
	})
	slices.SortStableFunc(d.Notes, func(a, b doctor.Finding) int { return cmp.Compare(a.Subject, b.Subject) })
	return d, ctx.Err()
}

// urgency puts first what takes all pages away.
func urgency(f doctor.Finding) int {
	if i := slices.Index([]string{webserver.NginxDown, webserver.NginxRefuses, emperorDown}, f.Code); i >= 0 {
		return i - 3
	}
	return 0
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
				d.Findings[i].Commands[j] = "emperorctl --socket " + shell.Quote(socket) + " " + rest
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
	switch {
	case err == nil:
		g.Asked, g.d.Emperor = true, true
		g.Vassals, g.Tyrant, g.PIDs = status.Vassals, status.Tyrant, []int{status.PID}
		g.EmperorFile = emperorFile(status.PID)
		for _, v := range status.Vassals {
			g.add(g.patientOf(v))
		}
	case socket == api.DefaultSocket && errors.Is(err, fs.ErrNotExist) && !there("/run/emperord") && !there(enabled): // a machine with a real uWSGI
	case socket == api.DefaultSocket && errors.Is(err, fs.ErrNotExist) && there(enabled), errors.Is(err, syscall.ECONNREFUSED):
		f := doctor.Finding{Code: emperorDown, Subject: "emperor", Place: socket, Cause: "emperord does not run", Why: "no page of its vassals comes: nginx answers 502"}
		f.Note = "start emperord; where another runs, name its emperor-control-socket with --socket. The vassal files alone are looked at"
		if _, err := os.Stat("/run/systemd/system"); err == nil && socket == api.DefaultSocket {
			f.Commands = []string{"systemctl start emperord"}
		}
		g.d.find(f)
	default:
		g.d.Notes = append(g.d.Notes, doctor.Finding{Code: noEmperor, Subject: "emperor", Place: socket, Cause: err.Error(), Note: "the vassal files alone are looked at"})
	}
}

// The codes of what is said of an emperor that could not be asked.
const (
	noEmperor   = "no-emperor"          // a note: why is not known, or not its fault
	emperorDown = "emperor-not-running" // it is enabled, or its socket is there, and nobody listens
)

// enabled is there where systemd starts emperord.
const enabled = "/etc/systemd/system/multi-user.target.wants/emperord.service"

func there(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}
