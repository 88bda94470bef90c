package uwsgi

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestAnswersOnTheWire(t *testing.T) {
	long := strings.Repeat("0123456789", 1000)
	const broken = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 59\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nThe application's answer had a header that cannot be sent.\n"
	for _, c := range []struct {
		name, method string
		handler      http.HandlerFunc
		want         string
		said         string
	}{
		{"nothing written", "GET", func(w http.ResponseWriter, r *http.Request) {}, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""},
		{"short", "GET", hello, helloAnswer, ""},
		{"long has no length", "GET", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, long) },
			"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + long, ""},
		{"in pieces", "GET", func(w http.ResponseWriter, r *http.Request) {
			for _, p := range strings.SplitAfter(long, "9") {
				io.WriteString(w, p)
			}
		}, "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + long, ""},
		{"head", "HEAD", hello, strings.TrimSuffix(helloAnswer, "hello"), ""},
		{"head, long", "HEAD", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, long) },
			"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n", ""},
		{"204", "GET", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "5")
			w.WriteHeader(204)
			if _, err := io.WriteString(w, "hello"); err != http.ErrBodyNotAllowed {
				t.Errorf("Write: %v", err)
			}
		}, "HTTP/1.1 204 No Content\r\n\r\n", ""},
		{"304", "GET", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Etag", `"x"`)
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(304)
			io.WriteString(w, "hello")
		}, "HTTP/1.1 304 Not Modified\r\nEtag: \"x\"\r\n\r\n", ""},
		{"own status", "GET", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(799) },
			"HTTP/1.1 799 status code 799\r\nContent-Length: 0\r\n\r\n", ""},
		{"informational", "GET", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(103); w.WriteHeader(404) },
			"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", ""},
		{"second header", "GET", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404); w.WriteHeader(200) },
			"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "WriteHeader(200) after"},
		{"header changed too late", "GET", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			w.Header().Set("X-Late", "1")
		}, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""},
		{"hop by hop", "GET", func(w http.ResponseWriter, r *http.Request) {
			for _, name := range []string{"Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade", "Trailer", "X-Own", "Te", http.TrailerPrefix + "Sum"} {
				w.Header().Set(name, "x-own")
			}
			w.Header().Set("X-Stays", "1")
		}, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Stays: 1\r\n\r\n", ""},
		{"newline in a value", "GET", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Evil", "a\r\nSet-Cookie: b")
			io.WriteString(w, "secret")
		}, broken, "X-Evil holds the control character '\\r'"},
		{"NUL in a value", "GET", func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X-Evil", "a\x00") }, broken, "X-Evil holds"},
		{"no token", "GET", func(w http.ResponseWriter, r *http.Request) { w.Header()["X Evil"] = []string{"a"} }, broken, `"X Evil" is no token`},
		{"newline in a name", "GET", func(w http.ResponseWriter, r *http.Request) { w.Header()["X\r\nEvil"] = []string{"a"} }, broken, "is no token"},
		{"two lengths", "GET", func(w http.ResponseWriter, r *http.Request) { w.Header()["Content-Length"] = []string{"1", "2"} }, broken, "Content-Length"},
		{"bad length", "GET", func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Length", "-1") }, broken, "Content-Length"},
		{"more than declared", "GET", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "5")
			w.Header().Set("Content-Type", "a/b")
			io.WriteString(w, "hello")
			if _, err := io.WriteString(w, "x"); err != http.ErrContentLength {
				t.Errorf("Write: %v", err)
			}
		}, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: a/b\r\n\r\nhello", ""},
		{"less than declared", "GET", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "9")
			w.Header().Set("Content-Type", "a/b")
			io.WriteString(w, "hello")
		}, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nContent-Type: a/b\r\n\r\nhello", "declared Content-Length 9 and wrote 5 bytes"},
		{"panic before the header", "GET", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Half", "1")
			io.WriteString(w, "half")
			panic("oh no")
		}, "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 22\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nInternal Server Error\n", "response_test.go"},
		{"panic after the header", "GET", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "a/b")
			io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			panic("oh no")
		}, "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n\r\nhalf", "handler panicked: oh no"},
		{"abort", "GET", func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "half")
			panic(http.ErrAbortHandler)
		}, "", ""},
		{"bad status", "GET", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(42) },
			"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 22\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nInternal Server Error\n", "invalid status code 42"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var said log
			socket := serveTest(t, &Server{Handler: c.handler, ErrorLog: said.add})
			raw := packet(t, "REQUEST_METHOD="+c.method, "SERVER_PROTOCOL=HTTP/1.1", "REQUEST_URI=/x", "HTTP_HOST=shop")
			if got := send(t, socket, raw); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			lines := strings.Join(said.all(), "\n")
			if (c.said == "") != (lines == "") || !strings.Contains(lines, c.said) {
				t.Errorf("said %q, want %q", lines, c.said)
			}
		})
	}
}

func TestFlushSendsAtOnce(t *testing.T) {
	goOn := make(chan struct{})
	socket := serveTest(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "one")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Errorf("Flush: %v", err)
		}
		<-goOn
		io.WriteString(w, "two")
	})})
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write(get(t))
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	want := "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n\r\none"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v", got, err)
	}
	close(goOn)
	if rest, _ := io.ReadAll(c); string(rest) != "two" {
		t.Errorf("then %q", rest)
	}
}

func TestAWriterLearnsThatThePeerHasGone(t *testing.T) {
	got := make(chan error, 1)
	socket := serveTest(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		chunk := make([]byte, 64<<10)
		for {
			if _, err := w.Write(chunk); err != nil {
				got <- err
				return
			}
		}
	})})
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	c.Write(get(t))
	c.Read(make([]byte, 1))
	c.Close()
	if err := <-got; !errors.As(err, new(net.Error)) {
		t.Errorf("got %v", err)
	}
}
