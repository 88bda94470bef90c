package configs

import (
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A value is what a setting says, read by the kind of its option.
type value struct {
	on     bool
	number uint64
	mode   fs.FileMode
	text   string
}

// value reads a setting by the kind of its option, in force when a program runs: uWSGI takes a word for 0, here it is a
// fault, whether the option is honoured or not. taken is false where the setting does not count.
func (p *parser) value(o Option, s Setting) (v value, taken bool, err error) {
	v.text = s.Value
	switch o.Kind {
	case Bool, BoolInverse:
		if p.keeps(o) && o.Standing == Honoured {
			v.on = p.bool(s)
		} else {
			v.on = s.Bare || truth(s.Value)
		}
	case Int, Uint64, Uint16, Megabytes:
		v.number, taken, err = p.number(o, s)
		return v, taken, err
	case Mode:
		v.mode, err = mode(o, s)
	case User, Group:
		v.text, err = account(s)
	case Assignment:
		if strings.IndexByte(s.Value, '=') < 0 {
			err = wrong(s, "has no equals sign", "write "+s.Key+" = A=B")
		}
	case Environment:
		err = variable(s)
	case Socket:
		err = foreignSocket(s)
	case TLSSocket:
		err = tlsSocket(s)
	case Regexp:
		err = pattern(s, s.Value)
	case RegexpValue:
		err = patternValue(s)
	}
	if err != nil {
		return value{}, false, err
	}
	return v, true, nil
}

// number reads a whole number. uWSGI takes a word for 0 and leaves out whatever follows digits; here the first is a
// fault, and of the second only a comment is left out, which is said.
func (p *parser) number(o Option, s Setting) (n uint64, taken bool, err error) {
	if o.Immediate && hasReference(s.Value) {
		p.say(s, "holds a reference, which is not replaced in this option, as in uWSGI; the default counts")
		return 0, false, nil
	}
	low, high, remedy := p.span(o)
	text := s.Value
	switch {
	case s.Bare:
		text = "1"
	case text == "" && o.Argument != Required:
		p.say(s, "has no value, which counts as 0, as in uWSGI; write %s = 1 if it is meant to be on", s.Key)
		text = "0"
	}
	digits := strings.TrimSpace(text)
	before, _, found := cutComment(digits)
	if alone, _ := cutUnit(before, o.Unit); found && isDigits(alone) {
		digits = before
		p.say(s, "has a comment behind its value, and only %s counts, as in uWSGI; a comment needs a line of its own", digits)
	}
	if before, found := cutUnit(digits, o.Unit); found {
		digits = before
		p.say(s, "has a unit behind its value, and %s counts, as in uWSGI, which looks at no unit; write %s = %s", digits, s.Key, digits)
	}
	negative := strings.HasPrefix(digits, "-")
	if negative || strings.HasPrefix(digits, "+") {
		digits = digits[1:]
	}
	if !isDigits(digits) {
		return 0, false, wrong(s, "is not a number", remedy)
	}
	n, err = strconv.ParseUint(digits, 10, 64)
	if negative && o.Low < 0 && err == nil && (n <= uint64(-o.Low) || !p.keeps(o) && n <= math.MaxInt32) {
		return -n, true, nil // as the int that it becomes
	}
	if err != nil || n < low || n > high || (negative && n > 0) {
		if !strings.Contains(remedy, " from ") {
			remedy += fmt.Sprintf(" from %d to %d", low, high)
		}
		return 0, false, wrong(s, "is out of range", remedy)
	}
	if o.Kind == Uint16 && n > math.MaxUint16 {
		n = math.MaxUint16 // as uWSGI does
	}
	return n, true, nil
}

// span returns the numbers that an option may have, and what to tell who writes another.
func (p *parser) span(o Option) (low, high uint64, remedy string) {
	switch o.Kind {
	case Uint64:
		high = math.MaxUint64
	case Megabytes:
		high = math.MaxUint64 >> 20
	default:
		high = math.MaxInt32
	}
	if !p.keeps(o) || (o.Low == 0 && o.High == 0) {
		unit := o.Unit
		if o.Kind == Megabytes {
			unit = "MiB"
		}
		if o.Low < 0 {
			return 0, high, fmt.Sprintf("write a whole number from %d to %d", o.Low, o.High)
		}
		return 0, high, "write a whole number" + unitWords(unit)
	}
	low = uint64(max(o.Low, 0))
	switch {
	case o.High > 0:
		high = uint64(o.High)
	case o.Unit == "s" || o.Unit == "ms":
		high = longest
	}
	return low, high, fmt.Sprintf("write a whole number from %d to %d", low, high)
}

// unitWords says what a number counts.
func unitWords(unit string) string {
	switch unit {
	case "":
		return ""
	case "s":
		return " of seconds"
	case "ms":
		return " of milliseconds"
	case "us", "µs":
		return " of microseconds"
	case "MiB":
		return " of MiB"
	}
	return " of " + unit
}

// mode reads octal digits, each option in its own way.
func mode(o Option, s Setting) (fs.FileMode, error) {
	switch o.First() {
	case "chmod-socket":
		return socketMode(s)
	case "umask":
		return umask(s)
	}
	return octal(s, s.Value)
}

// variable judges NAME=VALUE and NAME of env and its relatives.
func variable(s Setting) error {
	name, _, _ := strings.Cut(s.Value, "=")
	if name == "" {
		return wrong(s, "names no variable", "write "+s.Key+" = NAME=value")
	}
	if strings.IndexByte(s.Value, 0) >= 0 {
		return wrong(s, "holds a NUL byte", "remove it")
	}
	return nil
}

// cutUnit cuts a unit that means what the number counts anyway: 30s of an option in seconds. Any other one is a mistake, since uWSGI
// reads 2m as 2 seconds and 32k as 32 bytes.
func cutUnit(text, unit string) (digits string, found bool) {
	digits = strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	written := strings.ToLower(text[len(digits):])
	digits = strings.TrimRight(digits, " \t")
	if written == "" || !isDigits(digits) {
		return text, false
	}
	switch unit {
	case "s":
		return digits, slices.Contains([]string{"s", "sec", "secs", "second", "seconds"}, written)
	case "ms":
		return digits, slices.Contains([]string{"ms", "msec", "millisecond", "milliseconds"}, written)
	case "MiB":
		return digits, slices.Contains([]string{"m", "mb", "mib"}, written)
	case "bytes":
		return digits, slices.Contains([]string{"b", "byte", "bytes"}, written)
	}
	return text, false
}
