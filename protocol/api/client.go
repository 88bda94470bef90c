package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"time"
)

// maxAnswer bounds an answer in bytes. 10,000 vassals with a long reason each stay below it.
const maxAnswer = 64 << 20

// defaultTimeout bounds one question and its answer. The emperor answers from memory; it never waits for a vassal.
const defaultTimeout = 10 * time.Second

// A Client asks an emperor. It keeps no connection, so it needs no closing.
type Client struct {
	socket string
	http   http.Client
}

// NewClient returns a client of the emperor that listens at the path socket. It connects with the first question.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	return &Client{socket: socket, http: http.Client{
		Timeout: defaultTimeout,
		Transport: &http.Transport{
			DialContext:            dial,
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Status asks for everything that the caller may see.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.ask(ctx, http.MethodGet, "/v1/status", &s)
	return s, err
}

// Vassal asks for one vassal.
func (c *Client) Vassal(ctx context.Context, name string) (Vassal, error) {
	var v Vassal
	err := c.ask(ctx, http.MethodGet, vassalPath(name, ""), &v)
	return v, err
}

// Why asks why a vassal is as it is.
func (c *Client) Why(ctx context.Context, name string) (Why, error) {
	var w Why
	err := c.ask(ctx, http.MethodGet, whyPath(name), &w)
	return w, err
}

// Reload asks for a new generation of a vassal.
func (c *Client) Reload(ctx context.Context, name string) (Answer, error) {
	return c.order(ctx, vassalPath(name, "reload"))
}

// ReloadAll asks for a new generation of every vassal.
func (c *Client) ReloadAll(ctx context.Context) (Answer, error) {
	return c.order(ctx, "/v1/reload")
}

// Upgrade begins the exec of another emperord in place of the running one. program is its absolute path; empty: the path of
// the running one. Whoever wants to know how it ends asks Upgraded until its State is not Upgrading. The connection
// may break off when one program takes the place of the other; the socket goes on listening.
func (c *Client) Upgrade(ctx context.Context, program string) (Upgrade, error) {
	var u Upgrade
	err := c.ask(ctx, http.MethodPost, "/v1/upgrade?program="+url.QueryEscape(program), &u)
	return u, err
}

// Upgraded asks for the upgrade under way, or the last one.
func (c *Client) Upgraded(ctx context.Context) (Upgrade, error) {
	var u Upgrade
	err := c.ask(ctx, http.MethodGet, "/v1/upgrade", &u)
	return u, err
}

// Stop stops a vassal. It is Suspended until Start.
func (c *Client) Stop(ctx context.Context, name string) (Answer, error) {
	return c.order(ctx, vassalPath(name, "stop"))
}

// Start starts a vassal that was stopped or waits in backoff.
func (c *Client) Start(ctx context.Context, name string) (Answer, error) {
	return c.order(ctx, vassalPath(name, "start"))
}

func (c *Client) order(ctx context.Context, path string) (Answer, error) {
	var a Answer
	err := c.ask(ctx, http.MethodPost, path, &a)
	return a, err
}

// ask sends one request and decodes its answer into out. Errors are *ConnectError, *RefusedError, or plain ones for an
// answer that is none.
func (c *Client) ask(ctx context.Context, method, path string, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://emperord"+path, nil)
	if err != nil {
		return fmt.Errorf("cannot ask the emperor at %s: %w", c.socket, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.connectError(ctx, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("cannot read the answer from %s: %w; the emperor may just have ended: look at its log", c.socket, err)
	}
	if len(text) > maxAnswer {
		return fmt.Errorf("the answer from %s is larger than %d bytes; it comes from no emperor", c.socket, maxAnswer)
	}
	if resp.StatusCode != http.StatusOK {
		return refused(c.socket, resp.StatusCode, text)
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("the answer from %s is no emperor's: %w; name the emperor's control socket with --socket", c.socket, err)
	}
	return nil
}

// A RefusedError is a Failure that the emperor answered with.
type RefusedError struct {
	Code   int    // the HTTP status: 403, 404, 409, …
	Reason string // the emperor's words
}

func (e *RefusedError) Error() string { return e.Reason }

func refused(socket string, code int, text []byte) error {
	var f Failure
	if err := json.Unmarshal(text, &f); err != nil || f.Error == "" {
		return &RefusedError{code, fmt.Sprintf("whoever listens at %s answered %d %s without a reason; name the emperor's control socket with --socket",
			socket, code, http.StatusText(code))}
	}
	return &RefusedError{code, f.Error}
}

// A ConnectError says why the emperor could not be asked at all. It unwraps to the system's error.
type ConnectError struct {
	Socket string
	Cause  string // "permission denied"
	Remedy string
	Err    error
}

func (e *ConnectError) Error() string {
	return fmt.Sprintf("cannot reach an emperor at %s: %s; %s", e.Socket, e.Cause, e.Remedy)
}

func (e *ConnectError) Unwrap() error { return e.Err }

func (c *Client) connectError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	e := &ConnectError{Socket: c.socket, Err: err}
	var timeout net.Error
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		e.Cause = "there is no such socket"
		e.Remedy = "start emperord, or name its emperor-control-socket with --socket"
	case errors.Is(err, fs.ErrPermission):
		e.Cause = fmt.Sprintf("permission denied for uid %d", os.Geteuid())
		e.Remedy = "run the command as root"
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Cause = "the socket is there, but nobody listens on it"
		e.Remedy = "the emperor that made it has gone: start emperord again, or name another socket with --socket"
	case errors.As(err, &timeout) && timeout.Timeout():
		e.Cause = fmt.Sprintf("no answer within %s", c.http.Timeout)
		e.Remedy = "emperord hangs or is stopped: look at its log and its process state"
	default:
		e.Cause = err.Error()
		e.Remedy = "look at emperord's log"
	}
	return e
}
