package webserver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/emperord/emperord/sockets/doctor"
	"github.com/emperord/emperord/sockets/nginxconf"
)

// unknown looks at a place that belongs to no vassal that is known.
func (x *examination) unknown(t *nginxconf.Target, e nginxconf.Endpoint) {
	address := e.String()
	there := listening(e)
	like := nearest(address, x.all)
	if t.Protocol != nginxconf.UWSGI { // some other kind of server's, unless it is a socket of ours but for a slip
		like = slices.DeleteFunc(like, func(n near) bool { return n.cost > 2 })
		if there || len(like) == 0 {
			return
		}
	}
	if there || len(like) == 0 && exists(e) {
		other := Socket{Address: address, Protocol: t.Protocol}
		if !slices.Contains(x.Others, other) {
			x.Others = append(x.Others, other)
		}
		x.variablesOf(t, other)
		return
	}
	f := doctor.Finding{Code: TargetNotServed, Subject: address, Place: place(e.File, e.Line), Why: noFile}
	if e.Path == "" {
		f.Why = refusedTCP
	}
	switch len(like) {
	case 0:
		if e.Path == "" && !loopback(e.Host) {
			return // on another machine
		}
		f.Cause = fmt.Sprintf("nginx connects to %s, and nobody listens there: no vassal asks for this socket", address)
		f.Note = "start its application, or write the socket of a vassal: " + x.some()
	case 1:
		one := like[0]
		x.meant = append(x.meant, key(one.Address))
		f.Subject = one.name()
		f.Cause = fmt.Sprintf("nginx connects to %s, where nobody listens; the socket of %s is %s: %s", address, one.name(), one.Address, one.how)
		f.Note = "if the line of nginx is right, change socket in the vassal file instead"
		x.redirect(&f, t, e, one.Socket)
	default:
		for _, one := range like {
			x.meant = append(x.meant, key(one.Address))
		}
		f.Cause = fmt.Sprintf("nginx connects to %s, where nobody listens", address)
		f.Note = "it may be meant for one of these: " + names(like)
	}
	if others(t) {
		f.Why = "nginx tries it, and then the other servers of the upstream block: requests are late, and 502 where no other answers"
	}
	x.find(f)
}

// others tells whether a target has more than one server that may answer.
func others(t *nginxconf.Target) bool {
	up := 0
	for _, e := range t.Endpoints {
		if !e.Down {
			up++
		}
	}
	return up > 1
}

// redirect adds the commands that lead nginx to the right socket.
func (x *examination) redirect(f *doctor.Finding, t *nginxconf.Target, e nginxconf.Endpoint, to Socket) {
	old, text := t.Directive+" "+t.Text, x.pass(t, meets(to, t.Protocol), to.Address)
	if t.Upstream != "" && text != "" {
		old, text = "server "+e.Text, "server "+to.Address
		if isPath(to.Address) {
			text = "server unix:" + to.Address
		}
	}
	if change, ok := replace(e.File, e.Line, old, text); ok {
		f.Commands = []string{change, x.Reload()}
	} else if text != "" {
		f.Note = fmt.Sprintf("write in %s: %s; then: %s", place(e.File, e.Line), text, x.Reload())
	}
}

// some names the sockets that vassals have.
func (x *examination) some() string {
	var text []string
	for _, s := range x.all[:min(len(x.all), 5)] {
		text = append(text, s.Address)
	}
	if len(text) == 0 {
		return "there is none"
	}
	return strings.Join(text, ", ")
}

// exists tells whether there is anything at a path, or whether that cannot be seen.
func exists(e nginxconf.Endpoint) bool {
	if e.Path == "" || strings.HasPrefix(e.Path, "@") {
		return false
	}
	_, err := os.Lstat(e.Path)
	return err == nil || errors.Is(err, fs.ErrPermission)
}

func loopback(host string) bool {
	return host == "localhost" || host == "::1" || strings.HasPrefix(host, "127.")
}
