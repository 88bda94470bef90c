package configs

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A block is an open for or if. There is no nesting in the dialect.
type block struct {
	kind    string // first name of the option
	opening Setting
	pattern *regexp.Regexp // of if-hostname-match, once it is needed
}

// A regular expression of a few bytes can make a machine of megabytes.
const (
	longestPattern = 1 << 10
	compiling      = 64 << 10 // counted as work
)

// opens reports whether an option opens a block.
func opens(first string) bool {
	return first == "for" || strings.HasPrefix(first, "for-") || strings.HasPrefix(first, "if-")
}

// closes reports whether a key closes a block. All words close any block.
func closes(key string) bool {
	switch key {
	case "end", "endfor", "end-for", "endif", "end-if":
		return true
	}
	return false
}

// A round is one time that an entry of the body is added. text takes the place of %(_); nil leaves it.
type round struct{ text *string }

// body adds one entry of an open block's body as often as the block says. Each entry is judged by itself.
func (r *reader) body(s Setting, from *link) error {
	rounds, err := r.block.rounds(r)
	if err != nil {
		return err
	}
	for _, round := range rounds {
		again := s
		if round.text != nil {
			if s.Bare {
				return &Error{Place: s.Place, Option: s.Key, Cause: "has no value, and stands inside --" + r.block.opening.Key, Remedy: "put the block into a file"}
			}
			length := len(s.Value) + strings.Count(s.Value, "%(_)")*(len(*round.text)-len("%(_)"))
			if r.work += length; length > maxValue || r.work > maxWork {
				return &Error{Place: s.Place, Option: s.Key, Cause: "becomes too long", Remedy: "use %(_) less often"}
			}
			again.Value = strings.ReplaceAll(s.Value, "%(_)", *round.text)
		}
		r.running = true
		err := r.add(again, from, false)
		r.running = false
		if err != nil {
			return err
		}
	}
	return nil
}

// rounds returns the rounds of one entry, as things are now.
func (b *block) rounds(r *reader) ([]round, error) {
	arg := b.opening.Value
	if b.opening.Bare {
		return nil, &Error{Place: b.opening.Place, Option: b.opening.Key, Cause: "cannot open a block on the command line", Remedy: "put the block into a file"}
	}
	if r.work += len(arg); r.work > maxWork { // looked at for each line of the body
		return nil, &Error{Place: b.opening.Place, Option: b.opening.Key, Value: clip(arg, 200), Cause: "is too long for a body of so many lines", Remedy: "close the block earlier, or write less into its head"}
	}
	switch b.kind {
	case "for":
		return words(strings.FieldsFunc(arg, func(c rune) bool { return c == ' ' })), nil
	case "for-times":
		n := leading(arg)
		if n > MaxSettings {
			return nil, &Error{Place: b.opening.Place, Option: b.opening.Key, Value: arg, Cause: "is too often", Remedy: fmt.Sprintf("write a number up to %d", MaxSettings)}
		}
		var texts []string
		for i := int64(1); i <= n; i++ {
			texts = append(texts, fmt.Sprint(i))
		}
		return words(texts), nil
	case "for-glob":
		names, err := r.glob(arg)
		if err != nil {
			return nil, &Error{Place: b.opening.Place, Option: b.opening.Key, Value: arg, Cause: err.Error(), Remedy: fmt.Sprintf("narrow the pattern; the folders it looks into may have %d names together", maxGlob)}
		}
		return words(names), nil
	case "for-readline":
		return words(r.readLines(b.opening)), nil
	}
	kind, negated := strings.CutPrefix(b.kind, "if-not-")
	if !negated {
		kind = strings.TrimPrefix(b.kind, "if-")
	}
	text, holds, err := b.condition(r, kind, arg)
	if err != nil || holds == negated {
		return nil, err
	}
	return []round{{text}}, nil
}

func words(texts []string) []round {
	rounds := make([]round, len(texts))
	for i := range texts {
		rounds[i].text = &texts[i]
	}
	return rounds
}

// condition tells whether if-KIND holds, and what %(_) is then.
func (b *block) condition(r *reader, kind, arg string) (text *string, holds bool, err error) {
	text = &arg
	switch kind {
	case "env", "opt":
		name, want, compare := strings.Cut(arg, "=")
		lookup := r.getenv
		if kind == "opt" {
			lookup = r.firstSoFar
		}
		value, ok := lookup(name)
		if !ok {
			return nil, false, nil
		}
		return &value, !compare || value == want, nil
	case "reload":
		_, holds = r.getenv("UWSGI_RELOADS")
		return nil, holds, nil
	case "exists":
		holds = arg != "" && unix.Access(r.path(arg), unix.R_OK) == nil
	case "file":
		fi, err := os.Stat(r.path(arg))
		holds = arg != "" && err == nil && fi.Mode().IsRegular()
	case "dir":
		fi, err := os.Stat(r.path(arg))
		holds = arg != "" && err == nil && fi.IsDir()
	case "plugin":
		holds = slices.ContainsFunc(r.plugins, func(p string) bool { return ownName(p) == arg })
	case "hostname":
		holds = r.hostname() == arg
	case "hostname-match":
		if b.pattern == nil {
			if r.work += compiling; len(arg) > longestPattern || r.work > maxWork {
				return nil, false, &Error{Place: b.opening.Place, Option: b.opening.Key, Value: clip(arg, 200), Cause: "is too long, or one regular expression too many", Remedy: fmt.Sprintf("write at most %d bytes, and less often", longestPattern)}
			}
			if b.pattern, err = regexp.Compile(arg); err != nil {
				return nil, false, &Error{Place: b.opening.Place, Option: b.opening.Key, Value: arg, Cause: "is not a regular expression: " + err.Error(), Remedy: "mend it; lookaround is not understood"}
			}
		}
		holds = b.pattern.MatchString(r.hostname())
	}
	return text, holds, nil
}

// firstSoFar is what if-opt sees: the first entry of a name with its raw value.
func (r *reader) firstSoFar(name string) (string, bool) {
	for i := range r.list {
		if e := &r.list[i]; e.Key == name && !e.Unlisted {
			e.Used = true
			if e.Bare {
				return "", false
			}
			return e.Value, true
		}
	}
	return "", false
}

// readLines is for-readline: one item per line, lines over 1023 bytes in pieces. A file that cannot be read has none.
func (r *reader) readLines(opening Setting) []string {
	const longest = 1023
	raw, err := r.readAll(opening.Value)
	if err != nil {
		r.say(opening.Place, fmt.Sprintf("option %q names a file that cannot be read, and the block is left out: %v", opening.Key, err))
		return nil
	}
	var lines []string
	for line := range strings.Lines(string(raw)) {
		for len(line) > longest {
			lines = append(lines, line[:longest])
			line = line[longest:]
		}
		lines = append(lines, strings.TrimRight(line, "\r\n"))
	}
	return lines
}
