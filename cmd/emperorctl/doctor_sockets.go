package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

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
			all = append(all, webserver.Socket{Address: s.Address, Protocol: s.protocol, Vassal: p.vassal(), File: s.File, Line: s.Line})
		}
	}
	subjects := make(map[string]bool)
	for _, p := range chosen {
		subjects[p.name] = true
		for _, s := range p.sockets {
			subjects[s.Address] = true
		}
	}
	g.ask(ctx, chosen)
	used := make(map[string][]*webserver.Server)
	unused := make(map[string]int)
	var quiet []doctor.Finding
	for i := range servers {
		s := &servers[i]
		r := s.Examine(all)
		for _, f := range r.Findings {
			if f.Code == webserver.TargetNotServed && len(f.Commands) == 0 && g.Asked && os.Geteuid() != 0 { // a tenant is told of its own vassals only
				f.Code, f.Cause, f.Note = doctor.CannotLook, f.Cause+", as far as uid "+strconv.Itoa(os.Geteuid())+" is told", "it may be another user's: only root sees all vassals"
			}
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
					quiet = append(quiet, f)
				}
			case everything || f.Code == webserver.NginxUnread:
				g.d.Notes = append(g.d.Notes, f)
			}
		}
		for _, u := range r.Used {
			used[u.Address] = append(used[u.Address], s)
		}
		if everything {
			var others []doctor.Socket
			for _, other := range r.Others {
				if !foreign(other.Protocol) {
					others = append(others, doctor.Socket{Address: other.Address})
				}
			}
			g.Ask(ctx, others)
			for _, other := range r.Others {
				g.d.Sockets++
				g.examine(ctx, doctor.Socket{Address: other.Address}, other.Protocol, s)
			}
		}
	}
	g.d.Notes = append(g.d.Notes, gather(quiet)...)
	g.webs = make(map[string][]access.User)
	for address, list := range used {
		for _, server := range list {
			g.webs[address] = append(g.webs[address], server.Users...)
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

// gather makes one note of many: a machine may have hundreds of sockets that this nginx does not use.
func gather(unused []doctor.Finding) []doctor.Finding {
	const most = 10
	if len(unused) <= most {
		return unused
	}
	var some []string
	for _, f := range unused[:5] {
		some = append(some, f.Place+" of "+f.Subject)
	}
	one := unused[0]
	one.Subject, one.Place = "sockets", ""
	one.Cause = fmt.Sprintf("nothing in nginx's configuration leads to %d sockets: %s, …", len(unused), strings.Join(some, ", "))
	return []doctor.Finding{one}
}

// ask lets everybody who is to be examined answer at the same time: the first socket of each before the second of any, so that
// one with many takes no time from the others.
func (g *gathering) ask(ctx context.Context, chosen []*patient) {
	var all []doctor.Socket
	for turn := 0; ; turn++ {
		before := len(all)
		for _, p := range chosen {
			if turn < len(p.sockets) && !foreign(p.sockets[turn].protocol) {
				all = append(all, p.sockets[turn].Socket)
			}
		}
		if len(all) == before && turn >= maxSockets {
			break
		}
	}
	g.Ask(ctx, all)
}

// foreign tells whether something else than uwsgi is spoken.
func foreign(p nginxconf.Protocol) bool { return p != nginxconf.UWSGI && p != "" }

// examine examines a socket for every user of one nginx. Where a user gets no further because its processes are older than its
// groups, that takes the place of what else could be done about it.
func (g *gathering) examine(ctx context.Context, s doctor.Socket, protocol nginxconf.Protocol, server *webserver.Server) {
	for _, u := range server.Users {
		list := g.one(ctx, s, protocol, u)
		if now, changed := staleGroups(u, list); changed {
			if again := g.one(ctx, s, protocol, now); !denies(again) {
				list = append(again, server.Stale(s, u))
			}
		}
		for _, f := range list {
			g.d.find(f)
		}
	}
}

// staleGroups asks who a user would be now only where that may help: the answer costs a program.
func staleGroups(u access.User, list []doctor.Finding) (now access.User, changed bool) {
	if !denies(list) {
		return u, false
	}
	return webserver.OldGroups(u)
}

// denies tells whether rights are what is missing.
func denies(list []doctor.Finding) bool {
	return slices.ContainsFunc(list, func(f doctor.Finding) bool { return f.Code == doctor.NoWay || f.Code == doctor.SocketClosed })
}

// one examines a socket for one user. Where something else than uwsgi is spoken, answers do not count.
func (g *gathering) one(ctx context.Context, s doctor.Socket, protocol nginxconf.Protocol, u access.User) []doctor.Finding {
	x := *g.Examiner
	x.Webs = g.webs[s.Address]
	if foreign(protocol) {
		x.Patience = 50 * time.Millisecond // who connects is told at once whether anybody listens
	}
	list := x.Socket(ctx, s, u)
	if foreign(protocol) {
		list = slices.DeleteFunc(list, func(f doctor.Finding) bool { return slices.Contains(answers, f.Code) })
	}
	return list
}

// answers are findings about what is spoken at a socket.
var answers = []string{doctor.SpeaksHTTP, doctor.SpeaksOther, doctor.NoAnswer}

// listen finds out what is spoken at sockets of which only the address is known.
func (g *gathering) listen(ctx context.Context, chosen []*patient) {
	me, err := access.OfProcess(os.Getpid())
	if err != nil {
		return
	}
	g.ask(ctx, chosen)
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
