package nginxconf

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// A Protocol is what nginx speaks to a target.
type Protocol string

// The protocols of nginx's modules that pass requests on.
const (
	UWSGI   Protocol = "uwsgi"
	HTTP    Protocol = "http"
	FastCGI Protocol = "fastcgi"
	SCGI    Protocol = "scgi"
	GRPC    Protocol = "grpc"
)

// passes are the directives that name a target.
var passes = map[string]Protocol{"uwsgi_pass": UWSGI, "proxy_pass": HTTP, "fastcgi_pass": FastCGI, "scgi_pass": SCGI, "grpc_pass": GRPC}

// A Target is one directive that passes requests on.
type Target struct {
	Directive string // "uwsgi_pass"
	Protocol  Protocol
	Text      string // as written, without quotes
	File      string
	Line      int
	Server    string // the first server_name, else the first listen
	Location  string // as written: "/", "~ \.php$"; empty outside of any
	Upstream  string // the upstream block that Text names
	Variable  bool   // Text holds a variable: only a request tells where it leads
	Wrong     string // what nginx says of Text when it reads it, in its words; it then refuses the whole configuration
	Endpoints []Endpoint

	Params map[string]string // the uwsgi_params in force, first value by name
	Buffer Buffer            // in force for a uwsgi_pass
	Block  *Directive        // the location (or if, limit_except) that holds the directive
}

// An Endpoint is one place where a target connects to.
type Endpoint struct {
	Path string // of a Unix socket; "@name" for an abstract one; empty for TCP
	Host string
	Port int
	Text string // as written: the target's own text, or the server's in the upstream block
	File string
	Line int
	Down bool // marked so in the upstream block

	Wrong string // what nginx says of Text; what was most probably meant is here all the same
}

// String returns "/path", "@name" or "host:port".
func (e Endpoint) String() string {
	if e.Path != "" {
		return e.Path
	}
	return net.JoinHostPort(e.Host, strconv.Itoa(e.Port))
}

// A Buffer is how much of an application's answer nginx reads at once. A header that is larger than Size is an error to
// nginx: 502, "upstream sent too big header".
type Buffer struct {
	Size int    // bytes of uwsgi_buffer_size; 0: not set, which is one page of memory, 4096 bytes on most machines
	File string // where it is set
	Line int
	Many bool // uwsgi_buffers or uwsgi_busy_buffers_size is set too
}

// schemes are prefixes that a directive takes, the first of them needed for proxy_pass.
var schemes = map[Protocol][]string{UWSGI: {"uwsgi://", "suwsgi://"}, HTTP: {"http://", "https://"}, GRPC: {"grpc://", "grpcs://"}}

// resolve says where a text leads. The words of Wrong are those of nginx 1.22 for the same text.
func (t *Target) resolve(upstreams map[string]*Directive) {
	rest, scheme := t.Text, ""
	for _, s := range schemes[t.Protocol] {
		if len(rest) >= len(s) && strings.EqualFold(rest[:len(s)], s) {
			rest, scheme = rest[len(s):], s
			break
		}
	}
	if strings.Contains(t.Text, "$") {
		t.Variable = true
		return
	}
	if t.Protocol == HTTP && scheme == "" {
		t.Wrong = "invalid URL prefix"
		if e, _ := endpoint(t.Text, 80, true); e.Path != "" || e.Host != "" {
			e.File, e.Line = t.File, t.Line
			t.Endpoints = []Endpoint{e}
		}
		return
	}
	name := rest
	if t.Protocol == HTTP { // only there a URI may follow
		name, _, _ = strings.Cut(rest, "/")
	}
	if u := upstreams[strings.ToLower(name)]; u != nil && !strings.HasPrefix(name, "unix:") {
		t.Upstream = name
		for _, d := range u.Block {
			if d.Name != "server" || len(d.Args) == 0 {
				continue
			}
			e, wrong := endpoint(d.Args[0], 80, false)
			if wrong != "" {
				e.Wrong = fmt.Sprintf("%s in upstream %q", wrong, d.Args[0])
				t.Wrong = e.Wrong
			}
			e.File, e.Line = d.File, d.Line
			for _, a := range d.Args[1:] {
				e.Down = e.Down || a == "down"
			}
			t.Endpoints = append(t.Endpoints, e)
		}
		return
	}
	port := 0
	switch scheme {
	case "http://":
		port = 80
	case "https://":
		port = 443
	}
	text := rest
	if t.Protocol == HTTP && !strings.HasPrefix(text, "unix:") {
		text, _, _ = strings.Cut(text, "/")
	}
	e, wrong := endpoint(text, port, t.Protocol == HTTP)
	e.Text, e.File, e.Line = t.Text, t.File, t.Line
	if wrong != "" {
		t.Wrong = fmt.Sprintf("%s in upstream %q", wrong, rest)
		if e.Path == "" && e.Host == "" {
			return
		}
	}
	t.Endpoints = []Endpoint{e}
}

// endpoint reads "unix:/path", "host:port" or "host", and where an address may be followed by a URI, as in proxy_pass,
// "unix:/path:/uri". Elsewhere nginx takes a colon for a letter of the path. Where nginx refuses the text, what was most
// probably meant is returned all the same, if that can be told.
func endpoint(text string, port int, uri bool) (Endpoint, string) {
	e := Endpoint{Text: text}
	if len(text) >= 5 && strings.EqualFold(text[:5], "unix:") {
		e.Path = text[5:]
		if uri {
			e.Path, _, _ = strings.Cut(e.Path, ":")
		}
		if e.Path == "" {
			return e, "no path in the unix domain socket"
		}
		return e, ""
	}
	if _, path, found := strings.Cut(text, "unix:"); found || strings.Contains(text, "/") {
		if !found {
			path = text
		}
		if !strings.Contains(path, "://") {
			e.Path, _, _ = strings.Cut(path, ":")
		}
		return e, "invalid host"
	}
	e.Host, e.Port = text, port
	if colon := strings.LastIndexByte(text, ':'); colon >= 0 && !strings.HasSuffix(text, "]") {
		n, err := strconv.ParseUint(text[colon+1:], 10, 16)
		if err != nil || n == 0 {
			return Endpoint{Text: text}, "invalid port"
		}
		e.Host, e.Port = text[:colon], int(n)
	}
	e.Host = strings.Trim(e.Host, "[]")
	if e.Port == 0 {
		return Endpoint{Text: text}, "no port"
	}
	return e, ""
}
