package uwsgi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") })

const helloAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nhello"

func TestBadInputGetsItsAnswer(t *testing.T) {
	noGoroutineStays(t)
	var said log
	socket := serveTest(t, &Server{Handler: hello, ErrorLog: said.add})
	const refusal = "HTTP/1.1 400 Bad Request\r\n"
	for _, c := range []struct{ name, raw, begins, holds string }{
		{"overrun", "\x00\x04\x00\x00\x03\x00ab", refusal, "larger than what is left"},
		{"NUL", string(get(t)[:1]) + "\x07\x00\x00\x03\x00A\x00B\x00\x00", refusal, "NUL"},
		{"no request", "\x00\x00\x00\x00", refusal, "make no request"},
		{"length", string(get(t, "CONTENT_LENGTH=ten")), refusal, `CONTENT_LENGTH is not one whole number: "ten"`},
		{"http get", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", refusal, "this socket speaks the uwsgi protocol; use uwsgi_pass, or http-socket\n"},
		{"http post", "POST / HTTP/1.1\r\nHost: x\r\n\r\n", refusal, "this socket speaks"},
		{"http head", "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", refusal, "this socket speaks"},
		{"eval", "\x16\x00\x00\x00", refusal, "modifier 1 is 22"},
		{"reload", "\x62\x00\x00\x00", refusal, "modifier 1 is 98"},
		{"ping", "\x64\x00\x00\x00", "\x64\x00\x00\x01", ""},
		{"reserved", string(get(t, "UWSGI_FILE=/etc/shadow")), helloAnswer, ""},
		{"modifier 30", "\x1e" + string(get(t)[1:]), helloAnswer, ""},
		{"body without length", string(get(t)) + "surprise", helloAnswer, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 2 {
				got := send(t, socket, []byte(c.raw))
				if !strings.HasPrefix(got, c.begins) || !strings.Contains(got, c.holds) {
					t.Errorf("got %q, want %q… and %q", got, c.begins, c.holds)
				}
			}
		})
	}
	lines := strings.Join(said.all(), "\n")
	for _, once := range []string{"refused a request of a peer on the unix socket: a size inside", "speaks HTTP", "modifier 1 is 22", "modifier 1 is 98", `dropped variable "UWSGI_FILE"`} {
		if strings.Count(lines, once) != 1 {
			t.Errorf("%q was said %d times in\n%s", once, strings.Count(lines, once), lines)
		}
	}
}

func TestPlainHTTPOverTCPIsAnsweredInHTTP(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Handler: hello}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ln) }()
	resp, err := noKeepAlive().Post("http://"+ln.Addr().String(), "text/plain", strings.NewReader(strings.Repeat("x", 100_000)))
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 400 || string(text) != httpSentence {
		t.Errorf("got %d %q", resp.StatusCode, text)
	}
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != http.ErrServerClosed {
		t.Error(err)
	}
}

func TestACutConnectionIsClosedQuietly(t *testing.T) {
	var said log
	s := &Server{Handler: hello, ErrorLog: said.add}
	socket := serveTest(t, s)
	for _, raw := range []string{"", "\x00", "\x00\x10\x00\x00abc"} {
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, raw)
		c.(*net.UnixConn).CloseWrite()
		if answer, _ := io.ReadAll(c); len(answer) != 0 {
			t.Errorf("%q was answered with %q", raw, answer)
		}
		c.Close()
	}
	if lines := said.all(); len(lines) != 0 {
		t.Errorf("said %q", lines)
	}
}

func TestASlowSenderIsClosed(t *testing.T) {
	var said log
	socket := serveTest(t, &Server{Handler: hello, HeaderTimeout: 30 * time.Millisecond, ErrorLog: said.add})
	for range 2 {
		if got := send(t, socket, get(t)[:20]); got != "" {
			t.Errorf("got %q", got)
		}
	}
	if lines := said.all(); len(lines) != 1 || !strings.Contains(lines[0], "within 30ms") {
		t.Errorf("said %q", lines)
	}
	// The time is for what stands before the body; the body may take longer.
	slow := serveTest(t, &Server{HeaderTimeout: 30 * time.Millisecond, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, r.Body)
	})})
	c, err := net.Dial("unix", slow)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write(get(t, "CONTENT_LENGTH=4"))
	time.Sleep(100 * time.Millisecond)
	io.WriteString(c, "late")
	if answer, _ := io.ReadAll(c); !strings.HasSuffix(string(answer), "\r\n\r\nlate") {
		t.Errorf("got %q", answer)
	}
}

func TestAShortBodyIsAnUnexpectedEnd(t *testing.T) {
	got := make(chan error, 1)
	socket := serveTest(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		got <- err
	})})
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write(append(get(t, "CONTENT_LENGTH=10"), "short"...))
	c.(*net.UnixConn).CloseWrite()
	if err := <-got; err != io.ErrUnexpectedEOF {
		t.Errorf("got %v", err)
	}
}

func TestAnUnreadBodyDoesNotCostTheAnswer(t *testing.T) {
	socket := serveTest(t, &Server{Handler: hello})
	const size = 8 << 20
	raw := append(get(t, fmt.Sprintf("CONTENT_LENGTH=%d", size)), make([]byte, size)...)
	if got := send(t, socket, raw); got != helloAnswer {
		t.Errorf("got %q", got)
	}
	address := nginxTest(t, socket)
	for range 5 {
		resp, err := noKeepAlive().Post("http://"+address, "text/plain", strings.NewReader(strings.Repeat("x", size)))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 || string(text) != "hello" {
			t.Errorf("through nginx: got %d %q %v", resp.StatusCode, text, err)
		}
	}
}

func TestServeEndsWithItsListenerAndFinishesWhatItTook(t *testing.T) {
	noGoroutineStays(t)
	ln, err := net.Listen("unix", filepath.Join(shortDir(t), "s"))
	if err != nil {
		t.Fatal(err)
	}
	started, release := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(started)
			<-release
			io.WriteString(w, "hello")
		}))
	}()
	c, err := net.Dial("unix", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write(get(t))
	<-started
	ln.Close()
	select {
	case err := <-ended:
		t.Fatalf("Serve returned %v with a request under way", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(release)
	if answer, _ := io.ReadAll(c); string(answer) != helloAnswer {
		t.Errorf("got %q", answer)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve returned %v", err)
	}
}

func TestShutdownWaitsAndThenCuts(t *testing.T) {
	noGoroutineStays(t)
	ln, err := net.Listen("unix", filepath.Join(shortDir(t), "s"))
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(started)
		<-r.Context().Done()
	})}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ln) }()
	c, err := net.Dial("unix", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write(get(t))
	<-started
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); err != context.DeadlineExceeded {
		t.Errorf("Shutdown returned %v", err)
	}
	if err := <-ended; err != http.ErrServerClosed {
		t.Errorf("Serve returned %v", err)
	}
	if err := s.Shutdown(context.Background()); err != nil {
		t.Errorf("second Shutdown returned %v", err)
	}
	if err := s.Serve(ln); err != http.ErrServerClosed {
		t.Errorf("Serve after Shutdown returned %v", err)
	}
}

// A scarceListener fails a few times before it accepts.
type scarceListener struct {
	net.Listener
	fails int
}

func (l *scarceListener) Accept() (net.Conn, error) {
	if l.fails--; l.fails >= 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

func TestAShortageOfDescriptorsPasses(t *testing.T) {
	ln, err := net.Listen("unix", filepath.Join(shortDir(t), "s"))
	if err != nil {
		t.Fatal(err)
	}
	var said log
	s := &Server{Handler: hello, ErrorLog: said.add}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(&scarceListener{ln, 3}) }()
	if got := send(t, ln.Addr().String(), get(t)); got != helloAnswer {
		t.Errorf("got %q", got)
	}
	s.Shutdown(context.Background())
	<-ended
	if lines := said.all(); len(lines) != 1 || !strings.Contains(lines[0], "cannot accept") {
		t.Errorf("said %q", lines)
	}
}
