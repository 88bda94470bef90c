package emperor

import "time"

// tooSoon is how long a generation has to serve before it is let go: one that accepts and asks at once to be let go,
// while somebody waits whom it does not serve, would be started again and again as fast as it can. A vassal that is
// still idle asks again.
const tooSoon = 500 * time.Millisecond

// connected starts a vassal that waits.
func (n *next) connected() {
	if n.State == Waiting {
		n.Wanted = true
		n.begin()
	}
}

// letGo ends a generation that has nothing to do. Who connects meanwhile waits in the backlog, or starts the next one.
// What has been idle has done well.
func (n *next) letGo(e LetGo) {
	if n.State != Accepting || e.ID != n.Serving || n.now.Sub(n.Served) < tooSoon {
		return // also while the next generation is being made ready: that one may ask again
	}
	n.forgive()
	n.dismissServing(n.Serving)
	n.Serving, n.BeatBy, n.Wanted, n.Restored = 0, time.Time{}, false, false
	n.to(Waiting, time.Time{})
}

// bound has a vassal that is on demand wait. Why it failed last is worth knowing until it has served again.
func (n *next) bound(e Bound) {
	if e.ID != n.Coming || n.Process || n.State != Resolving {
		return
	}
	n.Coming = 0
	switch {
	case n.Restoring:
		n.Restoring = false
		n.Reason = "it waits with the sockets of its last good settings, because its file as it is now was refused: " + n.Refusal
	case n.Failures == 0 && !n.Spent:
		n.Reason = ""
	}
	n.to(Waiting, time.Time{})
	n.do(Settle, e.ID)
}
