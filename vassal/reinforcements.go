package vassal

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/protocol/pipe"
)

// callForHelp asks the emperor for reinforcements: when all workers have been busy at every look for vassal-sos, and again
// after as long, or when more connections wait than vassal-sos-backlog at a look. The emperor decides.
func (s *supervisor) callForHelp(now time.Time, busy bool) {
	if s.in.pipe == nil || s.stopping || s.app.SOS <= 0 && s.app.SOSBacklog <= 0 {
		return
	}
	if !busy {
		s.strained = time.Time{}
		return // and then nobody waits for long
	}
	if s.strained.IsZero() {
		s.strained = now
	}
	help := s.app.SOS > 0 && now.Sub(s.strained) >= s.app.SOS
	if !help && s.app.SOSBacklog > 0 {
		help = s.waiting() > s.app.SOSBacklog
	}
	if !help {
		return
	}
	s.strained = now
	raw, err := s.in.pipe.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { // an emperor that does not listen must not hold us up
		_ = unix.Sendto(int(fd), []byte{byte(pipe.Reinforcement)}, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
	})
}

// waiting returns how many connections of all listeners nobody has accepted yet.
func (s *supervisor) waiting() int {
	all := 0
	for _, l := range s.listeners {
		raw, err := l.SyscallConn()
		n := 0
		if err == nil {
			_ = raw.Control(func(fd uintptr) { n, err = backlog(int(fd)) })
		}
		if err != nil && !s.deaf {
			s.deaf = true
			s.say("%svassal-sos-backlog has no effect: how many connections wait cannot be told: %v; write vassal-sos", prefix(s.app.place("vassal-sos-backlog")), err)
		}
		all += n
	}
	return all
}
