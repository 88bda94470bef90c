package configs

import "strings"

// fetch puts at least one more token into the queue.
func (s *scanner) fetch() error {
	if !s.start {
		s.start, s.keyOK = true, true
		s.put(streamStart, 0)
		return nil
	}
	s.toToken()
	if err := s.stale(); err != nil {
		return err
	}
	s.unroll(s.column)
	if s.done() {
		return s.finish()
	}
	at, b := s.pos, s.peek(0)
	switch {
	case s.column == 0 && b == '%':
		if err := s.newDocument(); err != nil {
			return err
		}
		s.put(directiveMark, at)
		return s.directive()
	case s.column == 0 && s.documentMark():
		if err := s.newDocument(); err != nil {
			return err
		}
		s.skip(3)
		s.put(documentMark, at)
		return nil
	}
	switch b {
	case '[', '{':
		return s.openFlow(at, b)
	case ']', '}':
		if err := s.dropKey(); err != nil {
			return err
		}
		s.flow = max(s.flow-1, 0)
		s.keyOK = false
		s.skip(1)
		s.put(map[byte]tokenKind{']': flowSequenceEnd, '}': flowMappingEnd}[b], at)
		return nil
	case ',':
		if err := s.dropKey(); err != nil {
			return err
		}
		s.keyOK = true
		s.skip(1)
		s.put(flowEntry, at)
		return nil
	case '*', '&':
		if err := s.saveKey(); err != nil {
			return err
		}
		s.keyOK = false
		s.put(map[byte]tokenKind{'*': aliasMark, '&': anchorMark}[b], at)
		return s.anchorName()
	case '!':
		if err := s.saveKey(); err != nil {
			return err
		}
		s.keyOK = false
		s.put(tagMark, at)
		return s.tag()
	case '\'', '"':
		if err := s.saveKey(); err != nil {
			return err
		}
		s.keyOK = false
		return s.quoted(b)
	}
	switch {
	case b == '-' && s.blankOrEnd(1):
		return s.blockEntry(at)
	case b == '?' && (s.flow > 0 || s.blankOrEnd(1)):
		return s.explicitKey(at)
	case b == ':' && (s.flow > 0 || s.blankOrEnd(1)):
		return s.value(at)
	case (b == '|' || b == '>') && s.flow == 0:
		return s.block(b == '|')
	case s.startsPlain(b):
		if err := s.saveKey(); err != nil {
			return err
		}
		s.keyOK = false
		return s.plain()
	}
	return s.cannotStart(b)
}

// startsPlain tells whether a byte may begin a scalar without quotes.
func (s *scanner) startsPlain(b byte) bool {
	switch b {
	case '-':
		return !isBlank(s.peek(1))
	case '?', ':':
		return s.flow == 0 && !s.blankOrEnd(1)
	}
	return !s.blankOrEnd(0) && strings.IndexByte(",[]{}#&*!|>'\"%@`", b) < 0
}

func (s *scanner) cannotStart(b byte) error {
	switch b {
	case '\t':
		return s.fault("a tab cannot indent", "indent with blanks")
	case '%', '@':
		return s.fault("a value cannot begin with "+string(rune(b))+" in YAML", `put it into quotes, such as "%(name)" or "@(file)"`)
	}
	return s.fault("a value cannot begin with "+string(rune(b))+" in YAML", "put it into quotes")
}

// documentMark tells whether a --- or ... stands here.
func (s *scanner) documentMark() bool {
	b := s.peek(0)
	return (b == '-' || b == '.') && s.peek(1) == b && s.peek(2) == b && s.blankOrEnd(3)
}

func (s *scanner) finish() error {
	if s.column != 0 {
		s.column = 0
		s.line++
	}
	if err := s.newDocument(); err != nil {
		return err
	}
	s.put(streamEnd, s.pos)
	s.ended = true
	return nil
}

// newDocument closes all blocks.
func (s *scanner) newDocument() error {
	s.unroll(-1)
	if err := s.dropKey(); err != nil {
		return err
	}
	s.keyOK = false
	return nil
}

func (s *scanner) openFlow(at int, b byte) error {
	if err := s.saveKey(); err != nil {
		return err
	}
	if s.flow >= maxNesting {
		return s.tooDeep()
	}
	s.flow++
	s.keyOK = true
	s.skip(1)
	s.put(map[byte]tokenKind{'[': flowSequenceStart, '{': flowMappingStart}[b], at)
	return nil
}

func (s *scanner) blockEntry(at int) error {
	if s.flow == 0 {
		if !s.keyOK {
			return s.fault("a list cannot begin on the line of its key", "write each item on a line of its own: \"- item\"")
		}
		if err := s.roll(s.column, -1, sequenceStart, at); err != nil {
			return err
		}
	}
	if err := s.dropKey(); err != nil {
		return err
	}
	s.keyOK = true
	s.skip(1)
	s.put(blockEntry, at)
	return nil
}

func (s *scanner) explicitKey(at int) error {
	if s.flow == 0 {
		if !s.keyOK {
			return s.fault("a \"? \" cannot stand here", "put the value into quotes")
		}
		if err := s.roll(s.column, -1, mappingStart, at); err != nil {
			return err
		}
	}
	if err := s.dropKey(); err != nil {
		return err
	}
	s.keyOK = s.flow == 0
	s.skip(1)
	s.put(keyMark, at)
	return nil
}

// value is the ":" that makes what stands before it a key.
func (s *scanner) value(at int) error {
	if n := len(s.keys); n > 0 && s.keys[n-1].level == s.flow {
		k := s.keys[n-1]
		s.keys = s.keys[:n-1]
		s.insert(k.number, keyMark, k.at.pos)
		if err := s.roll(k.at.column, k.number, mappingStart, k.at.pos); err != nil {
			return err
		}
		s.keyOK = false
	} else {
		if s.flow == 0 {
			if !s.keyOK {
				return s.fault("there is a second \": \" in this value, or the line is indented deeper than the one above", "put the value into quotes, or begin all options of a section in the same column")
			}
			if err := s.roll(s.column, -1, mappingStart, at); err != nil {
				return err
			}
		}
		s.keyOK = s.flow == 0
	}
	s.skip(1)
	s.put(valueMark, at)
	return nil
}

func isWord(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z' || b == '_' || b == '-'
}

func (s *scanner) word() string {
	at := s.pos
	for isWord(s.peek(0)) {
		s.skip(1)
	}
	return string(s.text[at:s.pos])
}

func (s *scanner) anchorName() error {
	s.skip(1)
	if s.word() == "" || !s.blankOrEnd(0) && strings.IndexByte("?:,]}%@`", s.peek(0)) < 0 {
		return s.fault("a value that begins with & or * is an anchor or an alias in YAML, and this is no name of one", "put the value into quotes")
	}
	return nil
}

const noTag = "a value that begins with ! is a tag in YAML, and this is not a well-formed one"

func (s *scanner) tag() error {
	wrong := func() error { return s.fault(noTag, "put the value into quotes") }
	if s.peek(1) == '<' {
		s.skip(2)
		if n, ok := s.uri(true); n == 0 || !ok || s.peek(0) != '>' {
			return wrong()
		}
		s.skip(1)
	} else {
		s.skip(1)
		head := len(s.word())
		if s.peek(0) == '!' {
			s.skip(1)
			head = 0 // !handle!suffix: the suffix must be there
		} else {
			head++
		}
		if n, ok := s.uri(false); !ok || n+head == 0 {
			return wrong()
		}
	}
	if (s.flow == 0 || s.peek(0) != ',') && !s.blankOrEnd(0) {
		return wrong()
	}
	return nil
}

// uri moves over the characters of a tag.
func (s *scanner) uri(verbatim bool) (length int, ok bool) {
	at := s.pos
	for {
		b := s.peek(0)
		switch {
		case isWord(b), b != 0 && strings.IndexByte(";/?:@&=+$.!~*'()", b) >= 0, verbatim && (b == ',' || b == '[' || b == ']'):
			s.skip(1)
		case b == '%':
			if !s.escapedCharacter() {
				return 0, false
			}
		default:
			return s.pos - at, true
		}
	}
}

// escapedCharacter moves over the %XX of one character.
func (s *scanner) escapedCharacter() bool {
	width := 0
	for {
		if s.peek(0) != '%' || !isHex(s.peek(1)) || !isHex(s.peek(2)) {
			return false
		}
		b := unhex(s.peek(1))<<4 | unhex(s.peek(2))
		switch {
		case width > 0 && b&0xc0 != 0x80:
			return false
		case width > 0:
		case b < 0x80:
			width = 1
		case b&0xe0 == 0xc0:
			width = 2
		case b&0xf0 == 0xe0:
			width = 3
		case b&0xf8 == 0xf0:
			width = 4
		default:
			return false
		}
		s.skip(3)
		if width--; width == 0 {
			return true
		}
	}
}

// directive is a line %YAML 1.1 or %TAG ! uri. Magic variables leave a "%" at the start of a line only where %% was written.
func (s *scanner) directive() error {
	wrong := func() error {
		return s.fault("a line that begins with % is a directive in YAML, and this is not a well-formed one", "remove the line")
	}
	blanks := func() bool {
		at := s.pos
		for isBlank(s.peek(0)) {
			s.skip(1)
		}
		return s.pos > at
	}
	number := func() bool {
		at := s.pos
		for s.peek(0) >= '0' && s.peek(0) <= '9' {
			s.skip(1)
		}
		return s.pos > at && s.pos-at <= 9
	}
	s.skip(1)
	name := s.word()
	if !s.blankOrEnd(0) {
		return wrong()
	}
	switch name {
	case "YAML":
		blanks()
		if !number() || s.peek(0) != '.' {
			return wrong()
		}
		s.skip(1)
		if !number() {
			return wrong()
		}
	case "TAG":
		blanks()
		if s.peek(0) != '!' {
			return wrong()
		}
		s.skip(1)
		if word := s.word(); s.peek(0) == '!' {
			s.skip(1)
		} else if word != "" {
			return wrong()
		}
		if !blanks() {
			return wrong()
		}
		if n, ok := s.uri(true); n == 0 || !ok || !s.blankOrEnd(0) {
			return wrong()
		}
	default:
		return wrong()
	}
	blanks()
	if s.peek(0) == '#' {
		s.skipComment()
	}
	if !s.done() && s.breakAt(0) == 0 {
		return wrong()
	}
	s.skipLine(nil)
	return nil
}
