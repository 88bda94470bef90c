package configs

import (
	"bytes"
	"fmt"
)

// uWSGI does not read the tree of a YAML document but the tokens of libyaml's scanner, one after the other, and what it
// makes of them depends on tokens that no tree has (yaml.go). Of the libraries for Go, yaml.v3 and its heirs keep their
// scanner to themselves, and goccy/go-yaml cuts its tokens by other rules. So this is a scanner of our own, which was
// compared with libyaml token by token; docs/architecture.md has the numbers.
//
// It never calls itself and looks at every byte a fixed number of times: nesting, anchors and long keys cost nothing.

// A yamlToken is a token of libyaml's scanner. What has no influence on uWSGI (an anchor's name, a tag, the style of a scalar) is not kept.
type yamlToken struct {
	kind tokenKind
	text string // of a scalar
	at   int    // offset of its first byte
}

type tokenKind uint8

const (
	streamStart tokenKind = iota
	streamEnd
	directiveMark
	documentMark // --- and ...
	sequenceStart
	mappingStart
	blockEnd
	flowSequenceStart
	flowSequenceEnd
	flowMappingStart
	flowMappingEnd
	blockEntry
	flowEntry
	keyMark
	valueMark
	aliasMark
	anchorMark
	tagMark
	scalarMark
)

// A simpleKey is a token that may turn out to be a key, because a ":" may follow: on the same line and at most 1024
// characters on.
type simpleKey struct {
	level    int // of flow collections, where it stands
	number   int // of its token
	required bool
	at       mark
}

const longestKey = 1024 // characters, libyaml's limit

// A mark is a place in the text. Lines and columns are libyaml's, which counts characters and has more line ends than \n.
type mark struct{ pos, index, line, column int }

// A scanner hands out tokens one by one, as libyaml does: a fault is met only by who gets so far.
type scanner struct {
	text []byte
	mark
	queue  []yamlToken
	taken  int // tokens handed out
	start  bool
	ended  bool
	flow   int  // depth of [ and {
	keyOK  bool // a simple key may begin here
	indent int
	outer  []int       // indents of the blocks around
	keys   []simpleKey // at most one of each level, outermost first
}

func newScanner(text []byte) *scanner { return &scanner{text: text, indent: -1} }

// next returns the next token. After streamEnd there is none.
func (s *scanner) next() (yamlToken, error) {
	for {
		if err := s.stale(); err != nil {
			return yamlToken{}, err
		}
		if len(s.queue) > 0 && (len(s.keys) == 0 || s.keys[0].number != s.taken) {
			break
		}
		if s.ended {
			return yamlToken{kind: streamEnd, at: s.pos}, nil
		}
		if err := s.fetch(); err != nil {
			return yamlToken{}, err
		}
	}
	t := s.queue[0]
	s.queue = s.queue[1:]
	s.taken++
	return t, nil
}

func (s *scanner) fault(cause, remedy string) error { return s.faultAt(s.pos, cause, remedy) }

func (s *scanner) faultAt(at int, cause, remedy string) error { return &fault{at, cause, remedy} }

// peek returns the byte n behind the current one; 0 behind the end, as there is no such byte in the text.
func (s *scanner) peek(n int) byte {
	if s.pos+n < len(s.text) {
		return s.text[s.pos+n]
	}
	return 0
}

func (s *scanner) done() bool { return s.pos >= len(s.text) }

func isBlank(b byte) bool { return b == ' ' || b == '\t' }

// breakAt returns the length of the line end that is n behind; 0 if there is none.
func (s *scanner) breakAt(n int) int {
	switch s.peek(n) {
	case '\n':
		return 1
	case '\r':
		if s.peek(n+1) == '\n' {
			return 2
		}
		return 1
	case 0xc2: // NEL
		if s.peek(n+1) == 0x85 {
			return 2
		}
	case 0xe2: // the line and the paragraph separator
		if s.peek(n+1) == 0x80 && s.peek(n+2)&^1 == 0xa8 {
			return 3
		}
	}
	return 0
}

func (s *scanner) blankOrEnd(n int) bool {
	return s.pos+n >= len(s.text) || isBlank(s.peek(n)) || s.breakAt(n) > 0
}

// skip moves over n characters that end no line.
func (s *scanner) skip(n int) {
	for range n {
		s.pos++
		for s.pos < len(s.text) && s.text[s.pos]&0xc0 == 0x80 {
			s.pos++
		}
		s.index++
		s.column++
	}
}

// copy is skip for one character that belongs to a scalar.
func (s *scanner) copy(to *bytes.Buffer) {
	at := s.pos
	s.skip(1)
	to.Write(s.text[at:s.pos])
}

// skipLine moves over a line end, and writes it as a scalar has it.
func (s *scanner) skipLine(to *bytes.Buffer) {
	n := s.breakAt(0)
	if n == 0 {
		return
	}
	if to != nil {
		if n == 3 {
			to.Write(s.text[s.pos : s.pos+n])
		} else {
			to.WriteByte('\n')
		}
	}
	if n == 2 && s.text[s.pos] == '\r' {
		s.index++
	}
	s.pos += n
	s.index++
	s.line++
	s.column = 0
}

// put adds a token at the end of the queue.
func (s *scanner) put(kind tokenKind, at int) {
	s.queue = append(s.queue, yamlToken{kind: kind, at: at})
}

// insert adds a token before the one with a number.
func (s *scanner) insert(number int, kind tokenKind, at int) {
	i := number - s.taken
	s.queue = append(s.queue, yamlToken{})
	copy(s.queue[i+1:], s.queue[i:])
	s.queue[i] = yamlToken{kind: kind, at: at}
}

// stale drops the keys that have become impossible. They are in the order of their places, so the first is the oldest.
func (s *scanner) stale() error {
	for len(s.keys) > 0 {
		k := &s.keys[0]
		if k.at.line == s.line && k.at.index+longestKey >= s.index {
			return nil
		}
		if k.required {
			return s.noColon(*k)
		}
		s.keys = s.keys[1:]
	}
	return nil
}

func (s *scanner) noColon(k simpleKey) error {
	return s.faultAt(k.at.pos, "this line has neither a \":\" with a blank behind it nor belongs to the value above", `write KEY: VALUE, and indent the further lines of a value deeper than its key`)
}

// saveKey notes that the token that comes next may be a key.
func (s *scanner) saveKey() error {
	if !s.keyOK {
		return nil
	}
	if err := s.dropKey(); err != nil {
		return err
	}
	s.keys = append(s.keys, simpleKey{s.flow, s.taken + len(s.queue), s.flow == 0 && s.indent == s.column, s.mark})
	return nil
}

// dropKey forgets the possible key of this level.
func (s *scanner) dropKey() error {
	if n := len(s.keys); n > 0 && s.keys[n-1].level == s.flow {
		if k := s.keys[n-1]; k.required {
			return s.noColon(k)
		}
		s.keys = s.keys[:n-1]
	}
	return nil
}

// roll opens a block at a column that is deeper than the block around. number is the token before which it opens; -1: at
// the end.
func (s *scanner) roll(column, number int, kind tokenKind, at int) error {
	if s.flow > 0 || s.indent >= column {
		return nil
	}
	if len(s.outer) >= maxNesting {
		return s.tooDeep()
	}
	s.outer = append(s.outer, s.indent)
	s.indent = column
	if number < 0 {
		s.put(kind, at)
	} else {
		s.insert(number, kind, at)
	}
	return nil
}

func (s *scanner) tooDeep() error {
	return s.fault(fmt.Sprintf("here the nesting is deeper than %d", maxNesting), "uWSGI flattens nested collections: write the options below each other")
}

// unroll closes the blocks that are deeper than a column.
func (s *scanner) unroll(column int) {
	if s.flow > 0 {
		return
	}
	for s.indent > column {
		s.put(blockEnd, s.pos)
		s.indent = s.outer[len(s.outer)-1]
		s.outer = s.outer[:len(s.outer)-1]
	}
}

// toToken moves over blanks, comments and line ends.
func (s *scanner) toToken() {
	for {
		if s.column == 0 && bytes.HasPrefix(s.text[s.pos:], []byte("\ufeff")) { // libyaml allows it at the start of any line
			s.skip(1)
		}
		for s.peek(0) == ' ' || (s.peek(0) == '\t' && (s.flow > 0 || !s.keyOK)) {
			s.skip(1)
		}
		if s.peek(0) == '#' {
			s.skipComment()
		}
		if s.breakAt(0) == 0 {
			return
		}
		s.skipLine(nil)
		if s.flow == 0 {
			s.keyOK = true
		}
	}
}

func (s *scanner) skipComment() {
	for !s.done() && s.breakAt(0) == 0 {
		s.skip(1)
	}
}
