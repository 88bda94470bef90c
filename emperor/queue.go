package emperor

import "slices"

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
