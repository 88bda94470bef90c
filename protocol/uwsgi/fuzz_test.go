package uwsgi

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func addRecorded(f *testing.F) {
	files, err := filepath.Glob("testdata/nginx/*")
	if err != nil || len(files) == 0 {
		f.Fatalf("no recorded packets: %v", err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte{100, 0, 0, 0})
	f.Add([]byte{0, 7, 0, 0, 2, 0, 'a', 'b', 0xff, 0xff, 'c'})
}

// FuzzReadPacket: whatever arrives, what is read comes out as it went in, and a request made of it holds no NUL, no
// reserved variable and no more body than was announced.
func FuzzReadPacket(f *testing.F) {
	addRecorded(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		in := bytes.NewReader(raw)
		p, err := ReadPacket(in)
		if err != nil {
			return
		}
		took := len(raw) - in.Len()
		if again, err := AppendPacket(nil, p); err == nil && !bytes.Equal(again, raw[:took]) {
			t.Fatalf("%q came back as %q", raw[:took], again)
		}
		r, err := NewRequest(context.Background(), p, in)
		if err != nil {
			return
		}
		for name, value := range Variables(r) {
			if strings.Contains(name+value, "\x00") || strings.HasPrefix(name, "UWSGI_") {
				t.Fatalf("%q=%q arrived", name, value)
			}
		}
		n, err := io.Copy(io.Discard, r.Body)
		if n > r.ContentLength || (err == nil) != (n == r.ContentLength) {
			t.Fatalf("%d bytes of %d, %v", n, r.ContentLength, err)
		}
	})
}

// A deadConn is a peer that has sent everything it will ever send and takes every answer.
type deadConn struct {
	in  *bytes.Reader
	out bytes.Buffer
}

func (c *deadConn) Read(p []byte) (int, error)       { return c.in.Read(p) }
func (c *deadConn) Write(p []byte) (int, error)      { return c.out.Write(p) }
func (c *deadConn) Close() error                     { return nil }
func (c *deadConn) CloseWrite() error                { return nil }
func (c *deadConn) LocalAddr() net.Addr              { return &net.UnixAddr{Net: "unix"} }
func (c *deadConn) RemoteAddr() net.Addr             { return &net.UnixAddr{Net: "unix"} }
func (c *deadConn) SetDeadline(time.Time) error      { return nil }
func (c *deadConn) SetReadDeadline(time.Time) error  { return nil }
func (c *deadConn) SetWriteDeadline(time.Time) error { return nil }

// FuzzServeConn: whatever arrives on a connection, the answer is nothing, a pong, or whole HTTP, and the server comes to
// an end.
func FuzzServeConn(f *testing.F) {
	addRecorded(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		c := &deadConn{in: bytes.NewReader(raw)}
		s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })}
		s.serveConn(context.Background(), c)
		answer := c.out.Bytes()
		if len(answer) == 0 || bytes.Equal(answer, []byte{100, 0, 0, 1}) {
			return
		}
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), nil)
		if err != nil {
			t.Fatalf("%q got %q: %v", raw, answer, err)
		}
		resp.Body.Close()
	})
}

// FuzzAnswer: whatever an application answers, the Transport returns it or an error, and holds to its limit.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.0 204 No Content\r\n\r\n"))
	f.Add([]byte("Status: 200\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		here, there := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = ReadPacket(there)
			_, _ = there.Write(raw)
			there.Close()
		}()
		tr := &Transport{Dial: func(context.Context) (net.Conn, error) { return here, nil }}
		r, _ := http.NewRequest("GET", "http://x/", nil)
		resp, err := tr.RoundTrip(r)
		if err == nil {
			n, _ := io.Copy(io.Discard, resp.Body)
			if n > int64(len(raw)) {
				t.Errorf("%d bytes of body out of %d", n, len(raw))
			}
			resp.Body.Close()
		}
		<-done
	})
}
