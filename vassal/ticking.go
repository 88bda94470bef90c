package vassal

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/protocol/control"
	"github.com/emperord/emperord/protocol/pipe"
)

// retry is how soon orders are offered again to a host that has not read the last ones.
const retry = 10 * time.Millisecond

// due is when something has to be done next, zero if nothing has.
func (s *supervisor) due() time.Time {
	next := s.restart.due
	if due := s.idleDue(); !due.IsZero() && (next.IsZero() || due.Before(next)) {
		next = due
	}
	sooner := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	sooner(s.nextBeat)
	for _, h := range s.hosts {
		if len(h.pending) > 0 {
			sooner(time.Now().Add(retry))
		}
		switch h.stage {
		case leaving:
			sooner(h.deadline)
		case orphaned:
			sooner(h.again)
		case serving:
			sooner(h.watch.due)
			for i := range h.workers {
				sooner(h.workers[i].respawn.due)
			}
		}
	}
	return next
}

// tick does what is due.
func (s *supervisor) tick(now time.Time) {
	if due := s.restart.due; !due.IsZero() && !now.Before(due) && !s.stopping {
		s.restart.due = time.Time{}
		s.begin(now)
	}
	s.rest(now)
	if !s.nextBeat.IsZero() && !now.Before(s.nextBeat) {
		s.beat(now)
	}
	kept := s.hosts[:0]
	for _, h := range s.hosts {
		if s.care(h, now) {
			kept = append(kept, h)
		} else {
			h.release()
		}
	}
	clear(s.hosts[len(kept):])
	s.hosts = kept
}

// care does what is due for one host. It returns false when nothing is left of it.
func (s *supervisor) care(h *host, now time.Time) bool {
	if len(h.pending) > 0 && !h.ended {
		h.flush()
	}
	switch h.stage {
	case gone:
		return false
	case orphaned:
		return !h.sweep(now)
	case leaving:
		if !now.Before(h.deadline) {
			if !h.late {
				h.late = true
				s.say("the Python host (pid %d) did not end within %s and is killed with its workers; requests that they have are lost", h.pid, h.mercy)
			}
			h.kill()
			h.deadline = now.Add(time.Second)
		}
	case serving:
		for slot := range h.workers {
			if due := h.workers[slot].respawn.due; !due.IsZero() && !now.Before(due) && !h.workers[slot].ordered {
				h.fork(slot)
			}
		}
		if due := h.watch.due; !due.IsZero() && !now.Before(due) {
			s.look(h, now)
		}
	}
	return true
}

// look looks at a host's scoreboard.
func (s *supervisor) look(h *host, now time.Time) {
	var clock unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &clock) // cannot fail
	found := h.watch.look(h.board, now, time.Duration(clock.Nano()), s.app.SockTimeout)
	for _, slot := range found.expire {
		h.order(control.Expire{Slot: slot, PID: h.workers[slot].pid})
	}
	if found.moved {
		h.moved = now
	}
	if h == s.current {
		s.callForHelp(now, found.busy == h.board.Len())
	}
	if found.served > 0 {
		s.tell(pipe.Loyal, &s.loyal)
	}
}
