package uwsgi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// defaultHeaderTimeout is uWSGI's socket-timeout.
const defaultHeaderTimeout = 4 * time.Second

// maxAcceptDelay is how long accepting pauses at most when the process or the machine is out of descriptors.
const maxAcceptDelay = time.Second

// Serve answers the requests that arrive at l with handler until l is closed. See Server.Serve.
func Serve(l net.Listener, handler http.Handler) error {
	return (&Server{Handler: handler}).Serve(l)
}

// A Server answers requests in the uwsgi protocol with an http.Handler.
//
// The context of a request ends when its handler returns or when the context of Shutdown ends. Handlers read the
// variables of the front with Variables.
type Server struct {
	Handler http.Handler // nil: http.DefaultServeMux

	// HeaderTimeout is how long a peer may take to send everything before the body; 0 is 4 s, uWSGI's socket-timeout.
	// The body has no limit but the handler's patience.
	HeaderTimeout time.Duration

	// ErrorLog takes what went wrong and is no return value of Serve: bad packets, panics, bad response headers. It is
	// called by several goroutines. What a peer can repeat is reported once, or once per peer and minute. nil: nobody.
	ErrorLog func(error)

	mu      sync.Mutex
	closing bool
	loops   map[net.Listener]struct{}
	conns   map[net.Conn]context.CancelFunc
	idle    chan struct{} // made by the first Shutdown, closed when loops and conns are empty
	said    reports
}

// Serve accepts connections from l until l is closed, by Shutdown or by somebody else, and answers each in a goroutine
// of its own. It returns when all of these have ended: http.ErrServerClosed after Shutdown, else the error of
// Accept. It closes l.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	if !s.enter(l) {
		return http.ErrServerClosed
	}
	defer s.leave(l)
	var inHand sync.WaitGroup
	defer inHand.Wait()
	delay := time.Duration(0)
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			delay = 0
			ctx := s.took(nc)
			inHand.Go(func() {
				defer s.done(nc)
				s.serveConn(ctx, nc)
			})
		case s.isClosing():
			return http.ErrServerClosed
		case passes(err):
			delay = min(max(2*delay, 5*time.Millisecond), maxAcceptDelay)
			s.say("accept", time.Minute, fmt.Errorf("cannot accept: %w; next try in %s", err, delay))
			time.Sleep(delay)
		default:
			return err
		}
	}
}

// passes tells whether an error of Accept is the fault of one connection or of a shortage that may pass (accept(2)).
func passes(err error) bool {
	for _, e := range []error{syscall.ECONNABORTED, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EINTR, syscall.EPROTO} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Shutdown closes all listeners and returns when every accepted request has been answered. If ctx ends first, it ends
// the contexts of the requests, closes their connections and returns the error of ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	if s.idle == nil {
		s.idle = make(chan struct{})
		s.checkIdle()
	}
	for l := range s.loops {
		_ = l.Close() // closing twice is no harm
	}
	idle := s.idle
	s.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for nc, cancel := range s.conns {
		cancel()
		_ = nc.Close()
	}
	return ctx.Err()
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

func (s *Server) enter(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	if s.loops == nil {
		s.loops = make(map[net.Listener]struct{})
		s.conns = make(map[net.Conn]context.CancelFunc)
	}
	s.loops[l] = struct{}{}
	return true
}

func (s *Server) leave(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.loops, l)
	s.checkIdle()
}

func (s *Server) took(nc net.Conn) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[nc] = cancel
	return ctx
}

func (s *Server) done(nc net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[nc]()
	delete(s.conns, nc)
	s.checkIdle()
}

// checkIdle runs under the lock.
func (s *Server) checkIdle() {
	if s.closing && s.idle != nil && len(s.loops)+len(s.conns) == 0 {
		select {
		case <-s.idle:
		default:
			close(s.idle)
		}
	}
}
