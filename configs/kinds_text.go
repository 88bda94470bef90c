package configs

import (
	"errors"
	"regexp/syntax"
	"strconv"
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

// pattern judges a regular expression. uWSGI reads PCRE, which is more than Go's package understands, so only what is
// broken in both is refused: where that package met nothing strange before the fault.
func pattern(o Option, s Setting) error {
	text := s.Value
	if o.Kind == RegexpValue {
		var found bool
		if text, _, found = strings.Cut(text, " "); !found {
			return wrong(s, "has no blank between the regular expression and its value", "write "+s.Key+" = REGEXP VALUE")
		}
	}
	_, err := syntax.Parse(text, syntax.Perl)
	var broken *syntax.Error
	if !errors.As(err, &broken) {
		return nil
	}
	var remedy string
	switch broken.Code {
	case syntax.ErrMissingParen:
		remedy = `close what "(" opens, or write \( for the character itself`
	case syntax.ErrUnexpectedParen:
		remedy = `remove the ")" that closes nothing, or write \) for the character itself`
	case syntax.ErrMissingBracket:
		remedy = `close what "[" opens, or write \[ for the character itself`
	case syntax.ErrTrailingBackslash:
		remedy = `write \\ for a backslash`
	case syntax.ErrMissingRepeatArgument:
		if strings.Contains(text, "(*") || len(broken.Expr) != 1 { // a verb of PCRE
			return nil
		}
		remedy = "write what " + strconv.Quote(broken.Expr) + ` repeats before it, such as ".` + broken.Expr + `", or \` + broken.Expr + " for the character itself"
	case syntax.ErrInvalidCharRange:
		if e := broken.Expr; len(e) != 3 || e[1] != '-' || e[0] <= e[2] {
			return nil
		}
		remedy = "write the range from its lower end: " + broken.Expr[2:] + "-" + broken.Expr[:1]
	default:
		return nil
	}
	return wrong(s, "is not a regular expression: "+broken.Code.String(), remedy)
}
