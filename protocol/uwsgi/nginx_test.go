package uwsgi

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "record the golden bytes again from the installed nginx and uwsgi")

// recordings are what is sent to nginx, byte by byte. What nginx makes of them is in testdata/nginx/NAME.
var recordings = []struct{ name, request string }{
	{"get", "GET /a/b?x=1&y=%20z HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: golden/1\r\nX-Two: one\r\nX-Two: two\r\nConnection: close\r\n\r\n"},
	{"http10", "GET / HTTP/1.0\r\n\r\n"},
	{"post", "POST /form HTTP/1.1\r\nHost: shop.example\r\nContent-Type: text/plain\r\nContent-Length: 11\r\nConnection: close\r\n\r\nhello world"},
	{"post-empty", "POST /form HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"},
	{"post-chunked", "POST /form HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"},
	{"head", "HEAD /page HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"},
	{"long-cookie", "GET / HTTP/1.1\r\nHost: shop.example\r\nCookie: a=" + strings.Repeat("0123456789", 1500) + "\r\nCookie: b=2\r\nConnection: close\r\n\r\n"},
	{"unicode-path", "GET /gr%C3%BC%C3%9Fe/%E2%98%83%2Fx?q=%C3%BC HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"},
	{"foreign-headers", "OPTIONS /o HTTP/1.1\r\nHost: shop.example\r\nProxy: http://evil\r\nX_Under: score\r\nConnection: close\r\n\r\n"},
}

// record lets nginx send one request to a socket and returns the bytes that arrive there.
func record(t *testing.T, ln net.Listener, address, request string) []byte {
	t.Helper()
	client, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := io.WriteString(client, request); err != nil {
		t.Fatal(err)
	}
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	var raw bytes.Buffer
	p, err := ReadPacket(io.TeeReader(nc, &raw))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(&raw, nc, announced(p)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	nc.Close()
	_, _ = io.Copy(io.Discard, client)
	return raw.Bytes()
}

func announced(p Packet) int64 {
	for _, v := range p.Vars {
		if v.Name == "CONTENT_LENGTH" {
			n, _ := strconv.ParseInt(v.Value, 10, 64)
			return n
		}
	}
	return 0
}

// shape is what two recordings of one request have in common: variables, without those that differ between machines and
// runs, and the body.
func shape(t *testing.T, raw []byte) []string {
	t.Helper()
	in := bytes.NewReader(raw)
	p, err := ReadPacket(in)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(in)
	values := make(map[string][]string)
	for _, v := range p.Vars {
		switch v.Name {
		case "REMOTE_PORT", "SERVER_PORT":
			v.Value = "…"
		case "HTTP_HOST": // some packages of nginx send it twice, as parameter and as header
			delete(values, v.Name)
		}
		values[v.Name] = append(values[v.Name], v.Value)
	}
	lines := []string{fmt.Sprintf("modifiers %d %d, body %q", p.Modifier1, p.Modifier2, body)}
	for name, v := range values {
		separator := ", " // from 1.23 on, nginx joins repeated fields itself
		if name == "HTTP_COOKIE" {
			separator = "; "
		}
		lines = append(lines, name+"="+strings.Join(v, separator))
	}
	slices.Sort(lines) // the order of parameters is that of the package's file
	return lines
}

func TestNginxSendsWhatWasRecorded(t *testing.T) {
	socket := filepath.Join(shortDir(t), "s")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	address := nginxTest(t, socket)
	for _, c := range recordings {
		t.Run(c.name, func(t *testing.T) {
			got := record(t, ln, address, c.request)
			golden := filepath.Join("testdata", "nginx", c.name)
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if g, w := shape(t, got), shape(t, want); !slices.Equal(g, w) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(g, "\n"), strings.Join(w, "\n"))
			}
		})
	}
}

func TestRecordedPacketsComeOutAsTheyWentIn(t *testing.T) {
	for _, c := range recordings {
		raw, err := os.ReadFile(filepath.Join("testdata", "nginx", c.name))
		if err != nil {
			t.Fatal(err)
		}
		in := bytes.NewReader(raw)
		p, err := ReadPacket(in)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		body, _ := io.ReadAll(in)
		again, err := AppendPacket(nil, p)
		if err != nil || !bytes.Equal(append(again, body...), raw) {
			t.Errorf("%s: the packet changed on its way (%v)", c.name, err)
		}
	}
}

// TestRequestsThroughNginxAreTheClients sends the requests through a real nginx to Serve.
func TestRequestsThroughNginxAreTheClients(t *testing.T) {
	type seen struct {
		method, uri, path, host, body, two, cookie string
		length                                     int64
		types, te                                  []string
	}
	got := make(chan seen, 1)
	socket := serveTest(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("body: %v", err)
		}
		got <- seen{r.Method, r.RequestURI, r.URL.Path, r.Host, string(body), r.Header.Get("X-Two"), r.Header.Get("Cookie"), r.ContentLength, r.Header["Content-Type"], r.Header["Transfer-Encoding"]}
	})})
	address := nginxTest(t, socket)
	want := map[string]seen{
		"get":             {method: "GET", uri: "/a/b?x=1&y=%20z", path: "/a/b", host: "shop.example", two: "one, two"},
		"http10":          {method: "GET", uri: "/", path: "/", host: "shop.example"},
		"post":            {method: "POST", uri: "/form", path: "/form", host: "shop.example", body: "hello world", length: 11, types: []string{"text/plain"}},
		"post-empty":      {method: "POST", uri: "/form", path: "/form", host: "shop.example"},
		"post-chunked":    {method: "POST", uri: "/form", path: "/form", host: "shop.example", body: "hello world", length: 11},
		"head":            {method: "HEAD", uri: "/page", path: "/page", host: "shop.example"},
		"long-cookie":     {method: "GET", uri: "/", path: "/", host: "shop.example", cookie: "a=" + strings.Repeat("0123456789", 1500) + "; b=2"},
		"unicode-path":    {method: "GET", uri: "/gr%C3%BC%C3%9Fe/%E2%98%83%2Fx?q=%C3%BC", path: "/grüße/☃/x", host: "shop.example"},
		"foreign-headers": {method: "OPTIONS", uri: "/o", path: "/o", host: "shop.example"},
	}
	for _, c := range recordings {
		t.Run(c.name, func(t *testing.T) {
			client, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			io.WriteString(client, c.request)
			answer, _ := io.ReadAll(client)
			if !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 OK\r\n")) {
				t.Fatalf("nginx answered %q", answer)
			}
			if g := <-got; fmt.Sprintf("%+v", g) != fmt.Sprintf("%+v", want[c.name]) {
				t.Errorf("got  %+v\nwant %+v", g, want[c.name])
			}
		})
	}
}
