package configs

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// A parser collects what is said about settings while they become typed.
type parser struct {
	settings Settings
	notices  []string
	said     map[string]bool // by option and kind of notice
	used     map[string]bool // names that something refers to
	faults   []*Error
	party    Party                 // for whom the settings are read
	fields   fields                // of the typed struct
	rest     func(Option, Setting) // says what becomes of an option that the program does not read
}

// say adds a notice about a setting: once for each option, however often it is repeated.
func (p *parser) say(s Setting, format string, args ...any) {
	again := s.Key + "\x00" + format
	if p.said[again] || len(p.notices) > maxNotices {
		return
	}
	if p.said == nil {
		p.said = make(map[string]bool)
	}
	p.said[again] = true
	p.notices = append(p.notices, fmt.Sprintf("%s: option %q ", s.Place, s.Key)+fmt.Sprintf(format, args...))
}

// wrong is the fault of one value.
func wrong(s Setting, cause, remedy string) *Error {
	value := s.Value
	if s.Bare {
		value = ""
	}
	if value == "" {
		cause = "has no value"
	}
	if define := undefined(value); define != "" && !strings.HasPrefix(remedy, "define") {
		remedy = define + ", or " + remedy
	}
	if _, _, found := cutComment(value); found {
		remedy = "give the comment a line of its own; then " + remedy
	}
	return &Error{Place: s.Place, Option: s.Key, Value: value, Cause: cause, Remedy: remedy}
}

// undefined says how to define what a value still refers to; "" where it refers to nothing.
func undefined(value string) string {
	switch {
	case strings.Contains(value, "$("):
		return "define the environment variable"
	case strings.Contains(value, "@("):
		return "name a file that is there"
	case len(value) > 1 && value[0] == '$' && strings.Trim(value[1:], "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789") == "":
		return "write $(" + value[1:] + "), which is the environment variable"
	}
	_, behind, found := strings.Cut(value, "%(")
	name, _, closed := strings.Cut(behind, ")")
	switch {
	case !found:
		return ""
	case closed && name != "" && strings.Trim(name, "0123456789+-*/") != "":
		return "define it with a line " + name + " = …"
	}
	return "define what it refers to"
}

// bool reads a boolean as uWSGI does: everything is true but false, off, no and 0. A word that is none of the
// usual ones is said, since its writer may have meant the opposite.
func (p *parser) bool(s Setting) bool {
	if s.Bare {
		return true
	}
	switch strings.ToLower(s.Value) {
	case "", "true", "on", "yes", "1":
		return true
	}
	on := truth(s.Value)
	if on {
		p.say(s, "has the value %q, which counts as true, as in uWSGI; write true or false", s.Value)
	}
	return on
}

// cutComment cuts what its writer took for a comment: a semicolon or hash behind a blank. The dialect has none
// behind values.
func cutComment(value string) (text, comment string, found bool) {
	i := strings.IndexAny(value, ";#")
	if i < 1 || (value[i-1] != ' ' && value[i-1] != '\t') {
		return value, "", false
	}
	return strings.TrimRight(value[:i], " \t"), value[i:], true
}

// longest is the longest time that any option may name, in seconds: ten years.
const longest = 10 * 365 * 24 * 3600

// octal reads three octal digits, the only mode that uWSGI takes.
func octal(s Setting, digits string) (fs.FileMode, error) {
	n, err := strconv.ParseUint(digits, 8, 32)
	if err != nil || len(digits) != 3 {
		example := " = 660"
		if s.Key == "umask" { // which takes rights away
			example = " = 022"
		}
		return 0, wrong(s, "is not a mode of three octal digits", "write for example "+s.Key+example)
	}
	return fs.FileMode(n), nil
}

// socketMode reads chmod-socket.
func socketMode(s Setting) (fs.FileMode, error) {
	switch {
	case s.Bare || s.Value == "1":
		return 0o666, nil
	case s.Value == "000":
		return 0, wrong(s, "would be taken for 666 by uWSGI", "write chmod-socket = 666 if everybody may connect, 660 if only user and group")
	case s.Value == "" || !isDigits(s.Value):
		return 0, wrong(s, "is not a mode of three octal digits", "write chmod-socket = 660, or 666 if everybody may connect")
	case len(s.Value) == 4 && s.Value[0] == '0':
		return 0, wrong(s, "is not a mode of three octal digits", "write "+s.Key+" = "+s.Value[1:])
	}
	return octal(s, s.Value)
}

// umask reads a umask: three octal digits, or four that begin with 0.
func umask(s Setting) (fs.FileMode, error) {
	digits := s.Value
	if len(digits) == 4 && digits[0] == '0' {
		digits = digits[1:]
	}
	if len(digits) > 0 && len(digits) < 3 && isDigits(digits) {
		return 0, wrong(s, "is too short, and uWSGI would take it for 000", "write umask = "+strings.Repeat("0", 3-len(digits))+digits)
	}
	return octal(s, digits)
}

// owner reads chown-socket: user, user:group, user: or :group.
func owner(s Setting) (user, group string, err error) {
	user, group, _ = strings.Cut(s.Value, ":")
	for _, name := range []string{user, group} {
		if !isName(name) {
			return "", "", wrong(s, "is not user:group", "write for example "+s.Key+" = shop:www-data")
		}
	}
	return user, group, nil
}

// account reads uid or gid.
func account(s Setting) (string, error) {
	if s.Value == "" || s.Bare || !isName(s.Value) {
		return "", wrong(s, "is not a name or a number", "write for example "+s.Key+" = www-data")
	}
	return s.Value, nil
}

// isName reports whether a text could name a user or group; the empty one does.
func isName(name string) bool {
	return len(name) <= maxName && strings.IndexFunc(name, func(c rune) bool { return c <= ' ' || c == 0x7f || c == ':' || c == '/' || c == ',' }) < 0
}

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
