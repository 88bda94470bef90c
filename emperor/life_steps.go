package emperor

import (
	"slices"
	"time"
)

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
		n.drain(Leaver{n.Coming, n.now.Add(min(n.policy.Mercy, hasty)), true})
	default:
		n.do(Abandon, n.Coming)
	}
	n.Coming, n.Process, n.Restoring = 0, false, false
}

// hasty is how long a generation that has never accepted may take to stop.
const hasty = 2 * time.Second

// maxLeaving bounds the generations that are leaving at the same time; a vassal that is reloaded faster than it stops
// loses those that have nothing to finish, then the oldest ones.
const maxLeaving = 3

func (n *next) drain(l Leaver) {
	n.Leaving = append(n.Leaving, l)
	n.do(Drain, l.ID)
	for n.stay() > maxLeaving {
		i := slices.IndexFunc(n.Leaving, func(l Leaver) bool { return l.Unused && !l.KillAt.IsZero() })
		if i < 0 {
			i = slices.IndexFunc(n.Leaving, func(l Leaver) bool { return !l.KillAt.IsZero() })
		}
		n.Leaving[i].KillAt = time.Time{}
		n.do(Kill, n.Leaving[i].ID)
	}
}

// stay counts who is leaving and has not been killed.
func (n *next) stay() int {
	alive := 0
	for _, l := range n.Leaving {
		if !l.KillAt.IsZero() {
			alive++
		}
	}
	return alive
}

// dismissServing tells the serving generation to finish its requests and leave.
func (n *next) dismissServing(id Generation) {
	n.drain(Leaver{ID: id, KillAt: n.now.Add(n.policy.Mercy)})
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
		n.dismissServing(old)
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
		n.Spent = true
		n.hasten() // it had its place behind those that serve nobody
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
		if !n.inLine() || n.Restoring {
			n.begin()
		}
	}
}

// inLine tells whether what is coming waits for its turn. Its file is read then, so whoever changes it meanwhile again and
// again does not have to begin at the end of the line each time.
func (n *next) inLine() bool { return n.Coming != 0 && !n.Process && n.Deadline.IsZero() }

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
		n.dismissServing(n.Serving)
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
