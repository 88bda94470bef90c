package emperor

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/emperord/emperord/notify"
	"github.com/emperord/emperord/pidfile"
	"github.com/emperord/emperord/sockets"
)

// An ownIn is what belongs to the emperor itself: its doors, its pid files, and what systemd keeps for it.
type ownIn struct {
	Statistics []listenerIn `json:"statistics,omitempty"`
	Commands   *datagramIn  `json:"commands,omitempty"`
	Trigger    *datagramIn  `json:"trigger,omitempty"`
	Pidfiles   []pidfileIn  `json:"pidfiles,omitempty"`
	Register   int          `json:"register,omitempty"` // store.register
	Given      []givenIn    `json:"given,omitempty"`    // store.given
	Rolling    []string     `json:"rolling,omitempty"`  // vassals that a reload of all has not come to yet
	Endings    []endingIn   `json:"endings,omitempty"`
	Strays     []strayIn    `json:"strays,omitempty"`
	Guard      int          `json:"guard,omitempty"` // its pid; the next program starts its own, and ends this one
	Phase      *phaseIn     `json:"phase,omitempty"` // nil: READY has been said
	Left       []leftIn     `json:"left,omitempty"`  // store.left
}

// A phaseIn is what systemd waits for: the READY after a start, or after a reload.
type phaseIn struct {
	Reloading bool                  `json:"reloading,omitempty"`
	Looked    bool                  `json:"looked,omitempty"`
	Waiting   map[string]Generation `json:"waiting,omitempty"`
	Began     moment                `json:"began"`
	Progress  moment                `json:"progress"`
}

type leftIn struct {
	Vassal string `json:"vassal"`
	listenerIn
}

type datagramIn struct {
	FD int `json:"fd"`
	sockets.DatagramSnapshot
}

type pidfileIn struct {
	Path   string `json:"path"`
	Folder int    `json:"folder"`
	File   int    `json:"file"`
}

type givenIn struct {
	FD   int    `json:"fd"`
	Name string `json:"name"`
}

type endingIn struct {
	Session int    `json:"session"`
	UID     int    `json:"uid"`
	Vassal  string `json:"vassal"`
	At      moment `json:"at"`
	KillAt  moment `json:"kill_at"`
	Mark    uint64 `json:"mark,omitempty"`
}

type strayIn struct {
	PID    int    `json:"pid"`
	UID    int    `json:"uid"`
	Vassal string `json:"vassal"`
	KillAt moment `json:"kill_at"`
}

// check finds what cannot be true.
func (o *ownIn) check(c *examination) error {
	var err error
	for _, s := range o.Statistics {
		err = errors.Join(err, c.fd("a socket of statistics", s.FD), s.Check())
	}
	for _, d := range []*datagramIn{o.Commands, o.Trigger} {
		if d != nil {
			err = errors.Join(err, c.fd("a datagram socket", d.FD), d.Check())
		}
	}
	for _, p := range o.Pidfiles {
		err = errors.Join(err, c.fd("the folder of "+p.Path, p.Folder), c.fd(p.Path, p.File))
	}
	if o.Register != 0 {
		err = errors.Join(err, c.fd("the register", o.Register))
	}
	for _, g := range o.Given {
		err = errors.Join(err, c.fd("a socket of systemd's", g.FD))
	}
	for _, l := range o.Left {
		err = errors.Join(err, c.fd("a socket that a killed emperor has left", l.FD), l.Check())
		if l.Slot == 0 || o.Register == 0 {
			err = errors.Join(err, fmt.Errorf("the socket %s was left in no store", l.Address))
		}
	}
	for _, s := range o.Endings {
		if s.Session <= 1 {
			err = errors.Join(err, fmt.Errorf("the session %d of %q has not ended", s.Session, s.Vassal))
		}
	}
	if o.Guard < 0 || o.Guard == 1 {
		err = errors.Join(err, fmt.Errorf("process %d is no guard", o.Guard))
	}
	for _, s := range o.Strays {
		if s.PID <= 1 {
			err = errors.Join(err, fmt.Errorf("process %d was not left by %q", s.PID, s.Vassal))
		}
	}
	return err
}

func (g *giving) own() ownIn {
	e := g.e
	o := ownIn{Rolling: e.rolling.waiting, Guard: cmp.Or(e.guarding.pid, e.guarding.former)}
	for _, s := range e.doors.statistics {
		o.Statistics = append(o.Statistics, listenerIn{FD: g.fd(s.listener.File), Snapshot: s.listener.Snapshot()})
	}
	o.Commands, o.Trigger = g.datagram(e.doors.commands), g.datagram(e.doors.trigger)
	for _, p := range e.pidfiles {
		path, folder, file := p.Snapshot()
		g.fds = append(g.fds, folder, file)
		o.Pidfiles = append(o.Pidfiles, pidfileIn{path, folder, file})
	}
	if r := e.store.register; r != nil {
		o.Register = g.fd(r)
	}
	for _, s := range e.store.given {
		g.fds = append(g.fds, s.FD())
		o.Given = append(o.Given, givenIn{s.FD(), s.Name})
	}
	for _, l := range e.store.left {
		in := leftIn{l.vassal, listenerIn{FD: g.fd(l.listener.File), Snapshot: l.listener.Snapshot(), Slot: l.slot + 1}}
		o.Left = append(o.Left, in)
	}
	o.Phase = g.phase()
	for _, x := range e.endings {
		o.Endings = append(o.Endings, endingIn{x.session, x.uid, x.vassal, g.c.moment(x.at), g.c.moment(x.killAt), x.mark})
	}
	for pid, s := range e.strays {
		o.Strays = append(o.Strays, strayIn{pid, s.uid, s.vassal, g.c.moment(s.killAt)})
	}
	return o
}

// phase is what systemd still waits for.
func (g *giving) phase() *phaseIn {
	s := &g.e.service
	if s.socket == nil || s.phase != coming && s.phase != reloading {
		return nil
	}
	in := &phaseIn{Reloading: s.phase == reloading, Looked: s.looked, Waiting: map[string]Generation{}, Began: g.c.moment(s.began), Progress: g.c.moment(s.progress)}
	for v, last := range s.waiting {
		if g.e.vassals[v.name] == v {
			in.Waiting[v.name] = last
		}
	}
	return in
}

func (g *giving) datagram(d *sockets.Datagram) *datagramIn {
	if d == nil {
		return nil
	}
	fd, err := d.FD()
	if err != nil && g.err == nil {
		g.err = fmt.Errorf("cannot hand over a datagram socket: %w", err)
	}
	g.fds = append(g.fds, fd)
	return &datagramIn{fd, d.Snapshot()}
}

// own takes over what is the emperor's own. As with all taking, nothing of it is seen from outside.
func (t *taking) own() error {
	e, o := t.e, &t.d.Own
	for _, in := range o.Statistics {
		l, err := sockets.Restore(in.FD, in.Snapshot)
		if err != nil {
			return err
		}
		s, err := e.newStatisticsServer(l)
		if err != nil {
			return err
		}
		e.doors.statistics = append(e.doors.statistics, s)
	}
	for _, d := range []struct {
		in *datagramIn
		to **sockets.Datagram
	}{{o.Commands, &e.doors.commands}, {o.Trigger, &e.doors.trigger}} {
		if d.in == nil {
			continue
		}
		var err error
		if *d.to, err = sockets.RestoreDatagram(d.in.FD, d.in.DatagramSnapshot); err != nil {
			return err
		}
	}
	if d := e.doors.commands; d != nil {
		if _, ok := d.PacketConn.(*net.UnixConn); !ok {
			return errors.New("the command socket is no Unix socket")
		}
	}
	for _, p := range o.Pidfiles {
		f, err := pidfile.Restore(p.Path, p.Folder, p.File)
		if err != nil {
			return err
		}
		e.pidfiles = append(e.pidfiles, f)
	}
	for _, x := range o.Endings {
		e.endings = append(e.endings, ending{x.Session, x.UID, x.Vassal, t.c.time(x.At), t.c.time(x.KillAt), x.Mark})
	}
	for _, s := range o.Strays {
		e.strays[s.PID] = stray{s.UID, s.Vassal, t.c.time(s.KillAt)}
	}
	e.rolling.waiting = o.Rolling
	if o.Guard != 0 {
		e.endsGuard(o.Guard)
	}
	return t.service()
}

// service goes on with what systemd is told and keeps.
func (t *taking) service() error {
	e, o := t.e, &t.d.Own
	s, st := &e.service, &e.store
	st.slots, st.most = map[*sockets.Listener]int{}, storeMost(e.o.Env)
	var err error
	if s.socket, err = notify.Open(e.o.Env); err != nil {
		return err // it could be opened when emperord was started
	}
	if s.socket != nil {
		if s.watchdog, err = notify.Watchdog(e.o.Env, os.Getpid()); err != nil {
			return err
		}
	}
	s.phase, s.looked, s.changed = running, true, true
	if o.Phase != nil && s.socket != nil {
		t.phase(o.Phase)
	}
	for _, in := range o.Given {
		g, err := sockets.NewGiven(in.FD, in.Name)
		if err != nil {
			return err
		}
		st.given = append(st.given, g)
	}
	if o.Register == 0 {
		return nil
	}
	if !isRegister(o.Register) {
		return fmt.Errorf("descriptor %d is no register", o.Register)
	}
	st.register = os.NewFile(uintptr(o.Register), "register")
	used := map[int]bool{}
	for i := range t.d.Vassals {
		v := e.vassals[t.d.Vassals[i].Name]
		for n, l := range t.d.Vassals[i].Listeners {
			if l.Slot == 0 || n >= len(t.listeners[v]) {
				continue
			}
			slot := l.Slot - 1
			if used[slot] || slot < 0 || slot >= maxSlots {
				return fmt.Errorf("the slot %d of systemd's store is given twice, or is none", slot)
			}
			used[slot] = true
			st.slots[t.listeners[v][n]] = slot
			st.next = max(st.next, slot+1)
			if l.Queued {
				st.queue = append(st.queue, t.listeners[v][n])
			}
		}
	}
	for _, in := range o.Left {
		l, err := sockets.Restore(in.FD, in.Snapshot)
		if err != nil {
			return err
		}
		slot := in.Slot - 1
		if used[slot] || slot < 0 || slot >= maxSlots {
			return fmt.Errorf("the slot %d of systemd's store is given twice, or is none", slot)
		}
		used[slot] = true
		st.left = append(st.left, &leftListener{listener: l, vassal: in.Vassal, slot: slot})
		st.slots[l] = slot
		st.next = max(st.next, slot+1)
	}
	for slot := range st.next {
		if !used[slot] {
			st.free = append(st.free, slot)
		}
	}
	return nil
}

// phase goes on waiting for the vassals that systemd waits for.
func (t *taking) phase(in *phaseIn) {
	s := &t.e.service
	s.phase, s.looked, s.waiting = coming, in.Looked, map[*vassal]Generation{}
	if in.Reloading {
		s.phase = reloading
	}
	for name, last := range in.Waiting {
		if v := t.e.vassals[name]; v != nil {
			s.waiting[v] = last
		}
	}
	s.began, s.progress, s.checkAt = t.c.time(in.Began), t.c.time(in.Progress), time.Now()
}

// withoutPassed leaves out what systemd says of descriptors that it has passed: they are handed over in our own way, and the number of
// the process, which is in there, stays the same.
func withoutPassed(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return name == "LISTEN_PID" || name == "LISTEN_FDS" || name == "LISTEN_FDNAMES"
	})
}
