package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// exchange is one request that both servers get.
type exchange struct {
	method, path, body string
	header             []string
}

var exchanges = []exchange{
	{"GET", "/", "", nil},
	{"HEAD", "/", "", nil},
	{"GET", "/?a=1&b=%20x%2Fy&c", "", nil},
	{"GET", "/missing%20page/%C3%BC", "", nil},
	{"GET", "/caf\u00e9", "", nil},
	{"POST", "/echo", "", nil},
	{"POST", "/echo", "name=Ada", []string{"Content-Type", "application/x-www-form-urlencoded"}},
	{"PUT", "/echo", strings.Repeat("0123456789abcdef", 20000), []string{"Content-Type", "application/octet-stream"}},
	{"POST", "/lines", "one\ntwo two\n\nlast", nil},
	{"POST", "/unread", strings.Repeat("x", 300000), nil},
	{"DELETE", "/", "", nil},
	{"OPTIONS", "/", "", nil},
	{"GET", "/stream", "", nil},
	{"GET", "/write", "", nil},
	{"GET", "/cookies", "", []string{"Cookie", "a=b; c=d"}},
	{"GET", "/redirect", "", nil},
	{"GET", "/304", "", []string{"If-None-Match", `"x"`}},
	{"GET", "/204", "", nil},
	{"GET", "/error", "", nil},
	{"GET", "/recovered", "", nil},
	{"GET", "/big", "", nil},
	{"HEAD", "/big", "", nil},
	{"GET", "/file", "", nil},
	{"GET", "/env?q=1", "", []string{"X-Custom", "one", "X-Custom", "two", "Accept-Language", "de", "Cookie", "k=v"}},
	{"POST", "/env", "abc", []string{"Content-Type", "text/plain"}},
	{"GET", "/", "", []string{"X-Long", strings.Repeat("y", 3000)}},
}

// environDiffers are the variables that may differ between the two servers, and why.
var environDiffers = map[string]string{
	"REMOTE_PORT":                "another connection",
	"uwsgi.version":              "it is our version",
	"uwsgi.core":                 "uWSGI's core number; ours has one core a process and does not set it",
	"wsgi.input":                 "another class",
	"wsgi.errors":                "another class",
	"wsgi.file_wrapper":          "another class",
	"x-wsgiorg.fdevent.readable": "of uWSGI's async modes",
	"x-wsgiorg.fdevent.writable": "of uWSGI's async modes",
	"x-wsgiorg.fdevent.timeout":  "of uWSGI's async modes",
	"CONTENT_TYPE":               "uWSGI hands on nginx's empty string; PEP 3333 allows to leave it out, and code that looks for presence is right then",
	"CONTENT_LENGTH":             "likewise; present ones are compared through /echo and /lines",
	"uwsgi.node":                 "bytes in both; compared as present only",
}

// better are the answers that differ on purpose: what ours has to be, and why uWSGI's is none.
var better = map[string]struct {
	status int
	body   string
	why    string
}{
	"POST /unread":   {200, "not interested\n", "uWSGI closes with the body unread, and nginx, reset while it sends, says 502"},
	"GET /error":     {500, "Internal Server Error", "uWSGI closes without a byte, and nginx says 502"},
	"GET /recovered": {503, "sorry\n", "uWSGI 2.0.21 fails itself when start_response gets exc_info"},
}

func TestSameAnswersAsUWSGI(t *testing.T) {
	s := newSite(t)
	uid, gid := ids(t, shop)
	s.app("plain", "plain", shop)
	s.mkdir("srv/plain/run", uid, gid) // a real uWSGI tyrant makes its sockets as the tenant
	s.vassal("plain.ini", shop, `plugin = python3
chdir = DIR/srv/plain
module = plain:application
master = true
processes = 2
need-app = true
env = GEN=same
socket = DIR/srv/plain/run/plain.sock
chmod-socket = 666
vacuum = true
`)
	s.nginx(map[string]string{"plain": s.dir + "/srv/plain/run/plain.sock"})
	ask := func() []answer {
		s.get("plain", "/")
		var all []answer
		for _, x := range exchanges {
			a, err := s.request("plain", x.method, x.path, strings.NewReader(x.body), x.header...)
			if err != nil {
				t.Fatalf("%s %s: %v", x.method, x.path, err)
			}
			all = append(all, a)
		}
		return all
	}
	real := s.start("/usr/bin/uwsgi", "--emperor", s.dir+"/vassals", "--emperor-tyrant")
	want := ask()
	_ = real.cmd.Process.Signal(sigint) // stops at once; TERM reloads
	<-real.done
	s.emperor("--emperor-tyrant")
	got := ask()
	for i, x := range exchanges {
		name := x.method + " " + x.path
		if b, listed := better[name]; listed {
			if got[i].status != b.status || got[i].body != b.body {
				t.Errorf("%s: %d %.200q, want %d %q (%s)", name, got[i].status, got[i].body, b.status, b.body, b.why)
			}
			continue
		}
		if got[i].status != want[i].status {
			t.Errorf("%s: status %d, uWSGI says %d", name, got[i].status, want[i].status)
		}
		if a, b := headers(got[i].header), headers(want[i].header); a != b && !strings.HasPrefix(x.path, "/env") {
			t.Errorf("%s: headers\n%suWSGI has\n%s", name, a, b)
		}
		if strings.HasPrefix(x.path, "/env") {
			compareEnviron(t, name, got[i].body, want[i].body)
		} else if got[i].body != want[i].body {
			t.Errorf("%s: body %.200q, uWSGI says %.200q", name, got[i].body, want[i].body)
		}
	}
}

// headers prints what the application answered, in a fixed order. Date and Connection are nginx's own. The length of
// an environ differs with the environ.
func headers(h http.Header) string {
	var lines []string
	for k, v := range h {
		if k == "Date" || k == "Server" || k == "Connection" {
			continue
		}
		lines = append(lines, fmt.Sprintf("%s: %q\n", k, v))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func compareEnviron(t *testing.T, name, got, want string) {
	t.Helper()
	var a, b map[string]any
	if err := json.Unmarshal([]byte(got), &a); err != nil {
		t.Fatalf("%s: %v: %.200s", name, err, got)
	}
	if err := json.Unmarshal([]byte(want), &b); err != nil {
		t.Fatalf("%s: %v: %.200s", name, err, want)
	}
	for k, v := range b {
		if _, may := environDiffers[k]; !may && fmt.Sprint(a[k]) != fmt.Sprint(v) {
			t.Errorf("%s: environ[%q] is %#v, uWSGI has %#v", name, k, a[k], v)
		}
	}
	for k, v := range a {
		if _, there := b[k]; !there && environDiffers[k] == "" {
			t.Errorf("%s: environ[%q] = %#v is not in uWSGI's", name, k, v)
		}
	}
}
