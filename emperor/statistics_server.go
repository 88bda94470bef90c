package emperor

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/emperord/emperord/protocol/stats"
	"github.com/emperord/emperord/sockets"
)

// Limits of a statistics socket. Who may connect is the operator's word (chmod-socket; a port is open to everybody who
// reaches it), so a reader must be able to hold up nobody but other readers, and those not for long.
const (
	statisticsReaders = 32              // connections at a time; more wait in the kernel
	statisticsTime    = 5 * time.Second // for a reader to ask (stats-http), and again to take the document
	statisticsRequest = 16 << 10        // bytes of an HTTP request that are read past
	statisticsRest    = 4               // between snapshots, so many times what the last one took
)

// statisticsHead is what stats-http puts before the document; the lines are uWSGI's. Pages of other sites may read it,
// which is what dashboards in a browser need.
const statisticsHead = "HTTP/1.0 200 OK\r\nConnection: close\r\nAccess-Control-Allow-Origin: *\r\nContent-Type: application/json\r\n\r\n"

// A statisticsServer serves one address: each connection gets one document and is closed.
type statisticsServer struct {
	listener *sockets.Listener
	net      net.Listener
	http     bool
	take     func() []byte // one snapshot; nil when the emperor has ended
	asks     chan chan []byte
	slots    chan struct{}
	done     chan struct{} // close was called

	mu    sync.Mutex
	conns map[net.Conn]bool
	wg    sync.WaitGroup
}

// listenStatistics makes the sockets of emperor-stats and stats. As with the control socket, the emperor governs without one that it
// cannot have, and says so: an application is worth more than its figures.
func (e *Emperor) listenStatistics() ([]*statisticsServer, error) {
	var servers []*statisticsServer
	for _, o := range []struct{ name, address string }{{"emperor-stats", e.c.StatsServer}, {"stats", e.c.Stats}} {
		if o.address == "" || o.name == "stats" && o.address == e.c.StatsServer {
			continue
		}
		address, err := sockets.ParseAddress(o.address)
		if err != nil {
			for _, s := range servers {
				s.close()
			}
			return nil, mistake("%s: %w", o.name, err)
		}
		s, err := e.openStatistics(address)
		if err != nil {
			e.log.Error("no statistics are served on this address; mend it and start emperord again", zap.String("option", o.name), zap.Error(err))
			continue
		}
		e.log.Info("statistics are served", zap.String(fieldSocket, s.listener.Address.String()))
		servers = append(servers, s)
	}
	return servers, nil
}

func (e *Emperor) openStatistics(address sockets.Address) (*statisticsServer, error) {
	l, err := e.bindOwn(address)
	if err != nil {
		return nil, err
	}
	s, err := e.newStatisticsServer(l)
	if err != nil {
		_ = l.Remove()
	}
	return s, err
}

func (e *Emperor) newStatisticsServer(l *sockets.Listener) (*statisticsServer, error) {
	n, err := net.FileListener(l.File)
	if err != nil {
		return nil, fmt.Errorf("cannot use the statistics socket: %w", err)
	}
	if u, ok := n.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // Remove does it, and only if the file is still ours
	}
	return &statisticsServer{
		listener: l, net: n, http: e.c.StatsHTTP, take: e.takeStatistics,
		asks: make(chan chan []byte), slots: make(chan struct{}, statisticsReaders), done: make(chan struct{}), conns: map[net.Conn]bool{},
	}, nil
}

// bindOwn makes a socket of the emperor's own, for operators: with the mode of chmod-socket, else for its own user alone, and
// with the user that it is going to be.
func (e *Emperor) bindOwn(address sockets.Address) (*sockets.Listener, error) {
	if address.Kind == sockets.Unix && !filepath.IsAbs(address.Path) {
		address.Path = filepath.Join(e.o.Dir, address.Path)
	}
	r := sockets.Request{Address: address, Mode: e.c.SocketMode, UID: sockets.Anyone, GID: sockets.Anyone}
	if r.Mode == nil {
		r.Mode = new(fs.FileMode(0o600))
	}
	if uid, gid, changes, err := e.ownUser(); err != nil {
		return nil, err
	} else if changes && sockets.MayChown() {
		r.UID, r.GID = uid, gid
	}
	return sockets.Bind(r, sockets.Policy{})
}

// takeStatistics has the loop take a snapshot, and writes it outside of the loop.
func (e *Emperor) takeStatistics() []byte {
	taken := make(chan *stats.Emperor, 1)
	e.tell(func() { taken <- e.statistics() })
	select {
	case s := <-taken:
		text, err := s.Encode()
		if err != nil {
			e.log.DPanic("statistics cannot be written", zap.Error(err))
		}
		return text
	case <-e.closing:
		return nil
	}
}

// serve accepts until close.
func (s *statisticsServer) serve() {
	s.wg.Go(s.snapshots)
	for {
		select {
		case s.slots <- struct{}{}:
		case <-s.done:
			return
		}
		conn, err := s.net.Accept()
		if err != nil {
			<-s.slots
			if errors.Is(err, net.ErrClosed) {
				return
			}
			select { // out of descriptors, for example
			case <-time.After(time.Second):
			case <-s.done:
				return
			}
			continue
		}
		if !s.enter(conn) {
			conn.Close()
			return
		}
		s.wg.Go(func() {
			s.answer(conn)
			s.leave(conn)
			<-s.slots
		})
	}
}

// snapshots takes one snapshot for all who wait, and then rests, so that no number of readers takes more than a fifth of
// the loop's time.
func (s *statisticsServer) snapshots() {
	for {
		var waiting []chan []byte
		select {
		case w := <-s.asks:
			waiting = append(waiting, w)
		case <-s.done:
			return
		}
		for more := true; more; {
			select {
			case w := <-s.asks:
				waiting = append(waiting, w)
			default:
				more = false
			}
		}
		begin := time.Now()
		text := s.take()
		for _, w := range waiting {
			w <- text
		}
		select {
		case <-time.After(statisticsRest * time.Since(begin)):
		case <-s.done:
			return
		}
	}
}

// answer gives one reader its document.
func (s *statisticsServer) answer(conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(statisticsTime))
	if s.http && !skipRequest(conn) {
		return
	}
	mine := make(chan []byte, 1)
	select {
	case s.asks <- mine:
	case <-s.done:
		return
	}
	var text []byte
	select {
	case text = <-mine:
	case <-s.done:
		return
	}
	if text == nil {
		return
	}
	_ = conn.SetDeadline(time.Now().Add(statisticsTime))
	if s.http {
		if _, err := io.WriteString(conn, statisticsHead); err != nil {
			return
		}
	}
	_, _ = conn.Write(text) // a reader that has gone needs none
}

// skipRequest reads past an HTTP request without a body: nothing in it changes the answer. A connection that is closed
// with something unread would be reset, and the reader would lose the answer.
func skipRequest(conn net.Conn) bool {
	r := bufio.NewReader(io.LimitReader(conn, statisticsRequest))
	for begun := false; ; begun = true {
		line, err := r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return false
		}
		if begun && err == nil && len(line) <= 2 && (len(line) == 1 || line[0] == '\r') {
			return true
		}
	}
}

func (s *statisticsServer) enter(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		return false
	}
	s.conns[conn] = true
	return true
}

func (s *statisticsServer) leave(conn net.Conn) {
	conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

// close ends all connections, removes the socket and waits for the goroutines.
func (s *statisticsServer) close() {
	close(s.done)
	_ = s.net.Close()
	s.mu.Lock()
	for conn := range s.conns {
		conn.Close()
	}
	s.conns = nil
	s.mu.Unlock()
	s.wg.Wait()
	_ = s.listener.Remove()
}
