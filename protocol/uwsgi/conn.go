package uwsgi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"time"
)

// lingerTime bounds how long a connection is read after its answer, so that a peer that is still sending gets the
// answer instead of a broken connection.
const lingerTime = 5 * time.Second

// serveConn answers the one request of a connection and closes it.
func (s *Server) serveConn(ctx context.Context, nc net.Conn) {
	defer nc.Close()
	timeout := s.HeaderTimeout
	if timeout == 0 {
		timeout = defaultHeaderTimeout
	}
	_ = nc.SetReadDeadline(time.Now().Add(timeout))
	in := bufio.NewReader(nc)
	p, err := ReadPacket(in)
	if err == nil && p.Modifier1 == ModifierPing {
		_, _ = nc.Write([]byte{ModifierPing, 0, 0, 1})
		return
	}
	if err == nil && p.Modifier1 != ModifierWSGI && p.Modifier1 != ModifierManageName {
		err = modifierError(p.Modifier1)
	}
	var r *http.Request
	if err == nil {
		s.sayReserved(p.Vars)
		r, err = NewRequest(ctx, p, in)
	}
	if err != nil {
		s.refuse(nc, timeout, err)
		return
	}
	_ = nc.SetReadDeadline(time.Time{})
	s.answer(nc, r)
	if body, ok := r.Body.(*requestBody); (ok && body.left > 0) || (!ok && mayHaveBody(r.Method)) {
		linger(nc)
	}
}

// mayHaveBody tells whether a peer may be sending a body that it did not announce. uwsgi_curl does.
func mayHaveBody(method string) bool { return method != http.MethodGet && method != http.MethodHead }

// answer runs the handler. The request keeps its body, whatever the handler puts in its place.
func (s *Server) answer(nc net.Conn, r *http.Request) {
	handler := s.Handler
	if handler == nil {
		handler = http.DefaultServeMux
	}
	about := r.Method + " " + r.URL.Path
	w := newResponse(bufio.NewWriter(nc), r.Method == http.MethodHead, func(err error) {
		s.say("", 0, fmt.Errorf("%q: %w", about, err))
	})
	defer func() {
		switch cause := recover(); cause {
		case nil:
			w.finish()
		case http.ErrAbortHandler: // the handler wants the connection cut
		default:
			w.fail(http.StatusInternalServerError, "Internal Server Error\n")
			w.report(fmt.Errorf("handler panicked: %v\n%s", cause, debug.Stack()))
		}
	}()
	own := *r
	handler.ServeHTTP(w, &own)
}

// refuse answers what is no request. A connection that was cut has nobody to answer to.
func (s *Server) refuse(nc net.Conn, timeout time.Duration, err error) {
	peer := peerName(nc)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.say("slow "+peer, time.Minute, fmt.Errorf("closed a connection of %s that sent no whole request within %s", peer, timeout))
		return
	case errors.Is(err, ErrPlainHTTP):
		s.say("http", forever, fmt.Errorf("refused a request of %s: %w", peer, err))
	case errors.As(err, new(modifierError)):
		s.say(err.Error(), forever, fmt.Errorf("refused a request of %s: %w", peer, err))
	case !isBadPacket(err):
		return // the connection broke
	default:
		s.say("bad "+peer, time.Minute, fmt.Errorf("refused a request of %s: %w", peer, err))
	}
	text := err.Error() + "\n"
	if errors.Is(err, ErrPlainHTTP) {
		text = httpSentence
	}
	_, werr := fmt.Fprintf(nc, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(text), text)
	if werr == nil {
		linger(nc)
	}
}

// httpSentence is what somebody reads who has opened the socket with a browser or proxy_pass.
const httpSentence = "this socket speaks the uwsgi protocol; use uwsgi_pass, or http-socket\n"

// isBadPacket tells whether err is about the bytes that came, not about their coming.
func isBadPacket(err error) bool {
	var broken net.Error
	return !errors.As(err, &broken)
}

// A modifierError is a first byte that is not for us.
type modifierError byte

func (m modifierError) Error() string {
	return fmt.Sprintf("modifier 1 is %d, and only 0 (a request), 30 and 100 (ping) are answered here; remove uwsgi_modifier1 from the front's configuration", byte(m))
}

// sayReserved reports once that a peer tried to choose the code that runs.
func (s *Server) sayReserved(vars []Var) {
	for _, v := range vars {
		if strings.HasPrefix(v.Name, reservedPrefix) {
			s.say("reserved", forever, fmt.Errorf("dropped variable %q: variables called UWSGI_* have no effect here; remove it from the front's configuration", v.Name))
			return
		}
	}
}

// linger ends the answer and reads on until the peer closes or lingerTime is over. A socket that is closed with unread
// bytes resets the connection, and the peer may lose an answer that it has not read yet.
func linger(nc net.Conn) {
	half, ok := nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	_ = nc.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.Copy(io.Discard, nc)
}
