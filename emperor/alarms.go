package emperor

import (
	"container/heap"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// An alarm is a moment at which a vassal wants Due.
type alarm struct {
	at time.Time
	v  *vassal
}

// alarms is a heap, earliest first. An alarm that its vassal does not want any more stays and rings for nothing.
type alarms []alarm

func (a alarms) Len() int { return len(a) }

func (a alarms) Less(i, j int) bool { return a[i].at.Before(a[j].at) }

func (a alarms) Swap(i, j int) { a[i], a[j] = a[j], a[i] }

// Push is for container/heap.
func (a *alarms) Push(x any) { *a = append(*a, x.(alarm)) }

// Pop is for container/heap.
func (a *alarms) Pop() any {
	old := *a
	x := old[len(old)-1]
	*a = old[:len(old)-1]
	return x
}

// nextAlarm returns when the loop has something to do though nothing happens.
func (e *Emperor) nextAlarm() time.Time {
	next := time.Now().Add(time.Hour)
	earlier := func(t time.Time) {
		if t.Before(next) {
			next = t
		}
	}
	if len(e.alarms) > 0 {
		earlier(e.alarms[0].at)
	}
	for _, r := range e.remnants {
		earlier(r.killAt)
	}
	if !e.lookAt.IsZero() {
		earlier(e.lookAt)
	}
	for _, s := range e.strays {
		earlier(s.killAt)
	}
	e.attendance(earlier)
	if e.upgrade.quiet() {
		earlier(time.Now().Add(calm))
	}
	for _, l := range e.cg.left {
		earlier(l.killAt)
	}
	for _, r := range e.readers {
		if len(r.line) != 1 {
			earlier(r.due)
		}
	}
	for _, h := range e.hooks.running {
		earlier(h.killAt)
	}
	if e.waiting() {
		for _, until := range e.turns {
			earlier(until)
		}
	}
	if e.guardMayRest() {
		earlier(e.guarding.restAt)
	}
	if len(e.rolling.waiting) > 0 {
		for _, u := range e.rolling.under {
			earlier(u.until)
		}
	}
	return next
}

// ring does what is due.
func (e *Emperor) ring() {
	now := time.Now()
	for i := range e.remnants {
		r := &e.remnants[i]
		if r.killAt.After(now) {
			continue
		}
		if e.signalGroup(r.group, r.uid, syscall.SIGKILL) {
			e.log.Warn("killed what was left of a vassal", zap.String(fieldVassal, r.vassal), zap.Int("group", r.group))
		}
		r.killAt = now.Add(remnantMercy)
	}
	e.ringLeft(now)
	e.ringReaders(now)
	e.look(now)
	e.killStrays(now)
	e.ringHooks(now)
	e.ringGuard(now)
	for len(e.alarms) > 0 && !e.alarms[0].at.After(now) {
		a := heap.Pop(&e.alarms).(alarm)
		if a.v.alarm.Equal(a.at) {
			a.v.alarm = time.Time{}
			e.step(a.v, Due{})
		}
	}
}

// setAlarm notes when v wants Due.
func (e *Emperor) setAlarm(v *vassal) {
	due := v.life.Due()
	if due.Equal(v.alarm) {
		return
	}
	v.alarm = due
	if !due.IsZero() {
		heap.Push(&e.alarms, alarm{due, v})
	}
}
