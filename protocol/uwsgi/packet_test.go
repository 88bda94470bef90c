package uwsgi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// packet encodes variables given as "NAME=value" for a request.
func packet(t testing.TB, vars ...string) []byte {
	t.Helper()
	p := Packet{}
	for _, v := range vars {
		name, value, _ := strings.Cut(v, "=")
		p.Vars = append(p.Vars, Var{name, value})
	}
	b, err := AppendPacket(nil, p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSizesAreCheckedBeforeTheyAreUsed(t *testing.T) {
	for name, c := range map[string]struct {
		raw  string
		want error
	}{
		"nothing":                     {"", io.EOF},
		"cut in the header":           {"\x00\x05", io.ErrUnexpectedEOF},
		"header only":                 {"\x00\x05\x00\x00", io.ErrUnexpectedEOF},
		"cut in the block":            {"\x00\x05\x00\x00abc", io.ErrUnexpectedEOF},
		"one byte of a size":          {"\x00\x01\x00\x00\x05", ErrOverrun},
		"name overruns":               {"\x00\x04\x00\x00\x03\x00ab", ErrOverrun},
		"name overruns by high byte":  {"\x00\x04\x00\x00\x02\x01ab", ErrOverrun},
		"no value":                    {"\x00\x04\x00\x00\x02\x00ab", ErrOverrun},
		"one byte of the value size":  {"\x00\x05\x00\x00\x02\x00ab\x01", ErrOverrun},
		"value overruns":              {"\x00\x07\x00\x00\x02\x00ab\x02\x00c", ErrOverrun},
		"value overruns at its limit": {"\x00\x07\x00\x00\x02\x00ab\xff\xffc", ErrOverrun},
		"http":                        {"GET / HTTP/1.1\r\n\r\n", ErrPlainHTTP},
		"http 2":                      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ErrPlainHTTP},
	} {
		t.Run(name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(c.raw), iotest.OneByteReader(strings.NewReader(c.raw))} {
				if _, err := ReadPacket(r); !errors.Is(err, c.want) {
					t.Errorf("got %v, want %v", err, c.want)
				}
			}
		})
	}
}

func TestReadPacketTakesNoByteOfTheBody(t *testing.T) {
	r := bytes.NewReader(append(packet(t, "A=1", "B="), "body"...))
	p, err := ReadPacket(r)
	if err != nil || len(p.Vars) != 2 || p.Vars[0] != (Var{"A", "1"}) || p.Vars[1] != (Var{"B", ""}) {
		t.Fatalf("got %+v, %v", p, err)
	}
	if rest, _ := io.ReadAll(r); string(rest) != "body" {
		t.Fatalf("left %q", rest)
	}
}

func TestTheBlockMayBeFullButNotFuller(t *testing.T) {
	full := Packet{Modifier2: 3, Vars: []Var{{"N", strings.Repeat("v", MaxBlock-5)}}}
	b, err := AppendPacket(nil, full)
	if err != nil || len(b) != headerSize+MaxBlock {
		t.Fatalf("got %d bytes, %v", len(b), err)
	}
	p, err := ReadPacket(bytes.NewReader(b))
	if err != nil || p.Vars[0] != full.Vars[0] || p.Modifier2 != 3 {
		t.Fatalf("got %v", err)
	}
	full.Vars[0].Value += "v"
	if _, err := AppendPacket(nil, full); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("one more byte: got %v", err)
	}
	if _, err := AppendPacket(nil, Packet{Vars: []Var{{"N\x00", ""}}}); !errors.Is(err, ErrNUL) {
		t.Fatalf("NUL: got %v", err)
	}
}

func TestRequestsThatNobodyMaySend(t *testing.T) {
	get := []Var{{"REQUEST_METHOD", "GET"}, {"SERVER_PROTOCOL", "HTTP/1.1"}, {"REQUEST_URI", "/"}}
	for name, c := range map[string]struct {
		vars []Var
		want error
	}{
		"NUL in a name":           {[]Var{{"A\x00", ""}}, ErrNUL},
		"NUL in a value":          {[]Var{{"A", "\x00"}}, ErrNUL},
		"NUL in a dropped one":    {[]Var{{"UWSGI_FILE", "\x00"}}, ErrNUL},
		"length twice":            {[]Var{{"CONTENT_LENGTH", "1"}, {"CONTENT_LENGTH", "1"}}, ErrContentLength},
		"length twice, one empty": {[]Var{{"CONTENT_LENGTH", ""}, {"CONTENT_LENGTH", "1"}}, ErrContentLength},
		"negative":                {[]Var{{"CONTENT_LENGTH", "-1"}}, ErrContentLength},
		"signed":                  {[]Var{{"CONTENT_LENGTH", "+1"}}, ErrContentLength},
		"hexadecimal":             {[]Var{{"CONTENT_LENGTH", "0x1"}}, ErrContentLength},
		"blank":                   {[]Var{{"CONTENT_LENGTH", " 1"}}, ErrContentLength},
		"too large":               {[]Var{{"CONTENT_LENGTH", "9223372036854775808"}}, ErrContentLength},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewRequest(context.Background(), Packet{Vars: append(get[:len(get):len(get)], c.vars...)}, nil)
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	for name, vars := range map[string][]Var{"no variables": nil, "no method": get[1:], "no protocol": get[:1], "bad address": {get[0], get[1], {"REQUEST_URI", "/%zz"}}} {
		if _, err := NewRequest(context.Background(), Packet{Vars: vars}, nil); err == nil {
			t.Errorf("%s made a request", name)
		}
	}
}

func TestRepeatedAndReservedVariables(t *testing.T) {
	r, err := NewRequest(context.Background(), Packet{Vars: []Var{
		{"REQUEST_METHOD", "GET"}, {"SERVER_PROTOCOL", "HTTP/1.1"}, {"REQUEST_URI", "/a?b"}, {"UWSGI_FILE", "/etc/shadow"},
		{"HTTP_HOST", "one"}, {"HTTP_HOST", "two"}, {"HTTP_COOKIE", "a=1"}, {"HTTP_COOKIE", "b=2"}, {"HTTP_X_Y", "1"}, {"HTTP_X_Y", "2"},
		{"REMOTE_USER", "first"}, {"REMOTE_USER", "last"}, {"REMOTE_ADDR", "192.0.2.1"}, {"REMOTE_PORT", "77"}, {"HTTPS", "on"},
		{"CONTENT_TYPE", ""}, {"CONTENT_LENGTH", ""}, {"HTTP_TRANSFER_ENCODING", "chunked"}, {"HTTP_CONTENT_LENGTH", "5"},
	}}, strings.NewReader("xxxxx"))
	if err != nil {
		t.Fatal(err)
	}
	v := Variables(r)
	if _, there := v["UWSGI_FILE"]; there {
		t.Error("UWSGI_FILE arrived")
	}
	body, _ := io.ReadAll(r.Body)
	for what, pair := range map[string][2]string{
		"host": {r.Host, "two"}, "cookie": {r.Header.Get("Cookie"), "a=1; b=2"}, "field": {r.Header.Get("X-Y"), "1, 2"},
		"user": {v["REMOTE_USER"], "last"}, "peer": {r.RemoteAddr, "192.0.2.1:77"}, "url": {r.URL.String(), "https://two/a?b"},
		"uri": {r.RequestURI, "/a?b"}, "body": {string(body), ""}, "length": {r.Header.Get("Content-Length"), ""}, "coding": {r.Header.Get("Transfer-Encoding"), ""},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: got %q, want %q", what, pair[0], pair[1])
		}
	}
}

func TestModifier30CutsTheScriptName(t *testing.T) {
	for _, c := range []struct{ script, path, want string }{
		{"/app", "/app/x", "/x"}, {"/app", "/app", ""}, {"/app", "/apple", "/apple"}, {"/app/", "/app/x", "/x"}, {"", "/x", "/x"}, {"/app", "/other", "/other"},
	} {
		m := map[string]string{"SCRIPT_NAME": c.script, "PATH_INFO": c.path}
		if cutScriptName(m); m["PATH_INFO"] != c.want {
			t.Errorf("%q of %q: got %q, want %q", c.script, c.path, m["PATH_INFO"], c.want)
		}
	}
}
