package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/emperord/emperord/protocol/api"
	"github.com/emperord/emperord/sockets/access"
	"github.com/emperord/emperord/sockets/doctor"
	"github.com/emperord/emperord/sockets/nginxconf"
	"github.com/emperord/emperord/sockets/webserver"
)

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
