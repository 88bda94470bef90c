package emperor

import (
	"fmt"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/emperord/emperord/configs"
)

// A parade is an emperor who reloads vassals that serve already, without any process.
func parade(crowd, single int) *Emperor {
	e := &Emperor{c: &configs.Emperor{}, log: zap.NewNop(), vassals: map[string]*vassal{}, turns: map[*attempt]time.Time{}, lines: map[uint32]*allowance{}, policy: Policy{Start: time.Minute, Patience: time.Second}}
	for i := range crowd + single {
		v := &vassal{name: fmt.Sprintf("v%03d.ini", i), attempts: map[Generation]*attempt{}, life: Life{State: Accepting, Serving: 1, Last: 1}}
		if v.maker = 1; i >= crowd {
			v.maker = 2
		}
		e.vassals[v.name] = v
	}
	e.reloadAll()
	return e
}

// begun counts a user's vassals that have a second generation on its way.
func (e *Emperor) begun(user uint32) (n int) {
	for _, v := range e.vassals {
		if v.maker == user && v.life.Last > 1 {
			n++
		}
	}
	return n
}

func TestARollingKeepsTurnsForOtherUsers(t *testing.T) {
	e := parade(3*parallel(), 0)
	now := time.Now()
	e.roll(now)
	if n := e.begun(1); n != parallel() {
		t.Fatalf("%d of one user are reloaded at a time, want %d", n, parallel())
	}
	late := &vassal{name: "late.ini", sighting: sighting{maker: 2}, attempts: map[Generation]*attempt{}, life: Life{State: Accepting, Serving: 1, Last: 1}}
	e.vassals[late.name] = late
	e.rolling.waiting = append(e.rolling.waiting, late.name)
	e.roll(now)
	if e.begun(2) != 1 || e.begun(1) != parallel() {
		t.Errorf("while a user has all turns, %d of another user begin, want 1; and %d of the first, want %d", e.begun(2), e.begun(1), parallel())
	}
}

// TestATurnOfARollingEnds is about those who would hold up all others: one that never comes to an end, and one that serves while its old
// generation has a request of minutes.
func TestATurnOfARollingEnds(t *testing.T) {
	e := parade(2*parallel(), 0)
	now := time.Now()
	e.roll(now)
	first := e.begun(1)
	limit := e.policy.Start + e.policy.Patience
	e.roll(now.Add(limit))
	if n := e.begun(1); n != first {
		t.Errorf("%d more began before the turns of the others were over", n-first)
	}
	e.roll(now.Add(limit + time.Millisecond))
	if n := e.begun(1); n != 2*first {
		t.Errorf("%d have begun after the turns of the first %d were over, want %d", n, first, 2*first)
	}

	e = parade(parallel()+1, 0)
	e.roll(now)
	for _, v := range e.vassals { // all have swapped, and each has an old generation that does not leave
		if v.life.Last > 1 {
			v.life = Life{State: Accepting, Serving: 2, Last: 2, Leaving: []Leaver{{ID: 1}}}
		}
	}
	e.roll(now)
	if n := e.begun(1); n != parallel() {
		t.Errorf("%d have begun while the old generations of the first still serve, want %d", n, parallel())
	}
	e.roll(now.Add(slowLeave + time.Millisecond))
	if n := e.begun(1); n != parallel()+1 {
		t.Errorf("%d have begun after the others have waited long enough for their old generations, want %d", n, parallel()+1)
	}
	for _, v := range e.vassals {
		v.life.Coming, v.life.Leaving = 0, nil
	}
	e.roll(now)
	if len(e.rolling.under) != 0 || len(e.rolling.waiting) != 0 {
		t.Errorf("what is over is still under way: %+v", e.rolling)
	}
}
