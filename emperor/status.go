package emperor

import (
	"fmt"
	"os"
	"os/user"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"github.com/emperord/emperord/protocol/api"
	"github.com/emperord/emperord/sockets"
)

// status describes the vassals that may be seen.
func (e *Emperor) status(may func(*vassal) bool) api.Status {
	s := api.Status{Version: e.o.Version, PID: os.Getpid(), Tyrant: e.tyrant, Sources: e.c.Sources, Started: e.started, Goroutines: runtime.NumGoroutine(), Vassals: []api.Vassal{}}
	for _, v := range e.vassals {
		if may(v) {
			s.Vassals = append(s.Vassals, e.describe(v))
		}
	}
	slices.SortFunc(s.Vassals, func(a, b api.Vassal) int { return strings.Compare(a.Name, b.Name) })
	return s
}

// giveNames looks up the names of users and groups. It reads files, or asks a directory, so it is not for the loop.
func (d *directory) giveNames(vassals []api.Vassal) {
	users, groups := map[int]string{}, map[int]string{}
	name := func(known map[int]string, id int, look func(int) string) string {
		if _, there := known[id]; !there {
			known[id] = look(id)
		}
		return known[id]
	}
	for i := range vassals {
		v := &vassals[i]
		if v.UID >= 0 {
			v.User, v.Group = name(users, v.UID, d.userName), name(groups, v.GID, groupName)
		}
		for j := range v.Sockets {
			s := &v.Sockets[j]
			if uid, err := strconv.Atoi(s.Owner); err == nil {
				s.Owner = name(users, uid, d.userName)
			}
			if gid, err := strconv.Atoi(s.Group); err == nil {
				s.Group = name(groups, gid, groupName)
			}
		}
	}
}

// describe tells all there is to know of one vassal.
func (e *Emperor) describe(v *vassal) api.Vassal {
	l := v.life
	d := api.Vassal{
		Name: v.name, File: v.path, State: api.State(l.State.String()), Since: l.Since, Reason: l.Reason,
		UID: int(v.uid), GID: int(v.gid), Restarts: l.Restarts, Starts: v.starts, Signs: v.dates.signs(),
	}
	best := v.attempts[l.Serving]
	if best == nil {
		best = v.attempts[l.Coming]
	}
	if best == nil {
		best = v.serving
	}
	if best != nil && best.answer != nil {
		d.UID, d.GID, d.RunsAsRoot, d.Notices = best.who.UID, best.who.GID, best.root && l.State != Refused, best.notices
	} else if !e.tyrant {
		d.UID, d.GID = -1, -1
	}
	if l.State == Waiting && v.notices != nil {
		d.Notices = v.notices
	}
	if a := v.attempts[l.Serving]; a != nil {
		d.PID = a.pid
	}
	if l.State == Backoff {
		d.NextTry = &l.Deadline
	}
	for _, s := range v.held {
		d.Sockets = append(d.Sockets, describeSocket(s))
	}
	if best != nil {
		d.Attributes = best.attributes
	}
	add := func(id Generation, role api.Role) {
		if a := v.attempts[id]; a != nil && a.pid != 0 {
			d.Generations = append(d.Generations, api.Generation{PID: a.pid, Role: role, Since: a.since, Ready: a.ready, Accepting: a.accepting, Loyal: a.loyal})
		}
	}
	add(l.Serving, api.Serving)
	add(l.Coming, api.Coming)
	for _, old := range l.Leaving {
		add(old.ID, api.Leaving)
	}
	return d
}

func describeSocket(l *sockets.Listener) api.Socket {
	s := api.Socket{Address: l.Address.String()}
	if l.Address.Kind == sockets.Unix {
		s.Mode = fmt.Sprintf("%04o", l.Owned().Mode.Perm())
		s.Owner, s.Group = strconv.Itoa(l.Owned().UID), strconv.Itoa(l.Owned().GID) // giveNames turns them into names
	}
	return s
}

func (d *directory) userName(uid int) string {
	text := strconv.Itoa(uid)
	if p, known := d.user(text); known {
		return p.name
	}
	return text
}

func groupName(gid int) string {
	text := strconv.Itoa(gid)
	if g, err := user.LookupGroupId(text); err == nil {
		return g.Name
	}
	return text
}

// report writes the status to the log: what SIGUSR1 asks for.
func (e *Emperor) report() {
	counts := map[State]int{}
	for _, v := range e.vassals {
		counts[v.life.State]++
	}
	summary := []zap.Field{zap.Int("vassals", len(e.vassals))}
	for s := Absent; s <= Waiting; s++ {
		if counts[s] > 0 {
			summary = append(summary, zap.Int(s.String(), counts[s]))
		}
	}
	e.log.Info("status", summary...)
	for _, d := range e.status(func(*vassal) bool { return true }).Vassals {
		e.log.Info("status", zap.String(fieldVassal, d.Name), zap.String(fieldState, string(d.State)), zap.Time("since", d.Since),
			zap.Int(fieldPID, d.PID), zap.Int("uid", d.UID), zap.Int("restarts", d.Restarts), zap.String(fieldReason, d.Reason))
	}
}
