package vassal

import (
	"time"

	"github.com/emperord/emperord/protocol/pipe"
)

// beat tells the emperor that all is well, from the first accepted request on and every `heartbeat` seconds. It is said
// here, in the loop, because it shall prove that the loop turns: a supervisor that hangs replaces no worker.
func (s *supervisor) beat(now time.Time) {
	if s.app.Heartbeat <= 0 || s.in.pipe == nil || s.stopping {
		s.nextBeat = time.Time{}
		return
	}
	s.nextBeat = now.Add(s.app.Heartbeat)
	if s.alive() {
		_, _ = s.in.pipe.Write([]byte{byte(pipe.Heartbeat)}) // an emperor that has gone is noticed where its words are read
	}
}

// alive tells whether there is somebody to serve, now or soon: a host that loads the application, one with a worker, or
// one that forks them when somebody connects.
// Whoever waits with neither is better started anew.
func (s *supervisor) alive() bool {
	for _, h := range s.hosts {
		if h.stage == loading {
			return true
		}
		if h.stage != serving {
			continue
		}
		if h.cheap {
			return true
		}
		for i := range h.workers {
			if h.workers[i].pid != 0 || h.workers[i].ordered {
				return true
			}
		}
	}
	return false
}
