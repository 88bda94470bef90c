package configs

import (
	"errors"
	"os"
	"slices"
	"strings"
)

// maxGlob bounds what one for-glob looks at: names in folders, all folders together.
const maxGlob = 100000

var errGlob = errors.New("looks at too many files")

// glob is for-glob: what glob(3) finds, sorted by bytes. Folders get a slash, names with a dot are found by patterns with a dot
// (then "." and ".." are too), there are no braces and no ~, and where nothing matches the pattern itself is the answer.
func (r *reader) glob(pattern string) ([]string, error) {
	// A slash at the end asks for folders, and is not part of the pattern any more; only behind a single byte it stays, and the
	// folders found then end in two.
	folders := false
	if short := strings.TrimRight(pattern, "/"); len(short) > 1 && short != pattern {
		pattern, folders = short, true
	}
	left := maxGlob
	found, err := r.matches("", pattern, &left)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, name := range found {
		if fi, err := os.Stat(r.path(name)); err == nil && fi.IsDir() {
			names = append(names, name+"/")
		} else if !folders {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return []string{pattern}, nil
	}
	slices.Sort(names)
	return names, nil
}

// matches finds the names below a folder that is written as prefix, which fit the rest of a pattern.
func (r *reader) matches(prefix, rest string, left *int) ([]string, error) {
	for {
		segment, after, deeper := strings.Cut(rest, "/")
		if strings.ContainsAny(segment, "*?[") {
			return r.inFolder(prefix, segment, after, deeper, left)
		}
		prefix += unquote(segment)
		if !deeper {
			if _, err := os.Lstat(r.path(prefix)); prefix == "" || err != nil {
				return nil, nil
			}
			return []string{prefix}, nil
		}
		prefix, rest = prefix+"/", after
	}
}

func (r *reader) inFolder(prefix, segment, after string, deeper bool, left *int) ([]string, error) {
	f, err := os.Open(r.path(prefix))
	if err != nil {
		return nil, nil
	}
	names, err := f.Readdirnames(*left + 1)
	f.Close()
	if *left -= len(names) + 1; *left < 0 {
		return nil, errGlob
	}
	if err != nil && len(names) == 0 { // no folder; an empty one still has its dots
		if fi, err := os.Stat(r.path(prefix)); err != nil || !fi.IsDir() {
			return nil, nil
		}
	}
	var found []string
	for _, name := range append(names, ".", "..") {
		if (name[0] == '.' && segment[0] != '.') || !fits(segment, name) {
			continue
		}
		if !deeper {
			found = append(found, prefix+name)
			continue
		}
		if fi, err := os.Stat(r.path(prefix + name)); err != nil || !fi.IsDir() {
			continue
		}
		below, err := r.matches(prefix+name+"/", after, left)
		if err != nil {
			return nil, err
		}
		found = append(found, below...)
	}
	return found, nil
}

// unquote removes the backslashes that make the next byte an ordinary one.
func unquote(segment string) string {
	if strings.IndexByte(segment, '\\') < 0 {
		return segment
	}
	var b strings.Builder
	for i := 0; i < len(segment); i++ {
		if segment[i] == '\\' && i+1 < len(segment) {
			i++
		}
		b.WriteByte(segment[i])
	}
	return b.String()
}

// fits matches one name with one part of a pattern, byte by byte. A star goes back at most to itself, so the work is bounded by
// the product of both lengths.
func fits(pattern, name string) bool {
	p, n, star, mark := 0, 0, -1, 0
	for n < len(name) {
		if p < len(pattern) {
			if pattern[p] == '*' {
				star, mark = p, n
				p++
				continue
			}
			if width, ok := one(pattern[p:], name[n]); ok {
				p, n = p+width, n+1
				continue
			}
		}
		if star < 0 {
			return false
		}
		mark++
		p, n = star+1, mark
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// one matches one byte with the beginning of a pattern, and tells how long that beginning is.
func one(pattern string, c byte) (width int, ok bool) {
	switch pattern[0] {
	case '?':
		return 1, true
	case '\\':
		if len(pattern) > 1 {
			return 2, pattern[1] == c
		}
	case '[':
		if width, ok, closed := bracket(pattern, c); closed {
			return width, ok
		}
	}
	return 1, pattern[0] == c
}

// bracket matches [abc], [a-z], [!a] and [[:alpha:]]. Without its end a bracket is an ordinary byte.
func bracket(pattern string, c byte) (width int, ok, closed bool) {
	i, negated := 1, false
	if i < len(pattern) && (pattern[i] == '!' || pattern[i] == '^') {
		negated = true
		i++
	}
	for first := true; i < len(pattern); first = false {
		if pattern[i] == ']' && !first {
			return i + 1, ok != negated, true
		}
		if rest := pattern[i:]; strings.HasPrefix(rest, "[:") {
			if end := strings.Index(rest, ":]"); end > 0 {
				ok = ok || inClass(rest[2:end], c)
				i += end + 2
				continue
			}
		}
		low := pattern[i]
		if low == '\\' && i+1 < len(pattern) {
			i++
			low = pattern[i]
		}
		i++
		high := low
		if i+1 < len(pattern) && pattern[i] == '-' && pattern[i+1] != ']' {
			i++
			if high = pattern[i]; high == '\\' && i+1 < len(pattern) {
				i++
				high = pattern[i]
			}
			i++
		}
		ok = ok || (low <= c && c <= high)
	}
	return 0, false, false
}

// inClass knows the classes of bytes by their POSIX names.
func inClass(name string, c byte) bool {
	lower, upper, digit := c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9'
	switch name {
	case "alpha":
		return lower || upper
	case "digit":
		return digit
	case "alnum":
		return lower || upper || digit
	case "lower":
		return lower
	case "upper":
		return upper
	case "space":
		return c == ' ' || (c >= '\t' && c <= '\r')
	case "blank":
		return c == ' ' || c == '\t'
	case "punct":
		return c > ' ' && c < 0x7f && !lower && !upper && !digit
	case "graph":
		return c > ' ' && c < 0x7f
	case "print":
		return c >= ' ' && c < 0x7f
	case "cntrl":
		return c < ' ' || c == 0x7f
	case "xdigit":
		return digit || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')
	}
	return false
}
