package emperor

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var (
	testPolicy = Policy{Mercy: 60 * time.Second, Throttle: time.Second, MaxThrottle: 180 * time.Second, Patience: 10 * time.Second, Good: time.Minute}
	start      = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

// lives are one or two typical lives for every state.
func lives() []struct {
	name string
	life Life
} {
	return []struct {
		name string
		life Life
	}{
		{"absent", Life{}},
		{"refused", Life{State: Refused, Last: 1, Reason: "bad"}},
		{"suspended", Life{State: Suspended, Last: 1}},
		{"resolving", Life{State: Resolving, Last: 1, Coming: 1, Deadline: start}},
		{"starting", Life{State: Starting, Last: 1, Coming: 1, Process: true}},
		{"accepting", Life{State: Accepting, Last: 1, Serving: 1, Served: start}},
		{"accepting, restarted before", Life{State: Accepting, Last: 2, Serving: 2, Served: start, Spent: true, Deadline: start}},
		{"accepting, a socket lost before", Life{State: Accepting, Last: 2, Serving: 2, Served: start, Losses: 1, Remade: start}},
		{"accepting, old one leaving", Life{State: Accepting, Last: 2, Serving: 2, Served: start, Leaving: []Leaver{{1, start}}}},
		{"reloading, resolving", Life{State: Reloading, Last: 2, Serving: 1, Coming: 2, Served: start, Deadline: start}},
		{"reloading, starting", Life{State: Reloading, Last: 2, Serving: 1, Coming: 2, Served: start, Process: true}},
		{"stopping, then absent", Life{State: Stopping, Last: 1, Leaving: []Leaver{{1, start}}, Then: Absent}},
		{"stopping, then suspended", Life{State: Stopping, Last: 1, Leaving: []Leaver{{1, start}}, Then: Suspended}},
		{"stopping, then resolving", Life{State: Stopping, Last: 1, Leaving: []Leaver{{1, start}}, Then: Resolving}},
		{"waiting", Life{State: Waiting, Last: 1}},
		{"waiting, the last one leaving", Life{State: Waiting, Last: 1, Served: start, Leaving: []Leaver{{1, start}}}},
		{"waiting after two failures", Life{State: Waiting, Last: 2, Failures: 2, Reason: "died"}},
		{"starting, somebody waits", Life{State: Starting, Last: 2, Coming: 2, Process: true, Wanted: true, Served: start}},
		{"accepting long enough to be let go", Life{State: Accepting, Last: 1, Serving: 1, Served: start.Add(-tooSoon), Wanted: true}},
		{"backoff, third", Life{State: Backoff, Last: 3, Failures: 3, Deadline: start, Reason: "died"}},
	}
}

func events(l Life) []Event {
	e := []Event{Seen{}, Reowned{}, Gone{}, AskReload{}, AskStop{}, AskStart{}, Shutdown{}, SocketLost{}, Connected{}, Due{}}
	if l.Coming != 0 {
		e = append(e, Begun{l.Coming}, Prepared{l.Coming}, Bound{l.Coming}, Accepted{l.Coming}, Failed{l.Coming, "bad value", false}, Failed{l.Coming, "in use", true}, Exited{l.Coming, "exit code 1"})
	}
	if l.Serving != 0 {
		e = append(e, Exited{l.Serving, "killed"}, LetGo{l.Serving})
	}
	for _, v := range l.Leaving {
		e = append(e, Exited{v.ID, "exit code 0"})
	}
	return append(e, Prepared{99}, Bound{99}, LetGo{99}, Accepted{99}, Failed{99, "late", false}, Exited{99, "late"})
}

func describe(l Life) string {
	s := l.State.String()
	if l.State == Stopping {
		s += " then " + l.Then.String()
	}
	if l.Serving != 0 {
		s += fmt.Sprintf(" serving=%d", l.Serving)
	}
	if l.Coming != 0 {
		s += fmt.Sprintf(" coming=%d", l.Coming)
	}
	if len(l.Leaving) > 0 {
		s += fmt.Sprintf(" leaving=%d", len(l.Leaving))
	}
	if l.Failures > 0 {
		s += fmt.Sprintf(" failures=%d", l.Failures)
	}
	if l.Losses > 0 {
		s += fmt.Sprintf(" losses=%d", l.Losses)
	}
	if l.Wanted {
		s += " wanted"
	}
	if l.Spent {
		s += " spent"
	}
	if !l.Deadline.IsZero() {
		s += " due+" + l.Deadline.Sub(start).String()
	}
	if l.Reason != "" {
		s += fmt.Sprintf(" (%s)", l.Reason)
	}
	return s
}

func TestLifeTable(t *testing.T) {
	var b strings.Builder
	for _, c := range lives() {
		fmt.Fprintf(&b, "%s\n", c.name)
		for _, e := range events(c.life) {
			name := strings.TrimPrefix(fmt.Sprintf("%T", e), "emperor.")
			if p := strings.Trim(fmt.Sprintf("%v", e), "{}"); p != "" {
				name += " " + p
			}
			l, actions := Next(c.life, e, start, testPolicy)
			if describe(l) == describe(c.life) && len(actions) == 0 {
				fmt.Fprintf(&b, "  %-24s -\n", name)
				continue
			}
			var did []string
			for _, a := range actions {
				d := a.Do.String()
				if a.ID != 0 {
					d += fmt.Sprintf(" %d", a.ID)
				}
				did = append(did, d)
			}
			fmt.Fprintf(&b, "  %-24s → %-50s %s\n", name, describe(l), strings.Join(did, ", "))
		}
	}
	const golden = "testdata/life.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the life has changed; look at the difference after: go test ./emperor -run TestLifeTable -update\n%s", b.String())
	}
}

// world plays the loop: it keeps the processes that a life believes in.
type world struct {
	t         *testing.T
	life      Life
	now       time.Time
	preparing map[Generation]bool
	processes map[Generation]bool
	bound     bool
	log       []string
}

func (w *world) step(e Event) {
	l, actions := Next(w.life, e, w.now, testPolicy)
	w.life = l
	w.log = append(w.log, fmt.Sprintf("%T%v → %s", e, e, describe(l)))
	for _, a := range actions {
		switch a.Do {
		case Prepare:
			w.preparing[a.ID] = true
		case Abandon:
			if !w.preparing[a.ID] {
				w.fail("abandons %d, which is not being prepared", a.ID)
			}
			delete(w.preparing, a.ID)
		case Start:
			w.processes[a.ID] = true
		case Drain, Kill, Adopt:
			if !w.processes[a.ID] {
				w.fail("%s %d, which has no process", a.Do, a.ID)
			}
			w.bound = w.bound || a.Do == Adopt
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
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("after\n%s\nthe life %s", strings.Join(w.log, "\n"), fmt.Sprintf(format, args...))
}

// TestNoLifeLosesAProcess walks at random and checks what must always hold.
func TestNoLifeLosesAProcess(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 1))
		w := &world{t: t, now: start, preparing: map[Generation]bool{}, processes: map[Generation]bool{}}
		pick := func(m map[Generation]bool) Generation {
			for id := Generation(1); id <= w.life.Last; id++ {
				if m[id] && (r.IntN(2) == 0 || len(m) == 1) {
					return id
				}
			}
			return 0
		}
		for range 60 {
			w.now = w.now.Add(time.Duration(r.IntN(3000)) * time.Millisecond)
			switch r.IntN(13) {
			case 0, 1:
				w.step(Seen{})
			case 2:
				w.step([]Event{Gone{}, Reowned{}, AskStop{}, AskReload{}, AskStart{}, SocketLost{}, Connected{}}[r.IntN(7)])
			case 3, 4, 5:
				if id := pick(w.preparing); id != 0 {
					e := []Event{Begun{id}, Prepared{id}, Prepared{id}, Failed{id, "x", true}, Failed{id, "x", false}, Bound{id}}[r.IntN(6)]
					if e == (Bound{id}) && (w.life.Wanted || w.life.State != Resolving) {
						e = Prepared{id} // the loop asks for a process then
					}
					if e != (Begun{id}) {
						delete(w.preparing, id)
					}
					w.step(e)
				}
			case 6, 7, 8:
				if id := pick(w.processes); id != 0 {
					w.step(Accepted{id})
				}
			case 12:
				if w.life.State == Waiting {
					w.step(Connected{})
				} else if id := pick(w.processes); id != 0 {
					w.step(LetGo{id})
				}
			case 9:
				if id := pick(w.processes); id != 0 {
					delete(w.processes, id)
					w.step(Exited{id, "x"})
				}
			default:
				if due := w.life.Due(); !due.IsZero() {
					if due.After(w.now) {
						w.now = due
					}
					w.step(Due{})
				}
			}
			known := map[Generation]bool{}
			for _, v := range w.life.Leaving {
				known[v.ID] = true
			}
			if w.life.Serving != 0 {
				known[w.life.Serving] = true
			}
			if w.life.Process {
				known[w.life.Coming] = true
			}
			for id := range w.processes {
				if !known[id] {
					w.fail("does not know process %d any more", id)
				}
			}
			if len(known) != len(w.processes) {
				w.fail("believes in processes %v, there are %v", known, w.processes)
			}
			if (w.life.State == Accepting || w.life.State == Reloading) != (w.life.Serving != 0) {
				w.fail("says %s with serving=%d", w.life.State, w.life.Serving)
			}
			if (w.life.State == Accepting || w.life.State == Waiting) && !w.bound {
				w.fail("is %s without sockets", w.life.State)
			}
			if w.life.State == Backoff && w.life.Deadline.IsZero() || w.life.State == Resolving && len(w.preparing) == 0 {
				w.fail("waits in %s for ever", w.life.State)
			}
		}
		w.step(Shutdown{})
		for i := 0; len(w.processes) > 0; i++ {
			if i > 1000 {
				w.fail("does not end")
			}
			if id := pick(w.processes); id != 0 {
				delete(w.processes, id)
				w.step(Exited{id, "exit code 0"})
			}
		}
		if w.life.State != Absent || len(w.preparing) > 0 {
			w.fail("is %s after the shutdown, preparing %v", w.life.State, w.preparing)
		}
	}
}

func TestDelaysDoubleAndGoodServiceForgives(t *testing.T) {
	l, now := Life{}, start
	step := func(e Event) []Action {
		var a []Action
		l, a = Next(l, e, now, testPolicy)
		return a
	}
	step(Seen{})
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 180, 180} {
		step(Prepared{l.Coming})
		step(Exited{l.Coming, "exit code 1"})
		if got := l.Deadline.Sub(now); l.State != Backoff || got != want*time.Second {
			t.Fatalf("failure %d: %s for %s, want backoff for %ds", i+1, l.State, got, want)
		}
		now = l.Deadline
		step(Due{})
	}
	step(Prepared{l.Coming})
	step(Accepted{l.Coming})
	now = now.Add(time.Minute)
	step(Due{})
	step(Exited{l.Serving, "killed"})
	if l.State != Resolving {
		t.Fatalf("after a minute of good service it is %s, want a restart at once", l.State)
	}
	step(Prepared{l.Coming})
	step(Accepted{l.Coming})
	step(Exited{l.Serving, "killed"})
	if l.State != Backoff || l.Deadline.Sub(now) != time.Second {
		t.Fatalf("the second crash in a row: %s until +%s, want backoff for 1s", l.State, l.Deadline.Sub(now))
	}
}
