package uwsgi

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
)

// An exchange is one request on its connection.
type exchange struct {
	request *http.Request
	nc      net.Conn
	unwatch func() bool
	once    sync.Once

	mu      sync.Mutex
	sendErr error // what broke the request's own body
}

// send writes the request. It runs beside receive, because an application may answer before it has read everything. It
// ends when the connection is closed and the body's Read returns, and closes the body.
func (x *exchange) send(packet []byte, body io.Reader, length int64) {
	defer closeBody(x.request.Body)
	if _, err := x.nc.Write(packet); err != nil || body == nil {
		return // the application's reason, if it gave one, is in its answer
	}
	err := sendBody(x.nc, body, length)
	if err == nil {
		return
	}
	x.mu.Lock()
	x.sendErr = err
	x.mu.Unlock()
	x.close()
}

// sendBody copies exactly length bytes. Its error is about the body; that the connection broke is no error here.
func sendBody(nc io.Writer, body io.Reader, length int64) error {
	src := &sourceErr{r: io.LimitReader(body, length)}
	n, err := io.Copy(nc, src)
	switch {
	case src.err != nil:
		return fmt.Errorf("cannot read the request's body: %w", src.err)
	case err != nil:
		return nil
	case n < length:
		return fmt.Errorf("the request's body has %d bytes, its Content-Length says %d", n, length)
	}
	if n, _ := body.Read(make([]byte, 1)); n > 0 {
		return fmt.Errorf("the request's body is longer than its Content-Length of %d bytes", length)
	}
	return nil
}

// sourceErr tells the errors of reading from those of writing.
type sourceErr struct {
	r   io.Reader
	err error
}

func (s *sourceErr) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// receive reads the header of the answer, at most maxHead bytes.
func (x *exchange) receive() (*http.Response, error) {
	limited := &io.LimitedReader{R: answerReader{x.nc}, N: maxHead}
	in := bufio.NewReader(limited)
	if _, err := in.Peek(1); err == io.EOF {
		return nil, errors.New("the application closed the connection without an answer; look at its log")
	}
	resp, err := http.ReadResponse(in, x.request)
	switch {
	case err == nil:
	case errors.As(err, new(net.Error)):
		return nil, fmt.Errorf("the connection to the application broke: %w", err)
	case limited.N <= 0:
		return nil, fmt.Errorf("the header of the application's answer is longer than %d bytes", maxHead)
	default:
		return nil, fmt.Errorf("the application's answer is no HTTP: %w", err)
	}
	limited.N = 1<<63 - 1
	resp.Body = &answerBody{ReadCloser: resp.Body, x: x}
	return resp, nil
}

// An answerReader ends where the application closed the connection. One that leaves a part of the request unread resets
// a unix socket by closing it; the kernel reports that after everything that was sent before (unix(7)).
type answerReader struct {
	nc net.Conn
}

func (a answerReader) Read(p []byte) (int, error) {
	n, err := a.nc.Read(p)
	if _, unix := a.nc.(*net.UnixConn); unix && errors.Is(err, syscall.ECONNRESET) {
		err = io.EOF
	}
	return n, err
}

// explain prefers the reason of the caller's own doing over that of the connection.
func (x *exchange) explain(err error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch ctx := x.request.Context(); {
	case ctx.Err() != nil:
		return ctx.Err()
	case x.sendErr != nil:
		return x.sendErr
	}
	return err
}

func (x *exchange) close() {
	x.once.Do(func() {
		x.unwatch()
		_ = x.nc.Close()
	})
}

// answerBody ends the exchange when it has been read to its end or is closed.
type answerBody struct {
	io.ReadCloser
	x *exchange
}

func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == nil {
		return n, nil
	}
	if err != io.EOF {
		err = b.x.explain(err)
	}
	b.x.close()
	return n, err
}

func (b *answerBody) Close() error {
	b.x.close()
	return nil
}
