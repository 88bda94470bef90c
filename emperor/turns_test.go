package emperor

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestWhatAnOperatorAsksForGoesFirst(t *testing.T) {
	e := &Emperor{turns: map[*attempt]time.Time{}}
	add := func(user uint32, id Generation, by caller) {
		v := &vassal{name: fmt.Sprint(user, id), attempts: map[Generation]*attempt{}, caller: by}
		v.maker = user
		a := &attempt{id: id}
		v.attempts[id] = a
		e.enqueue(v, a)
	}
	for id := Generation(1); id <= 3; id++ {
		add(1, id, nobody)
	}
	add(2, 11, nobody)
	add(1, 4, tenant)
	add(1, 5, tenant)
	add(1, 21, operator)
	add(2, 22, operator)
	add(3, 23, operator)
	e.requested[1].v.attempts = nil // abandoned
	var order []Generation
	for e.waiting() {
		next, found := e.nextTurn()
		if !found {
			break
		}
		order = append(order, next.a.id)
	}
	// The operator's, the last first; then users in rotation, and of each what it has asked for first.
	if want := []Generation{23, 21, 5, 11, 4, 1, 2, 3}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
	for range 10 * parallel() {
		add(9, 1, operator)
	}
	n := 0
	for next, found := e.nextAsked(); found; next, found = e.nextAsked() {
		e.turns[next.a] = start
		n++
	}
	if n != parallel()+reserve() {
		t.Errorf("an operator who asks for all gets %d at a time", n)
	}
}

// TestWhoIsWaitedForGoesAhead of a thousand that are only new, also when these have all turns, and one user's thousand that
// have died do not keep another's new one from starting.
func TestWhoIsWaitedForGoesAhead(t *testing.T) {
	e := &Emperor{turns: map[*attempt]time.Time{}}
	add := func(user uint32, name string, life Life) *vassal {
		v := &vassal{name: name, life: life, attempts: map[Generation]*attempt{}}
		v.maker = user
		a := &attempt{id: 1}
		v.attempts[1] = a
		e.enqueue(v, a)
		return v
	}
	begin := func() string {
		next, found := e.nextTurn()
		if !found {
			return "nobody"
		}
		e.turns[next.a] = start
		return next.v.name
	}
	fresh := Life{State: Resolving, Coming: 1}
	for range 1000 {
		add(1, "new", fresh)
	}
	for range parallel() {
		if got := begin(); got != "new" {
			t.Fatalf("%s begins", got)
		}
	}
	for name, life := range map[string]Life{
		"died":      {State: Resolving, Coming: 1, Served: start, Spent: true},
		"connected": {State: Resolving, Coming: 1, Wanted: true},
		"cut off":   {State: Reloading, Coming: 1, Serving: 2, Losses: 1, Remade: start, Since: start},
	} {
		clear(e.turns)
		for range parallel() {
			e.turns[&attempt{user: 1}] = start
		}
		add(1, name, life)
		if got := begin(); got != name {
			t.Errorf("%s begins, and somebody waits for the one that %s", got, name)
		}
	}
	for name, life := range map[string]Life{
		"died again":      {State: Resolving, Coming: 1, Served: start, Spent: true, Failures: 1},
		"failed, touched": {State: Resolving, Coming: 1, Served: start},
		"reloads":         {State: Reloading, Coming: 1, Serving: 2, Losses: 1, Remade: start, Since: start.Add(time.Second)},
	} {
		clear(e.turns)
		add(1, name, life)
		if got := begin(); got != "new" {
			t.Errorf("%s begins before the others", got)
		}
	}
	clear(e.turns)
	for range 1000 {
		add(1, "died", Life{State: Resolving, Coming: 1, Served: start, Spent: true})
	}
	add(2, "of another user", fresh)
	all := map[string]int{}
	for range parallel() {
		all[begin()]++
	}
	if all["died"] != parallel()/4 || all["of another user"] != 1 {
		t.Errorf("began %v", all)
	}
}

// TestReloadOfAllIsRolling counts the second generations that exist at a time.
func TestReloadOfAllIsRolling(t *testing.T) {
	m := found(t, nil)
	n := 3 * (parallel() + reserve())
	for i := range n {
		m.app(fmt.Sprintf("shop%d.ini", i), shopID, "slow")
	}
	for i := range n {
		m.await(fmt.Sprintf("shop%d.ini", i), Accepting, "")
	}
	before := map[string]int{}
	s, err := m.client().Status(context.Background())
	mustDo(t, err)
	for _, v := range s.Vassals {
		before[v.Name] = v.PID
	}
	mustDo(t, unix.Kill(os.Getpid(), unix.SIGHUP))
	most := 0
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		s, err := m.client().Status(context.Background())
		mustDo(t, err)
		second, left := 0, 0
		for _, v := range s.Vassals {
			if len(v.Generations) > 1 || v.State == "reloading" {
				second++
			}
			if v.State == "accepting" && v.PID == before[v.Name] {
				left++
			}
			if v.State != "accepting" && v.State != "reloading" {
				t.Errorf("%s is %s during a reload", v.Name, v.State)
			}
		}
		most = max(most, second)
		if left == 0 && second == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d of %d have not been reloaded", left, n)
		}
	}
	if most > parallel() {
		t.Errorf("%d vassals had two generations at a time, want at most %d", most, parallel())
	}
	if most < 2 {
		t.Errorf("they were reloaded one by one: %d at a time", most)
	}
}
