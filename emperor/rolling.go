package emperor

import (
	"slices"
	"time"
)

// A rolling is a reload of all vassals, a few at a time: there is never a second generation of everything.
type rolling struct {
	waiting []string            // names, in the order of their turns
	under   map[string]rollTurn // those whose turn it is
}

// A rollTurn is one turn of a rolling. It is over when the vassal has one generation again.
type rollTurn struct {
	user    uint32
	swapped bool      // the next generation serves, or was refused
	until   time.Time // then the next vassal's turn comes anyway
}

const (
	// slowReload bounds a turn where there is no start timeout.
	slowReload = 2 * time.Minute
	// slowLeave bounds how long a turn waits for the old generation, which may have requests of minutes.
	slowLeave = 5 * time.Second
)

// reloadAll reloads every vassal but those that an operator has stopped and those that have asked to be left alone, and
// returns how many. Who does not serve is tried at once; the others one after the other, their users in rotation.
func (e *Emperor) reloadAll() int {
	var users []uint32
	lines := map[uint32][]string{}
	n := 0
	for _, name := range e.names() {
		v := e.vassals[name]
		switch l := v.life; {
		case l.State == Suspended || l.State == Stopping || l.Exiled:
		case l.Serving == 0:
			n++
			e.step(v, AskReload{})
		default:
			n++
			if lines[v.maker] == nil {
				users = append(users, v.maker)
			}
			lines[v.maker] = append(lines[v.maker], name)
		}
	}
	e.rolling.waiting = nil
	for len(users) > 0 {
		users = slices.DeleteFunc(users, func(user uint32) bool {
			line := lines[user]
			e.rolling.waiting = append(e.rolling.waiting, line[0])
			lines[user] = line[1:]
			return len(line) == 1
		})
	}
	return n
}

// roll gives those their turns who wait to be reloaded.
func (e *Emperor) roll(now time.Time) {
	r := &e.rolling
	for name, u := range r.under {
		v := e.vassals[name]
		switch {
		case v == nil, u.until.Before(now), v.life.Coming == 0 && len(v.life.Leaving) == 0:
			delete(r.under, name)
		case v.life.Coming == 0 && !u.swapped:
			u.swapped, u.until = true, now.Add(slowLeave)
			r.under[name] = u
		}
	}
	for {
		i := slices.IndexFunc(r.waiting, func(name string) bool {
			v := e.vassals[name]
			return v == nil || v.life.Serving == 0 || r.may(v.maker)
		})
		if i < 0 {
			return
		}
		name := r.waiting[i]
		r.waiting = slices.Delete(r.waiting, i, i+1)
		v := e.vassals[name]
		if v == nil || v.life.Serving == 0 {
			continue // gone, or on the way with what its file says now
		}
		if r.under == nil {
			r.under = map[string]rollTurn{}
		}
		limit := e.policy.Start
		if limit == 0 {
			limit = slowReload
		}
		r.under[name] = rollTurn{user: v.maker, until: now.Add(limit + e.policy.Patience)}
		e.step(v, AskReload{})
	}
}

// may tells whether one more vassal of a user may be reloaded now, as mayBegin does.
func (r *rolling) may(user uint32) bool {
	if len(r.under) < parallel() {
		return true
	}
	for _, u := range r.under {
		if u.user == user {
			return false
		}
	}
	return len(r.under) < parallel()+reserve()
}

// maxLate is how much later than planned the loop may come round.
const maxLate = time.Second

// excuse gives every vassal time for its next heartbeat when the emperor itself was stopped, or its machine: the
// heartbeats of that time may not have been read yet.
func (e *Emperor) excuse(late time.Duration) {
	if late < maxLate {
		return
	}
	for _, name := range e.names() {
		if v := e.vassals[name]; v != nil && !v.life.BeatBy.IsZero() {
			e.step(v, Beat{v.life.Serving})
		}
	}
}
