package emperor

import (
	"fmt"
	"os"
	"slices"

	"github.com/emperord/emperord/protocol/api"
	"github.com/emperord/emperord/sockets"
)

// A giving collects the document, and the descriptors that go with it.
type giving struct {
	e   *Emperor
	c   clock
	fds []int
	err error
}

// document describes the emperor as it is now. Attempts that have no process yet are left out: the next program begins
// them anew. It changes nothing.
func (e *Emperor) document(program string, old *os.File, about api.Upgrade) (*document, []int, error) {
	g := &giving{e: e, c: newClock()}
	d := &document{
		Format: documentFormat, Version: e.o.Version, Program: program, Before: e.program, Old: g.fd(old),
		Upgrade: about, Reload: e.upgrade.reload, Must: settledIn(e.c), Settings: e.o.Settings, Powers: uint64(e.powers), Started: g.c.moment(e.started), Strangers: e.strangers,
		Leftovers: e.leftovers.Snapshot(), Lines: map[uint32]allowanceIn{},
	}
	if e.control != nil && e.control.listener != nil {
		d.Control = &listenerIn{FD: g.fd(e.control.listener.File), Snapshot: e.control.listener.Snapshot()}
	}
	for _, name := range e.names() {
		d.Vassals = append(d.Vassals, g.vassal(e.vassals[name]))
	}
	for _, r := range e.remnants {
		d.Remnants = append(d.Remnants, remnantIn{r.group, r.uid, r.vassal, g.c.moment(r.killAt)})
	}
	for uid, a := range e.lines {
		d.Lines[uid] = allowanceIn{a.left, g.c.moment(a.at), a.lost}
	}
	d.Groups = g.groups()
	d.Own = g.own()
	if d.Own.Phase != nil {
		d.Needs = append(d.Needs, needPhase)
	}
	if len(d.Own.Left) > 0 {
		d.Needs = append(d.Needs, needLeft)
	}
	return d, g.fds, g.err
}

// fd returns the number of a descriptor that goes along. It does not make it a blocking one, as File.Fd may.
func (g *giving) fd(f *os.File) int {
	fd, err := number(f)
	if err != nil && g.err == nil {
		g.err = fmt.Errorf("cannot hand over %s: %w", f.Name(), err)
	}
	g.fds = append(g.fds, fd)
	return fd
}

func number(f *os.File) (number int, err error) {
	raw, err := f.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { number = int(fd) })
	}
	return number, err
}

func (g *giving) vassal(v *vassal) vassalIn {
	s := v.sighting
	d := vassalIn{
		Name:     v.name,
		Sighting: sightingIn{s.path, s.dir, s.base, s.file, s.monitor, s.maker, s.beside, s.dev, s.ino, s.size, s.sec, s.nsec, s.mode, s.uid, s.gid},
		Called:   map[int]string{}, Addresses: v.addresses, Exits: v.exits, Refused: v.refused, Drift: v.drift, Lost: v.lost,
		Up: v.up, Failing: g.c.moment(v.failing), Leader: v.leader, Enough: g.c.moment(v.enough), Dates: v.dates, Good: v.good, Starts: v.starts, Demand: v.demand, Notices: v.notices,
	}
	life, err := pack(v.life, g.c)
	if err != nil && g.err == nil {
		g.err = fmt.Errorf("cannot hand over the vassal %s: %w", v.name, err)
	}
	d.Life = life
	for i, l := range v.held {
		in := listenerIn{FD: g.fd(l.File), Snapshot: l.Snapshot()}
		if slot, kept := g.e.store.slots[l]; kept {
			in.Slot, in.Queued = slot+1, slices.Contains(g.e.store.queue, l)
		}
		d.Listeners = append(d.Listeners, in)
		d.Held = append(d.Held, i)
		if name, has := v.called[l]; has {
			d.Called[i] = name
		}
	}
	d.Own = v.places(v.listeners)
	ids := make([]Generation, 0, len(v.attempts))
	for id := range v.attempts {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		if a := v.attempts[id]; a.pid != 0 {
			d.Attempts = append(d.Attempts, g.attempt(v, a))
		}
	}
	switch a := v.serving; {
	case a == nil:
	case v.attempts[a.id] == a && a.pid != 0:
		d.ServingID = a.id
	default:
		gone := g.remembered(v, a)
		d.Serving = &gone
	}
	v.tail.mu.Lock()
	for _, l := range v.tail.lines {
		d.Lines = append(d.Lines, lineIn{l.generation, l.at.Round(0), slices.Clone(l.text)})
	}
	v.tail.mu.Unlock()
	v.may.mu.Lock()
	d.Spent, d.SpentAt = v.may.spent, g.c.moment(v.may.at)
	v.may.mu.Unlock()
	return d
}

// places says where in held the listeners of a list are. Those that have been closed are left out.
func (v *vassal) places(list []*sockets.Listener) (places []int) {
	for _, l := range list {
		if i := slices.Index(v.held, l); i >= 0 {
			places = append(places, i)
		}
	}
	return places
}

// remembered is what there is of an attempt beside its process.
func (g *giving) remembered(v *vassal, a *attempt) attemptIn {
	d := attemptIn{
		ID: a.id, Who: a.who, Change: a.change, Root: a.root, Trusted: a.trusted, User: a.user, Answer: a.answer, Wanted: a.wanted, Notices: a.notices,
		Listeners: v.places(a.listeners), Since: g.c.moment(a.since), Foreign: a.foreign, Told: a.told, Loyal: a.loyal,
		Document: a.document, Denied: a.denied, Restored: a.restored, Program: a.program, Starts: a.starts, Dir: a.dir, Asked: a.asked, Demand: a.demand.address, DemandedBy: a.demand.option,
		Attributes: a.attributes, Wrapper: a.wrapper, Chdir: a.chdir, Sum: a.sum[:], Killed: a.killed, Ready: a.ready, Accepting: a.accepting,
	}
	for _, j := range a.adjust {
		for _, i := range v.places([]*sockets.Listener{j.listener}) {
			d.Adjust = append(d.Adjust, adjustmentIn{i, j.request, j.policy})
		}
	}
	if a.late != nil {
		d.Late = a.late.Error()
	}
	return d
}

func (g *giving) attempt(v *vassal, a *attempt) attemptIn {
	d := g.remembered(v, a)
	d.Mark = a.mark
	d.PID, d.Board, d.Pipe = a.pid, g.fd(a.board), g.fd(a.pipe)
	if until, has := g.e.turns[a]; has {
		turn := g.c.moment(until)
		d.Turn = &turn
	}
	o := a.output
	d.Output = &outputIn{}
	if fd, err := number(o.read); err == nil && !o.over.Load() { // else its processes have closed it
		d.Output.FD, g.fds = fd, append(g.fds, fd)
	}
	if o.ended() { // else its reader has them, and this is for a dry run
		d.Output.Rest, d.Output.Lost = o.rest, o.lost
	}
	o.mu.Lock()
	d.Output.Last = slices.Clone(o.last)
	o.mu.Unlock()
	if leaf := g.e.cg.leaves[a.pid]; leaf != nil {
		d.Leaf = leaf.Path()
	}
	return d
}

func (g *giving) groups() *groupsIn {
	cg := &g.e.cg
	if cg.tree == nil {
		return nil
	}
	tree, lock := cg.tree.Snapshot()
	d := &groupsIn{Tree: tree, Lock: g.fd(lock)}
	for name, b := range cg.bounds {
		in := boundsIn{Vassal: name, Group: b.group.Snapshot(), Limits: b.limits, Seen: b.seen, Met: b.met, OOM: g.c.moment(b.oom), Own: b.own, Said: map[string]moment{}, Unsaid: b.unsaid}
		for text, at := range b.said {
			in.Said[text] = g.c.moment(at)
		}
		d.Bounds = append(d.Bounds, in)
	}
	for pid, leaf := range cg.leaves {
		if p := g.e.processes[pid]; p.a != nil && p.a.pid == pid && p.v.attempts[p.a.id] == p.a {
			continue // with its attempt
		}
		d.Ended = append(d.Ended, leafIn{pid, g.e.processes[pid].vassalName(), leaf.Path()})
	}
	for _, l := range cg.left {
		d.Left = append(d.Left, leftoverIn{l.vassal, l.leaf.GroupSnapshot(), l.leaf.Path(), g.c.moment(l.killAt), l.kills})
	}
	return d
}

func (p process) vassalName() string {
	if p.v == nil {
		return p.of
	}
	return p.v.name
}
