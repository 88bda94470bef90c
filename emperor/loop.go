package emperor

import (
	"container/heap"
	"context"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/protocol/pipe"
	"github.com/emperord/emperord/sockets"
)

// loop is the one place where lives change, children are started, signalled and reaped, and listeners are held.
func (e *Emperor) loop(ctx context.Context, sources []source) error {
	reap := make(chan os.Signal, 1) // a poke: how many children it stands for does not matter
	signal.Notify(reap, syscall.SIGCHLD)
	defer signal.Stop(reap)
	broken := make(chan os.Signal, 1) // a log whose reader has gone must not end us (os/signal, "SIGPIPE")
	signal.Notify(broken, syscall.SIGPIPE)
	defer signal.Stop(broken)

	watching, unwatch := context.WithCancel(ctx)
	defer unwatch()
	m := e.newMonitor(sources)
	e.monitor = m
	begun := false
	if e.o.Handover == nil {
		e.startUp()
	}
	e.helpers.Go(e.control.serve)
	e.serveDoors(m.now)
	e.startSentry(watching)
	if err := e.startBells(watching); err != nil {
		return err
	}

	var above chan pipe.Word
	if s := e.o.Superior; s != nil {
		above = make(chan pipe.Word)
		s.say(pipe.Spawned)
		e.helpers.Go(func() { s.hear(above, e.closing) })
	}
	e.proceed()

	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	quit := ctx.Done()
	e.reap() // PID 1 may have been given orphans before it listened
	for !e.leaving || len(e.vassals) > 0 || len(e.remnants) > 0 || len(e.strays) > 0 || !e.lookAt.IsZero() || len(e.cg.left) > 0 || e.hooks.any() {
		switch {
		case begun:
		case e.hooks.fault != nil:
			begun = true
			e.shutdown(e.hooks.fault.Error())
		case !e.hooks.any(): // those of the start have run: nothing else has any yet
			begun = true
			e.helpers.Go(func() { m.run(watching) })
		}
		e.roll(time.Now())
		e.schedule()
		e.scheduleHooks()
		e.goOn()
		e.attend()
		next := e.nextAlarm()
		timer.Reset(time.Until(next))
		select {
		case <-quit:
			quit = nil
			unwatch()
			why := "the program was told to end"
			if cause := context.Cause(ctx); cause != context.Canceled {
				why = cause.Error()
			}
			e.shutdown(why)
		case s := <-e.signals:
			switch s {
			case syscall.SIGHUP:
				e.reloads()
			case syscall.SIGUSR1:
				e.report()
			case syscall.SIGWINCH:
				select {
				case m.now <- struct{}{}:
				default:
				}
			default:
				unwatch()
				e.shutdown(s.String())
			}
		case w, open := <-above:
			if !open {
				above = nil
			}
			if e.heed(w, open) {
				unwatch()
			}
		case <-e.o.Urgent:
			e.log.Info("forgetting failures; who waits because of them is tried now")
			e.all(Forgive{})
		case <-reap:
			e.reap()
		case work := <-e.events:
			work()
		case <-timer.C:
			e.excuse(time.Since(next))
			e.ring()
		}
	}
	e.sweepAll()
	return e.hooks.fault
}

func (e *Emperor) newMonitor(sources []source) *monitor {
	m := &monitor{
		sources: sources, extra: e.c.ExtraExtensions, of: links{time: e.c.NoFollow, owner: e.tyrant && (e.c.NoFollow || e.c.TyrantNoFollow), roots: e.c.TyrantNoFollow}, freq: e.c.Freq, most: e.c.MaxPerUser, users: e.directory, now: make(chan struct{}, 1),
		report: func(changes []change) { e.tell(func() { e.changed(changes) }) },
		say:    func(msg string, err error) { e.complain(msg, err) },
		first:  func() { e.tell(e.firstLook) },
		seen:   e.seen(),
	}
	m.newScout()
	return m
}

// firstLook is called when the monitor has looked at everything for the first time: all vassals that were there at the start
// are known.
func (e *Emperor) firstLook() {
	e.awaitFirst()
	if s := e.o.Superior; s != nil {
		s.say(pipe.Accepting, pipe.Loyal)
	}
}

func (e *Emperor) complain(msg string, err error) {
	if msg == "" {
		e.log.Warn("something is wrong with a source", zap.String(fieldReason, pipe.Clean(err.Error(), 1<<10)))
		return
	}
	e.log.Warn(msg, zap.String(fieldReason, pipe.Clean(err.Error(), 1<<10)))
}

// changed takes what the monitor has found.
func (e *Emperor) changed(changes []change) {
	if e.leaving {
		return
	}
	for _, c := range changes {
		v := e.vassals[c.name]
		if v == nil {
			if c.event == (Gone{}) {
				continue
			}
			v = &vassal{name: c.name, attempts: map[Generation]*attempt{}, called: map[*sockets.Listener]string{}}
			if e.served(c.name) {
				v.life.Served = e.started // its sockets are kept while it fails for a while, as they would have been
			}
			e.vassals[c.name] = v
			e.awaitReady(v)
		}
		if c.event != (Gone{}) {
			v.sighting = c.sighting
			v.dates.seen(time.Now(), c.stamp)
		}
		e.step(v, c.event)
	}
}

// names are those of all vassals, in order.
func (e *Emperor) names() []string {
	names := make([]string, 0, len(e.vassals))
	for name := range e.vassals {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// all tells every vassal the same, in the order of their names.
func (e *Emperor) all(event Event) {
	for _, name := range e.names() {
		if v := e.vassals[name]; v != nil {
			e.step(v, event)
		}
	}
}

// impatience is how soon a second signal to stop may come without meaning more: timeout(1) and others signal a process
// and then its group.
const impatience = 500 * time.Millisecond

// shutdown stops everything; when asked again, at once.
func (e *Emperor) shutdown(why string) {
	if e.leaving {
		if time.Since(e.leavingAt) < impatience {
			return
		}
		e.log.Warn("told to stop again: killing what is left", zap.String(fieldReason, why))
		for _, v := range e.vassals {
			for _, a := range v.attempts {
				e.kill(a)
			}
		}
		for pid, s := range e.strays {
			s.killAt = time.Now()
			e.strays[pid] = s
		}
		e.hooks.waiting = nil
		for pid, h := range e.hooks.running {
			e.killHook(pid, h)
		}
		return
	}
	e.log.Info("stopping all vassals", zap.String(fieldReason, why))
	e.leaving, e.leavingAt = true, time.Now()
	e.lookIn(e.leavingAt, 0)
	e.announceStop()
	e.hurryLeft()
	e.rolling.waiting = nil
	e.hurryHooks(e.leavingAt)
	e.all(Shutdown{})
}

// reap takes every child that has ended.
func (e *Emperor) reap() {
	now := time.Now()
	for _, x := range children.Reap() {
		p, ours := e.processes[x.PID]
		delete(e.processes, x.PID)
		leaf := e.cg.leaves[x.PID]
		delete(e.cg.leaves, x.PID)
		e.strangers = slices.DeleteFunc(e.strangers, func(pid int) bool { return pid == x.PID })
		if ours && p.then != nil {
			p.then(x)
			continue
		}
		if !ours || p.getent { // an orphan that the kernel gave us, or getent, whose answer says all
			delete(e.strays, x.PID)
			delete(e.passed, x.PID)
			e.lookIn(now, lookPause)
			continue
		}
		if p.hook != nil {
			e.sweep(x.PID, p.hook.uid(), p.hook.name)
			e.hookEnded(p.hook, x)
			if leaf != nil {
				e.bury(leaf, p.hook.name)
			}
			continue
		}
		mercy, pause := remnantMercy, lookPause
		if p.a.killed {
			mercy, pause = 0, 0
		}
		switch {
		case e.leaving:
			pause = 0
		case p.resolver && x.Clean():
			pause = calmerPause
		}
		e.leaderEnded(x.PID, p.a.who.UID, p.v.name, mercy, pause)
		e.sweep(x.PID, p.a.who.UID, p.v.name)
		if p.reader != nil {
			e.forsake(p.reader)
		} else if p.resolver {
			e.resolverEnded(p.v, p.a, x)
		} else {
			e.vassalEnded(p.v, p.a, x)
		}
		if leaf != nil { // after its counters have been read
			e.bury(leaf, p.v.name)
		}
	}
	e.remnants = slices.DeleteFunc(e.remnants, func(r remnant) bool { return !children.InGroup(r.group) })
}

// sweep asks what is left of a dead leader's session to terminate. What is still there a second later is killed.
func (e *Emperor) sweep(group, uid int, name string) {
	if e.signalGroup(group, uid, syscall.SIGTERM) {
		e.remnants = append(e.remnants, remnant{group, uid, name, time.Now().Add(remnantMercy)})
	}
}

// signalGroup sends sig to a group if a child of ours is in it, and tells whether one was.
func (e *Emperor) signalGroup(group, uid int, sig syscall.Signal) bool {
	if group <= 1 || !children.InGroup(group) {
		return false
	}
	_ = e.signal(-group, uid, sig) // ESRCH and EPERM leave nothing that this process could do
	return true
}

// sweepAll ends, after the last vassal, the descendants that had left their sessions.
func (e *Emperor) sweepAll() {
	for tries := 0; tries < 100; tries++ {
		kids, err := children.Kids()
		kids = slices.DeleteFunc(kids, e.isStranger)
		if err != nil || len(kids) == 0 {
			return
		}
		sig := syscall.SIGTERM
		if tries > 50 {
			sig = syscall.SIGKILL
		}
		if tries == 0 || tries == 51 {
			e.log.Info("ending processes that vassals have left behind", zap.Ints("pids", kids), zap.Stringer("signal", sig))
		}
		for _, pid := range kids {
			_ = e.signal(pid, userOf(pid), sig) // not reaped yet, so it is still the one we mean
		}
		time.Sleep(20 * time.Millisecond)
		children.Reap()
	}
	if kids, err := children.Kids(); err == nil && len(slices.DeleteFunc(kids, e.isStranger)) > 0 {
		e.log.Error("some processes that vassals have left behind do not end, or fork faster than they are killed", zap.Ints("pids", kids[:min(len(kids), 20)]))
	}
}

// An alarm is a moment at which a vassal wants Due.
type alarm struct {
	at time.Time
	v  *vassal
}

// alarms is a heap, earliest first. An alarm that its vassal does not want any more stays and rings for nothing.
type alarms []alarm

func (a alarms) Len() int           { return len(a) }
func (a alarms) Less(i, j int) bool { return a[i].at.Before(a[j].at) }
func (a alarms) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }

// Push is for container/heap.
func (a *alarms) Push(x any) { *a = append(*a, x.(alarm)) }

// Pop is for container/heap.
func (a *alarms) Pop() any {
	old := *a
	x := old[len(old)-1]
	*a = old[:len(old)-1]
	return x
}

// nextAlarm returns when the loop has something to do though nothing happens.
func (e *Emperor) nextAlarm() time.Time {
	next := time.Now().Add(time.Hour)
	earlier := func(t time.Time) {
		if t.Before(next) {
			next = t
		}
	}
	if len(e.alarms) > 0 {
		earlier(e.alarms[0].at)
	}
	for _, r := range e.remnants {
		earlier(r.killAt)
	}
	if !e.lookAt.IsZero() {
		earlier(e.lookAt)
	}
	for _, s := range e.strays {
		earlier(s.killAt)
	}
	e.attendance(earlier)
	if e.upgrade.quiet() {
		earlier(time.Now().Add(calm))
	}
	for _, l := range e.cg.left {
		earlier(l.killAt)
	}
	for _, h := range e.hooks.running {
		earlier(h.killAt)
	}
	if e.waiting() {
		for _, until := range e.turns {
			earlier(until)
		}
	}
	if len(e.rolling.waiting) > 0 {
		for _, u := range e.rolling.under {
			earlier(u.until)
		}
	}
	return next
}

// ring does what is due.
func (e *Emperor) ring() {
	now := time.Now()
	for i := range e.remnants {
		r := &e.remnants[i]
		if r.killAt.After(now) {
			continue
		}
		if e.signalGroup(r.group, r.uid, syscall.SIGKILL) {
			e.log.Warn("killed what was left of a vassal", zap.String(fieldVassal, r.vassal), zap.Int("group", r.group))
		}
		r.killAt = now.Add(remnantMercy)
	}
	e.ringLeft(now)
	e.look(now)
	e.killStrays(now)
	e.ringHooks(now)
	for len(e.alarms) > 0 && !e.alarms[0].at.After(now) {
		a := heap.Pop(&e.alarms).(alarm)
		if a.v.alarm.Equal(a.at) {
			a.v.alarm = time.Time{}
			e.step(a.v, Due{})
		}
	}
}

// setAlarm notes when v wants Due.
func (e *Emperor) setAlarm(v *vassal) {
	due := v.life.Due()
	if due.Equal(v.alarm) {
		return
	}
	v.alarm = due
	if !due.IsZero() {
		heap.Push(&e.alarms, alarm{due, v})
	}
}
