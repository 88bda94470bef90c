package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emperord/emperord/protocol/uwsgi"
)

// errRefused marks a request whose connection was not even accepted: no socket, or nobody who listens on it.
var errRefused = errors.New("refused")

// packet is a GET of / as nginx sends it.
func packet() []byte {
	b, err := uwsgi.AppendPacket(nil, uwsgi.Packet{Vars: []uwsgi.Var{
		{Name: "QUERY_STRING"}, {Name: "REQUEST_METHOD", Value: "GET"}, {Name: "CONTENT_TYPE"}, {Name: "CONTENT_LENGTH"},
		{Name: "REQUEST_URI", Value: "/"}, {Name: "PATH_INFO", Value: "/"}, {Name: "SCRIPT_NAME"},
		{Name: "SERVER_PROTOCOL", Value: "HTTP/1.1"}, {Name: "REMOTE_ADDR", Value: "127.0.0.1"},
		{Name: "SERVER_NAME", Value: "localhost"}, {Name: "SERVER_PORT", Value: "80"}, {Name: "HTTP_HOST", Value: "localhost"},
	}})
	if err != nil {
		panic(err) // the packet is a constant
	}
	return b
}

// An answer is what the applications say: the generation of the vassal file and the worker's number.
type answer struct {
	gen string
	pid int
}

// ask sends one request straight to a vassal's socket.
func ask(socket string, limit time.Duration) (answer, error) {
	c, err := net.DialTimeout("unix", socket, limit)
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", errRefused, err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		return answer{}, err
	}
	if _, err := c.Write(packet()); err != nil {
		return answer{}, err
	}
	text, err := io.ReadAll(io.LimitReader(c, 1<<16))
	if err != nil {
		return answer{}, err
	}
	head, body, _ := bytes.Cut(text, []byte("\r\n\r\n"))
	status, _, _ := bytes.Cut(head, []byte("\r\n"))
	gen, number, found := strings.Cut(strings.TrimSpace(string(body)), " ")
	pid, err := strconv.Atoi(number)
	if !bytes.HasPrefix(status, []byte("HTTP/1.")) || !bytes.Contains(status, []byte(" 200 ")) || !found || err != nil {
		return answer{}, fmt.Errorf("the answer is no page of ours: %.80q", text)
	}
	return answer{gen, pid}, nil
}

// await repeats f until it succeeds and tells how long that took. After limit it gives up with f's last error.
func await(ctx context.Context, limit, step time.Duration, f func() error) (time.Duration, error) {
	began := time.Now()
	for {
		err := f()
		took := time.Since(began)
		if err == nil {
			return took, nil
		}
		if took > limit {
			return took, fmt.Errorf("not within %s: %w", limit, err)
		}
		if err := pause(ctx, step); err != nil {
			return took, err
		}
	}
}

// pause sleeps, unless the run is interrupted.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// A load is one client that asks as fast as it is answered. It may be read after end.
type load struct {
	ok, refused, cut int           // cut: accepted, and closed or silent without a whole answer
	longest          time.Duration // of the requests that were answered
	firstCut         error

	stop chan struct{}
	done sync.WaitGroup
}

// startLoad starts the client; end must be called.
func startLoad(socket string) *load {
	l := &load{stop: make(chan struct{})}
	l.done.Go(func() {
		for {
			select {
			case <-l.stop:
				return
			default:
			}
			began := time.Now()
			_, err := ask(socket, 10*time.Second)
			switch {
			case err == nil:
				l.ok++
				l.longest = max(l.longest, time.Since(began))
				continue
			case errors.Is(err, errRefused):
				l.refused++
			default:
				l.cut++
				if l.firstCut == nil {
					l.firstCut = err
				}
			}
			time.Sleep(2 * time.Millisecond) // as a client would that tries again
		}
	})
	return l
}

func (l *load) end() {
	close(l.stop)
	l.done.Wait()
}
