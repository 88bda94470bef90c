package emperor

import (
	"net"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Limits of the control socket: how many connections there may be of one user, and of all users but root. Everybody
// may connect, and each connection costs a descriptor of the emperor's.
const (
	guestsOfOne = 8
	guestsOfAll = 64
)

// A gate accepts connections up to the limits and closes the others at once. Root and the emperor's own user are not
// counted.
type gate struct {
	net.Listener
	mu    sync.Mutex
	peers map[uint32]int
	all   int
}

// A guest is an accepted connection and who is at its other end.
type guest struct {
	net.Conn
	peer  *unix.Ucred
	leave func()
}

// Accept waits for a connection within the limits.
func (g *gate) Accept() (net.Conn, error) {
	for {
		conn, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		peer := peerOf(conn)
		if peer == nil {
			conn.Close()
			continue
		}
		if mayAll(peer) {
			return &guest{conn, peer, func() {}}, nil
		}
		if g.enter(peer.Uid) {
			return &guest{conn, peer, sync.OnceFunc(func() { g.leave(peer.Uid) })}, nil
		}
		conn.Close()
	}
}

func (g *gate) enter(uid uint32) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.peers[uid] >= guestsOfOne || g.all >= guestsOfAll {
		return false
	}
	g.peers[uid]++
	g.all++
	return true
}

func (g *gate) leave(uid uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all--
	if g.peers[uid]--; g.peers[uid] == 0 {
		delete(g.peers, uid)
	}
}

// Close closes the connection and makes room for another one.
func (g *guest) Close() error {
	defer g.leave()
	return g.Conn.Close()
}

// A seldom logs a complaint of the HTTP server at most every ten seconds: peers must not fill the log.
type seldom struct {
	log  *zap.Logger
	mu   sync.Mutex
	last time.Time
}

// Write takes one complaint.
func (s *seldom) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.last) >= 10*time.Second {
		s.last = now
		s.log.Warn("the control socket has trouble", zap.String(fieldReason, strings.TrimSpace(string(text))))
	}
	return len(text), nil
}
