package uwsgi

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// realUWSGI runs testdata/app.py under a real uwsgi and returns the path of its socket.
func realUWSGI(t *testing.T) string {
	t.Helper()
	uwsgi := need(t, "uwsgi")
	socket := filepath.Join(shortDir(t), "s")
	app, err := filepath.Abs("testdata/app.py")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(uwsgi, "--plugin", "python3", "--plugin", "ping", "--need-app", "--buffer-size", "65535", "--socket", socket, "--wsgi-file", app)
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	start(t, cmd, answersAt("unix", socket))
	return socket
}

// answers are requests to testdata/app.py; what a real uwsgi sends back is in testdata/uwsgi/NAME.
var answers = []struct{ name, method, path string }{
	{"hello", "GET", "/hello"},
	{"head", "HEAD", "/hello"},
	{"no-length", "GET", "/chunks"},
	{"404", "GET", "/nothing"},
}

func TestRealUWSGIAnswersAsRecorded(t *testing.T) {
	socket := realUWSGI(t)
	check := func(name string, raw []byte) {
		t.Helper()
		got := send(t, socket, raw)
		golden := filepath.Join("testdata", "uwsgi", name)
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	for _, c := range answers {
		check(c.name, packet(t, "REQUEST_METHOD="+c.method, "SERVER_PROTOCOL=HTTP/1.1", "REQUEST_URI="+c.path, "PATH_INFO="+c.path, "QUERY_STRING=", "SERVER_NAME=shop", "SERVER_PORT=80", "REQUEST_SCHEME=http"))
	}
	check("ping", []byte{ModifierPing, 0, 0, 0})
}

func TestOurPongIsARealUWSGIs(t *testing.T) {
	want, err := os.ReadFile("testdata/uwsgi/ping")
	if err != nil {
		t.Fatal(err)
	}
	if got := send(t, serveTest(t, &Server{}), []byte{ModifierPing, 0, 0, 0}); got != string(want) {
		t.Errorf("got %q, a real uwsgi answers %q", got, want)
	}
}

func TestRecordedAnswersAreRead(t *testing.T) {
	for _, c := range answers {
		raw, err := os.ReadFile(filepath.Join("testdata", "uwsgi", c.name))
		if err != nil {
			t.Fatal(err)
		}
		want, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), &http.Request{Method: c.method})
		if err != nil {
			t.Fatal(err)
		}
		wantBody, _ := io.ReadAll(want.Body)
		r, _ := http.NewRequest(c.method, "http://shop"+c.path, nil)
		got, err := answering(t, string(raw)).RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(got.Body)
		got.Body.Close()
		if err != nil || got.Status != want.Status || !bytes.Equal(body, wantBody) || got.Header.Get("X-From") != "app" {
			t.Errorf("%s: got %s %v %q %v", c.name, got.Status, got.Header, body, err)
		}
	}
}

func TestOurTransportReachesARealUWSGI(t *testing.T) {
	noGoroutineStays(t)
	tr := &Transport{Address: realUWSGI(t)}
	ask := func(method, url, body string) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequest(method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Cookie", strings.Repeat("c", 10_000))
		resp, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(text)
	}
	_, text := ask("POST", "http://shop.example:81/environ/%E2%98%83?a=b", strings.Repeat("0123456789", 50_000))
	var seen struct {
		Environ map[string]string `json:"environ"`
		Body    int               `json:"body"`
	}
	if err := json.Unmarshal([]byte(text), &seen); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"REQUEST_METHOD": "POST", "PATH_INFO": "/environ/\u00e2\u0098\u0083", "QUERY_STRING": "a=b", "HTTP_HOST": "shop.example:81", "SERVER_NAME": "shop.example",
		"SERVER_PORT": "81", "CONTENT_LENGTH": "500000", "HTTP_COOKIE": strings.Repeat("c", 10_000), "REQUEST_URI": "/environ/%E2%98%83?a=b", "wsgi.url_scheme": "http",
	} {
		if got := seen.Environ[name]; got != want {
			t.Errorf("%s is %.80q, want %.80q", name, got, want)
		}
	}
	if seen.Body != 500_000 {
		t.Errorf("the application read %d bytes", seen.Body)
	}
	if resp, text := ask("HEAD", "http://shop/hello", ""); resp.StatusCode != 200 || text != "" || resp.Header.Get("X-From") != "app" {
		t.Errorf("HEAD: got %v %q", resp.Header, text)
	}
	// An application that answers without reading the body.
	if resp, _ := ask("POST", "http://shop/nothing", strings.Repeat("x", 200_000)); resp.StatusCode != 404 {
		t.Errorf("unread body: got %s", resp.Status)
	}
}
