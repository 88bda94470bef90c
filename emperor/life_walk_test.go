package emperor

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// world plays the loop: it keeps the processes that a life believes in.
type world struct {
	t         *testing.T
	policy    Policy
	life      Life
	now       time.Time
	preparing map[Generation]bool
	processes map[Generation]bool
	killed    map[Generation]bool
	bound     bool
	packs     bool // looks whether the life survives an upgrade, which takes longer than all else
	good      bool // a generation has accepted since the vassal was new, or was told to stop
	log       []happening
}

// A happening is a step that a world has taken.
type happening struct {
	event Event
	after Life
}

func (w *world) step(e Event) {
	before := w.life
	l, actions := Next(before, e, w.now, w.policy)
	w.life = l
	w.log = append(w.log, happening{e, l})
	switch e.(type) {
	case Gone, Reowned, AskStop, Shutdown:
		w.good = false
	}
	for _, a := range actions {
		switch a.Do {
		case Prepare:
			w.preparing[a.ID] = true
		case Restore:
			w.preparing[a.ID] = true
			if !w.good {
				w.fail("restores what nobody may have again")
			}
		case Abandon:
			if !w.preparing[a.ID] {
				w.fail("abandons %d, which is not being prepared", a.ID)
			}
			delete(w.preparing, a.ID)
		case Start:
			if w.processes[a.ID] {
				w.fail("starts %d twice", a.ID)
			}
			w.processes[a.ID] = true
		case Drain, Kill, Adopt:
			if !w.processes[a.ID] {
				w.fail("%s %d, which has no process", a.Do, a.ID)
			}
			if a.Do == Kill {
				w.killed[a.ID] = true
			}
			if a.Do == Adopt {
				w.bound, w.good = true, true
				if old := before.Serving; old != 0 && !slices.ContainsFunc(l.Leaving, func(v Leaver) bool { return v.ID == old }) {
					w.fail("leaves two generations serving")
				}
			}
		case Settle:
			if w.processes[a.ID] {
				w.fail("settles %d, which has a process", a.ID)
			}
			w.bound = true
		case Release:
			w.bound = false
		case Forget:
			if len(w.processes) > 0 {
				w.fail("is forgotten with processes")
			}
		}
	}
	if before.Exiled && l.State != Refused && l.Coming != 0 {
		switch e.(type) {
		case Seen, Reowned, AskStart, AskReload:
		default:
			w.fail("brings an exile back")
		}
	}
	if _, due := e.(Due); due {
		if next := l.Due(); !next.IsZero() && !next.After(w.now) {
			w.fail("is due again at once")
		}
	}
	if !w.packs {
		return
	}
	text, err := json.Marshal(l)
	var again Life
	if err == nil {
		err = json.Unmarshal(text, &again)
	}
	if err != nil || len(l.Leaving) > 0 && !reflect.DeepEqual(l, again) { // no list is an empty one afterwards
		w.fail("is not the same after an upgrade: %v %+v", err, again)
	}
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	var before strings.Builder
	for _, h := range w.log {
		fmt.Fprintf(&before, "%T%v → %s\n", h.event, h.event, describe(h.after))
	}
	w.t.Fatalf("after\n%sthe life %s", before.String(), fmt.Sprintf(format, args...))
}

// sound checks what must hold after every event.
func (w *world) sound() {
	w.t.Helper()
	l := w.life
	known, ends := map[Generation]bool{}, map[Generation]bool{}
	for _, v := range l.Leaving {
		known[v.ID], ends[v.ID] = true, !v.KillAt.IsZero() || w.killed[v.ID]
	}
	if l.Serving != 0 {
		known[l.Serving], ends[l.Serving] = true, true // it may live as long as it likes
	}
	if l.Process {
		known[l.Coming], ends[l.Coming] = true, !l.Deadline.IsZero() || w.policy.Start == 0
	}
	for id := range w.processes {
		if !known[id] {
			w.fail("does not know process %d any more", id)
		}
		if !ends[id] {
			w.fail("lets process %d live for ever", id)
		}
	}
	if len(known) != len(w.processes) {
		w.fail("believes in processes %v, there are %v", known, w.processes)
	}
	if l.Coming != 0 && (l.Coming == l.Serving || slices.ContainsFunc(l.Leaving, func(v Leaver) bool { return v.ID == l.Coming || v.ID == l.Serving })) {
		w.fail("gives one generation two parts")
	}
	if (l.State == Accepting || l.State == Reloading) != (l.Serving != 0) {
		w.fail("says %s with serving=%d", l.State, l.Serving)
	}
	if (l.State == Resolving || l.State == Starting || l.State == Reloading) != (l.Coming != 0) {
		w.fail("says %s with coming=%d", l.State, l.Coming)
	}
	if (l.State == Accepting || l.State == Waiting) && !w.bound {
		w.fail("is %s without sockets", l.State)
	}
	if l.State == Backoff && l.Deadline.IsZero() || l.State == Resolving && len(w.preparing) == 0 {
		w.fail("waits in %s for ever", l.State)
	}
	if l.BeatBy != (time.Time{}) && l.Serving == 0 {
		w.fail("waits for heartbeats of nobody")
	}
	if (l.State == Refused || l.State == Backoff || l.Restored) && l.Reason == "" {
		w.fail("has no reason")
	}
	if l.Restoring && (!l.Good || !l.Stale) {
		w.fail("is to serve with settings that are not kept, or though the file is good")
	}
}

// TestNoLifeLosesAProcess walks at random and checks what must always hold.
func TestNoLifeLosesAProcess(t *testing.T) {
	met := map[string]int{} // what the walks have come by: a check of something that never happens is none
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		w := &world{t: t, policy: testPolicy, now: start, preparing: map[Generation]bool{}, processes: map[Generation]bool{}, killed: map[Generation]bool{}}
		w.packs = seed%10 == 1
		w.policy.NoBlacklist, w.policy.WaitCommand = seed%3 == 0, seed%5 == 0
		if seed%4 == 0 {
			w.policy.Start = 0
		}
		pick := func(m map[Generation]bool) Generation {
			for id := Generation(1); id <= w.life.Last; id++ {
				if m[id] && (r.IntN(2) == 0 || len(m) == 1) {
					return id
				}
			}
			return 0
		}
		for range 80 {
			w.now = w.now.Add(time.Duration(r.IntN(3000)) * time.Millisecond)
			switch r.IntN(15) {
			case 0, 1:
				w.step(Seen{})
			case 2:
				w.step([]Event{Gone{}, Reowned{}, AskStop{}, AskReload{}, AskStart{}, AskStart{}, SocketLost{}, Forgive{}, Connected{}}[r.IntN(9)])
			case 3, 4, 5:
				if id := pick(w.preparing); id != 0 {
					fine := Prepared{id, Silence(r.IntN(3)), r.IntN(3) == 0}
					e := []Event{Begun{id}, fine, fine, fine, Failed{id, "x", true, false, r.IntN(2) == 0}, Failed{id, "y", false, r.IntN(3) == 0, false}, Bound{id}}[r.IntN(7)]
					if e == (Bound{id}) && (w.life.Wanted || w.life.State != Resolving) {
						e = fine // the loop asks for a process then
					}
					if e != (Begun{id}) {
						delete(w.preparing, id)
					}
					w.step(e)
				}
			case 6, 7, 8:
				if id := pick(w.processes); id != 0 {
					w.step(Accepted{id, r.IntN(4) > 0})
				}
			case 12:
				if w.life.State == Waiting {
					w.step(Connected{})
				} else if id := pick(w.processes); id != 0 {
					w.step(LetGo{id})
				}
			case 9:
				if id := pick(w.processes); id != 0 {
					w.step(Beat{id})
				}
			case 10:
				if id := pick(w.processes); id != 0 {
					delete(w.processes, id)
					w.step(Exited{id, "x", r.IntN(8) == 0})
				}
			default:
				if due := w.life.Due(); !due.IsZero() {
					if due.After(w.now) {
						w.now = due
					}
					w.step(Due{})
				}
			}
			w.sound()
			met[w.life.State.String()]++
			for what, is := range map[string]bool{"restored": w.life.Restored, "exiled": w.life.Exiled, "beats": !w.life.BeatBy.IsZero(), "stale": w.life.Stale, "silent": w.life.Process && w.life.Silence == Silent, "killed": len(w.killed) > 0} {
				if is {
					met[what]++
				}
			}
		}
		w.step(Shutdown{})
		for i := 0; len(w.processes) > 0; i++ {
			if i > 1000 {
				w.fail("does not end")
			}
			if id := pick(w.processes); id != 0 {
				delete(w.processes, id)
				w.step(Exited{id, "exit code 0", false})
			}
		}
		if w.life.State != Absent || len(w.preparing) > 0 {
			w.fail("is %s after the shutdown, preparing %v", w.life.State, w.preparing)
		}
	}
	for _, what := range append(stateNames[:], "restored", "exiled", "beats", "stale", "silent", "killed") {
		if met[what] < 100 {
			t.Errorf("the walks met %q %d times", what, met[what])
		}
	}
}
