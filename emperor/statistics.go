package emperor

import (
	"os"
	"slices"
	"strings"
	"time"

	"github.com/emperord/emperord/protocol/stats"
)

// statistics describes the empire as uWSGI's emperor does. Who connects to the socket sees all vassals: it is the
// operator's.
func (e *Emperor) statistics() *stats.Emperor {
	s := &stats.Emperor{
		Version: e.o.Version, PID: os.Getpid(), UID: os.Getuid(), GID: os.Getgid(), CWD: e.o.Dir,
		Emperor: e.patterns, EmperorTyrant: oneIf(e.tyrant),
		ThrottleLevel: 0, // a vassal that fails delays nobody but itself
	}
	for _, v := range e.vassals {
		switch v.life.State {
		case Backoff, Refused:
			s.Blacklist = append(s.Blacklist, e.banned(v))
		default:
			s.Vassals = append(s.Vassals, e.counted(v))
		}
	}
	slices.SortFunc(s.Vassals, func(a, b stats.Vassal) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(s.Blacklist, func(a, b stats.Banned) int { return strings.Compare(a.ID, b.ID) })
	return s
}

func (e *Emperor) counted(v *vassal) stats.Vassal {
	d := v.dates
	s := stats.Vassal{
		ID: v.name, PID: -1, Born: seconds(d.Born), LastMod: seconds(d.LastModified), LastHeartbeat: seconds(d.LastHeartbeat),
		LastLoyal: seconds(d.LastLoyal), LastReady: seconds(d.LastReady), LastAccepting: seconds(d.LastAccepting),
		FirstRun: seconds(d.FirstRun), LastRun: seconds(d.LastRun),
		Monitor: v.monitor, Respawns: d.Respawns, OnDemand: v.demand,
	}
	if e.tyrant {
		s.UID, s.GID = int(v.uid), int(v.gid)
	}
	if a := v.current(); a != nil && a.pid != 0 {
		s.PID, s.Loyal, s.Ready, s.Accepting = a.pid, oneIf(a.loyal), oneIf(a.ready), oneIf(a.accepting)
	}
	if v.leader != "" {
		s.ID, s.Zerg = zergName(v.leader, 1), 1 // in uWSGI all of them have this name
	}
	if v.life.State == Stopping {
		s.Cursed = seconds(v.life.Since)
	}
	return s
}

// current is the generation that counts for who looks from outside: the one that serves, else the one that is coming,
// else one that is leaving.
func (v *vassal) current() *attempt {
	for _, id := range []Generation{v.life.Serving, v.life.Coming} {
		if a := v.attempts[id]; a != nil {
			return a
		}
	}
	if n := len(v.life.Leaving); n > 0 {
		return v.attempts[v.life.Leaving[n-1].ID]
	}
	return nil
}

func (e *Emperor) banned(v *vassal) stats.Banned {
	b := stats.Banned{ID: v.name, Attempt: max(1, v.life.Failures), FirstAttempt: seconds(v.failing), LastAttempt: seconds(v.life.Since)}
	if v.life.State == Backoff {
		b.ThrottleLevel = v.life.Deadline.Sub(v.life.Since).Milliseconds()
	}
	return b
}

// noteFailing remembers when a vassal's failures in a row have begun.
func (v *vassal) noteFailing(now time.Time) {
	switch ill := v.life.Failures > 0 || v.life.State == Refused; {
	case !ill:
		v.failing = time.Time{}
	case v.failing.IsZero():
		v.failing = now
	}
}

func oneIf(is bool) int {
	if is {
		return 1
	}
	return 0
}

// seconds returns a moment as statistics have it, 0 for one that has not come.
func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}
