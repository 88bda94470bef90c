package uwsgi

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

const (
	maxHead   = 256 << 10 // bytes of an answer's status line and header
	maxBuffer = 16 << 20  // bytes of a body whose length the caller does not know
)

// A Transport is an http.RoundTripper that sends requests to an application in the uwsgi protocol. Each request has a
// connection of its own, which ends with the body of the answer: the caller must close it, as with any RoundTripper.
// The zero value is of no use; set Address or Dial.
type Transport struct {
	// Address is where the application listens: a path, @name for an abstract socket, or host:port.
	Address string

	// Dial connects to the application; it replaces Address.
	Dial func(context.Context) (net.Conn, error)

	// Vars returns the variables of a request; length is the size of its body, -1 for none. nil: RequestVars. What it
	// returns as CONTENT_LENGTH must be that size, or the body will be misread.
	Vars func(r *http.Request, length int64) []Var
}

// RoundTrip sends r and returns the answer as soon as its header has arrived. A body of unknown length is read into
// memory first, at most 16 MiB, because the protocol needs its size in front. When the context of r ends, the
// connection is closed and the error is the context's.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	body, length, err := knownBody(r)
	if err != nil {
		closeBody(r.Body)
		return nil, err
	}
	vars := t.Vars
	if vars == nil {
		vars = RequestVars
	}
	packet, err := AppendPacket(nil, Packet{Modifier1: ModifierWSGI, Vars: vars(r, length)})
	if err != nil {
		closeBody(r.Body)
		return nil, err
	}
	nc, err := t.dial(r.Context())
	if err != nil {
		closeBody(r.Body)
		return nil, err
	}
	x := &exchange{request: r, nc: nc}
	x.unwatch = context.AfterFunc(r.Context(), func() { _ = nc.Close() })
	go x.send(packet, body, length)
	resp, err := x.receive()
	if err != nil {
		x.close()
		return nil, x.explain(err)
	}
	return resp, nil
}

func (t *Transport) dial(ctx context.Context) (net.Conn, error) {
	if t.Dial != nil {
		return t.Dial(ctx)
	}
	network := "tcp"
	if strings.HasPrefix(t.Address, "@") || strings.Contains(t.Address, "/") {
		network = "unix"
	}
	var d net.Dialer
	return d.DialContext(ctx, network, t.Address)
}

// knownBody returns the body of r and its size, -1 for no body.
func knownBody(r *http.Request) (io.Reader, int64, error) {
	switch {
	case r.Body == nil || r.Body == http.NoBody:
		return nil, -1, nil
	case r.ContentLength > 0:
		return r.Body, r.ContentLength, nil
	}
	text, err := io.ReadAll(io.LimitReader(r.Body, maxBuffer+1))
	switch {
	case err != nil:
		return nil, 0, fmt.Errorf("cannot read the request's body: %w", err)
	case len(text) > maxBuffer:
		return nil, 0, fmt.Errorf("the request's body is larger than %d bytes and has no Content-Length; the uwsgi protocol needs its size first", maxBuffer)
	case len(text) == 0:
		return nil, -1, nil
	}
	return bytes.NewReader(text), int64(len(text)), nil
}

func closeBody(b io.Closer) {
	if b != nil {
		_ = b.Close()
	}
}
