package vassal

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

func TestMisbehavingApplicationsHurtOnlyTheirOwnRequest(t *testing.T) {
	d := start(t, "module = naughty", "processes = 1")
	for _, c := range []struct {
		path   string
		status string // "" for a connection that is cut
		body   string
		log    string // must appear in the log
	}{
		{"raises", "500 Internal Server Error", "Internal Server Error", "ValueError: raised before the headers"},
		{"raises_late", "200 OK", "begun ", "ValueError: raised after the headers"},
		{"raises_before_body", "500 Internal Server Error", "Internal Server Error", "ValueError: raised before the body"},
		{"never_starts", "500 Internal Server Error", "Internal Server Error", "sent a body before it called start_response"},
		{"returns_none", "500 Internal Server Error", "Internal Server Error", "'NoneType' object is not iterable"},
		{"returns_text", "500 Internal Server Error", "Internal Server Error", "TypeError"},
		{"starts_twice", "500 Internal Server Error", "Internal Server Error", "called twice"},
		{"starts_over", "503 Not Now", "started over", ""},
		{"starts_over_late", "200 OK", "begun", "KeyError: 'too late'"},
		{"newline_in_value", "500 Internal Server Error", "Internal Server Error", `header 'X-A': the value 'a\r\nSet-Cookie: stolen=1' holds a line break`},
		{"newline_in_name", "500 Internal Server Error", "Internal Server Error", "is no HTTP token"},
		{"nul_in_value", "500 Internal Server Error", "Internal Server Error", "holds a line break or a NUL"},
		{"blank_in_name", "500 Internal Server Error", "Internal Server Error", "header 'X A': the name is no HTTP token"},
		{"number_as_value", "500 Internal Server Error", "Internal Server Error", "header 'X-A': name and value must be str; the value is int"},
		{"bytes_as_value", "500 Internal Server Error", "Internal Server Error", "the value is bytes"},
		{"snowman_in_value", "500 Internal Server Error", "Internal Server Error", "cannot be sent as latin-1"},
		{"newline_in_status", "500 Internal Server Error", "Internal Server Error", "holds a character that cannot be sent"},
		{"no_status", "500 Internal Server Error", "Internal Server Error", "must be a code from 200 to 599"},
		{"two_lengths", "500 Internal Server Error", "Internal Server Error", "there are two Content-Length"},
		{"odd_length", "500 Internal Server Error", "Internal Server Error", "Content-Length 'four' is not a number"},
		{"exits", "500 Internal Server Error", "Internal Server Error", "SystemExit: 3"},
		{"interrupts", "500 Internal Server Error", "Internal Server Error", "KeyboardInterrupt"},
		{"no_content", "204 No Content", "", ""},
		{"not_modified", "304 Not Modified", "", ""},
		{"empty_list", "200 OK", "", ""},
		{"empty_chunks", "200 OK", "ab", ""},
		{"generator", "200 OK", "0 1 2 ", ""},
		{"lazy_generator", "200 OK", "lazily", ""},
		{"writes", "200 OK", "written returned", ""},
		{"closes", "200 OK", "ab", ""},
		{"closes_after_error", "200 OK", "a", "raised while iterating"},
		{"closed", "200 OK", "2", ""},
		{"close_raises", "200 OK", "sent all the same", "ValueError: raised while closing"},
		{"memory_file", "200 OK", strings.Repeat("m", 100000), ""},
		{"large", "200 OK", strings.Repeat("x", 3000000) + "y", ""},
		{"closes_stdout", "200 OK", "closed", ""},
		{"closes_descriptors", "200 OK", "closed", ""},
		{"empty_chunks", "200 OK", "ab", ""},
	} {
		a := d.get("/" + c.path)
		if a.status != c.status || a.body != c.body {
			t.Errorf("%s: got %q and a body of %d bytes %.80q, want %q and %.80q", c.path, a.status, len(a.body), a.body, c.status, c.body)
		}
		if strings.Contains(a.raw, "stolen") {
			t.Errorf("%s: the header got through: %q", c.path, a.raw)
		}
		if !strings.Contains(d.said(), c.log) {
			t.Errorf("%s: the log does not say %q", c.path, c.log)
		}
	}
	if strings.Contains(d.said(), "<emperord worker") {
		t.Errorf("the host's own frames are in a traceback:\n%s", d.said())
	}
	if n := strings.Count(d.said(), "its successor starts"); n != 0 {
		t.Errorf("%d workers have died", n)
	}
}

func TestAnswersAreNormalised(t *testing.T) {
	d := start(t, "module = naughty", "disable-logging = true")
	if a := d.get("/hop_by_hop"); strings.Contains(a.head, "chunked") || strings.Contains(a.head, "Connection") || !strings.Contains(a.head, "X-Kept: yes") || a.body != "body" {
		t.Errorf("hop-by-hop headers: %q", a.raw)
	}
	a, err := send(d.socket, request("HEAD", "/empty_chunks", ""))
	if err != nil || a.status != "200 OK" || a.body != "" {
		t.Errorf("HEAD: %q, %v", a.raw, err)
	}
	if a := d.get("/file"); !strings.HasPrefix(a.body, "isbehaviour") && !strings.Contains(a.body, "def application") {
		t.Errorf("file_wrapper: %.60q", a.body)
	}
	if strings.Contains(d.said(), "GET /file") {
		t.Error("disable-logging does not disable the request log")
	}
}

func TestTheBodyIsCompleteAndBounded(t *testing.T) {
	d := start(t, "module = naughty", "processes = 1")
	ask := func(bytes []byte) answer {
		t.Helper()
		a, err := send(d.socket, bytes)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	body := "ab\ncdefg\nh\ni\nj"
	if a := ask(request("POST", "/reads_all_ways", body)); a.body != `[b'ab', b'\n', b'cde', b'', b'fg\n', b'h\n', b'i\n', b'j', b'', b'', b'']` {
		t.Errorf("got %q", a.body)
	}
	// What follows the announced body is not the application's.
	if a := ask(append(request("POST", "/reads_too_much", "12345"), "surplus"...)); a.body != "read 5" {
		t.Errorf("got %q", a.body)
	}
	// An unread body does not keep the answer away.
	if a := ask(request("POST", "/reads_nothing", strings.Repeat("b", 5000000))); a.body != "unread" {
		t.Errorf("got %q", a.body)
	}
	// A body that was not announced is not waited for.
	if a := ask(request("POST", "/reads_too_much", "")); a.body != "read 0" {
		t.Errorf("got %q", a.body)
	}
	if a := ask(request("POST", "/closed", strings.Repeat("b", 100000))); a.status != "200 OK" {
		t.Errorf("got %q", a.raw)
	}
}

func TestEnvironment(t *testing.T) {
	d := start(t, "module = plain:environ", "processes = 2")
	a := d.get("/x%20y?q=1", "UWSGI_FILE=/etc/passwd", "UWSGI_SETENV=A=B", "HTTP_PROXY=kept", "HTTPS=on", "HTTP_X=\xe9")
	for _, want := range []string{
		"wsgi.url_scheme='https'", "wsgi.multiprocess=True", "wsgi.multithread=False", "wsgi.run_once=False", "wsgi.version=(1, 0)",
		"HTTP_PROXY='kept'", "QUERY_STRING='q=1'", "HTTP_X='\xe9'", "uwsgi.version=b'2.0.21'",
	} {
		if !strings.Contains("\n"+a.body+"\n", "\n"+want+"\n") {
			t.Errorf("%s is missing in\n%s", want, a.body)
		}
	}
	for _, no := range []string{"UWSGI_", "CONTENT_LENGTH", "CONTENT_TYPE"} {
		if strings.Contains(a.body, no) {
			t.Errorf("%s is in\n%s", no, a.body)
		}
	}
	if n := strings.Count(d.get("/", "UWSGI_SCHEME=https").body, "wsgi.url_scheme='https'"); n != 1 {
		t.Error("UWSGI_SCHEME is not obeyed")
	}
	// A peer cannot put anything in the place of what is the server's.
	for _, bytes := range [][]byte{
		request("GET", "/", "", "wsgi.url_scheme=evil", "wsgi.multiprocess=evil", "wsgi.input=evil"),
	} {
		a, err := send(d.socket, bytes)
		if err != nil || strings.Contains(a.body, "evil") {
			t.Errorf("got %q, %v", a.body, err)
		}
	}
	// Modifier 30 cuts SCRIPT_NAME.
	a, err := send(d.socket, packet(30, "REQUEST_METHOD=GET", "SCRIPT_NAME=/app", "PATH_INFO=/app/page"))
	if err != nil || !strings.Contains(a.body, "PATH_INFO='/page'") {
		t.Errorf("got %q, %v", a.raw, err)
	}
}

func TestWSGIIsValidUnderEveryPython(t *testing.T) {
	for version, program := range pythons(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			home := "home = " + filepath.Dir(filepath.Dir(program))
			d := start(t, "module = validated:application", "processes = 2", home)
			if !strings.Contains(d.said(), "CPython "+version) {
				t.Errorf("another interpreter runs: %s", d.said())
			}
			for _, c := range []struct{ method, uri, body string }{
				{"GET", "/list", ""}, {"GET", "/generator", ""}, {"HEAD", "/list", ""}, {"POST", "/echo", "a=b\nc"}, {"GET", "/write", ""}, {"GET", "/file", ""},
			} {
				a, err := send(d.socket, request(c.method, c.uri, c.body, "SCRIPT_NAME="))
				if err != nil || a.status != "200 OK" {
					t.Errorf("%s %s: %q %v\n%s", c.method, c.uri, a.raw, err, d.said())
				}
			}
			if a := d.get("/uwsgi", "SCRIPT_NAME="); a.body != "b'2.0.21' 2 True True" {
				t.Errorf("import uwsgi: %q\n%s", a.body, d.said())
			}
		})
	}
}

func TestRequestLogHasTheShapeOfUWSGI(t *testing.T) {
	d := start(t, "module = plain", "processes = 1")
	d.get("/page?x=1")
	_, _ = send(d.socket, request("GET", "/evil\nline", ""))
	_, workers := d.family()
	want := fmt.Sprintf("[pid: %d|app: 0|req: 1/1] 127.0.0.1 () {28 vars in ", workers[0])
	if !strings.Contains(d.said(), want) || !strings.Contains(d.said(), "] GET /page?x=1 => generated ") || !strings.Contains(d.said(), " msecs (HTTP/1.1 200) 1 headers in 45 bytes (1 switches on core 0)\n") {
		t.Errorf("want %q in\n%s", want, d.said())
	}
	if strings.Contains(d.said(), "\nline") {
		t.Errorf("a request has put a line of its own into the log:\n%s", d.said())
	}
}
