package uwsgi

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// hopByHop lists the header fields that belong to one connection (RFC 9110 section 7.6.1, RFC 2616 section 13.5.1)
// and are passed on in neither direction.
var hopByHop = []string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// removeHopByHop deletes the fields of one connection from h, those that Connection names included.
func removeHopByHop(h http.Header) {
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			h.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range hopByHop {
		h.Del(name)
	}
	for name := range h {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			delete(h, name)
		}
	}
}

// checkHeader says what in h may not go to a front: it could be taken for the end of the header, or for another field.
func checkHeader(h http.Header) error {
	for name, values := range h {
		if !isToken(name) {
			return fmt.Errorf("response header name %q is no token (RFC 9110 section 5.6.2)", name)
		}
		for _, v := range values {
			if i := strings.IndexFunc(v, isControl); i >= 0 {
				return fmt.Errorf("response header %s holds the control character %q", name, v[i])
			}
		}
	}
	lengths := h["Content-Length"]
	if len(lengths) > 1 || (len(lengths) == 1 && !isDigits(lengths[0])) {
		return fmt.Errorf("response header Content-Length %q is not one whole number", lengths)
	}
	return nil
}

// declaredLength returns the Content-Length of a checked header, -1 if there is none.
func declaredLength(h http.Header) int64 {
	if v := h.Get("Content-Length"); v != "" {
		if n, err := strconv.ParseInt(v, 10, 64); err == nil {
			return n
		}
	}
	return -1
}

func isDigits(s string) bool { return s != "" && isLength(s) }

// isControl is true for the characters that RFC 9110 section 5.5 forbids in a field value. Tab is allowed.
func isControl(r rune) bool { return (r < ' ' && r != '\t') || r == 0x7f }

func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z') || ('0' <= c && c <= '9') {
			continue
		}
		if strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}
