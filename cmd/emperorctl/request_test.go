package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emperord/emperord/protocol/uwsgi"
)

// applicationTest answers uwsgi requests at a listener until the test ends.
func applicationTest(t *testing.T, ln net.Listener) {
	t.Helper()
	s := &uwsgi.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		v := uwsgi.Variables(r)
		w.Header().Set("X-App", "1")
		switch r.URL.Path {
		case "/404":
			w.WriteHeader(404)
		case "/302":
			w.WriteHeader(302)
		}
		fmt.Fprintf(w, "%s %s host=%s type=%s user=%s x=%s peer=%s path=%s body=%s\n", r.Method, r.RequestURI, r.Host, r.Header.Get("Content-Type"),
			v["REMOTE_USER"], strings.Join(r.Header["X-Y"], "|"), r.RemoteAddr, v["PATH_INFO"], body)
	})}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ln) }()
	t.Cleanup(func() {
		s.Shutdown(context.Background())
		<-ended
	})
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func TestRequest(t *testing.T) {
	dir := shortDir(t)
	socket := filepath.Join(dir, "s")
	applicationTest(t, listen(t, "unix", socket))
	file := filepath.Join(dir, "body")
	if err := os.WriteFile(file, []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	const peer = "peer=127.0.0.1:0 "
	for _, c := range []struct {
		name string
		args []string
		code int
		out  string
	}{
		{"get", []string{socket, "/a%20b?c=d"}, 0, "GET /a%20b?c=d host=localhost type= user= x= " + peer + "path=/a b body=\n"},
		{"two slashes", []string{socket, "//a/../b"}, 0, "GET //a/../b host=localhost type= user= x= " + peer + "path=//a/../b body=\n"},
		{"data", []string{"-d", "a=1", socket, "/"}, 0, "POST / host=localhost type=application/x-www-form-urlencoded user= x= " + peer + "path=/ body=a=1\n"},
		{"data of a file", []string{"-d", "@" + file, "-X", "PUT", "-H", "content-type: text/plain", socket, "/"}, 0, "PUT / host=localhost type=text/plain user= x= " + peer + "path=/ body=from a file\n"},
		{"data of standard input", []string{"-d", "@-", socket, "/"}, 0, "POST / host=localhost type=application/x-www-form-urlencoded user= x= " + peer + "path=/ body=from stdin\n"},
		{"headers", []string{"-H", "Host: shop", "-H", "X-Y: 1", "-H", "X-Y:2", socket, "/"}, 0, "GET / host=shop type= user= x=1, 2 " + peer + "path=/ body=\n"},
		{"variables", []string{"--var", "REMOTE_USER=jo=x", "--var", "PATH_INFO=/other", socket, "/"}, 0, "GET / host=localhost type= user=jo=x x= " + peer + "path=/other body=\n"},
		{"header shown", []string{"-i", "-X", "HEAD", socket, "/"}, 0, "HTTP/1.1 200 OK\nContent-Length: 67\nContent-Type: text/plain; charset=utf-8\nX-App: 1\n\n"},
		{"redirect", []string{socket, "/302"}, 0, "GET /302 host=localhost type= user= x= " + peer + "path=/302 body=\n"},
		{"not found", []string{socket, "/404"}, 22, "GET /404 host=localhost type= user= x= " + peer + "path=/404 body=\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, err := ctl(t, "from stdin", append([]string{"request"}, c.args...)...)
			if code != c.code || out != c.out || err != "" {
				t.Errorf("got  %d %q %q\nwant %d %q", code, out, err, c.code, c.out)
			}
		})
	}
	_, out, err := ctl(t, "", "request", "-v", "--var", "A=\x1b", socket, "/")
	if !strings.Contains(err, "> REQUEST_METHOD = GET\n") || !strings.Contains(err, "> A = ?\n") || !strings.Contains(err, "< HTTP/1.1 200 OK\n< Content-Length: ") || !strings.HasPrefix(out, "GET / ") {
		t.Errorf("verbose: got %q and %q", out, err)
	}
}

func TestRequestReachesEveryKindOfAddress(t *testing.T) {
	tcp := listen(t, "tcp", "127.0.0.1:0")
	applicationTest(t, tcp)
	name := fmt.Sprintf("@emperorctl-test-%d", os.Getpid())
	applicationTest(t, listen(t, "unix", name))
	port := tcp.Addr().String()[len("127.0.0.1"):]
	for _, address := range []string{tcp.Addr().String(), port, name} {
		if code, out, err := ctl(t, "", "request", address, "/"); code != 0 || !strings.HasPrefix(out, "GET / ") {
			t.Errorf("%s: got %d %q %q", address, code, out, err)
		}
	}
}

func TestBadRequestLines(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"/s"}, 2, "request takes a socket and a path"},
		{[]string{"/s", "x"}, 2, `the path "x" does not begin with /`},
		{[]string{"/s", "/%zz"}, 2, `the path "/%zz" is none`},
		{[]string{"unix:/s", "/"}, 2, `"unix:/s" is no address of a socket`},
		{[]string{"-H", "nocolon", "/s", "/"}, 2, `-H "nocolon" is no header field`},
		{[]string{"--var", "novalue", "/s", "/"}, 2, `--var "novalue" is no variable`},
		{[]string{"--var", "CONTENT_LENGTH=3", "/s", "/"}, 2, "would contradict the body"},
		{[]string{"-X", "BAD METHOD", "/s", "/"}, 2, "invalid method"},
		{[]string{"-d", "@/nonexistent", "/s", "/"}, 1, "cannot read the body: open /nonexistent"},
	} {
		code, out, err := ctl(t, "", append([]string{"request"}, c.args...)...)
		if code != c.code || out != "" || !strings.Contains(err, c.want) {
			t.Errorf("%q: got %d %q %q, want %d %q", c.args, code, out, err, c.code, c.want)
		}
	}
}
