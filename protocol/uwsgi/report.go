package uwsgi

import (
	"net"
	"sync"
	"time"
)

// maxReports bounds how many things that were said are remembered.
const maxReports = 1000

// forever is longer than any server runs.
const forever = time.Duration(1<<63 - 1)

// reports remembers what has been said, so that a peer cannot fill the log by repeating its fault.
type reports struct {
	mu sync.Mutex
	at map[string]time.Time
}

// due tells whether key has not been said within the last span.
func (r *reports) due(key string, span time.Duration, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at, said := r.at[key]; said && now.Sub(at) < span {
		return false
	}
	if r.at == nil || len(r.at) >= maxReports {
		r.at = make(map[string]time.Time)
	}
	r.at[key] = now
	return true
}

// say reports err unless key was said within the last span.
func (s *Server) say(key string, span time.Duration, err error) {
	if s.ErrorLog != nil && s.said.due(key, span, time.Now()) {
		s.ErrorLog(err)
	}
}

// peerName is the host of a TCP peer; peers on a unix socket have no name and are one.
func peerName(nc net.Conn) string {
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		return a.IP.String()
	}
	return "a peer on the unix socket"
}
