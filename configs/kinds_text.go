package configs

import (
	"errors"
	"strings"
)

// foreignSocket judges the address of a socket that nothing here listens on. It refuses what cannot be meant: what uWSGI
// would quietly take for another address. Forms that only uWSGI serves (fd://3, a free port, =0) pass.
func foreignSocket(s Setting) error {
	text := strings.TrimLeft(s.Value, " \t")
	host, port, tcp := cutLast(text, ':')
	switch {
	case text != "" && !hasReference(text) && (strings.Contains(text, "://") || text[0] == '='):
		return nil
	case tcp && !strings.Contains(host, "/") && (port == "" || strings.Trim(port, "0") == ""): // a free port
		s.Value = host + ":1"
	}
	_, err := address(s, false)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

func cutLast(text string, at byte) (before, after string, found bool) {
	i := strings.LastIndexByte(text, at)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+1:], true
}

// tlsSocket judges ADDRESS,CERTIFICATE,KEY and what may follow.
func tlsSocket(s Setting) error {
	parts := strings.Split(s.Value, ",")
	if len(parts) < 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return wrong(s, "is not an address, a certificate and a key", "write "+s.Key+" = ADDRESS,CERTIFICATE.pem,KEY.pem")
	}
	whole := s.Value
	s.Value = parts[0]
	err := foreignSocket(s)
	var e *Error
	if errors.As(err, &e) {
		e.Value = whole
		if strings.HasPrefix(e.Remedy, "write "+s.Key+" = ") {
			e.Remedy += "," + strings.Join(parts[1:], ",")
		}
	}
	return err
}
