package emperor

import (
	"time"

	"github.com/emperord/emperord/protocol/api"
)

// Dates are when things happened to a vassal last: what statistics show, and what nothing decides by. They outlive its
// processes, and leave with its file.
type Dates struct {
	Born         time.Time // its file was seen first
	LastModified time.Time // of the file, as the last look saw it

	FirstRun      time.Time // a process of it was started; zero: none yet
	LastRun       time.Time
	LastReady     time.Time // it said Spawned
	LastAccepting time.Time // it said Accepting
	LastLoyal     time.Time // it said Loyal: the first request of a generation was served
	LastHeartbeat time.Time
	Respawns      int // processes that were started after the first, for reloads too
}

// ran notes that a process of the vassal was started.
func (d *Dates) ran(now time.Time) {
	if d.FirstRun.IsZero() {
		d.FirstRun = now
	} else {
		d.Respawns++
	}
	d.LastRun = now
}

// seen notes when the file was changed.
func (d *Dates) seen(now time.Time, s stamp) {
	if d.Born.IsZero() {
		d.Born = now
	}
	d.LastModified = time.Unix(s.sec, s.nsec)
}

// signs are what operators are shown of them.
func (d *Dates) signs() api.Signs {
	at := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	return api.Signs{Ready: at(d.LastReady), Accepting: at(d.LastAccepting), Loyal: at(d.LastLoyal), Heartbeat: at(d.LastHeartbeat)}
}
