package booted

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/emperord/emperord/protocol/uwsgi"
)

// errRefused marks a request whose connection nobody has taken.
var errRefused = errors.New("refused")

// ask sends one request to a socket and returns the body of the answer.
func ask(socket, path string) (string, error) {
	packet, err := uwsgi.AppendPacket(nil, uwsgi.Packet{Vars: []uwsgi.Var{
		{Name: "REQUEST_METHOD", Value: "GET"}, {Name: "REQUEST_URI", Value: path}, {Name: "PATH_INFO", Value: path}, {Name: "SCRIPT_NAME"},
		{Name: "QUERY_STRING"}, {Name: "SERVER_PROTOCOL", Value: "HTTP/1.1"}, {Name: "SERVER_NAME", Value: "localhost"}, {Name: "SERVER_PORT", Value: "80"}, {Name: "HTTP_HOST", Value: "localhost"},
	}})
	if err != nil {
		return "", err
	}
	c, err := net.Dial("unix", socket)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errRefused, err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return "", err
	}
	if _, err := c.Write(packet); err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(c, 1<<16))
	head, body, _ := bytes.Cut(text, []byte("\r\n\r\n"))
	if err != nil || !bytes.Contains(head, []byte(" 200 ")) {
		return "", fmt.Errorf("no page: %.100q, %w", text, err)
	}
	return strings.TrimSpace(string(body)), nil
}

// A load is clients that ask as fast as they are answered.
type load struct {
	mu       sync.Mutex
	answered int
	failed   []error
	stop     chan struct{}
	done     sync.WaitGroup
}

func startLoad(socket string, clients int) *load {
	l := &load{stop: make(chan struct{})}
	for range clients {
		l.done.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				_, err := ask(socket, "/")
				l.mu.Lock()
				if l.answered++; err != nil {
					l.answered--
					l.failed = append(l.failed, err)
				}
				l.mu.Unlock()
			}
		})
	}
	return l
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answered
}

// end stops the clients; it returns how many requests were answered and what went wrong.
func (l *load) end() (int, []error) {
	close(l.stop)
	l.done.Wait()
	return l.answered, l.failed
}
