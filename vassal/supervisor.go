package vassal

import (
	"context"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/pidfile"
	"github.com/emperord/emperord/protocol/pipe"
	"github.com/emperord/emperord/sockets"
)

// orphanMercy is how long requests under way may take when nobody is left to serve: the emperor said "stop at once", or has
// gone, and no other one is to come (pipe.KeptVariable).
const orphanMercy = 800 * time.Millisecond

// impatience is how soon a second signal to stop may come without meaning more: timeout(1) and others signal a process
// and then its group.
const impatience = 500 * time.Millisecond

// A supervisor owns one application's hosts. Only its own goroutine touches it.
type supervisor struct {
	journal
	launcher
	in     inheritance
	bound  []*sockets.Listener                                       // made here; nil under emperord
	reread func(context.Context, func() error) (*application, error) // reads the configuration again; nil under emperord
	words  chan pipe.Word                                            // from the emperor; closed when it has gone; nil without one
	mail   chan report                                               // from all hosts
	former []*logFile                                                // that reloads have replaced

	hosts   []*host // all that exist
	current *host   // serves, or is to serve; nil after it has died
	coming  *host   // will take over from current; nil when no reload is under way
	restart respawn // of current
	bell    *bell   // says that somebody connects while there are no workers; nil before it is needed

	stopping                  bool
	stoppedAt                 time.Time
	hurried                   time.Time // when everything must have gone, because nobody is left to serve; zero: nobody hurries
	fault                     error     // why it ends, if nobody has asked for it
	spawned, accepting, loyal bool
	nextBeat                  time.Time // when the emperor is told again that all is well; zero: not before a worker accepts
	shown                     bool      // see reading.go

	strained time.Time       // since when all workers are busy, or help was called for; zero: they are not
	deaf     bool            // how many connections wait cannot be told, which was said
	pidfiles []*pidfile.File // that were written

	signals chan os.Signal
	asked   <-chan struct{} // closed when whoever runs us wants us to end
	aside   []func()        // heard while the configuration was read again, to be done after it
}

// run starts the application and returns when everything of it has ended: nil if that was asked for.
func (s *supervisor) run(ctx context.Context) error {
	runtime.LockOSThread() // never unlocked: the thread that forks must not end before its children
	children.Punctually(s.env)
	s.signals = make(chan os.Signal, 16)
	signal.Notify(s.signals, unix.SIGCHLD, unix.SIGTERM, unix.SIGINT, unix.SIGQUIT, unix.SIGHUP, unix.SIGPIPE)
	defer signal.Stop(s.signals)
	broken := make(chan os.Signal, 1) // a log whose reader has gone must not end us before our requests (os/signal, "SIGPIPE")
	signal.Notify(broken, unix.SIGPIPE)
	defer signal.Stop(broken)
	asked := ctx.Done()
	s.asked = asked

	defer func() { s.bell.close() }()
	s.begin(time.Now())
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for len(s.hosts) > 0 || !s.stopping {
		var wake <-chan time.Time
		if due := s.due(); !due.IsZero() {
			timer.Reset(time.Until(due))
			wake = timer.C
		}
		select {
		case sig := <-s.signals:
			s.signalled(sig)
		case word, ok := <-s.words:
			s.told(word, ok)
		case r := <-s.mail:
			s.hear(r)
		case <-s.bell.rings():
			s.rung(time.Now())
		case <-wake:
		case <-asked:
			asked = nil
			s.stop(time.Now(), s.app.Mercy)
		}
		for len(s.aside) > 0 {
			do := s.aside[0]
			s.aside = s.aside[1:]
			do()
		}
		s.tick(time.Now())
	}
	s.sweep()
	return s.fault
}

// sweep ends, when the last host has gone, what the application has started and what has left the host's process group: all of
// it is ours, because we are its reaper.
func (s *supervisor) sweep() {
	deadline := time.Now().Add(orphanMercy)
	if !s.hurried.IsZero() && s.hurried.Before(deadline) {
		deadline = s.hurried
	}
	if killed := sweepKids(deadline); killed > 0 {
		s.say("killed %d processes that the application had left behind", killed)
	}
}

// begin starts the first host.
func (s *supervisor) begin(now time.Time) {
	h, err := s.start()
	if err != nil {
		s.fail(now, err)
		return
	}
	s.hosts, s.current = append(s.hosts, h), h
}

func (s *supervisor) signalled(sig os.Signal) {
	switch sig {
	case unix.SIGCHLD:
		for _, end := range children.Reap() {
			for _, h := range s.hosts {
				if h.pid == end.PID && !h.ended {
					s.ended(h, end)
				}
			}
		}
	case unix.SIGPIPE: // the log's reader has gone: no reason to die
	case unix.SIGHUP:
		s.reload(time.Now(), true)
	default:
		if s.stopping {
			if time.Since(s.stoppedAt) < impatience {
				return
			}
			s.say("was told to stop again (%s); kills what is left", unix.SignalName(sig.(syscall.Signal)))
			s.hurried = time.Now()
			for _, h := range s.hosts {
				h.within(s.hurried)
				h.kill()
			}
			return
		}
		s.say("was told to stop (%s); finishes what is under way", unix.SignalName(sig.(syscall.Signal)))
		s.stop(time.Now(), s.app.Mercy)
	}
}

// ends reports whether a signal tells us to stop.
func ends(sig os.Signal) bool {
	return sig == unix.SIGTERM || sig == unix.SIGINT || sig == unix.SIGQUIT
}

// told obeys the emperor.
func (s *supervisor) told(word pipe.Word, ok bool) {
	now := time.Now()
	if !ok {
		s.words = nil
		if !s.stopping {
			s.say("lost its emperor; leaves")
		}
		if s.in.kept { // the next emperor serves already, and kills us should we not leave in time
			s.stop(now, s.app.Mercy)
		} else {
			s.hurry(now)
		}
		return
	}
	switch word {
	case pipe.Stop:
		s.hurry(now)
	case pipe.StopGraceful:
		s.stop(now, s.app.Mercy)
	case pipe.Reload:
		s.reload(now, false)
	}
}

// hurry ends everything within orphanMercy.
func (s *supervisor) hurry(now time.Time) {
	if due := now.Add(orphanMercy); s.hurried.IsZero() || due.Before(s.hurried) {
		s.hurried = due
	}
	for _, h := range s.hosts {
		h.within(s.hurried)
	}
	s.stop(now, orphanMercy)
}

// stop ends everything. A second call can only shorten the time that is left.
func (s *supervisor) stop(now time.Time, mercy time.Duration) {
	if !s.stopping {
		s.stopping, s.stoppedAt = true, now
		s.closeListeners()
	}
	s.coming, s.restart.due = nil, time.Time{}
	s.bell.close()
	s.bell = nil
	for _, h := range s.hosts {
		h.leave(now, mercy)
	}
}

// closeListeners closes them here, so that the address is free as soon as the workers have let go of it.
func (s *supervisor) closeListeners() {
	for _, l := range s.bound {
		if s.app.Vacuum {
			_ = l.Remove()
		} else {
			_ = l.Close()
		}
	}
	if s.bound == nil {
		for _, f := range s.listeners {
			_ = f.Close()
		}
	}
	s.bound, s.listeners = nil, nil
}

// fail ends everything for a cause that the emperor shall know.
func (s *supervisor) fail(now time.Time, cause error) {
	s.fault = cause
	s.notice(cause.Error())
	s.hurry(now)
}

// notice writes on the emperor's notice board.
func (s *supervisor) notice(text string) {
	if s.in.board != nil {
		if err := pipe.WriteNotice(s.in.board, pipe.Notice{Failed: text}); err != nil {
			s.say("%v", err)
		}
	}
}

// tell says a word to the emperor, once.
func (s *supervisor) tell(word pipe.Word, said *bool) {
	if *said {
		return
	}
	*said = true
	if s.in.pipe != nil {
		_, _ = s.in.pipe.Write([]byte{byte(word)}) // an emperor that has gone is noticed where its words are read
	}
}
