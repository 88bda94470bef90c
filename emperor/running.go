package emperor

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/protocol/api"
	"github.com/emperord/emperord/sockets"
)

// Run governs until ctx ends or a signal says so, and returns when every vassal has stopped and every goroutine and
// descriptor is gone. The error says why it could not begin. With a Handover it goes on where another program was, or
// returns before it has changed anything.
//
// The calling goroutine should be locked to the process's first thread: that one lives through upgrades.
func Run(ctx context.Context, o Options) error {
	e := newEmperor(o)
	if o.Handover.checks() {
		e.sink = newSink(o.Stderr, e.style)
		defer e.sink.close()
		e.log = e.style.logger(e.sink)
		return e.tryOn(o.Handover)
	}
	begin := e.anew
	if o.Handover != nil {
		begin = e.onward
	}
	if e.signals = make(chan os.Signal, 16); o.Handover != nil {
		e.signals = o.Handover.signals
	}
	defer signal.Stop(e.signals)
	if err := closeOnExec(); err != nil {
		return err
	}
	to, closeLog, err := e.openLog()
	if err != nil {
		return err
	}
	defer closeLog()
	e.sink = newSink(to, e.style)
	defer e.sink.close()
	e.log = e.style.logger(e.sink)
	sources, err := begin()
	if err != nil {
		return err
	}
	defer e.closeStore()
	defer e.removePidfiles()
	done := make(chan error)
	loop := func() error { // of a thread, because children get its capabilities, and the parent-death signal follows it
		runtime.LockOSThread()
		err := shedInheritance()
		if err == nil {
			err = e.loop(ctx, sources)
		}
		return err
	}
	if unix.Gettid() == os.Getpid() {
		err = loop()
	} else {
		go func() { done <- loop() }()
		err = <-done
	}
	e.control.close()
	close(e.closing)
	e.closeDoors()
	if o.Superior != nil {
		o.Superior.pipe.Close()
	}
	e.leaveGroups()
	e.dropLeft(time.Now(), true)
	e.awaitHelpers()
	e.unclaimed.remove()
	if err == nil {
		e.log.Info("emperor stopped")
	}
	return err
}

func newEmperor(o Options) *Emperor {
	c := o.Config
	return &Emperor{
		o: o, c: c, tyrant: c.Tyrant, vassald: o.Vassald, started: time.Now(),
		policy: Policy{Mercy: c.Mercy, Throttle: c.Throttle, MaxThrottle: c.MaxThrottle, Patience: 10 * time.Second, Good: time.Minute,
			Start: c.StartTimeout, Heartbeat: c.Heartbeat, NoBlacklist: c.NoBlacklist},
		events: make(chan func(), 256), closing: make(chan struct{}),
		vassals: map[string]*vassal{}, processes: map[int]process{}, addresses: map[string]*vassal{}, removing: map[string]chan struct{}{},
		unclaimed: unclaimed{all: map[*sockets.Listener]bool{}}, away: map[string]func(){}, watches: map[int]*vassal{}, readers: map[string]*reader{},
		lines: allowances{}, turns: map[*attempt]time.Time{}, strays: map[int]stray{}, passed: map[int]bool{}, hooks: hooks{running: map[int]*hook{}},
		directory: newDirectory(readNsswitch()), asking: map[question][]func(){},
	}
}

// anew is the start of an emperor that there was not before.
func (e *Emperor) anew() (sources []source, err error) {
	signal.Notify(e.signals, heard...) // before anything is made that would have to be removed again
	if err = e.serve(e.o.Superior); err != nil {
		return nil, err
	}
	if sources, err = e.prepareSelf(); err != nil {
		return nil, err
	}
	e.program = e.ownProgram()
	e.meetService()
	defer func() {
		if err != nil {
			e.removePidfiles()
			e.closeStore()
		}
	}()
	if err = e.writePidfiles(); err != nil { // before any socket is made: an emperor that runs keeps its own
		return nil, err
	}
	if e.control, err = e.listenControl(); err != nil {
		return nil, err
	}
	if err = e.openDoors(); err == nil {
		err = e.drop()
	}
	if err != nil {
		e.control.close()
		e.closeDoors()
		return nil, err
	}
	e.sayNotices()
	e.o.Title.Set(e.c.Procname)
	e.log.Info("emperor started", zap.String("version", e.o.Version), zap.Int(fieldPID, os.Getpid()), zap.Bool("tyrant", e.tyrant), zap.Strings("sources", e.c.Sources))
	if os.Getpid() == 1 && !e.c.MercySaid {
		e.log.Info("as PID 1 it ends within "+e.c.EndMercy(1).String()+", because docker stop and podman stop wait 10 s; where more time is given, write reload-mercy = SECONDS", zap.Duration("reload-mercy", e.c.Mercy))
	}
	if e.o.Started != nil {
		e.o.Started()
	}
	e.warnOfRights()
	e.takeGroups()
	return sources, nil
}

// onward is the start of one that goes on where another program was.
func (e *Emperor) onward() ([]source, error) {
	h := e.o.Handover
	sources, err := e.takeOver(h)
	if err != nil {
		return nil, err
	}
	h.commit()
	e.o.Title.Set(e.c.Procname)
	u := &e.upgrade.last
	if h.refused != "" {
		u.State, u.Reason = api.NotUpgraded, h.refused
		e.log.Error("upgrade refused; this program goes on", zap.String("program", u.Program), zap.String("version", e.o.Version), zap.String(fieldReason, h.refused))
	} else {
		u.State, u.To = api.Upgraded, e.o.Version
		e.sayNotices()
		e.log.Info("emperor upgraded", zap.String("from", u.From), zap.String("version", e.o.Version), zap.Int(fieldPID, os.Getpid()), zap.Int("vassals", len(e.vassals)))
		e.warnOfRights()
	}
	e.watchAllGroups()
	return sources, nil
}

func (e *Emperor) sayNotices() {
	for _, n := range e.o.Notices {
		e.log.Warn(n)
	}
}

// prepareSelf checks what can be checked before anything is started.
func (e *Emperor) prepareSelf() ([]source, error) {
	if len(e.c.Sources) == 0 {
		return nil, mistake("nothing to watch; run: emperord --emperor /etc/uwsgi-emperor/vassals")
	}
	var err error
	if e.o.Handover == nil { // else they are what was handed over
		if e.powers, err = ownPowers(); err != nil {
			return nil, err
		}
	}
	if err := e.checkTyranny(); err != nil {
		return nil, err
	}
	if err := e.prepareRights(); err != nil {
		return nil, err
	}
	var sources []source
	for _, text := range e.c.Sources {
		s, err := newSource(text, e.o.Dir)
		if err != nil {
			return nil, mistake("%w", err)
		}
		sources = append(sources, s)
		e.patterns = append(e.patterns, s.pattern)
	}
	if e.vassald == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("cannot find the own program: %w", err)
		}
		e.vassald = filepath.Join(filepath.Dir(self), "vassald")
	}
	if _, err := os.Stat(e.vassald); err != nil {
		return nil, fmt.Errorf("cannot find vassald, which runs the applications: %w; install it beside emperord", err)
	}
	if e.ours, err = filepath.EvalSymlinks(e.vassald); err != nil {
		return nil, fmt.Errorf("cannot find vassald, which runs the applications: %w", err)
	}
	for _, g := range e.c.SocketGroups {
		if gid, err := e.directory.groupID(g); err == nil {
			e.groups = append(e.groups, gid)
		}
	}
	if err := children.BecomeSubreaper(); err != nil {
		e.log.Warn(err.Error())
	}
	if e.o.Handover != nil { // our children are known
		return sources, nil
	}
	strangers, err := children.Kids()
	if err != nil {
		e.log.Warn(err.Error())
	}
	e.strangers = strangers
	return sources, nil
}

// lastWait bounds how long the end waits for goroutines that a slow file system holds.
const lastWait = 5 * time.Second

func (e *Emperor) awaitHelpers() {
	done := make(chan struct{})
	go func() {
		e.helpers.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(lastWait):
		e.log.Warn("left something behind that did not end in time, in a slow file system perhaps")
	}
}

// async runs f beside the loop; then, if f returns one, its work is done in the loop. It ends by itself: an upgrade waits
// for it.
func (e *Emperor) async(f func() func()) {
	e.afoot.Add(1)
	e.beside(func() func() {
		work := f()
		if work == nil {
			e.afoot.Add(-1)
			return nil
		}
		return func() {
			work()
			e.afoot.Add(-1)
		}
	})
}

// beside is async for what only reads from a child, so that an upgrade can end it.
func (e *Emperor) beside(f func() func()) {
	e.helpers.Go(func() {
		if work := f(); work != nil {
			e.tell(work)
		}
	})
}

// tell hands work to the loop, from any goroutine but the loop's own. Once the loop has ended it is dropped.
func (e *Emperor) tell(work func()) {
	select {
	case e.events <- work:
	case <-e.closing:
	}
}
