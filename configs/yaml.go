package configs

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// lexYAML returns the settings of a YAML file as uWSGI finds them. It follows the tokens of libyaml's scanner and knows
// nothing of what they make together: a mapping that is the value of the wanted key, at any depth, is the section, and
// all that is nested inside is flattened. What this means was observed on 2.0.21, token by token.
func lexYAML(text []byte, at *counter, section string) (cut, error) {
	var c cut
	r := tokenReader{wanted: section, at: at, out: &c}
	s := newScanner(text)
	for {
		t, err := s.next()
		if err != nil || !r.read(t) {
			return c, err
		}
	}
}

// A tokenReader is uWSGI's walk over the tokens.
type tokenReader struct {
	wanted string
	at     *counter
	out    *cut

	expects expectation
	depth   int // 1 inside the wanted section, more inside what is nested there; 0 outside
	key     string
	hasKey  bool
	keyAt   int
	pending bool // the key has got no value yet
}

// An expectation is what the next scalar will be.
type expectation int

const (
	nothing expectation = iota
	aKey
	aValue // one value: it uses the key up
	anItem // of a list: the key stays for the next
)

// read takes one token; false ends the reading.
func (r *tokenReader) read(t yamlToken) bool {
	switch t.kind {
	case streamEnd:
		r.dropped()
		return false
	case keyMark:
		r.dropped()
		r.expects = aKey
	case valueMark:
		r.expects = aValue
	case blockEntry, flowEntry:
		r.expects = anItem
	case sequenceStart, flowSequenceStart:
		r.expects = anItem
		if r.depth > 0 {
			r.depth++
		}
	case mappingStart:
		if r.depth > 0 {
			r.depth++
		} else if r.hasKey && r.key == r.wanted {
			r.depth, r.out.found = 1, true
		}
		r.pending = false
	case blockEnd, flowSequenceEnd:
		r.dropped()
		if r.depth--; r.depth == 0 {
			return false
		}
		r.depth = max(r.depth, 0)
		r.hasKey, r.expects = false, nothing
	case scalarMark:
		return r.scalar(t)
	default:
		if t.kind == aliasMark && r.depth > 0 {
			r.pending = false
			r.out.remark(r.at.line(t.at), "uWSGI does not follow aliases: this one stands for nothing; write the value itself")
		}
		r.expects = nothing
	}
	return true
}

func (r *tokenReader) scalar(t yamlToken) bool {
	text, _, _ := strings.Cut(t.text, "\x00")
	switch r.expects {
	case aKey:
		r.key, r.hasKey, r.keyAt, r.pending = text, true, t.at, r.depth > 0
		return true
	case nothing:
		if r.depth > 0 {
			r.out.remark(r.at.line(t.at), "uWSGI stops reading the file here; remove the anchor or tag before the value, or the second value")
		}
		return false
	}
	r.pending = false
	from := t.at
	if r.expects == aValue {
		from = r.keyAt
	}
	if r.depth > 0 && r.hasKey {
		r.out.add(r.key, text, r.at.line(from))
	}
	if r.expects == aValue {
		r.hasKey, r.expects = false, nothing
	}
	return true
}

// dropped remarks on an option without a value, which uWSGI does not see.
func (r *tokenReader) dropped() {
	if !r.pending {
		return
	}
	r.pending = false
	value := "true"
	if closes(r.key) {
		value = `""`
	}
	r.out.remark(r.at.line(r.keyAt), fmt.Sprintf("option %q has no value, and uWSGI drops such a line; write %s: %s", r.key, r.key, value))
}

// yamlText decodes a file and judges its bytes as libyaml does.
func yamlText(raw []byte) ([]byte, error) {
	text, _ := fromUTF16(raw)
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			return text, notUTF8(i)
		case r == '\t', r == '\n', r == '\r', r >= 0x20 && r < 0x7f, r == 0x85, r >= 0xa0 && r != 0xfffe && r != 0xffff:
		default:
			return text, &fault{i, fmt.Sprintf("the character %U is not allowed in YAML", r), `remove it, or write it in double quotes, such as "\t"`}
		}
		i += n
	}
	return text, nil
}
