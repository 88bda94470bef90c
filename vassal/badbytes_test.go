package vassal

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"
)

func TestBadBytesAreAnsweredAndServiceGoesOn(t *testing.T) {
	d := start(t, "module = plain", "processes = 1", "disable-logging = true")
	good := request("GET", "/", "")
	for _, c := range []struct {
		name   string
		bytes  []byte
		answer string // beginning of it; "" for a quiet close
		log    string
	}{
		{"nothing", nil, "", ""},
		{"half a header", good[:3], "", ""},
		{"half a block", good[:40], "", ""},
		{"name overruns the block", []byte{0, 6, 0, 0, 200, 0, 'a', 'b', 'c', 'd'}, "HTTP/1.1 400 ", "a size in the block of variables overruns it"},
		{"value overruns the block", []byte{0, 6, 0, 0, 1, 0, 'a', 9, 0, 'd'}, "HTTP/1.1 400 ", ""},
		{"block ends in a size", []byte{0, 6, 0, 0, 1, 0, 'a', 0, 0, 1}, "HTTP/1.1 400 ", ""},
		{"size reaches into the body", append([]byte{0, 6, 0, 0, 1, 0, 'a', 3, 0, 'd'}, "body"...), "HTTP/1.1 400 ", ""},
		{"largest sizes", []byte{0, 6, 0, 0, 255, 255, 'a', 255, 255, 'd'}, "HTTP/1.1 400 ", ""},
		{"empty block", []byte{0, 0, 0, 0}, "HTTP/1.1 400 ", "the block of variables is empty"},
		{"NUL in a value", request("GET", "/", "", "HTTP_X=a\x00b"), "HTTP/1.1 400 ", "a variable holds a NUL"},
		{"NUL in a name", request("GET", "/", "", "HTTP\x00X=a"), "HTTP/1.1 400 ", ""},
		{"NUL beside UWSGI_", request("GET", "/", "", "UWSGI_A=b", "HTTP_X=a\x00b"), "HTTP/1.1 400 ", ""},
		{"two lengths", request("GET", "/", "", "CONTENT_LENGTH=0"), "HTTP/1.1 400 ", "there are two CONTENT_LENGTH"},
		{"negative length", packet(0, "REQUEST_METHOD=GET", "CONTENT_LENGTH=-1"), "HTTP/1.1 400 ", "CONTENT_LENGTH is not a number"},
		{"signed length", packet(0, "REQUEST_METHOD=GET", "CONTENT_LENGTH=+1"), "HTTP/1.1 400 ", ""},
		{"word as length", packet(0, "REQUEST_METHOD=GET", "CONTENT_LENGTH=one"), "HTTP/1.1 400 ", ""},
		{"superscript as length", packet(0, "REQUEST_METHOD=GET", "CONTENT_LENGTH=\xb2"), "HTTP/1.1 400 ", ""},
		{"huge length", packet(0, "REQUEST_METHOD=GET", "CONTENT_LENGTH="+strings.Repeat("9", 60000)), "HTTP/1.1 400 ", ""},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\nthis socket speaks the uwsgi protocol; use uwsgi_pass, or http-socket", "this socket speaks the uwsgi protocol"},
		{"HTTP POST", []byte("POST / HTTP/1.1\r\nHost: localhost\r\n\r\n"), "HTTP/1.1 400 ", ""},
		{"HTTP HEAD", []byte("HEAD / HTTP/1.0\r\n\r\n"), "HTTP/1.1 400 ", ""},
		{"HTTP/2", []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "HTTP/1.1 400 ", ""},
		{"TLS", []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), "HTTP/1.1 400 ", "modifier 22 is refused"},
		{"signal", packet(110, "a=b"), "HTTP/1.1 400 ", "modifier 110 is refused"},
		{"code", packet(22, "a=b"), "HTTP/1.1 400 ", ""},
		{"reload", []byte{98, 0, 0, 0}, "HTTP/1.1 400 ", "modifier 98 is refused"},
		{"ping", []byte{100, 0, 0, 0}, "\x64\x00\x00\x01", ""},
		{"length that never comes", append(packet(0, "REQUEST_METHOD=POST", "CONTENT_LENGTH=100", "PATH_INFO=/"), "short"...), "HTTP/1.1 200 OK", ""},
		{"65535 bytes", packet(0, "REQUEST_METHOD=GET", "PATH_INFO=/", "HTTP_X="+strings.Repeat("a", 65535-14-3-4-9-1-4-6-4)), "HTTP/1.1 200 OK", ""},
	} {
		conn, err := net.Dial("unix", d.socket)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = conn.Write(c.bytes)
		_ = conn.(*net.UnixConn).CloseWrite()
		got, err := io.ReadAll(conn)
		_ = conn.Close()
		if err != nil && c.answer != "" && len(got) == 0 {
			t.Errorf("%s: %v", c.name, err)
		}
		if !bytes.HasPrefix(got, []byte(c.answer)) || (c.answer == "" && len(got) > 0) {
			t.Errorf("%s: got %.100q, want %q", c.name, got, c.answer)
		}
		if !strings.Contains(d.said(), c.log) {
			t.Errorf("%s: the log does not say %q:\n%s", c.name, c.log, d.said())
		}
		if a := d.get("/"); a.status != "200 OK" {
			t.Fatalf("%s: the next request got %q", c.name, a.raw)
		}
	}
	if strings.Contains(d.said(), "Traceback") || strings.Contains(d.said(), "successor") {
		t.Errorf("bad bytes leave more than a line in the log:\n%s", d.said())
	}
	if n := strings.Count(d.said(), "overruns it"); n > 3 { // once for each minute and reason
		t.Errorf("the same refusal is logged %d times", n)
	}
}

func TestRandomBytesDoNotHurt(t *testing.T) {
	d := start(t, "module = plain", "processes = 1", "disable-logging = true")
	seeds := [][]byte{request("POST", "/x?y", "body", "UWSGI_A=b"), packet(30, "SCRIPT_NAME=/a", "PATH_INFO=/a/b"), []byte("GET / HTTP/1.1\r\n\r\n")}
	r := rand.New(rand.NewPCG(1, 2)) // the same bytes in every run
	for range 400 {
		seed := append([]byte(nil), seeds[r.IntN(len(seeds))]...)
		for range 1 + r.IntN(4) {
			seed[r.IntN(min(len(seed), 60))] = byte(r.IntN(256))
		}
		conn, err := net.Dial("unix", d.socket)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = conn.Write(seed)
		_ = conn.(*net.UnixConn).CloseWrite()
		if _, err := io.ReadAll(conn); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Fatalf("%q hangs", seed)
		}
		_ = conn.Close()
	}
	if a := d.get("/"); a.status != "200 OK" {
		t.Errorf("afterwards: %q", a.raw)
	}
	if strings.Contains(d.said(), "Traceback") || strings.Contains(d.said(), "successor") {
		t.Errorf("the log is:\n%s", d.said())
	}
}

func TestSlowSenderIsCutAfterSocketTimeout(t *testing.T) {
	d := start(t, "module = plain", "processes = 1", "socket-timeout = 1")
	for _, bytes := range [][]byte{{}, {0, 100, 0, 0}, request("GET", "/", "")[:50]} {
		begun := time.Now()
		conn, err := net.Dial("unix", d.socket)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(begun.Add(10 * time.Second))
		_, _ = conn.Write(bytes)
		got, err := io.ReadAll(conn)
		_ = conn.Close()
		took := time.Since(begun)
		if len(got) > 0 || (err != nil && strings.Contains(err.Error(), "timeout")) || took < 900*time.Millisecond || took > 4*time.Second {
			t.Errorf("after %d bytes: got %q, %v after %s; want a quiet close after 1 to 2 s", len(bytes), got, err, took)
		}
	}
	// An application that takes longer than that is left alone.
	if a := d.get("/"); a.status != "200 OK" {
		t.Errorf("got %q", a.raw)
	}
	if strings.Contains(d.said(), "successor") {
		t.Errorf("the worker has died:\n%s", d.said())
	}
}

func TestSlowApplicationOutlivesSocketTimeout(t *testing.T) {
	d := start(t, "module = plain:slow", "processes = 1", "socket-timeout = 1")
	if a := d.get("/?2.5"); !strings.HasPrefix(a.body, "slept") {
		t.Errorf("got %q\n%s", a.raw, d.said())
	}
}
