package configs

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// nameList finds the first entry of a name. It is made once: references change values, never names.
type nameList map[string]int

// references resolves $(NAME), then @(file), then %(name), each over the whole list, as uWSGI does after all reading.
// Values of immediate options and of set-placeholder keep theirs.
func (r *reader) references() error {
	for _, pass := range []struct {
		symbol byte
		lookup func(s Setting, name string) (string, bool, error)
	}{
		{'$', func(_ Setting, name string) (string, bool, error) { v, ok := r.getenv(name); return v, ok, nil }},
		{'@', r.fileContents},
		{'%', r.placeholder},
	} {
		for i := range r.list {
			if e := &r.list[i]; !e.done && !e.Bare && strings.IndexByte(e.Value, pass.symbol) >= 0 {
				value, err := r.resolve(e.Setting, pass.symbol, pass.lookup)
				if err != nil {
					return err
				}
				e.Value = value
			}
		}
	}
	return nil
}

// resolve replaces the references of one kind in one value. After each replacement the scan starts again at the second
// byte of the whole value: what a reference brings in is resolved as well, unless it stands at the very first byte.
func (r *reader) resolve(s Setting, symbol byte, lookup func(Setting, string) (string, bool, error)) (string, error) {
	value := s.Value
	for at := 0; ; {
		start, name, end, ok := reference(value, symbol, at)
		if !ok {
			return value, nil
		}
		text, found, err := lookup(s, name)
		if err != nil {
			return "", err
		}
		if !found {
			at = end
			continue
		}
		length := len(value) - (end - start) + len(text)
		r.work += length + 64 // a replacement costs something even where it adds nothing
		if length > maxValue || r.work > maxWork {
			return "", &Error{Place: s.Place, Option: s.Key, Cause: fmt.Sprintf("grows without end: %c(%s) leads back to itself, or brings in too much", symbol, name), Remedy: "break the circle"}
		}
		value = value[:start] + text + value[end:]
		at = 1
	}
}

// reference finds the next symbol(name) at or after at. The name runs to the matching parenthesis; the symbol met again
// inside drops the outer start, so the innermost comes first.
func reference(value string, symbol byte, at int) (start int, name string, end int, ok bool) {
	const text, symbolSeen, inside = 0, 1, 2
	state, depth := text, 0
	for i := at; i < len(value); i++ {
		c := value[i]
		switch {
		case c == symbol:
			state, start = symbolSeen, i
		case state == symbolSeen && c == '(':
			state, depth = inside, 0
		case state == symbolSeen:
			state = text
		case state == inside && c == '(':
			depth++
		case state == inside && c == ')' && depth > 0:
			depth--
		case state == inside && c == ')':
			if name = value[start+2 : i]; name != "" {
				return start, name, i + 1, true
			}
			state = text
		}
	}
	return 0, "", 0, false
}

// fileContents is @(file): the bytes without one final line feed or carriage return.
func (r *reader) fileContents(s Setting, name string) (string, bool, error) {
	named := s
	named.Value = name
	raw, err := r.contents(named, name)
	if err != nil {
		return "", false, err
	}
	if nul := bytes.IndexByte(raw, 0); nul >= 0 { // where C ends a string
		raw = raw[:nul]
	}
	if n := len(raw); n > 0 && (raw[n-1] == '\n' || raw[n-1] == '\r') {
		raw = raw[:n-1]
	}
	return string(raw), true, nil
}

// placeholder is %(name): the value of the first entry of that name, as it stands now; or a sum, where it holds a blank.
func (r *reader) placeholder(s Setting, name string) (string, bool, error) {
	if strings.IndexByte(name, ' ') >= 0 {
		text, ok, over := r.sum(name)
		if over {
			return "", false, &Error{Place: s.Place, Option: s.Key, Cause: "becomes too long", Remedy: "put fewer values one behind the other in %(…)"}
		}
		return text, ok, nil
	}
	v, ok := r.named(name)
	return v, ok, nil
}

// named returns the first value of a name, and remembers that it was asked for.
func (r *reader) named(name string) (string, bool) {
	if r.index == nil {
		r.index = make(nameList, len(r.list))
		for i := range r.list {
			if _, again := r.index[r.list[i].Key]; !again && !r.list[i].Unlisted {
				r.index[r.list[i].Key] = i
			}
		}
	}
	i, ok := r.index[name]
	if !ok {
		return "", false
	}
	r.list[i].Used = true
	return r.list[i].Value, !r.list[i].Bare
}

// readAll reads a file that is not configuration, bounded like one.
func (r *reader) readAll(name string) ([]byte, error) {
	f, err := r.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile))
}
