package emperor

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/pidfile"
	"github.com/emperord/emperord/procname"
	"github.com/emperord/emperord/protocol/api"
	"github.com/emperord/emperord/rights"
	"github.com/emperord/emperord/sockets"
)

// Options are what an emperor is started with.
type Options struct {
	Config  *configs.Emperor
	Notices []string // about the configuration; said once
	Env     []string // the environment that vassals get a part of
	Dir     string   // working folder, absolute
	Vassald string   // the program that resolves and runs vassals; empty: `vassald` beside this program
	Version string
	Stderr  io.Writer

	Superior *Superior        // the emperor that has started this one as its vassal; nil: there is none
	Urgent   <-chan struct{}  // SIGURG has come, which Go's runtime uses itself so that os/signal cannot tell; nil: never
	Started  func()           // called once when nothing can keep the emperor from governing any more; may be nil
	Title    *procname.Title  // what ps shows; nil: it stays
	Args     []string         // the command line, with the program's name; empty: no upgrades
	Settings configs.Settings // what Config was made of: should the next program give back, it is not read again
	Handover *Handover        // what another program has handed over; nil: there was none
}

// An Emperor governs the vassals of its sources. Everything but the fields marked so belongs to the loop's goroutine.
type Emperor struct {
	o        Options
	c        *configs.Emperor
	log      *zap.Logger // any goroutine
	sink     *sink       // any goroutine
	style    style       // of the log; any goroutine
	policy   Policy
	tyrant   bool
	powers   powers
	limits   []rights.Limit
	newPrivs []int // uids whose vassals may gain rights
	groups   []int
	vassald  string
	ours     string // where vassald really is
	started  time.Time
	patterns []string // the folders and globs that are watched, absolute

	directory *directory // any goroutine

	doors    doors
	pidfiles []*pidfile.File

	events  chan func() // what goroutines found out, as work for the loop
	sentry  *sentry
	watches map[int]*vassal // of the sentry, by number
	bells   *bells
	readers map[string]*reader
	control *control
	monitor *monitor
	signals chan os.Signal
	closing chan struct{}
	helpers sync.WaitGroup
	afoot   atomic.Int32 // work of async that the loop has not finished yet

	vassals   map[string]*vassal
	processes map[int]process
	unclaimed unclaimed
	removing  map[string]chan struct{} // sockets whose removal is under way
	leftovers sockets.Leftovers        // folders that vassals that have gone were given first
	addresses map[string]*vassal       // who has a listening address, or is about to get it
	remnants  []remnant
	endings   []ending              // leaders that have ended lately, and …
	strays    map[int]stray         // … children that they have left to us, by pid
	passed    map[int]bool          // children that are none of these, as far as the last look knew
	lookAt    time.Time             // when strays are looked for next; zero: not
	asking    map[question][]func() // what getent is asked, and who waits
	silence   silence
	alarms    alarms
	urgent    queue
	queue     queue
	requested []turn // those that an operator has asked for, the last one last
	rolling   rolling
	away      map[string]func()      // vassals whose files are being looked at or sockets made, and what to do afterwards
	lines     allowances             // for lines about the vassals of each user
	turns     map[*attempt]time.Time // attempts whose turn it is, and when the next may start anyway
	strangers []int                  // children that were there before us
	hooks     hooks
	cg        groups
	service   service   // what systemd is told
	store     store     // what systemd keeps for us
	fading    []*output // of attempts that have gone, while something may still come
	upgrade   upgrade
	program   string // what runs, as its path was found at the start
	leaving   bool
	leavingAt time.Time
}

// A process is a child of the loop.
type process struct {
	v        *vassal
	a        *attempt
	resolver bool
	getent   bool
	reader   *reader
	hook     *hook
	then     func(children.Exit) // of a child that belongs to no attempt
	of       string              // the vassal that such a child was started for
}

// A remnant is the session of a vassal whose leader has ended.
type remnant struct {
	group  int
	uid    int
	vassal string
	killAt time.Time
}

// remnantMercy is how long what a vassal leaves behind may live after its leader: it has gone within a second.
const remnantMercy = 800 * time.Millisecond

// A Mistake is an error of Run that the command line or the configuration has to mend.
type Mistake struct{ error }

func mistake(format string, args ...any) error { return Mistake{fmt.Errorf(format, args...)} }

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

// An unclaimed set holds the listeners that were made beside the loop and that the loop does not know of yet: should it
// end before, somebody has to remove them.
type unclaimed struct {
	mu  sync.Mutex
	all map[*sockets.Listener]bool
}

func (u *unclaimed) put(fresh []*sockets.Listener) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, l := range fresh {
		u.all[l] = true
	}
}

func (u *unclaimed) claim(fresh []*sockets.Listener) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, l := range fresh {
		delete(u.all, l)
	}
}

func (u *unclaimed) remove() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for l := range u.all {
		_ = l.Remove()
	}
}

// isStranger tells whether a child was there before us.
func (e *Emperor) isStranger(pid int) bool { return slices.Contains(e.strangers, pid) }
