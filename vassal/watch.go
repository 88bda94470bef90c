package vassal

import (
	"time"

	"github.com/emperord/emperord/protocol/control"
)

// A watch looks at a scoreboard while there is work, and not at all while there is none. A worker that begins a
// request and sees that nobody watches its slot reports "active"; the watch then looks once a second until nothing has
// happened for a whole look, gives the slots back, looks once more (a request may have begun in between) and rests.
type watch struct {
	due    time.Time // the next look; zero: resting
	quick  time.Duration
	served []uint64 // requests of each slot at the last look
	resign bool     // the slots have been given back
}

// pace is the time between two looks.
const pace = time.Second

// start begins or goes on watching.
func (w *watch) start(now time.Time, eager bool) {
	w.resign = false
	step := pace
	if eager { // somebody waits for the first request's end
		if w.quick == 0 {
			w.quick = 5 * time.Millisecond
		}
		step = w.quick
	}
	if due := now.Add(step); w.due.IsZero() || due.Before(w.due) {
		w.due = due
	}
}

// A look is what one look has found.
type look struct {
	served uint64 // requests of all slots
	moved  bool   // there was or is a request since the last look
	expire []int  // slots that have been reading for longer than the limit
	busy   int    // slots that have a request
}

// look looks. clock is CLOCK_MONOTONIC as the workers see it.
func (w *watch) look(board *control.Scoreboard, now time.Time, clock, limit time.Duration) look {
	var found look
	if len(w.served) != board.Len() {
		w.served = make([]uint64, board.Len())
	}
	moved := false
	next := pace
	for n := range board.Len() {
		s := board.Slot(n)
		found.served += s.Requests
		moved = moved || s.Requests != w.served[n]
		w.served[n] = s.Requests
		switch s.State {
		case control.Reading:
			found.busy++
			if age := clock - s.Start; age >= limit {
				found.expire = append(found.expire, n)
			} else if rest := limit - age; rest > 0 {
				next = min(next, rest)
			}
		case control.Running:
			found.busy++
		}
	}
	if w.quick > 0 && found.served == 0 {
		w.quick = min(w.quick*2, pace)
		next = min(next, w.quick)
	}
	found.moved = found.busy > 0 || moved
	switch {
	case found.busy > 0 || moved:
		w.resign = false
	case w.resign:
		w.due = time.Time{}
		return found
	default:
		w.resign = true
		for n := range board.Len() {
			board.Unwatch(n)
		}
	}
	w.due = now.Add(max(next, time.Millisecond))
	return found
}
