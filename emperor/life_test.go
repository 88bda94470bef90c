package emperor

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var (
	testPolicy = Policy{Mercy: 60 * time.Second, Throttle: time.Second, MaxThrottle: 180 * time.Second, Patience: 10 * time.Second, Good: time.Minute, Start: 2 * time.Minute, Heartbeat: 30 * time.Second}
	start      = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

// A namedLife is one row of the table.
type namedLife struct {
	name string
	life Life
}

// lives are one or two typical lives for every state.
func lives() []namedLife {
	return []namedLife{
		{"absent", Life{}},
		{"refused", Life{State: Refused, Last: 1, Reason: "bad"}},
		{"refused, exiled", Life{State: Refused, Last: 1, Exiled: true, Reason: "it asked"}},
		{"suspended", Life{State: Suspended, Last: 1}},
		{"resolving, waits for its turn", Life{State: Resolving, Last: 1, Coming: 1}},
		{"resolving, waits for its turn to restore", Life{State: Resolving, Last: 3, Coming: 3, Served: start, Good: true, Stale: true, Refusal: "bad", Restoring: true}},
		{"resolving", Life{State: Resolving, Last: 1, Coming: 1, Deadline: start}},
		{"resolving, to restore", Life{State: Resolving, Last: 3, Coming: 3, Served: start, Good: true, Stale: true, Refusal: "bad", Restoring: true, Deadline: start}},
		{"starting", Life{State: Starting, Last: 1, Coming: 1, Process: true, Deadline: start}},
		{"starting, served before", Life{State: Starting, Last: 2, Coming: 2, Process: true, Served: start, Good: true, Deadline: start}},
		{"starting, the same served before", Life{State: Starting, Last: 2, Coming: 2, Process: true, Same: true, Served: start, Good: true, Deadline: start}},
		{"starting, restored", Life{State: Starting, Last: 3, Coming: 3, Process: true, Served: start, Good: true, Stale: true, Refusal: "bad", Restoring: true, Deadline: start}},
		{"starting, may be silent", Life{State: Starting, Last: 1, Coming: 1, Process: true, Silence: MayBeSilent, Deadline: start}},
		{"starting, is silent", Life{State: Starting, Last: 1, Coming: 1, Process: true, Silence: Silent, Deadline: start}},
		{"accepting", Life{State: Accepting, Last: 1, Serving: 1, Served: start}},
		{"accepting, restarted before", Life{State: Accepting, Last: 2, Serving: 2, Served: start, Spent: true, Deadline: start}},
		{"accepting, a socket lost before", Life{State: Accepting, Last: 2, Serving: 2, Served: start, Losses: 1, Remade: start}},
		{"accepting, sends heartbeats", Life{State: Accepting, Last: 1, Serving: 1, Served: start, BeatBy: start}},
		{"accepting, its file refused", Life{State: Accepting, Last: 2, Serving: 1, Served: start, Good: true, Stale: true, Refusal: "bad", Reason: "bad"}},
		{"accepting, restored", Life{State: Accepting, Last: 3, Serving: 3, Served: start, Good: true, Stale: true, Refusal: "bad", Restored: true, Spent: true, Reason: "restored"}},
		{"accepting, old one leaving", Life{State: Accepting, Last: 2, Serving: 2, Served: start, Leaving: []Leaver{{ID: 1, KillAt: start}}}},
		{"accepting, three leaving, one unused", Life{State: Accepting, Last: 4, Serving: 4, Served: start.Add(-tooSoon), Leaving: []Leaver{{ID: 1, KillAt: start.Add(time.Minute)}, {ID: 2, KillAt: start.Add(time.Second), Unused: true}, {ID: 3, KillAt: start.Add(time.Minute)}}}},
		{"reloading, waits for its turn", Life{State: Reloading, Last: 2, Serving: 1, Coming: 2, Served: start}},
		{"reloading, resolving", Life{State: Reloading, Last: 2, Serving: 1, Coming: 2, Served: start, Deadline: start}},
		{"reloading, starting", Life{State: Reloading, Last: 2, Serving: 1, Coming: 2, Served: start, Process: true, Deadline: start}},
		{"reloading, starting, may be silent", Life{State: Reloading, Last: 2, Serving: 1, Coming: 2, Served: start, Process: true, Silence: MayBeSilent, Deadline: start}},
		{"reloading, starting, is silent", Life{State: Reloading, Last: 2, Serving: 1, Coming: 2, Served: start, Process: true, Silence: Silent, Deadline: start}},
		{"reloading, both late", Life{State: Reloading, Last: 2, Serving: 1, Coming: 2, Served: start, Process: true, Deadline: start, BeatBy: start}},
		{"reloading, restored serves", Life{State: Reloading, Last: 4, Serving: 3, Coming: 4, Served: start, Process: true, Good: true, Restored: true, Deadline: start}},
		{"stopping, then absent", Life{State: Stopping, Last: 1, Leaving: []Leaver{{ID: 1, KillAt: start}}, Then: Absent}},
		{"stopping, then suspended", Life{State: Stopping, Last: 1, Leaving: []Leaver{{ID: 1, KillAt: start}}, Then: Suspended}},
		{"stopping, then resolving", Life{State: Stopping, Last: 1, Leaving: []Leaver{{ID: 1, KillAt: start}}, Then: Resolving}},
		{"waiting", Life{State: Waiting, Last: 1}},
		{"waiting, the last one leaving", Life{State: Waiting, Last: 1, Served: start, Leaving: []Leaver{{ID: 1, KillAt: start}}}},
		{"waiting after two failures", Life{State: Waiting, Last: 2, Failures: 2, Reason: "died"}},
		{"starting, somebody waits", Life{State: Starting, Last: 2, Coming: 2, Process: true, Wanted: true, Served: start}},
		{"accepting long enough to be let go", Life{State: Accepting, Last: 1, Serving: 1, Served: start.Add(-tooSoon), Wanted: true}},
		{"backoff, third", Life{State: Backoff, Last: 3, Failures: 3, Deadline: start, Reason: "died"}},
	}
}

func events(l Life) []Event {
	e := []Event{Seen{}, Reowned{}, Gone{}, AskReload{}, AskStop{}, AskStart{}, Shutdown{}, SocketLost{}, Connected{}, Due{}, Forgive{}}
	if l.Coming != 0 {
		e = append(e, Begun{l.Coming}, Delayed{l.Coming, time.Minute}, Prepared{ID: l.Coming}, Bound{l.Coming}, Prepared{l.Coming, MayBeSilent, false}, Prepared{l.Coming, Silent, false}, Prepared{l.Coming, Speaks, true},
			Accepted{l.Coming, true}, Accepted{l.Coming, false}, Beat{l.Coming}, Failed{l.Coming, "bad value", false, false, false}, Failed{l.Coming, "bad mode", false, true, false}, Failed{l.Coming, "in use", true, false, false}, Failed{l.Coming, "in use", true, false, true},
			Exited{l.Coming, "exit code 1", false}, Exited{l.Coming, "exit code 26", true})
	}
	if l.Serving != 0 {
		e = append(e, Beat{l.Serving}, LetGo{l.Serving}, Exited{l.Serving, "killed", false}, Exited{l.Serving, "exit code 26", true})
	}
	for _, v := range l.Leaving {
		e = append(e, Beat{v.ID}, Exited{v.ID, "exit code 0", false}, Exited{v.ID, "exit code 26", true})
	}
	return append(e, Prepared{ID: 99}, Bound{99}, LetGo{99}, Accepted{ID: 99}, Failed{99, "late", false, false, false}, Exited{ID: 99, Reason: "late"})
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
	if l.Process && l.Silence != Speaks {
		s += [...]string{"", " may be silent", " is silent"}[l.Silence]
	}
	for _, f := range []struct {
		set  bool
		name string
	}{{l.Good, "good"}, {l.Same && l.Coming != 0, "same"}, {l.Restoring, "restoring"}, {l.Restored, "restored"}, {l.Stale, "stale"}, {l.Exiled, "exiled"}} {
		if f.set {
			s += " " + f.name
		}
	}
	if !l.BeatBy.IsZero() {
		s += " beat+" + l.BeatBy.Sub(start).String()
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
	table(&b, lives(), testPolicy, nil)
	seen := func(e Event) bool {
		return e == Seen{} || e == Reowned{} || e == AskStart{} || e == Gone{} || e == AskReload{}
	}
	wait := testPolicy
	wait.WaitCommand = true
	fmt.Fprintf(&b, "\nwith emperor-wait-for-command\n")
	table(&b, lives(), wait, seen)
	flat := testPolicy
	flat.NoBlacklist, flat.Throttle, flat.MaxThrottle = true, time.Millisecond, time.Hour
	fmt.Fprintf(&b, "\nwith emperor-no-blacklist and emperor-throttle = 1\n")
	table(&b, lives(), flat, func(e Event) bool { _, failed := e.(Failed); _, exited := e.(Exited); return failed || exited })
	endless := testPolicy
	endless.Start, endless.Heartbeat = 0, 0
	fmt.Fprintf(&b, "\nwithout emperor-start-timeout and emperor-required-heartbeat\n")
	table(&b, lives(), endless, func(e Event) bool { _, prepared := e.(Prepared); _, beat := e.(Beat); return prepared || beat })
	golden(t, b.String())
}

// table prints what becomes of every life by the events that want names; nil: all.
func table(b *strings.Builder, all []namedLife, p Policy, want func(Event) bool) {
	for _, c := range all {
		head := c.name + "\n"
		for _, e := range events(c.life) {
			name := strings.TrimPrefix(fmt.Sprintf("%T", e), "emperor.")
			if p := strings.Trim(fmt.Sprintf("%v", e), "{}"); p != "" {
				name += " " + p
			}
			l, actions := Next(c.life, e, start, p)
			if want != nil && (!want(e) || describe(l) == describe(c.life) && len(actions) == 0) {
				continue
			}
			b.WriteString(head)
			head = ""
			if describe(l) == describe(c.life) && len(actions) == 0 {
				fmt.Fprintf(b, "  %-24s -\n", name)
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
			fmt.Fprintf(b, "  %-24s → %-50s %s\n", name, describe(l), strings.Join(did, ", "))
		}
	}
}

// golden compares with testdata/life.golden.
func golden(t *testing.T, got string) {
	t.Helper()
	const file = "testdata/life.golden"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the life has changed; look at the difference after: go test ./emperor -run TestLifeTable -update\n%s", got)
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
		step(Prepared{ID: l.Coming})
		step(Exited{ID: l.Coming, Reason: "exit code 1"})
		if got := l.Deadline.Sub(now); l.State != Backoff || got != want*time.Second {
			t.Fatalf("failure %d: %s for %s, want backoff for %ds", i+1, l.State, got, want)
		}
		now = l.Deadline
		step(Due{})
	}
	step(Prepared{ID: l.Coming})
	step(Accepted{ID: l.Coming})
	now = now.Add(time.Minute)
	step(Due{})
	step(Exited{ID: l.Serving, Reason: "killed"})
	if l.State != Resolving {
		t.Fatalf("after a minute of good service it is %s, want a restart at once", l.State)
	}
	step(Prepared{ID: l.Coming})
	step(Accepted{ID: l.Coming})
	step(Exited{ID: l.Serving, Reason: "killed"})
	if l.State != Backoff || l.Deadline.Sub(now) != time.Second {
		t.Fatalf("the second crash in a row: %s until +%s, want backoff for 1s", l.State, l.Deadline.Sub(now))
	}
}

// TestBackoffIsAsDesigned: a vassal that had been accepting restarts at once the first time; then delays double from
// emperor-throttle to emperor-max-throttle; a minute of good service, a change of the file, an operator or SIGURG clears
// them.
func TestBackoffIsAsDesigned(t *testing.T) {
	var l Life
	now := start
	step := func(e Event) { l, _ = Next(l, e, now, testPolicy) }
	up := func() { step(Prepared{ID: l.Coming}); step(Accepted{ID: l.Coming}) }
	die := func() { step(Exited{ID: l.Serving, Reason: "killed"}) }
	fail := func() { step(Prepared{ID: l.Coming}); step(Exited{ID: l.Coming, Reason: "exit code 1"}) }
	wait := func() { now = l.Due(); step(Due{}) }
	served := func(d time.Duration) func() {
		return func() {
			now = now.Add(d)
			if due := l.Due(); !due.IsZero() && !due.After(now) {
				step(Due{})
			}
		}
	}
	event := func(e Event) func() { return func() { step(e) } }
	for _, c := range []struct {
		name string
		do   []func()
		want time.Duration // until the next try; 0: it is being tried
	}{
		{"the first crash", []func(){up, die}, 0},
		{"the second crash in a row", []func(){up, die, up, die}, time.Second},
		{"the third", []func(){up, die, up, die, wait, up, die}, 2 * time.Second},
		{"the fourth", []func(){up, die, up, die, wait, up, die, wait, up, die}, 4 * time.Second},
		{"a crash after longer service than the delay", []func(){up, die, up, served(2 * time.Second), die}, 0},
		{"part of the delay was served", []func(){up, die, up, die, wait, up, served(500 * time.Millisecond), die}, 1500 * time.Millisecond},
		{"a minute of good service", []func(){up, die, up, die, wait, up, served(time.Minute), die}, 0},
		{"nearly a minute forgives nothing", []func(){up, die, up, die, wait, up, served(59 * time.Second), die, up, die}, 4 * time.Second},
		{"a change of the file", []func(){up, die, up, die, event(Seen{}), up, die}, 0},
		{"an operator", []func(){up, die, up, die, event(AskStart{}), up, die}, 0},
		{"SIGURG", []func(){up, die, up, die, event(Forgive{}), up, die}, 0},
		{"it never accepted", []func(){fail}, time.Second},
		{"it never accepted, twice", []func(){fail, wait, fail}, 2 * time.Second},
		{"at last it accepts, and crashes", []func(){fail, wait, fail, wait, up, die}, 4 * time.Second},
		{"many times", []func(){fail, wait, fail, wait, fail, wait, fail, wait, fail, wait, fail, wait, fail, wait, fail, wait, fail, wait, fail}, 180 * time.Second},
	} {
		l, now = Life{}, start
		step(Seen{})
		for _, do := range c.do {
			do()
		}
		switch got := l.Deadline.Sub(now); {
		case c.want == 0 && l.State != Resolving:
			t.Errorf("%s: it is %s, want a try at once", c.name, describe(l))
		case c.want > 0 && (l.State != Backoff || got != c.want):
			t.Errorf("%s: it is %s for %s, want backoff for %s", c.name, l.State, got, c.want)
		}
	}
}
