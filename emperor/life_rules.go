package emperor

import "time"

// first says how a vassal that is new begins.
func (n *next) first() State {
	if n.policy.WaitCommand {
		return Suspended
	}
	return Resolving
}

// wait waits for an operator.
func (n *next) wait() {
	if n.policy.WaitCommand && n.Last == 0 {
		n.Reason = "it waits for a command, as emperor-wait-for-command says; run: emperorctl start NAME"
	}
	n.to(Suspended, time.Time{})
}

// again makes the vassal again after it has failed or was lost: from its file, or, if that is known to be refused as it
// is, from what is kept of the generation that served last.
func (n *next) again() {
	if !n.Good || !n.Stale {
		n.begin()
		return
	}
	n.prepare(Restore)
}

// hasten gives who waits for its turn, which has no deadline, another one: what somebody asks for goes first.
func (n *next) hasten() {
	switch {
	case !n.inLine():
	case n.Restoring:
		n.prepare(Restore)
	default:
		n.begin()
	}
}

// makeshift says why the serving generation is not made of its file.
func (n *next) makeshift() string {
	return "it runs with its last good settings, because its file as it is now was refused: " + n.Refusal
}

// overdue decides what becomes of a process that has not said in time that it accepts.
func (n *next) overdue() {
	if n.Silence == Silent || n.Silence == MayBeSilent && n.Serving == 0 { // it lives, and nothing better is there
		n.accepted(false)
		return
	}
	reason := "it did not accept requests within " + n.policy.Start.String() + " and was stopped; if it needs longer to load, write emperor-start-timeout = SECONDS into the emperor's configuration"
	n.dismissComing()
	n.failed(reason, true)
}

// unheard kills a serving generation that has stopped sending heartbeats.
func (n *next) unheard() {
	n.Leaving = append(n.Leaving, Leaver{ID: n.Serving})
	n.do(Kill, n.Serving)
	n.lost("it sent no heartbeat for " + n.policy.Heartbeat.String() + " and was killed (emperor-required-heartbeat)")
}

// exile obeys a vassal that asks not to be started again.
func (n *next) exile(reason string) {
	n.forgive()
	n.BeatBy = time.Time{}
	n.Reason = "it asked not to be started again (" + reason + "); change its file, or run: emperorctl start NAME"
	n.Wanted, n.Good, n.Restoring, n.Restored, n.Stale, n.Refusal = false, false, false, false, false, ""
	n.to(Refused, time.Time{})
	n.Exiled = true
	n.do(Release, 0)
}
