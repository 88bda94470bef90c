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
	Unused bool      // it has never accepted, so it has no requests to finish
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

func (Seen) event() {}

func (Reowned) event() {}

func (Gone) event() {}

func (AskReload) event() {}

func (AskStop) event() {}

func (AskStart) event() {}

func (Shutdown) event() {}

func (SocketLost) event() {}

func (Connected) event() {}

func (LetGo) event() {}

func (Bound) event() {}

func (Due) event() {}

func (Forgive) event() {}

func (Beat) event() {}

func (Begun) event() {}

func (Delayed) event() {}

func (Prepared) event() {}

func (Accepted) event() {}

func (Failed) event() {}

func (Exited) event() {}

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
