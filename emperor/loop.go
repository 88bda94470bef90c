package emperor

import (
	"context"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

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
	e.beginGuard()
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
	e.endGuard()
	return e.hooks.fault
}

func (e *Emperor) newMonitor(sources []source) *monitor {
	m := &monitor{
		sources: sources, extra: e.c.ExtraExtensions, of: links{beside: e.c.OnDemandExtension, time: e.c.NoFollow, owner: e.tyrant && (e.c.NoFollow || e.c.TyrantNoFollow), roots: e.c.TyrantNoFollow}, freq: e.c.Freq, most: e.c.MaxPerUser, users: e.directory, now: make(chan struct{}, 1),
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
		if v != nil {
			e.sayChange(v, c)
		} else {
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
			v.sighting, v.alone = c.sighting, false
			v.dates.seen(time.Now(), c.stamp)
		}
		e.step(v, c.event)
	}
}

// sayChange says what was seen of a vassal that is known.
func (e *Emperor) sayChange(v *vassal, c change) {
	what := "it is gone"
	if c.event != (Gone{}) {
		what = c.sighting.news(v.sighting)
	}
	e.about(v).Info("vassal file changed", zap.String(fieldVassal, v.name), zap.Uint32(fieldUID, v.uid), zap.String("change", pipe.Clean(what, 2*unix.PathMax)))
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
	for _, r := range e.readers { // which has nothing to do by now
		e.forsake(r)
	}
}
