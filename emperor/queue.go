package emperor

import (
	"runtime"
	"slices"
	"time"
)

// A turn is an attempt that waits to be prepared.
type turn struct {
	v *vassal
	a *attempt
}

// A queue is a line of turns for each user: they are served in rotation, so that who has a thousand vassals that fail
// does not make others wait for them.
type queue struct {
	users []uint32 // those who wait, the next one first
	lines map[uint32][]turn
}

func (q *queue) push(t turn) {
	if q.lines == nil {
		q.lines = map[uint32][]turn{}
	}
	if len(q.lines[t.a.user]) == 0 {
		q.users = append(q.users, t.a.user)
	}
	q.lines[t.a.user] = append(q.lines[t.a.user], t)
}

// pushFirst puts a turn before the others of its user.
func (q *queue) pushFirst(t turn) {
	q.push(t)
	line := q.lines[t.a.user]
	copy(line[1:], line[:len(line)-1])
	line[0] = t
}

func (q *queue) empty() bool { return len(q.users) == 0 }

// pop takes the first turn of the first user who may have one. What was abandoned while it waited is dropped.
func (q *queue) pop(may func(user uint32) bool) (turn, bool) {
	for i := 0; i < len(q.users); {
		user := q.users[i]
		line := q.lines[user]
		for len(line) > 0 && line[0].v.attempts[line[0].a.id] != line[0].a {
			line = line[1:]
		}
		if len(line) == 0 {
			delete(q.lines, user)
			q.users = slices.Delete(q.users, i, i+1)
			continue
		}
		if !may(user) {
			q.lines[user] = line
			i++
			continue
		}
		first := line[0]
		line[0] = turn{} // or the line would keep all attempts that it has ever held, with what their files say
		q.users = slices.Delete(q.users, i, i+1)
		if line = line[1:]; len(line) > 0 {
			q.lines[user] = line
			q.users = append(q.users, user)
		} else {
			delete(q.lines, user)
		}
		return first, true
	}
	return turn{}, false
}

// A turn is over when the vassal accepts or has failed, or after slowTurn: one application that loads for minutes must
// not hold up the others.
const slowTurn = time.Second

// parallel is how many attempts have their turn at a time: enough to keep every processor busy while some wait.
func parallel() int { return max(4, 4*runtime.NumCPU()) }

// reserve is how many turns beyond these are kept for users who have none: one whose vassals are all slow must not hold
// up the others.
func reserve() int { return parallel() / 2 }

// A caller is somebody who waits for a vassal.
type caller int

const (
	nobody caller = iota
	tenant
	operator
)

// enqueue puts an attempt into the line: those of vassals that somebody waits for go first, then those of others that do
// not serve, then those that only reload, and what an operator has asked for before everything else, the last first. A
// tenant's word counts among its own vassals.
func (e *Emperor) enqueue(v *vassal, a *attempt) {
	a.user = v.maker
	line := &e.urgent
	switch {
	case v.caller == nobody && v.awaited():
		line = &e.awaited
	case v.life.Serving != 0:
		line = &e.queue
	}
	switch v.caller {
	case operator:
		e.requested = append(e.requested, turn{v, a})
	case tenant:
		line.pushFirst(turn{v, a})
	default:
		line.push(turn{v, a})
	}
}

// awaited tells whether somebody waits for what is being prepared: who has connected to a vassal on demand, or who was served
// until a moment ago, by a process that has died or on a socket that is lost. Who has failed again since has no claim.
func (v *vassal) awaited() bool {
	l := v.life
	if l.Serving != 0 {
		return l.Losses > 0 && l.Remade.Equal(l.Since)
	}
	return l.Failures == 0 && (l.Wanted || l.Spent)
}

// nextAsked takes the turn that an operator has asked for last. There are a few more of these at a time, but not any
// number: an operator's script may ask for all.
func (e *Emperor) nextAsked() (turn, bool) {
	for n := len(e.requested); n > 0 && len(e.turns) < parallel()+reserve(); n = len(e.requested) {
		last := e.requested[n-1]
		e.requested[n-1] = turn{}
		e.requested = e.requested[:n-1]
		if last.v.attempts[last.a.id] == last.a {
			return last, true
		}
	}
	return turn{}, false
}

// waiting tells whether anybody waits for a turn.
func (e *Emperor) waiting() bool {
	return !e.queue.empty() || !e.urgent.empty() || !e.awaited.empty() || len(e.requested) > 0
}

// schedule begins the preparation of those who wait, a few at a time.
func (e *Emperor) schedule() {
	if !e.waiting() || e.upgrade.quiet() {
		return
	}
	now := time.Now()
	for a, until := range e.turns {
		if !until.After(now) {
			delete(e.turns, a)
		}
	}
	for {
		next, found := e.nextTurn()
		if !found {
			return
		}
		e.turns[next.a] = now.Add(slowTurn)
		e.step(next.v, Begun{next.a.id})
		e.begin(next.v, next.a)
	}
}

// nextTurn takes the turn that comes next.
func (e *Emperor) nextTurn() (turn, bool) {
	next, found := e.nextAsked()
	if found {
		return next, true
	}
	if next, found = e.awaited.pop(e.mayGoAhead); found {
		next.a.ahead = true
		return next, true
	}
	for _, line := range []*queue{&e.urgent, &e.awaited, &e.queue} {
		if next, found = line.pop(e.mayBegin); found {
			return next, true
		}
	}
	return turn{}, false
}

// mayGoAhead tells whether a user may have one more turn before others because somebody waits for it: a quarter of all, so
// that who has a thousand vassals that die does not keep others from starting at all. When all turns are taken there
// are a few more of these.
func (e *Emperor) mayGoAhead(user uint32) bool {
	n := 0
	for a := range e.turns {
		if a.user == user && a.ahead {
			n++
		}
	}
	return n < parallel()/4 && len(e.turns) < parallel()+reserve()/2
}

// mayBegin tells whether a user may have one more turn now.
func (e *Emperor) mayBegin(user uint32) bool {
	if len(e.turns) < parallel() {
		return true
	}
	for a := range e.turns {
		if a.user == user {
			return false
		}
	}
	return len(e.turns) < parallel()+reserve()
}
