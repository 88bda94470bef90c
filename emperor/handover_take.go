package emperor

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/cgroups"
	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/sockets"
)

// A taking makes an emperor of a document. Nothing that it does is seen from outside, so that after an error the program
// before may go on with the same document.
type taking struct {
	e         *Emperor
	c         clock
	d         *document
	listeners map[*vassal][]*sockets.Listener // in the document's order
}

// take makes what the document says ours. The loop does not run yet.
func (e *Emperor) take(d *document) error {
	t := &taking{e: e, c: newClock(), d: d, listeners: map[*vassal][]*sockets.Listener{}}
	e.started = d.Started.Wall // it is only shown
	e.strangers = d.Strangers
	e.program = d.Program
	e.upgrade.last, e.upgrade.reload = d.Upgrade, d.Reload
	for i := range d.Vassals {
		if err := t.vassal(&d.Vassals[i]); err != nil {
			return fmt.Errorf("cannot take over the vassal %s: %w", d.Vassals[i].Name, err)
		}
	}
	for _, r := range d.Remnants {
		e.remnants = append(e.remnants, remnant{r.Group, r.UID, r.Vassal, t.c.time(r.KillAt)})
	}
	for uid, a := range d.Lines {
		e.lines[uid] = &allowance{a.Left, t.c.time(a.At), a.Lost}
	}
	if err := e.leftovers.Restore(d.Leftovers); err != nil {
		return err
	}
	return t.own()
}

func (t *taking) vassal(in *vassalIn) error {
	s := in.Sighting
	v := &vassal{
		name: in.Name, attempts: map[Generation]*attempt{}, called: map[*sockets.Listener]string{},
		sighting:  sighting{in.Name, s.Path, s.Dir, s.Base, s.File, s.Monitor, s.Maker, s.Beside, stamp{s.Dev, s.Ino, s.Size, s.Sec, s.Nsec, s.Mode, s.UID, s.GID}},
		addresses: in.Addresses, exits: in.Exits, refused: in.Refused, drift: in.Drift, lost: in.Lost,
		up: in.Up, failing: t.c.time(in.Failing), leader: in.Leader, enough: t.c.time(in.Enough), dates: in.Dates, good: in.Good, starts: in.Starts, demand: in.Demand, notices: in.Notices,
	}
	if err := unpack(in.Life, &v.life, t.c); err != nil {
		return err
	}
	for _, l := range in.Listeners {
		listener, err := sockets.Restore(l.FD, l.Snapshot)
		if err != nil {
			return err
		}
		v.held = append(v.held, listener)
	}
	all := v.held
	t.listeners[v] = all
	v.held = at(all, in.Held)
	v.listeners = at(all, in.Own)
	for i, name := range in.Called {
		v.called[all[i]] = name
	}
	for _, l := range in.Lines {
		v.tail.lines = append(v.tail.lines, remembered{l.Generation, l.At, l.Text})
		v.tail.bytes += len(l.Text)
	}
	v.may.spent, v.may.at = in.Spent, t.c.time(in.SpentAt)
	for i := range in.Attempts {
		if err := t.attempt(v, all, &in.Attempts[i]); err != nil {
			return fmt.Errorf("generation %d: %w", in.Attempts[i].ID, err)
		}
	}
	v.serving = v.attempts[in.ServingID]
	if in.Serving != nil {
		v.serving = t.remembered(all, in.Serving)
	}
	for _, address := range v.addresses {
		t.e.addresses[address] = v
	}
	t.e.vassals[v.name] = v
	return nil
}

// at picks from a list.
func at(all []*sockets.Listener, places []int) (some []*sockets.Listener) {
	for _, i := range places {
		some = append(some, all[i])
	}
	return some
}

func (t *taking) remembered(all []*sockets.Listener, in *attemptIn) *attempt {
	a := &attempt{
		id: in.ID, who: in.Who, change: in.Change, root: in.Root, trusted: in.Trusted, user: in.User, answer: in.Answer, done: true, wanted: in.Wanted, notices: in.Notices,
		listeners: at(all, in.Listeners), since: t.c.time(in.Since), foreign: in.Foreign, told: in.Told, loyal: in.Loyal,
		document: in.Document, denied: in.Denied, restored: in.Restored, program: in.Program, starts: in.Starts, dir: in.Dir, asked: in.Asked, demand: demand{in.Demand, in.DemandedBy},
		attributes: in.Attributes, wrapper: in.Wrapper, chdir: in.Chdir, killed: in.Killed, ready: in.Ready, accepting: in.Accepting,
	}
	copy(a.sum[:], in.Sum)
	for _, j := range in.Adjust {
		a.adjust = append(a.adjust, adjustment{all[j.Listener], j.Request, j.Policy})
	}
	if in.Late != "" {
		a.late = errors.New(in.Late)
	}
	return a
}

func (t *taking) attempt(v *vassal, all []*sockets.Listener, in *attemptIn) error {
	a := t.remembered(all, in)
	v.attempts[a.id] = a
	a.pid, a.mark = in.PID, in.Mark
	for _, f := range []struct {
		fd   int
		name string
		kind uint32
		to   **os.File
	}{{in.Board, "board", unix.S_IFREG, &a.board}, {in.Pipe, "emperor pipe", unix.S_IFSOCK, &a.pipe}} {
		var err error
		if *f.to, err = descriptor(f.fd, f.name, f.kind); err != nil {
			return err
		}
	}
	var read *os.File
	if in.Output.FD != 0 {
		var err error
		if read, err = descriptor(in.Output.FD, "output", unix.S_IFIFO); err != nil {
			return err
		}
	}
	o := pausedOutput(v.name, a.who.UID, read, &v.tail, &v.may, a.id)
	o.rest, o.last, o.lost = in.Output.Rest, in.Output.Last, in.Output.Lost
	a.output = o
	t.e.processes[a.pid] = process{v: v, a: a}
	if in.Turn != nil {
		t.e.turns[a] = t.c.time(*in.Turn)
	}
	return nil
}

// descriptor takes a descriptor that was handed over, if it is one of that kind. It must not block: its reader is to be
// woken by deadlines.
func descriptor(fd int, name string, kind uint32) (*os.File, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != kind {
		return nil, fmt.Errorf("descriptor %d is no %s: %w", fd, name, errors.Join(err, unix.EBADF))
	}
	if kind != unix.S_IFREG {
		if err := unix.SetNonblock(fd, true); err != nil {
			return nil, fmt.Errorf("cannot use descriptor %d as %s: %w", fd, name, err)
		}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// groups takes the control groups over.
func (t *taking) groups() error {
	e, in := t.e, t.d.Groups
	e.cg = groups{bounds: map[string]*bounds{}, leaves: map[int]*cgroups.Leaf{}, users: e.limitedUsers()}
	if in == nil {
		return nil
	}
	tree, err := cgroups.RestoreTree(in.Tree, in.Lock)
	if err != nil {
		return err
	}
	e.cg.tree = tree
	known := map[string]*cgroups.Group{} // by path
	group := func(s cgroups.GroupSnapshot) *cgroups.Group {
		if known[s.Path] == nil {
			known[s.Path] = tree.RestoreGroup(s)
		}
		return known[s.Path]
	}
	for _, b := range in.Bounds {
		g := group(b.Group)
		made := &bounds{group: g, read: g.Events, limits: b.Limits, files: g.EventFiles(), seen: b.Seen, met: b.Met, oom: t.c.time(b.OOM), own: b.Own, said: map[string]time.Time{}, unsaid: b.Unsaid}
		for text, at := range b.Said {
			made.said[text] = t.c.time(at)
		}
		if made.unsaid == nil {
			made.unsaid = map[string]uint64{}
		}
		e.cg.bounds[b.Vassal] = made
	}
	leaf := func(pid int, vassal, path string) error {
		b := e.cg.bounds[vassal]
		if b == nil {
			return fmt.Errorf("the control group %s belongs to no vassal", path)
		}
		l, err := b.group.RestoreLeaf(path)
		if err == nil {
			e.cg.leaves[pid] = l
		}
		return err
	}
	for _, v := range t.d.Vassals {
		for _, a := range v.Attempts {
			if a.Leaf != "" {
				err = errors.Join(err, leaf(a.PID, v.Name, a.Leaf))
			}
		}
	}
	for _, l := range in.Ended {
		err = errors.Join(err, leaf(l.PID, l.Vassal, l.Path))
		made := e.cg.leaves[l.PID]
		e.processes[l.PID] = process{of: l.Vassal, then: func(children.Exit) { e.bury(made, l.Vassal) }}
	}
	for _, l := range in.Left {
		made, failed := group(l.Group).RestoreLeaf(l.Path)
		err = errors.Join(err, failed)
		e.cg.left = append(e.cg.left, leftover{leaf: made, vassal: l.Vassal, killAt: t.c.time(l.KillAt), kills: l.Kills})
	}
	return err
}

// control makes the control socket of the listener that was handed over.
func (t *taking) control() (*control, error) {
	in := t.d.Control
	if in == nil {
		return &control{}, nil
	}
	l, err := sockets.Restore(in.FD, in.Snapshot)
	if err != nil {
		return nil, err
	}
	c := &control{listener: l}
	return c, t.e.openHTTP(c)
}

// proceed lets everything go on that was taken over, or paused. It is the loop's first work.
func (e *Emperor) proceed() {
	for _, name := range e.names() {
		v := e.vassals[name]
		for _, a := range v.attempts {
			if a.pid == 0 {
				continue
			}
			if a.hearing == nil || isClosed(a.hearing) {
				_ = a.pipe.SetReadDeadline(time.Time{})
				e.listen(v, a)
			}
			if a.output.ended() {
				a.output.resume(e.sink)
			}
		}
		if id := v.life.Coming; id != 0 && !v.life.Process && v.attempts[id] == nil {
			e.again(v)
		}
		if v.life.State == Waiting {
			e.hang(v)
		}
		v.alarm = time.Time{}
		e.setAlarm(v)
	}
	e.lookIn(time.Now(), lookPause)
}

// again prepares the coming generation, which has no process yet, from the start when its turn comes.
func (e *Emperor) again(v *vassal) {
	id := v.life.Coming
	if a := v.attempts[id]; a != nil {
		e.discard(v, a)
	}
	v.life.Deadline = time.Time{} // Begun sets it when its turn comes, as at the first time
	a := newAttempt(v, id, v.life.Restoring)
	v.attempts[id] = a
	e.enqueue(v, a)
	e.prune(v)
	e.setAlarm(v)
}

// seen returns what a monitor of the vassals that are there would have seen. A vassal whose file has gone is left out: if
// the file is back, that is news.
func (e *Emperor) seen() map[string]sighting {
	seen := map[string]sighting{}
	for name, v := range e.vassals {
		if v.leader == "" && (v.life.State != Stopping || v.life.Then != Absent) {
			seen[name] = v.sighting
		}
	}
	return seen
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
