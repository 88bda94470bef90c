package uwsgi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// TestTheVariablesAreNginxs compares what a Transport sends with what nginx sent for the same request.
func TestTheVariablesAreNginxs(t *testing.T) {
	differs := map[string]string{
		"REMOTE_PORT": "another one", "SERVER_PORT": "of Host, as nobody listens", "DOCUMENT_ROOT": "nginx's root",
		"HTTP_CONNECTION": "not of the application's connection", "HTTP_TRANSFER_ENCODING": "not of the application's connection",
		"HTTP_CONTENT_TYPE": "is CONTENT_TYPE", "HTTP_CONTENT_LENGTH": "is CONTENT_LENGTH", "HTTP_PROXY": "CVE-2016-5385",
	}
	for name, make := range map[string]func() *http.Request{
		"get": func() *http.Request {
			r, _ := http.NewRequest("GET", "http://shop.example/a/b?x=1&y=%20z", nil)
			r.Header = http.Header{"User-Agent": {"golden/1"}, "X-Two": {"one", "two"}}
			return r
		},
		"post": func() *http.Request {
			r, _ := http.NewRequest("POST", "http://shop.example/form", strings.NewReader("hello world"))
			r.Header.Set("Content-Type", "text/plain")
			return r
		},
		"head": func() *http.Request {
			r, _ := http.NewRequest("HEAD", "http://shop.example/page", nil)
			return r
		},
		"long-cookie": func() *http.Request {
			r, _ := http.NewRequest("GET", "http://shop.example/", nil)
			r.Header["Cookie"] = []string{"a=" + strings.Repeat("0123456789", 1500), "b=2"}
			return r
		},
		"unicode-path": func() *http.Request {
			r, _ := http.NewRequest("GET", "http://shop.example/gr%C3%BC%C3%9Fe/%E2%98%83%2Fx?q=%C3%BC", nil)
			return r
		},
		"foreign-headers": func() *http.Request {
			r, _ := http.NewRequest("OPTIONS", "http://shop.example/o", nil)
			r.Header = http.Header{"Proxy": {"http://evil"}, "X_under": {"score"}}
			return r
		},
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile(filepath.Join("testdata", "nginx", name))
			if err != nil {
				t.Fatal(err)
			}
			p, err := ReadPacket(bytes.NewReader(raw))
			if err != nil {
				t.Fatal(err)
			}
			theirs, err := judge(p.Vars)
			if err != nil {
				t.Fatal(err)
			}
			r := make()
			r.RemoteAddr = "127.0.0.1:1"
			length := int64(-1)
			if r.ContentLength > 0 {
				length = r.ContentLength
			}
			ours, err := judge(RequestVars(r, length))
			if err != nil {
				t.Fatal(err)
			}
			for name := range differs {
				delete(theirs, name)
				delete(ours, name)
			}
			if fmt.Sprint(ours) != fmt.Sprint(theirs) {
				t.Errorf("ours  %v\nnginx %v", ours, theirs)
			}
		})
	}
}

func TestVarsOfUnusualRequests(t *testing.T) {
	for _, c := range []struct{ url, host, wantName, wantPort, wantHTTPS string }{
		{"http://[::1]:8080/", "", "::1", "8080", ""},
		{"https://[::1]/", "", "::1", "443", "on"},
		{"https://shop/", "other:7", "other", "7", "on"},
	} {
		r, _ := http.NewRequest("", c.url, nil)
		if c.host != "" {
			r.Host = c.host
		}
		m, err := judge(RequestVars(r, -1))
		if err != nil || m["SERVER_NAME"] != c.wantName || m["SERVER_PORT"] != c.wantPort || m["HTTPS"] != c.wantHTTPS || m["REQUEST_METHOD"] != "GET" {
			t.Errorf("%s: got %v %v", c.url, m, err)
		}
	}
	vars := SetVar(SetVar([]Var{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}}, "A", "3"), "C", "4")
	if fmt.Sprint(vars) != "[{A 3} {B 2} {C 4}]" {
		t.Errorf("got %v", vars)
	}
}

// echo answers with the request's method, length and body.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s %d ", r.Method, r.ContentLength)
	if _, err := io.Copy(w, r.Body); err != nil {
		panic(err)
	}
})

func TestRequestsReachOurOwnServer(t *testing.T) {
	noGoroutineStays(t)
	client := &http.Client{Transport: &Transport{Address: serveTest(t, &Server{Handler: echo})}}
	for _, c := range []struct {
		name, method string
		body         io.Reader
		want         string
	}{
		{"get", "GET", nil, "GET 0 "},
		{"post", "POST", strings.NewReader("hello"), "POST 5 hello"},
		{"post of unknown length", "POST", iotest.OneByteReader(strings.NewReader("hello")), "POST 5 hello"},
		{"put of nothing", "PUT", iotest.OneByteReader(strings.NewReader("")), "PUT 0 "},
		{"head", "HEAD", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, _ := http.NewRequest(c.method, "http://shop/x", c.body)
			resp, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if text, err := io.ReadAll(resp.Body); string(text) != c.want || err != nil || resp.StatusCode != 200 {
				t.Errorf("got %d %q %v", resp.StatusCode, text, err)
			}
		})
	}
}

// TestABodyFlowsInBothDirections fails if the answer is read only after the request has been written.
func TestABodyFlowsInBothDirections(t *testing.T) {
	noGoroutineStays(t)
	tr := &Transport{Address: serveTest(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, r.Body)
	})})}
	const size = 16 << 20
	r, _ := http.NewRequest("POST", "http://shop/", io.LimitReader(zeros{}, size))
	r.ContentLength = size
	resp, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
		t.Errorf("got %d bytes, %v", n, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestAnEarlyAnswerIsReturned(t *testing.T) {
	noGoroutineStays(t)
	tr := &Transport{Address: serveTest(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "too much", http.StatusRequestEntityTooLarge)
	})})}
	r, _ := http.NewRequest("POST", "http://shop/", io.LimitReader(zeros{}, 64<<20))
	r.ContentLength = 64 << 20
	resp, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 413 || string(text) != "too much\n" {
		t.Errorf("got %d %q %v", resp.StatusCode, text, err)
	}
}

func TestTheContextEndsARequest(t *testing.T) {
	noGoroutineStays(t)
	started := make(chan struct{}, 2)
	tr := &Transport{Address: serveTest(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			w.(http.Flusher).Flush()
		}
		started <- struct{}{}
		_, _ = io.Copy(io.Discard, r.Body) // until the peer goes
	})})}
	for _, path := range []string{"/head", "/body"} {
		ctx, cancel := context.WithCancel(context.Background())
		body, feed := io.Pipe()
		r, _ := http.NewRequestWithContext(ctx, "POST", "http://shop"+path, body)
		r.ContentLength = 10
		go func() {
			<-started
			cancel()
		}()
		resp, err := tr.RoundTrip(r)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v", path, err)
		}
		feed.Close()
	}
}

func TestClosingTheAnswerEndsTheConnection(t *testing.T) {
	noGoroutineStays(t)
	gone := make(chan error, 1)
	tr := &Transport{Address: serveTest(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				gone <- err
				return
			}
		}
	})})}
	r, _ := http.NewRequest("GET", "http://shop/", nil)
	resp, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	io.ReadFull(resp.Body, make([]byte, 1000))
	resp.Body.Close()
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Fatal("the connection is still there")
	}
}

// answering is a Transport whose application answers with raw and goes.
func answering(t *testing.T, raw string) *Transport {
	socket := filepath.Join(shortDir(t), "s")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		ReadPacket(nc)
		io.WriteString(nc, raw)
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return &Transport{Address: socket}
}

func TestAnswersThatAreNone(t *testing.T) {
	noGoroutineStays(t)
	for name, c := range map[string]struct{ raw, want string }{
		"nothing":     {"", "closed the connection without an answer; look at its log"},
		"no http":     {"hello\r\n\r\n", "is no HTTP"},
		"status":      {"Status: 200 OK\r\n\r\n", "is no HTTP"},
		"cut header":  {"HTTP/1.1 200 OK\r\nA: b\r\n", "is no HTTP: unexpected EOF"},
		"long header": {"HTTP/1.1 200 OK\r\n" + strings.Repeat("A: "+strings.Repeat("b", 1000)+"\r\n", 1000) + "\r\n", "longer than 262144 bytes"},
		"cut body":    {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := http.NewRequest("GET", "http://shop/", nil)
			resp, err := answering(t, c.raw).RoundTrip(r)
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

type closed struct {
	io.Reader
	done chan struct{}
}

func (c *closed) Close() error { close(c.done); return nil }

func TestRequestsThatCannotBeSent(t *testing.T) {
	noGoroutineStays(t)
	tr := &Transport{Address: serveTest(t, &Server{Handler: echo})}
	for _, c := range []struct {
		name   string
		body   io.Reader
		length int64
		cookie string
		want   string
	}{
		{"shorter than it says", strings.NewReader("abc"), 5, "", "has 3 bytes, its Content-Length says 5"},
		{"longer than it says", iotest.OneByteReader(strings.NewReader("abcdef")), 5, "", "longer than its Content-Length of 5"},
		{"breaks", iotest.ErrReader(io.ErrNoProgress), 5, "", "cannot read the request's body: multiple Read calls"},
		{"breaks, unknown length", iotest.ErrReader(io.ErrNoProgress), -1, "", "cannot read the request's body: multiple Read calls"},
		{"endless", zeros{}, -1, "", "needs its size first"},
		{"too many headers", strings.NewReader("a"), 1, strings.Repeat("x", MaxBlock), ErrTooLarge.Error()},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := &closed{c.body, make(chan struct{})}
			r, _ := http.NewRequest("POST", "http://shop/", body)
			r.ContentLength = c.length
			r.Header.Set("Cookie", c.cookie)
			resp, err := tr.RoundTrip(r)
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
			if err == nil && c.name != "longer than it says" || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			<-body.done
		})
	}
	r, _ := http.NewRequest("GET", "http://shop/", nil)
	if _, err := (&Transport{Address: filepath.Join(t.TempDir(), "none")}).RoundTrip(r); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no socket: got %v", err)
	}
}
