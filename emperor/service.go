package emperor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/notify"
)

// A service is what the loop says to systemd, or to whoever else started us with NOTIFY_SOCKET (sd_notify(3)).
type service struct {
	socket   *notify.Socket // nil: nobody is told anything
	watchdog time.Duration  // 0: there is none
	pingAt   time.Time

	phase    phase
	looked   bool                   // the sources have been looked at once
	waiting  map[*vassal]Generation // whom the phase waits for, and their last generation when it began
	began    time.Time
	progress time.Time // when one of them was done last
	checkAt  time.Time
	extendAt time.Time

	status   string // as said last
	changed  bool   // something has happened since
	statusAt time.Time
	unheard  bool // that nobody listens has been said
}

// A phase is what systemd thinks that we do.
type phase int

const (
	coming    phase = iota // before the first READY=1
	reloading              // after RELOADING=1
	running
	stopping
)

// The first READY, and that after a reload, come when every vassal that was there accepts or has failed. They must not be
// kept back by one application that loads for minutes, nor by a tenant who wants the machine not to boot.
const (
	slowLoading  = 30 * time.Second // whose process loads for longer is not waited for
	noProgress   = time.Minute      // when nobody was done for so long, nobody is waited for
	longestPhase = 5 * time.Minute
	oldLeave     = 2 * time.Second // the old generation must not take another request after READY; one that has long ones to finish takes none
	phaseCheck   = time.Second
	extendEvery  = 5 * time.Second // EXTEND_TIMEOUT_USEC: systemd's own timeout is for an emperor that hangs
	extendBy     = 20 * time.Second
	statusEvery  = time.Second
)

func (e *Emperor) say(assignments ...string) { e.unheard(e.service.socket.Say(assignments...)) }

// unheard says once that nobody listens.
func (e *Emperor) unheard(err error) {
	if err != nil && !e.service.unheard {
		e.service.unheard = true
		e.log.Warn("systemd does not hear", zap.Error(err))
	}
}

// unsettled tells whether a vassal in this state is on its way.
func unsettled(s State) bool { return s == Resolving || s == Starting || s == Reloading }

// awaitReady makes a new vassal one that READY waits for, if the first look has found it.
func (e *Emperor) awaitReady(v *vassal) {
	if e.service.socket != nil && e.service.phase == coming && !e.service.looked {
		if e.service.waiting == nil {
			e.service.waiting = map[*vassal]Generation{}
		}
		e.service.waiting[v] = 0
	}
}

// awaitFirst notes that all vassals that READY waits for are known.
func (e *Emperor) awaitFirst() {
	now := time.Now()
	e.service.looked, e.service.progress = true, now
	e.service.checkAt = now
}

// announceReload says that all vassals are about to be reloaded. systemd takes our answer for that to its own signal only
// with a stamp that is not older (Type=notify-reload).
func (e *Emperor) announceReload() {
	s := &e.service
	if s.socket == nil || s.phase == stopping || s.phase == coming {
		return
	}
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	e.say("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000))
	s.waiting = map[*vassal]Generation{}
	for _, v := range e.vassals {
		if s := v.life.State; s == Accepting || unsettled(s) || s == Backoff || s == Refused && !v.life.Exiled {
			e.service.waiting[v] = v.life.Last
		}
	}
	s.phase, s.began, s.progress, s.checkAt = reloading, time.Now(), time.Now(), time.Now()
}

// announceStop says that the end has begun.
func (e *Emperor) announceStop() {
	e.service.phase, e.service.waiting = stopping, nil
	e.service.extendAt = time.Time{}
	e.say("STOPPING=1", "STATUS=stopping: "+strings.TrimPrefix(e.statusText(), "STATUS="))
}

// settle notes what a step has made of a vassal.
func (e *Emperor) settle(v *vassal) {
	s := &e.service
	if s.socket == nil {
		return
	}
	s.changed = true
	if last, waits := s.waiting[v]; waits && (done(v.life, last) && len(v.life.Leaving) == 0 || v.life.State == Absent) {
		delete(s.waiting, v)
		s.progress = time.Now()
		if len(s.waiting) == 0 {
			s.checkAt = s.progress
		}
	}
}

// done tells whether a life has come to an end with what followed generation last: the new one serves, or there is none.
func done(l Life, last Generation) bool { return l.Last != last && !unsettled(l.State) }

// attend does what is due for systemd. The loop calls it at each turn, so a loop that stands still is found out: nobody
// else says WATCHDOG=1.
func (e *Emperor) attend() {
	s := &e.service
	if s.socket == nil {
		return
	}
	now := time.Now()
	if s.socket.Behind() {
		e.unheard(s.socket.Flush())
	}
	if s.watchdog > 0 && !now.Before(s.pingAt) {
		s.pingAt = now.Add(s.watchdog / 2)
		if !s.socket.Behind() { // they would tell nothing of today
			e.say("WATCHDOG=1")
		}
	}
	e.attendPhase(now)
	if s.changed && !now.Before(s.statusAt) && s.phase != stopping {
		s.changed, s.statusAt = false, now.Add(statusEvery)
		if text := e.statusText(); text != s.status {
			s.status = text
			e.say(text)
		}
	}
	e.push(now)
	if s.phase == running || s.phase == reloading {
		e.dropLeft(now, false)
	}
}

// attendPhase ends what has lasted long enough, and asks for time for what has not.
func (e *Emperor) attendPhase(now time.Time) {
	s := &e.service
	if s.phase == running {
		return
	}
	if s.phase == stopping {
		if now.Before(e.leavingAt.Add(e.c.Mercy)) {
			e.extend(now)
		}
		return
	}
	e.extend(now)
	if now.Before(s.checkAt) || !s.looked {
		return
	}
	s.checkAt = now.Add(phaseCheck)
	if e.upgrade.reload { // it begins after the upgrade
		return
	}
	slow := 0
	for v, last := range s.waiting {
		switch l := v.life; {
		case e.vassals[v.name] != v, done(l, last) && (len(l.Leaving) == 0 || now.Sub(l.Since) > oldLeave):
			delete(s.waiting, v)
		case l.Process && now.Sub(e.loadsSince(v, l.Since)) > slowLoading:
			slow++
		}
	}
	if len(s.waiting) > slow && now.Sub(s.progress) < noProgress && now.Sub(s.began) < longestPhase {
		return
	}
	if n := len(s.waiting); n > 0 {
		e.log.Warn("not waiting for vassals that load slowly: telling systemd that all is ready", zap.Int("vassals", n))
	}
	s.waiting, s.phase, s.status, s.changed = nil, running, e.statusText(), false
	e.say("READY=1", s.status)
}

// loadsSince returns since when the process of the coming generation runs.
func (e *Emperor) loadsSince(v *vassal, otherwise time.Time) time.Time {
	if a := v.attempts[v.life.Coming]; a != nil && !a.since.IsZero() {
		return a.since
	}
	return otherwise
}

func (e *Emperor) extend(now time.Time) {
	if !now.Before(e.service.extendAt) {
		e.service.extendAt = now.Add(extendEvery)
		e.say(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", extendBy.Microseconds()))
	}
}

// attendance returns when attend next has something to do.
func (e *Emperor) attendance(earlier func(time.Time)) {
	s := &e.service
	if s.socket == nil {
		return
	}
	now := time.Now()
	if s.watchdog > 0 {
		earlier(s.pingAt)
	}
	if s.phase == coming || s.phase == reloading {
		earlier(s.checkAt)
		earlier(s.extendAt)
	}
	if s.phase == stopping && now.Before(e.leavingAt.Add(e.c.Mercy)) {
		earlier(s.extendAt)
	}
	if s.changed && s.phase != stopping {
		earlier(s.statusAt)
	}
	if len(e.store.queue) > 0 {
		earlier(e.store.pushAt)
	}
	if len(e.store.left) > 0 && s.phase != coming {
		earlier(e.store.leftAt)
	}
	if s.socket.Behind() {
		earlier(now.Add(pushBlocked))
	}
}

// What is said of vassals that fail: tenants choose their names.
const (
	maxFailing     = 8
	maxFailingName = 48 // bytes
)

// statusText is one line for `systemctl status`: how many vassals are in which state, and who fails.
func (e *Emperor) statusText() string {
	counts := map[State]int{}
	var failing []string
	for _, v := range e.vassals {
		counts[v.life.State]++
		if s := v.life.State; s == Refused || s == Backoff || v.life.Failures > 0 && v.life.Serving == 0 && unsettled(s) { // or tried again
			failing = append(failing, v.name)
		}
	}
	word := "vassals"
	if len(e.vassals) == 1 {
		word = "vassal"
	}
	var parts []string
	for s := range State(len(stateNames)) {
		if counts[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[s], s))
		}
	}
	text := fmt.Sprintf("%d %s", len(e.vassals), word)
	if len(parts) > 0 {
		text += ": " + strings.Join(parts, ", ")
	}
	if len(failing) == 0 {
		return "STATUS=" + text
	}
	slices.Sort(failing)
	text += "; failing: "
	for i, name := range failing[:min(len(failing), maxFailing)] {
		if i > 0 {
			text += ", "
		}
		text += notify.Line(name, maxFailingName)
	}
	if more := len(failing) - maxFailing; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return "STATUS=" + text + "; see: emperorctl why NAME"
}
