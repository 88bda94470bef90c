package emperor

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestQueueServesUsersInRotation(t *testing.T) {
	var q queue
	add := func(user uint32, id Generation) *attempt {
		v := &vassal{name: fmt.Sprint(user, id), attempts: map[Generation]*attempt{}}
		a := &attempt{id: id, user: user}
		v.attempts[id] = a
		q.push(turn{v, a})
		return a
	}
	for id := range Generation(3) {
		add(1, id)
	}
	add(2, 10)
	abandoned := turn{&vassal{attempts: map[Generation]*attempt{}}, &attempt{id: 5, user: 3}}
	q.push(abandoned)
	all := func(uint32) bool { return true }
	var order []string
	pop := func(may func(uint32) bool) {
		next, found := q.pop(may)
		if !found {
			order = append(order, "-")
			return
		}
		order = append(order, fmt.Sprintf("%d/%d", next.a.user, next.a.id))
	}
	pop(all)
	pop(all)
	pop(func(user uint32) bool { return user != 1 })
	pop(all)
	add(2, 11)
	pop(func(user uint32) bool { return user == 2 })
	pop(all)
	pop(all)
	if got, want := strings.Join(order, " "), "1/0 2/10 - 1/1 2/11 1/2 -"; got != want || !q.empty() || len(q.lines) != 0 {
		t.Errorf("served %s, want %s; %+v", got, want, q)
	}
}

func TestAllowanceIsForEachUserAndSaysWhatWasLeftOut(t *testing.T) {
	all := allowances{}
	said := 0
	for range 10 * linesAtOnce {
		if may, _ := all.take(1, start); may {
			said++
		}
	}
	if said != linesAtOnce {
		t.Errorf("%d lines at once", said)
	}
	if may, lost := all.take(2, start); !may || lost != 0 {
		t.Errorf("another user: %v, %d", may, lost)
	}
	if may, lost := all.take(1, start.Add(time.Second/linesASecond)); !may || lost != 9*linesAtOnce {
		t.Errorf("later: %v, %d left out", may, lost)
	}
	if may, _ := all.take(1, start.Add(time.Second/linesASecond)); may {
		t.Error("two lines in the time of one")
	}
}

func TestLimitKeepsWhoWasThereBefore(t *testing.T) {
	var said []string
	m := &monitor{most: 2, wrong: map[string]complaint{}, raised: map[string]bool{}, lines: allowances{}, say: func(_ string, err error) { said = append(said, err.Error()) },
		seen: map[string]sighting{"z.ini": {name: "z.ini", maker: 7, stamp: stamp{uid: 7}}}}
	now := map[string]sighting{}
	for name, uid := range map[string]uint32{"a.ini": 7, "b.ini": 7, "z.ini": 7, "r1.ini": 0, "r2.ini": 0, "r3.ini": 0} {
		now[name] = sighting{name: name, path: "/v/" + name, maker: uid, stamp: stamp{uid: uid}}
	}
	m.limit(now)
	if _, there := now["b.ini"]; there || len(now) != 5 {
		t.Errorf("kept %v", now)
	}
	if len(said) != 1 || !strings.Contains(said[0], "there are 3 files, and emperor-max-vassals-per-user is 2; left out is for example /v/b.ini") {
		t.Errorf("said %q", said)
	}
}
