package sources

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// server answers each connection with the same bytes, and keeps what it was asked.
func server(t *testing.T, reply string, stay bool) (address string, asked <-chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	requests := make(chan string, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			var request []byte
			for b := make([]byte, 1); !bytes.HasSuffix(request, []byte("\r\n\r\n")); {
				if _, err := c.Read(b); err != nil {
					break
				}
				request = append(request, b...)
			}
			requests <- string(request)
			_, _ = io.WriteString(c, reply)
			if stay {
				_, _ = io.Copy(io.Discard, c)
			}
			c.Close()
		}
	}()
	return l.Addr().String(), requests
}

func TestHTTP(t *testing.T) {
	for _, c := range []struct{ reply, text, fault string }{
		{"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n[uwsgi]\nh = 1\n", "[uwsgi]\nh = 1\n", ""},
		{"HTTP/1.1 204 x\r\n\r\nbody", "body", ""},
		{"HTTP/1.1 200\r\n\r\nbody", "body", ""},
		{"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody", "body", ""},
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nbody", "body", ""}, // all of it, as in uWSGI
		{"HTTP/1.0 200 OK\r\n\r\n", "", ""},
		{"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\nbody", "", "breaks off 36 bytes before the end of its answer"},
		{"HTTP/1.1 404 Not Found\r\n\r\n[uwsgi]\n", "", `answers "404 Not Found"; only 2xx is taken`},
		{"HTTP/1.1 301 Moved\r\nLocation: http://x/\r\n\r\n", "", "redirects are not followed"},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", "", `Transfer-Encoding "chunked"`},
		{"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nx", "", `Content-Encoding "gzip"`},
		{"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "", "is no number"},
		{"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", "", "gives more than 1048576 bytes"},
		{"HTTP/1.1 200 OK\r\nX: y", "", "a header that has no end"},
		{"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 4000), "", "a header of more than 16384 bytes"},
		{"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 20000), "", "a header of more than 16384 bytes"},
		{"HTTP/1.0 200 OK\r\n\r\n" + strings.Repeat("x", 1<<20+1), "", "gives more than 1048576 bytes"},
		{"[uwsgi]\nraw = 1\n", "", "does not answer in HTTP"},
		{"", "", "a header that has no end"},
	} {
		address, asked := server(t, c.reply, false)
		text, err, odd := read(&Opener{}, "http", address+"/app.ini?x=1")
		if c.fault == "" && (err != nil || text != c.text) || c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) || odd != nil {
			t.Errorf("%.60q: got %.60q, %v, %v", c.reply, text, err, odd)
		}
		if got, want := <-asked, "GET /app.ini?x=1 HTTP/1.0\r\nHost: "+address+"\r\nUser-Agent: emperord\r\n\r\n"; got != want {
			t.Errorf("asked %q", got)
		}
	}
}

func TestHTTPAddresses(t *testing.T) {
	for rest, fault := range map[string]string{
		"host":             "is not a complete address",
		"/x":               "is not a complete address",
		"h/a b":            "holds a blank",
		"h/a\r\nX: y":      "holds a blank or a control character",
		"u:p@h/x":          "holds a user's name",
		"127.0.0.1:1/x":    "does not answer",
		"127.0.0.1:nope/x": "does not answer",
	} {
		if _, err := (&Opener{}).Open("http", rest); err == nil || !strings.Contains(err.Error(), fault) {
			t.Errorf("http://%s: %v", rest, err)
		}
	}
}

func TestASlowServerIsGivenUp(t *testing.T) {
	for _, reply := range []string{"", "HTTP/1.0 200 OK\r\n", "HTTP/1.0 200 OK\r\n\r\n[uwsgi]\n"} {
		address, _ := server(t, reply, true)
		_, err, _ := read(&Opener{Patience: 50 * time.Millisecond}, "http", address+"/x")
		if err == nil || err.Error() != "takes too long" {
			t.Errorf("%q: %v", reply, err)
		}
	}
}

func FuzzHTTPAnswer(f *testing.F) {
	f.Add("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n[uwsgi]\nh = 1\n")
	f.Add("HTTP/1.1 301 M\r\nLocation: /ok\r\n\r\n[uwsgi]\nh = 301\n")
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n[uwsgi]\nh = 1\n")
	f.Add("HTTP/1.1 200 OK\nX\n\n")
	f.Add("HTTP/1.")
	f.Fuzz(func(t *testing.T, reply string) {
		body, err := answer(strings.NewReader(reply))
		if err != nil {
			return
		}
		text, err := io.ReadAll(body)
		if len(text) > maxBody || err == nil && !strings.HasSuffix(reply, string(text)) {
			t.Errorf("%q of %q", text, reply)
		}
	})
}
