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
		p.Vars = append(p.Vars, Var{Name: name, Value: value})
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
	if err != nil || len(p.Vars) != 2 || p.Vars[0] != (Var{Name: "A", Value: "1"}) || p.Vars[1] != (Var{Name: "B", Value: ""}) {
		t.Fatalf("got %+v, %v", p, err)
	}
	if rest, _ := io.ReadAll(r); string(rest) != "body" {
		t.Fatalf("left %q", rest)
	}
}

func TestTheBlockMayBeFullButNotFuller(t *testing.T) {
	full := Packet{Modifier2: 3, Vars: []Var{{Name: "N", Value: strings.Repeat("v", MaxBlock-5)}}}
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
	if _, err := AppendPacket(nil, Packet{Vars: []Var{{Name: "N\x00", Value: ""}}}); !errors.Is(err, ErrNUL) {
		t.Fatalf("NUL: got %v", err)
	}
}

func TestRequestsThatNobodyMaySend(t *testing.T) {
	get := []Var{{Name: "REQUEST_METHOD", Value: "GET"}, {Name: "SERVER_PROTOCOL", Value: "HTTP/1.1"}, {Name: "REQUEST_URI", Value: "/"}}
	for name, c := range map[string]struct {
		vars []Var
		want error
	}{
		"NUL in a name":           {[]Var{{Name: "A\x00", Value: ""}}, ErrNUL},
		"NUL in a value":          {[]Var{{Name: "A", Value: "\x00"}}, ErrNUL},
		"NUL in a dropped one":    {[]Var{{Name: "UWSGI_FILE", Value: "\x00"}}, ErrNUL},
		"length twice":            {[]Var{{Name: "CONTENT_LENGTH", Value: "1"}, {Name: "CONTENT_LENGTH", Value: "1"}}, ErrContentLength},
		"length twice, one empty": {[]Var{{Name: "CONTENT_LENGTH", Value: ""}, {Name: "CONTENT_LENGTH", Value: "1"}}, ErrContentLength},
		"negative":                {[]Var{{Name: "CONTENT_LENGTH", Value: "-1"}}, ErrContentLength},
		"signed":                  {[]Var{{Name: "CONTENT_LENGTH", Value: "+1"}}, ErrContentLength},
		"hexadecimal":             {[]Var{{Name: "CONTENT_LENGTH", Value: "0x1"}}, ErrContentLength},
		"blank":                   {[]Var{{Name: "CONTENT_LENGTH", Value: " 1"}}, ErrContentLength},
		"too large":               {[]Var{{Name: "CONTENT_LENGTH", Value: "9223372036854775808"}}, ErrContentLength},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewRequest(context.Background(), Packet{Vars: append(get[:len(get):len(get)], c.vars...)}, nil)
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	for name, vars := range map[string][]Var{"no variables": nil, "no method": get[1:], "no protocol": get[:1], "bad address": {get[0], get[1], {Name: "REQUEST_URI", Value: "/%zz"}}} {
		if _, err := NewRequest(context.Background(), Packet{Vars: vars}, nil); err == nil {
			t.Errorf("%s made a request", name)
		}
	}
}

func TestRepeatedAndReservedVariables(t *testing.T) {
	r, err := NewRequest(context.Background(), Packet{Vars: []Var{
		{Name: "REQUEST_METHOD", Value: "GET"}, {Name: "SERVER_PROTOCOL", Value: "HTTP/1.1"}, {Name: "REQUEST_URI", Value: "/a?b"}, {Name: "UWSGI_FILE", Value: "/etc/shadow"},
		{Name: "HTTP_HOST", Value: "one"}, {Name: "HTTP_HOST", Value: "two"}, {Name: "HTTP_COOKIE", Value: "a=1"}, {Name: "HTTP_COOKIE", Value: "b=2"}, {Name: "HTTP_X_Y", Value: "1"}, {Name: "HTTP_X_Y", Value: "2"},
		{Name: "REMOTE_USER", Value: "first"}, {Name: "REMOTE_USER", Value: "last"}, {Name: "REMOTE_ADDR", Value: "192.0.2.1"}, {Name: "REMOTE_PORT", Value: "77"}, {Name: "HTTPS", Value: "on"},
		{Name: "CONTENT_TYPE", Value: ""}, {Name: "CONTENT_LENGTH", Value: ""}, {Name: "HTTP_TRANSFER_ENCODING", Value: "chunked"}, {Name: "HTTP_CONTENT_LENGTH", Value: "5"},
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
