package emperor

import (
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/pidfile"
	"github.com/emperord/emperord/procname"
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
	OwnEnv   []string         // the environment of this program itself, for the one that takes its place; nil: Env
	Args     []string         // the command line, with the program's name; empty: no upgrades
	Settings configs.Settings // what Config was made of: should the next program give back, it is not read again
	Guard    bool             // a guard is to end what vassals leave should this emperor be killed; this program must know GuardFlag
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
	awaited   queue // of vassals that somebody waits for
	urgent    queue // of those that do not serve
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
	guarding  guarding
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

// isOther tells whether a child has nothing to do with vassals.
func (e *Emperor) isOther(pid int) bool {
	return pid == e.guarding.pid || pid == e.guarding.former || e.isStranger(pid)
}
