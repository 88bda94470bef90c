package uwsgi

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"strconv"
	"strings"
)

// reservedPrefix begins the names of variables by which a peer tells a real uWSGI what code to run (UWSGI_FILE,
// UWSGI_MODULE, UWSGI_SETENV, …). They are dropped unread.
const reservedPrefix = "UWSGI_"

type variablesKey struct{}

// Variables returns the variables that came with a request from Serve: REMOTE_USER, SCRIPT_NAME, DOCUMENT_ROOT and
// whatever else the front was configured to send. It returns nil for any other request. The map must not be changed.
func Variables(r *http.Request) map[string]string {
	m, _ := r.Context().Value(variablesKey{}).(map[string]string)
	return m
}

// NewRequest makes the request of packet p, whose body follows in body. The body of the request yields exactly
// CONTENT_LENGTH bytes or io.ErrUnexpectedEOF; a length that was not announced is no body. Errors wrap ErrNUL,
// ErrContentLength, or say what else makes no request of it; all of them are the peer's fault.
func NewRequest(ctx context.Context, p Packet, body io.Reader) (*http.Request, error) {
	m, err := judge(p.Vars)
	if err != nil {
		return nil, err
	}
	if p.Modifier1 == ModifierManageName {
		cutScriptName(m)
	}
	r, err := cgi.RequestFromMap(m)
	if err != nil {
		return nil, fmt.Errorf("the variables make no request: %w", err)
	}
	r.RequestURI = m["REQUEST_URI"]
	// nginx has undone the coding of the body, and the connection is not the client's.
	for _, name := range hopByHop {
		r.Header.Del(name)
	}
	// nginx sends the client's Content-Type and Content-Length a second time as HTTP_*.
	if t := m["CONTENT_TYPE"]; t != "" {
		r.Header.Set("Content-Type", t)
	}
	r.Header.Del("Content-Length")
	if n := r.ContentLength; n > 0 {
		r.Header.Set("Content-Length", strconv.FormatInt(n, 10))
		r.Body = &requestBody{from: body, left: n}
	} else {
		r.Body = http.NoBody
	}
	return r.WithContext(context.WithValue(ctx, variablesKey{}, m)), nil
}

// judge refuses variables that nobody may send, drops those that are not for us, and joins repeated header fields as
// RFC 3875 section 4.1.18 says. Of any other repeated variable the last one counts, as in uWSGI.
func judge(vars []Var) (map[string]string, error) {
	m := make(map[string]string, len(vars))
	for _, v := range vars {
		if strings.IndexByte(v.Name, 0) >= 0 || strings.IndexByte(v.Value, 0) >= 0 {
			return nil, fmt.Errorf("variable %q: %w", v.Name, ErrNUL)
		}
		if strings.HasPrefix(v.Name, reservedPrefix) {
			continue
		}
		old, repeated := m[v.Name]
		switch {
		case v.Name == "CONTENT_LENGTH":
			if repeated {
				return nil, fmt.Errorf("%w: it came twice", ErrContentLength)
			}
			if !isLength(v.Value) {
				return nil, fmt.Errorf("%w: %q", ErrContentLength, v.Value)
			}
			m[v.Name] = v.Value
		case repeated && v.Name == "HTTP_COOKIE":
			m[v.Name] = old + "; " + v.Value
		case repeated && v.Name != "HTTP_HOST" && strings.HasPrefix(v.Name, "HTTP_"):
			m[v.Name] = old + ", " + v.Value
		default:
			m[v.Name] = v.Value
		}
	}
	return m, nil
}

// isLength accepts nothing (nginx sends an empty CONTENT_LENGTH when there is none) and decimal digits up to 2⁶³−1.
func isLength(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	if s == "" {
		return true
	}
	_, err := strconv.ParseInt(s, 10, 64)
	return err == nil
}

// cutScriptName cuts SCRIPT_NAME from the front of PATH_INFO, if it stands there as whole path elements.
func cutScriptName(m map[string]string) {
	script := strings.TrimSuffix(m["SCRIPT_NAME"], "/")
	rest, ok := strings.CutPrefix(m["PATH_INFO"], script)
	if ok && (rest == "" || rest[0] == '/') {
		m["PATH_INFO"] = rest
	}
}

// A requestBody is what the peer has announced. It is not safe for use by several goroutines.
type requestBody struct {
	from io.Reader
	left int64
	err  error // sticky
}

func (b *requestBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.from.Read(p)
	b.left -= int64(n)
	switch {
	case b.left == 0:
		err = nil // everything has arrived; what comes after it does not matter
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	b.err = err
	return n, err
}

// Close ends the reading; the server drains what is left after the answer.
func (b *requestBody) Close() error {
	if b.err == nil {
		b.err = http.ErrBodyReadAfterClose
	}
	return nil
}
