package vassal

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/protocol/control"
	"github.com/emperord/emperord/protocol/pipe"
)

// idleDue is when the application will have had nothing to do for as long as idle says; zero if that does not count now.
func (s *supervisor) idleDue() time.Time {
	h := s.current
	switch {
	case s.app.Idle == 0 || s.stopping || s.coming != nil || h == nil || h.stage != serving || !h.cheap && !h.anyReady():
		return time.Time{}
	case h.cheap && !s.app.DieOnIdle: // there is nobody left to stop
		return time.Time{}
	}
	return h.moved.Add(s.app.Idle)
}

// rest does what idle asks for when nobody has asked for anything for so long.
func (s *supervisor) rest(now time.Time) {
	due := s.idleDue()
	if due.IsZero() || now.Before(due) {
		return
	}
	h := s.current
	if !h.watch.due.IsZero() { // requests since the last look have not been seen yet
		s.look(h, now)
		if h.moved.Equal(now) {
			return
		}
	}
	for n := range h.board.Len() {
		if h.board.Slot(n).State != control.Idle && h.workers[n].pid != 0 { // a request that has just begun, or a slow one
			h.moved = now
			return
		}
	}
	h.moved = now // an emperor that does not end us is asked again
	switch {
	case !s.app.DieOnIdle:
		s.say("had nothing to do for %s; ends its workers until somebody connects", s.app.Idle)
		s.beCheap(h, now)
	case s.in.pipe != nil: // it keeps the socket, and starts us again when somebody connects
		s.say("had nothing to do for %s; asks the emperor to end it", s.app.Idle)
		_, _ = s.in.pipe.Write([]byte{byte(pipe.LetMeGo)})
	default:
		s.say("had nothing to do for %s; ends", s.app.Idle)
		s.stop(now, s.app.Mercy)
	}
}

// beCheap ends a host's workers, or begins without any, and has the first connection start them all, as in uWSGI. The
// host stays with the application loaded, so that this takes no longer than a fork.
func (s *supervisor) beCheap(h *host, now time.Time) {
	if s.bell == nil {
		b, err := newBell(s.listeners)
		if err != nil {
			s.say("%v; it keeps its workers", err)
			if !h.anyReady() {
				for slot := range h.workers {
					h.fork(slot)
				}
			}
			return
		}
		s.bell = b
	}
	h.cheap = true
	any := false
	for i := range h.workers {
		w := &h.workers[i]
		w.respawn.due = time.Time{}
		if w.pid != 0 {
			w.retired, any = true, true
		}
	}
	if any {
		h.order(control.Retire{})
	}
	s.tell(pipe.Spawned, &s.spawned)
	s.ready(h, now)
	if h == s.current {
		s.arm()
	}
}

// rung starts the workers: somebody connects.
func (s *supervisor) rung(now time.Time) {
	s.bell.disarm()
	h := s.current
	if h == nil || h.stage != serving || !h.cheap {
		return // whoever serves next does
	}
	s.say("somebody connects; starts its workers")
	h.cheap, h.moved = false, now
	for slot := range h.workers {
		if w := &h.workers[slot]; w.pid == 0 && !w.ordered {
			h.fork(slot)
		}
	}
}

// arm has the bell ring at the next connection, or now if one waits.
func (s *supervisor) arm() {
	if err := s.bell.arm(); err != nil { // better workers that nobody has asked for than none
		s.say("%v", err)
		s.rung(time.Now())
	}
}

// A bell rings when somebody connects to one of the listeners: once, until it is armed again. The nil bell never rings.
type bell struct {
	epoll *os.File
	fd    int   // of epoll
	fds   []int // of the listeners
	rung  chan struct{}
	ended chan struct{} // closed when the goroutine that listens has ended
	quit  chan struct{}
}

func newBell(listeners []*os.File) (*bell, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err == nil {
		if err = unix.SetNonblock(fd, true); err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot wait for connections: %w", err)
	}
	b := &bell{epoll: os.NewFile(uintptr(fd), "epoll"), fd: fd, rung: make(chan struct{}), ended: make(chan struct{}), quit: make(chan struct{})}
	for _, l := range listeners {
		b.fds = append(b.fds, int(l.Fd()))
	}
	go b.listen()
	return b, nil
}

// listen hands on each ring, until close.
func (b *bell) listen() {
	defer close(b.ended)
	raw, err := b.epoll.SyscallConn()
	if err != nil {
		return
	}
	events := make([]unix.EpollEvent, 16)
	for {
		var failed error
		err := raw.Read(func(fd uintptr) bool {
			n, err := unix.EpollWait(int(fd), events, 0)
			if err != nil && !errors.Is(err, unix.EINTR) {
				failed = err
			}
			return n > 0 || failed != nil
		})
		if err != nil || failed != nil {
			return
		}
		select {
		case b.rung <- struct{}{}:
		case <-b.quit:
			return
		}
	}
}

// arm has the bell ring at the next connection, or at once if one waits.
func (b *bell) arm() error {
	b.disarm()
	for _, fd := range b.fds {
		if err := unix.EpollCtl(b.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT}); err != nil {
			return fmt.Errorf("cannot wait for connections: %w", err)
		}
	}
	return nil
}

// disarm takes the bell from the listeners: with workers, the kernel would call it for each connection.
func (b *bell) disarm() {
	if b == nil {
		return
	}
	for _, fd := range b.fds {
		_ = unix.EpollCtl(b.fd, unix.EPOLL_CTL_DEL, fd, nil) // it may not be there
	}
}

func (b *bell) rings() <-chan struct{} {
	if b == nil {
		return nil
	}
	return b.rung
}

// close ends the goroutine that listens, and waits for it. The listeners may be closed before or after it.
func (b *bell) close() {
	if b == nil {
		return
	}
	close(b.quit)
	_ = b.epoll.SetReadDeadline(time.Now())
	<-b.ended
	b.epoll.Close()
}
