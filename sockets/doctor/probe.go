package doctor

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/protocol/uwsgi"
	"github.com/emperord/emperord/sockets"
)

// An answer is what a listener did with a connection.
type answer int

const (
	pong      answer = iota // it speaks uwsgi
	spokeHTTP               // it answered in HTTP
	closed                  // it closed the connection at once: a uWSGI without the plugin ping does that, and other protocols
	lines                   // it took the packet and waits for more, as an HTTP server does
	silence                 // nothing, not even an end
	garbage                 // some other bytes
)

// lastWord is how long a server may take to answer once it has been told that no more comes.
const lastWord = time.Second

// A probe is one connection, and what came of it.
type probe struct {
	err    error // connecting failed
	peer   *unix.Ucred
	answer answer
}

// tries is how often a full queue is tried, with pause between: one that is full for a moment is none.
const (
	tries = 4
	pause = 150 * time.Millisecond
)

// probe connects, asks who listens, and pings: a uwsgi packet with modifier 100 and no variables, which every uwsgi server
// answers without any application (protocol/uwsgi). To be told apart from a server that waits for the rest of
// a line, the sending side is closed when no answer came. A request is never sent: it would run the application's code.
func (x *Examiner) probe(ctx context.Context, a sockets.Address) probe {
	if p, known := x.asked[a.String()]; known {
		return p
	}
	wait := x.patience()
	conn, err := dial(ctx, a, wait)
	if err != nil {
		return probe{err: err}
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	p := probe{peer: peer(conn)}
	p.answer = ping(conn, wait)
	return p
}

func dial(ctx context.Context, a sockets.Address, wait time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var d net.Dialer
	switch a.Kind {
	case sockets.TCP:
		switch a.Host { // where listeners mean every address
		case "", "0.0.0.0":
			a.Host = "127.0.0.1"
		case "::":
			a.Host = "::1"
		}
		return d.DialContext(ctx, "tcp", a.String())
	case sockets.Abstract: // uWSGI, and emperord like it, count one NUL behind the name to it; others do not
		if conn, err := d.DialContext(ctx, "unix", a.String()+"\x00"); err == nil {
			return conn, nil
		}
	}
	for try := 1; ; try++ {
		conn, err := d.DialContext(ctx, "unix", a.String())
		if !errors.Is(err, unix.EAGAIN) || try == tries {
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(pause):
		}
	}
}

func ping(conn net.Conn, wait time.Duration) answer {
	_ = conn.SetDeadline(time.Now().Add(wait))
	_, werr := conn.Write([]byte{uwsgi.ModifierPing, 0, 0, 0})
	said, err := first(conn)
	if err != nil && len(said) == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		half, ok := conn.(interface{ CloseWrite() error })
		if !ok || half.CloseWrite() != nil {
			return silence
		}
		_ = conn.SetDeadline(time.Now().Add(min(wait, lastWord)))
		if said, err = first(conn); len(said) == 0 {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return silence
			}
			return lines
		}
	}
	switch {
	case len(said) == 0 && (werr != nil || err != nil):
		return closed
	case len(said) == 4 && said[0] == uwsgi.ModifierPing && said[3] == 1:
		return pong
	case strings.HasPrefix(string(said), "HTTP"):
		return spokeHTTP
	}
	return garbage
}

// first reads four bytes, or what there is of them.
func first(conn net.Conn) ([]byte, error) {
	buf := make([]byte, 4)
	n, err := io.ReadFull(conn, buf)
	return buf[:n], err
}

// peer is who has told the kernel to listen (unix(7)); nil where it does not say.
func peer(conn net.Conn) *unix.Ucred {
	c, ok := conn.(*net.UnixConn)
	if !ok {
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	var cred *unix.Ucred
	if err := raw.Control(func(fd uintptr) { cred, _ = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return nil
	}
	return cred
}
