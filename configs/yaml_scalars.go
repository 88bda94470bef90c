package configs

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

func (s *scanner) scalar(at int, text *bytes.Buffer) {
	s.queue = append(s.queue, yamlToken{scalarMark, text.String(), at})
}

// A fold is the white space between two words of a scalar: blanks of one line, or line ends.
type fold struct {
	blanks, first, more bytes.Buffer
	broken              bool // there was a line end
}

// take moves over one blank or line end.
func (f *fold) take(s *scanner) {
	switch {
	case s.breakAt(0) == 0 && !f.broken:
		s.copy(&f.blanks)
	case s.breakAt(0) == 0:
		s.skip(1)
	case !f.broken:
		f.blanks.Reset()
		s.skipLine(&f.first)
		f.broken = true
	default:
		s.skipLine(&f.more)
	}
}

// write adds what the white space comes to: one line end is a blank, of several the first is dropped.
func (f *fold) write(to *bytes.Buffer) {
	switch {
	case !f.broken:
		to.Write(f.blanks.Bytes())
	case f.first.Len() > 0 && f.first.Bytes()[0] == '\n':
		if f.more.Len() == 0 {
			to.WriteByte(' ')
		}
		to.Write(f.more.Bytes())
	default:
		to.Write(f.first.Bytes())
		to.Write(f.more.Bytes())
	}
	f.blanks.Reset()
	f.first.Reset()
	f.more.Reset()
	f.broken = false
}

// plain is a scalar without quotes. It may go on over lines that are indented deeper than the block around.
func (s *scanner) plain() error {
	var text bytes.Buffer
	var space fold
	at, indent := s.pos, s.indent+1
	for {
		if s.column == 0 && s.documentMark() || s.peek(0) == '#' {
			break
		}
		for !s.blankOrEnd(0) {
			b := s.peek(0)
			if b == ':' && s.flow > 0 && s.peek(1) != 0 && strings.IndexByte(",?[]{}", s.peek(1)) >= 0 {
				return s.fault("a \":\" cannot stand before "+string(rune(s.peek(1)))+" inside brackets", "put the value into quotes")
			}
			if b == ':' && s.blankOrEnd(1) || s.flow > 0 && strings.IndexByte(",[]{}", b) >= 0 {
				break
			}
			space.write(&text)
			s.copy(&text)
		}
		if !isBlank(s.peek(0)) && s.breakAt(0) == 0 {
			break
		}
		for isBlank(s.peek(0)) || s.breakAt(0) > 0 {
			if space.broken && s.column < indent && s.peek(0) == '\t' {
				return s.fault("a tab cannot indent", "indent with blanks")
			}
			space.take(s)
		}
		if s.flow == 0 && s.column < indent {
			break
		}
	}
	s.scalar(at, &text)
	if space.broken {
		s.keyOK = true
	}
	return nil
}

// quoted is a scalar in single or double quotes.
func (s *scanner) quoted(quote byte) error {
	var text bytes.Buffer
	var space fold
	at := s.pos
	s.skip(1)
	for {
		if s.column == 0 && s.documentMark() || s.done() {
			return s.faultAt(at, "this quote is not closed", "write a second "+string(rune(quote)))
		}
		for !s.blankOrEnd(0) {
			b := s.peek(0)
			if b == quote && (quote == '"' || s.peek(1) != quote) {
				break
			}
			switch {
			case b == quote: // two of them are one
				s.skip(1)
				s.copy(&text)
			case b == '\\' && quote == '"' && s.breakAt(1) > 0:
				s.skip(1)
				s.skipLine(nil)
				space.broken = true
			case b == '\\' && quote == '"':
				if err := s.escape(&text); err != nil {
					return err
				}
			default:
				s.copy(&text)
			}
			if space.broken {
				break
			}
		}
		if s.peek(0) == quote {
			break
		}
		for isBlank(s.peek(0)) || s.breakAt(0) > 0 {
			space.take(s)
		}
		space.write(&text)
	}
	s.skip(1)
	s.scalar(at, &text)
	return nil
}

// escape is a backslash and what follows it in double quotes.
func (s *scanner) escape(to *bytes.Buffer) error {
	digits := 0
	switch b := s.peek(1); b {
	case '0':
		to.WriteByte(0)
	case 'a':
		to.WriteByte('\a')
	case 'b':
		to.WriteByte('\b')
	case 't', '\t':
		to.WriteByte('\t')
	case 'n':
		to.WriteByte('\n')
	case 'v':
		to.WriteByte('\v')
	case 'f':
		to.WriteByte('\f')
	case 'r':
		to.WriteByte('\r')
	case 'e':
		to.WriteByte(0x1b)
	case ' ', '"', '/', '\\':
		to.WriteByte(b)
	case 'N':
		to.WriteRune(0x85)
	case '_':
		to.WriteRune(0xa0)
	case 'L':
		to.WriteRune(0x2028)
	case 'P':
		to.WriteRune(0x2029)
	case 'x':
		digits = 2
	case 'u':
		digits = 4
	case 'U':
		digits = 8
	default:
		return s.fault("there is no such escape in YAML", "write a backslash twice, or use single quotes")
	}
	s.skip(2)
	if digits == 0 {
		return nil
	}
	value := rune(0)
	for i := range digits {
		if !isHex(s.peek(i)) {
			return s.fault("this escape has too few hexadecimal digits", "write a backslash twice, or use single quotes")
		}
		value = value<<4 | rune(unhex(s.peek(i)))
	}
	if value < 0 || !utf8.ValidRune(value) {
		return s.fault("there is no character of this number", "write the character itself")
	}
	to.WriteRune(value)
	s.skip(digits)
	return nil
}

func isHex(b byte) bool { return b >= '0' && b <= '9' || b|0x20 >= 'a' && b|0x20 <= 'f' }

func unhex(b byte) byte {
	if b <= '9' {
		return b - '0'
	}
	return b | 0x20 - 'a' + 10
}

// block is a scalar behind | or >.
func (s *scanner) block(literal bool) error {
	if err := s.dropKey(); err != nil {
		return err
	}
	s.keyOK = true
	at := s.pos
	s.skip(1)
	keep, indent := byte(0), 0
	for range 2 {
		switch b := s.peek(0); {
		case (b == '+' || b == '-') && keep == 0:
			keep = b
			s.skip(1)
		case b >= '1' && b <= '9' && indent == 0:
			indent = int(b - '0')
			s.skip(1)
		}
	}
	for isBlank(s.peek(0)) {
		s.skip(1)
	}
	if s.peek(0) == '#' {
		s.skipComment()
	}
	if !s.done() && s.breakAt(0) == 0 {
		return s.fault("behind | or > the line must end", "put the value into quotes, or write the text on the lines below")
	}
	s.skipLine(nil)
	if indent > 0 {
		indent += max(s.indent, 0)
	}
	var text, first, more bytes.Buffer
	indent, err := s.blockBreaks(indent, &more)
	if err != nil {
		return err
	}
	wasBlank := false
	for s.column == indent && !s.done() {
		blank := isBlank(s.peek(0))
		if !literal && bytes.HasPrefix(first.Bytes(), []byte{'\n'}) && !wasBlank && !blank {
			if more.Len() == 0 {
				text.WriteByte(' ')
			}
		} else {
			text.Write(first.Bytes())
		}
		text.Write(more.Bytes())
		first.Reset()
		more.Reset()
		wasBlank = blank
		for !s.done() && s.breakAt(0) == 0 {
			s.copy(&text)
		}
		s.skipLine(&first)
		if indent, err = s.blockBreaks(indent, &more); err != nil {
			return err
		}
	}
	if keep != '-' {
		text.Write(first.Bytes())
	}
	if keep == '+' {
		text.Write(more.Bytes())
	}
	s.scalar(at, &text)
	return nil
}

// blockBreaks moves over indentation and empty lines; an indent of 0 becomes that of the first line with text.
func (s *scanner) blockBreaks(indent int, to *bytes.Buffer) (int, error) {
	deepest := 0
	for {
		for (indent == 0 || s.column < indent) && s.peek(0) == ' ' {
			s.skip(1)
		}
		deepest = max(deepest, s.column)
		if (indent == 0 || s.column < indent) && s.peek(0) == '\t' {
			return 0, s.fault("a tab cannot indent", "indent with blanks")
		}
		if s.breakAt(0) == 0 {
			break
		}
		s.skipLine(to)
	}
	if indent == 0 {
		indent = max(deepest, s.indent+1, 1)
	}
	return indent, nil
}
