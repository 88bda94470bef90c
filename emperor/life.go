package emperor

import (
	"slices"
	"time"
)

// A State says where a vassal is. Why it is there is a separate value, Life.Reason.
type State int

// The states of a life.
const (
	Absent    State = iota // no file, no process
	Refused                // the file or the policy is at fault; waits for a change
	Suspended              // stopped by an operator; waits for a start command
	Resolving              // the file is judged and read, the sockets are made; nothing serves
	Starting               // a process loads the application; nothing serves
	Accepting              // a generation serves
	Reloading              // a generation serves, the next one is made ready beside it
	Stopping               // told to stop; the last processes are leaving
	Backoff                // it failed; waits until it is tried again
	Waiting                // its sockets are there, and no process: the first connection starts one
)

var stateNames = [...]string{"absent", "refused", "suspended", "resolving", "starting", "accepting", "reloading", "stopping", "backoff", "waiting"}

// String returns the name that status shows.
func (s State) String() string { return stateNames[s] }

// A Generation numbers the attempts to bring a vassal up, from 1. A preparation, the process that comes out of it and
// the messages about both carry the same number; 0 is none.
type Generation uint64

// Policy holds the numbers that lives obey.
type Policy struct {
	Mercy       time.Duration // how long a generation that was told to stop may finish its requests; then it is killed
	Throttle    time.Duration // first delay after a failure; doubles with each further one
	MaxThrottle time.Duration // longest delay
	Patience    time.Duration // how long judging, resolving and binding may take together
	Good        time.Duration // a vassal that has served this long is forgiven its failures
	Start       time.Duration // how long a process may take until it accepts; 0: for ever
	Heartbeat   time.Duration // how long the next heartbeat may take, once one has come; 0: for ever
	NoBlacklist bool          // failures do not make the delay grow
	WaitCommand bool          // what is new waits, Suspended, for AskStart
}

// A Life is all that is decided about one vassal. Only Next changes it.
type Life struct {
	State    State
	Since    time.Time // when State was entered
	Deadline time.Time // when State wants Due; zero: never

	Last    Generation // the highest number given so far
	Serving Generation // accepts requests
	Coming  Generation // is prepared or started
	Process bool       // Coming has a process
	Wanted  bool       // somebody wants a process, also of a vassal that is on demand
	Silence Silence    // whether that process says Accepted
	Leaving []Leaver   // told to stop

	BeatBy time.Time // when the next heartbeat of Serving has to have come; zero: it has sent none

	Good      bool   // what served last can be made again from what is kept of it, without its file
	Same      bool   // Coming is made of the same settings, so that would not help it
	Restoring bool   // Coming is made so
	Restored  bool   // Serving is made so
	Stale     bool   // the file as it is now was refused
	Refusal   string // why, while Stale

	Then     State     // Stopping: what comes afterwards: Absent, Suspended or Resolving
	Served   time.Time // since when Serving accepts
	Spent    bool      // the restart without delay has been used
	Failures int       // in a row; sets the delay of Backoff
	Restarts int       // how often a process ended that was not told to
	Losses   int       // how often in a row a socket was lost; sets how soon the next one is made again
	Remade   time.Time // when a socket that was lost was made again last
	Exiled   bool      // Refused because it asked not to be started again
	Reason   string    // why Refused or Backoff; otherwise why the last reload was refused; empty: all is well
}

// A Silence says what can be expected of a generation's program when it accepts requests.
type Silence int

// Kinds of silence, as measured with uWSGI 2.0.21 whose listeners were inherited.
const (
	Speaks      Silence = iota // it says so, or it is not well
	MayBeSilent                // a program that is not ours: most say so, an emperor or one without workers does not
	Silent                     // it will only say so after its first request: a real uwsgi with `cheap`
)

// A Leaver is a generation that was told to stop.
type Leaver struct {
	ID     Generation
	KillAt time.Time // zero: killed already
}

// An Event is something that happened to a vassal.
type Event interface{ event() }

// The events of a life.
type (
	Seen       struct{} // the file is new, or it changed, or it was touched
	Reowned    struct{} // the file belongs to another user or group now
	Gone       struct{} // the file is not there any more
	AskReload  struct{} // an operator or SIGHUP asks
	AskStop    struct{}
	AskStart   struct{}
	Shutdown   struct{}                // the emperor leaves
	SocketLost struct{}                // nobody can reach one of the serving generation's sockets any more
	Connected  struct{}                // somebody connects to a socket of a vassal that waits
	LetGo      struct{ ID Generation } // it has nothing to do, and asks to be ended until somebody connects
	Bound      struct{ ID Generation } // like Prepared, of a vassal that is on demand and that nobody wants yet
	Due        struct{}                // the deadline is reached
	Forgive    struct{}                // SIGURG asks: failures are forgotten, who waits because of them is tried now
	Begun      struct{ ID Generation } // its turn to be prepared has come
	Delayed    struct {                // hooks of its preparation take their own time
		ID  Generation
		For time.Duration
	}
	Prepared struct {
		ID      Generation
		Silence Silence
		Same    bool // its settings are those that are kept
	}
	Accepted struct {
		ID   Generation
		Good bool // the loop has kept what it takes to make this generation again
	}
	Beat   struct{ ID Generation } // a heartbeat has come
	Failed struct {                // a preparation or a spawn did not succeed
		ID      Generation
		Reason  string
		Passing bool // it may go away without a change of the file
		Rights  bool // the file's owner or mode are at fault, not what it says
		Same    bool // its settings are those that are kept, or nothing is known of them: the file is not at fault
	}
	Exited struct {
		ID     Generation
		Reason string
		Exile  bool // it asks not to be started again
	}
)

func (Seen) event()       {}
func (Reowned) event()    {}
func (Gone) event()       {}
func (AskReload) event()  {}
func (AskStop) event()    {}
func (AskStart) event()   {}
func (Shutdown) event()   {}
func (SocketLost) event() {}
func (Connected) event()  {}
func (LetGo) event()      {}
func (Bound) event()      {}
func (Due) event()        {}
func (Forgive) event()    {}
func (Beat) event()       {}
func (Begun) event()      {}
func (Delayed) event()    {}
func (Prepared) event()   {}
func (Accepted) event()   {}
func (Failed) event()     {}
func (Exited) event()     {}

// A Verb is what the loop has to do for a life.
type Verb int

// The verbs.
const (
	Prepare Verb = iota // judge, resolve and bind for generation ID when its turn comes; answer Begun, then Prepared or Failed
	Restore             // the same from what is kept of the generation that served last, if the file is there and its owner's still
	Abandon             // stop preparing ID; its answer does not matter any more
	Start               // start the process of ID; answer Failed, or later Accepted and Exited
	Drain               // tell ID to stop when its requests are done
	Kill                // kill ID and all of its session
	Adopt               // ID serves now: its sockets are the vassal's, the others go
	Release             // close and remove the vassal's sockets
	Forget              // drop the vassal
	Settle              // the sockets of ID, which has no process, are the vassal's now, and ID is done
)

var verbNames = [...]string{"prepare", "restore", "abandon", "start", "drain", "kill", "adopt", "release", "forget", "settle"}

// String returns the verb's name.
func (v Verb) String() string { return verbNames[v] }

// An Action is one thing to do, in order.
type Action struct {
	Do Verb
	ID Generation // of Prepare, Restore, Abandon, Start, Drain, Kill, Adopt, Settle
}

// Due returns when the life next wants a Due event; zero: not by itself.
func (l Life) Due() time.Time {
	due := l.Deadline
	sooner := func(t time.Time) {
		if !t.IsZero() && (due.IsZero() || t.Before(due)) {
			due = t
		}
	}
	sooner(l.BeatBy)
	for _, v := range l.Leaving {
		sooner(v.KillAt)
	}
	return due
}

// Next is the whole life of a vassal: from a life and an event to the life after it and what has to be done for it.
// It is pure; testdata/life.golden shows every state with every event.
func Next(l Life, e Event, now time.Time, p Policy) (Life, []Action) {
	n := next{Life: l, now: now, policy: p}
	n.Leaving = slices.Clone(l.Leaving)
	switch e := e.(type) {
	case Due:
		n.due()
	case Exited:
		n.exited(e)
	case SocketLost:
		n.socketLost()
	case Connected:
		n.connected()
	case LetGo:
		n.letGo(e)
	case Bound:
		n.bound(e)
	case Begun:
		if e.ID == n.Coming && !n.Process {
			n.Deadline = n.now.Add(n.policy.Patience)
		}
	case Delayed:
		if e.ID == n.Coming && !n.Process {
			n.Deadline = n.now.Add(e.For)
		}
	case Prepared:
		if e.ID == n.Coming && !n.Process {
			n.prepared(e)
		}
	case Accepted:
		if e.ID == n.Coming && n.Process {
			n.accepted(e.Good)
		}
	case Beat:
		if e.ID == n.Serving && e.ID != 0 && n.policy.Heartbeat > 0 {
			n.BeatBy = n.now.Add(n.policy.Heartbeat)
		}
	case Failed:
		if e.ID == n.Coming {
			n.Coming, n.Process = 0, false
			n.Same = n.Same || e.Same
			n.Good = n.Good && !e.Rights // who takes a file's rights away means the application, not only what is new in it
			n.failed(e.Reason, e.Passing)
		}
	case Seen:
		n.seen()
	case Reowned:
		n.reowned()
	case AskReload:
		if n.State != Absent {
			n.ask()
		}
	case AskStart:
		switch n.State {
		case Refused, Suspended, Backoff, Stopping, Waiting:
			n.Wanted = true
			n.ask()
		case Resolving:
			n.hasten()
		}
	case Forgive:
		n.forgive()
		if n.State == Backoff {
			n.again()
		}
	case AskStop:
		if n.State != Absent {
			n.leave(Suspended)
		}
	case Gone, Shutdown:
		n.leave(Absent)
	}
	return n.Life, n.actions
}

// next is one step in the making.
type next struct {
	Life
	now     time.Time
	policy  Policy
	actions []Action
}

func (n *next) do(v Verb, id Generation) { n.actions = append(n.actions, Action{v, id}) }

func (n *next) to(s State, deadline time.Time) {
	if n.State != s {
		n.State, n.Since = s, n.now
	}
	n.Deadline = deadline
}

// begin prepares a new generation, beside the serving one if there is one.
func (n *next) begin() { n.prepare(Prepare) }

func (n *next) prepare(how Verb) {
	n.dismissComing()
	n.Last++
	n.Coming = n.Last
	s := Resolving
	if n.Serving != 0 {
		s = Reloading
	}
	n.to(s, time.Time{})
	n.Exiled, n.Same, n.Restoring = false, false, how == Restore
	n.do(how, n.Coming)
}

// prepared starts the process of the coming generation.
func (n *next) prepared(e Prepared) {
	n.Process, n.Silence, n.Same = true, e.Silence, e.Same
	limit := n.policy.Start
	if e.Silence == Silent && (limit == 0 || limit > mute) {
		limit = mute
	}
	deadline := time.Time{}
	if limit > 0 {
		deadline = n.now.Add(limit)
	}
	s := n.State
	if s == Resolving {
		s = Starting
	}
	n.to(s, deadline)
	n.do(Start, e.ID)
}

// mute is how long a program that does not say when it accepts is given to load.
const mute = 10 * time.Second

// dismissComing throws away what is being made ready.
func (n *next) dismissComing() {
	switch {
	case n.Coming == 0:
		return
	case n.Process:
		n.drain(n.Coming, min(n.policy.Mercy, hasty)) // it has no requests to finish
	default:
		n.do(Abandon, n.Coming)
	}
	n.Coming, n.Process, n.Restoring = 0, false, false
}

// hasty is how long a generation that has never accepted may take to stop.
const hasty = 2 * time.Second

// maxLeaving bounds the generations that are leaving at the same time; a vassal that is reloaded faster than it stops
// loses the oldest ones.
const maxLeaving = 3

func (n *next) drain(id Generation, mercy time.Duration) {
	n.Leaving = append(n.Leaving, Leaver{id, n.now.Add(mercy)})
	n.do(Drain, id)
	for i := range len(n.Leaving) - maxLeaving {
		if !n.Leaving[i].KillAt.IsZero() {
			n.Leaving[i].KillAt = time.Time{}
			n.do(Kill, n.Leaving[i].ID)
		}
	}
}

// accepted makes the coming generation the serving one.
func (n *next) accepted(good bool) {
	old := n.Serving
	n.Serving, n.Coming, n.Process, n.Reason = n.Coming, 0, false, ""
	n.Served, n.BeatBy = n.now, time.Time{}
	if n.Restored = n.Restoring; n.Restored {
		n.Reason = n.makeshift()
	} else {
		n.Good, n.Stale, n.Refusal = good, false, ""
	}
	n.Restoring = false
	forgive := time.Time{}
	if n.Failures > 0 || n.Spent {
		forgive = n.now.Add(n.policy.Good)
	}
	n.to(Accepting, forgive)
	n.do(Adopt, n.Serving)
	if old != 0 {
		n.drain(old, n.policy.Mercy)
	}
}

// failed decides what becomes of a vassal whose next generation cannot be had.
func (n *next) failed(reason string, passing bool) {
	restored := n.Restoring
	n.Restoring = false
	n.Reason = reason
	switch {
	case n.Serving != 0:
		if !restored && !n.Same {
			n.Stale, n.Refusal = true, reason
		}
		n.Restored = n.Restored && !n.Same // the file says again what serves
		if n.Restored && n.Stale {
			n.Reason = n.makeshift()
		}
		forgive := time.Time{}
		if n.Failures > 0 || n.Spent {
			forgive = n.Served.Add(n.policy.Good)
		}
		n.to(Accepting, forgive) // the old one serves on
	case restored: // whatever it was, the file may have become better meanwhile
		n.Reason = n.Refusal + "; its last good settings do not serve either: " + reason
		n.Stale, n.Refusal = false, ""
		n.backoff(n.now)
	case n.Good && !n.Same:
		n.Stale, n.Refusal = true, reason
		n.prepare(Restore)
	case passing:
		if n.Served.IsZero() { // it has never served: better refused at once than waiting for it
			n.do(Release, 0)
		}
		n.backoff(n.now)
	default:
		n.forgive()
		n.Wanted, n.Good = false, false
		n.to(Refused, time.Time{})
		n.do(Release, 0)
	}
}

// backoff waits, counted from when the vassal was last well: what served longer than its delay restarts at once.
func (n *next) backoff(from time.Time) {
	n.Failures++
	n.Wanted = false
	if until := from.Add(n.penalty()); until.After(n.now) {
		n.to(Backoff, until)
		return
	}
	n.again()
}

// penalty is the wait for the failures of now.
func (n *next) penalty() time.Duration {
	if n.policy.NoBlacklist {
		return max(n.policy.Throttle, leastDelay)
	}
	return n.delay(n.Failures)
}

// leastDelay is the wait between failures where it does not grow: what fails at once must not keep a processor busy.
const leastDelay = 100 * time.Millisecond

func (n *next) exited(e Exited) {
	if i := slices.IndexFunc(n.Leaving, func(v Leaver) bool { return v.ID == e.ID }); i >= 0 {
		n.Leaving = slices.Delete(n.Leaving, i, i+1)
		if n.State == Stopping && len(n.Leaving) == 0 {
			n.stopped()
		}
		return
	}
	switch {
	case e.ID == 0:
	case e.ID == n.Coming:
		n.Coming, n.Process = 0, false
		if n.Serving == 0 {
			n.Restarts++
		}
		if e.Exile && n.Serving == 0 {
			n.exile(e.Reason)
			return
		}
		n.failed(e.Reason, true)
	case e.ID == n.Serving:
		if e.Exile && n.Coming == 0 {
			n.Serving = 0
			n.exile(e.Reason)
			return
		}
		n.lost(e.Reason)
	}
}

// lost goes on after the serving generation has ended, or had to be killed.
func (n *next) lost(reason string) {
	n.Serving, n.BeatBy, n.Restored = 0, time.Time{}, false
	n.Restarts++
	n.Reason = reason
	switch {
	case n.Coming != 0 && n.Process: // the next one is nearly there
		n.to(Starting, n.Deadline)
	case n.Coming != 0:
		n.to(Resolving, n.Deadline)
	case !n.Spent && n.Failures == 0:
		n.Spent, n.Wanted = true, false
		n.again()
	default:
		n.backoff(n.Served)
	}
}

func (n *next) due() {
	for i, v := range n.Leaving {
		if !v.KillAt.IsZero() && !v.KillAt.After(n.now) {
			n.Leaving[i].KillAt = time.Time{}
			n.do(Kill, v.ID)
		}
	}
	if !n.BeatBy.IsZero() && !n.BeatBy.After(n.now) {
		n.unheard()
	}
	if n.Deadline.IsZero() || n.Deadline.After(n.now) {
		return
	}
	n.Deadline = time.Time{}
	switch n.State {
	case Backoff:
		n.again()
	case Accepting:
		n.forgive()
	case Starting, Resolving, Reloading:
		if n.Process {
			n.overdue()
			return
		}
		n.do(Abandon, n.Coming)
		n.Coming = 0
		n.failed("reading the vassal file and making its sockets took longer than "+n.policy.Patience.String(), true)
	}
}

// socketLost makes a new generation for a new socket: the running processes hold the old one, which nobody can reach.
// Whoever removes a socket again and again makes it come back more and more slowly; the loss is reported as long as it
// lasts. Where no generation serves, or another one is coming, the sockets are looked at anyway.
func (n *next) socketLost() {
	if n.State != Accepting && n.State != Waiting {
		return
	}
	if n.now.Sub(n.Remade) >= max(n.policy.Good, 2*n.delay(n.Losses)) {
		n.Losses = 0
	}
	if n.Losses > 0 && n.now.Before(n.Remade.Add(n.delay(n.Losses))) {
		return
	}
	n.Losses++
	n.Remade = n.now
	n.again()
}

// delay is the wait after so many failures in a row.
func (n *next) delay(failures int) time.Duration {
	if shift := failures - 1; shift >= 0 && shift < 32 && n.policy.Throttle <= n.policy.MaxThrottle>>shift {
		return n.policy.Throttle << shift
	}
	return n.policy.MaxThrottle
}

func (n *next) seen() {
	switch n.State {
	case Suspended:
	case Stopping:
		if n.Then == Absent {
			n.Then = n.first()
		}
	case Absent:
		if n.first() == Suspended {
			n.wait()
			return
		}
		n.begin()
	default:
		n.forgive()
		n.Stale, n.Refusal = false, ""
		n.begin()
	}
}

func (n *next) forgive() { n.Failures, n.Spent = 0, false }

// reowned never lets two owners overlap: the old processes and sockets go first.
func (n *next) reowned() {
	switch n.State {
	case Absent, Refused, Suspended, Stopping:
		n.seen()
	default: // even without a process: sockets of the old owner may be kept for the next generation
		n.leave(Resolving)
	}
}

func (n *next) ask() {
	n.forgive()
	switch {
	case n.State != Stopping:
		n.Stale, n.Refusal = false, ""
		n.begin()
	case n.Then != Absent: // a file that has gone, or an emperor that leaves, is not asked
		n.Then = Resolving
	}
}

// leave stops everything; then says what comes afterwards.
func (n *next) leave(then State) {
	if n.State == Absent || n.State == Stopping && n.Then == Absent {
		return
	}
	n.Then, n.Reason, n.Exiled, n.Wanted = then, "", false, false
	n.Good, n.Restored, n.Stale, n.Refusal = false, false, false, ""
	n.forgive()
	for i, v := range n.Leaving { // nobody has more time than those who are told now
		if limit := n.now.Add(n.policy.Mercy); v.KillAt.After(limit) {
			n.Leaving[i].KillAt = limit
		}
	}
	if n.State == Stopping {
		return
	}
	n.do(Release, 0)
	n.dismissComing()
	if n.Serving != 0 {
		n.drain(n.Serving, n.policy.Mercy)
		n.Serving, n.BeatBy = 0, time.Time{}
	}
	n.to(Stopping, time.Time{})
	if len(n.Leaving) == 0 {
		n.stopped()
	}
}

// stopped goes on after the last process has left.
func (n *next) stopped() {
	switch n.Then {
	case Absent:
		n.to(Absent, time.Time{})
		n.do(Forget, 0)
	case Suspended:
		n.wait()
	default:
		n.begin()
	}
}
