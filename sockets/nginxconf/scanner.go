package nginxconf

import (
	"fmt"
	"strings"
)

// An end says what a run of words was ended by.
type end int

const (
	endSemicolon end = iota
	endOpen          // {
	endClose         // }
	endFile
)

// A scanner cuts the text of one file into words, as nginx does: a quote or a comment begins only where a word begins,
// "{" after "$" belongs to the word, and "}" is special only in place of a directive's name.
type scanner struct {
	text string
	pos  int
	line int
}

// A syntax is what nginx would refuse in a file, with the line.
type syntax struct {
	line  int
	cause string
}

func (e *syntax) Error() string { return fmt.Sprintf("line %d: %s", e.line, e.cause) }

func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// next returns the words of one directive, the line of the first, and what ended them.
func (s *scanner) next() (words []string, line int, how end, err error) {
	line = s.line
	for {
		s.skip()
		if s.pos >= len(s.text) {
			if len(words) > 0 {
				return nil, 0, endFile, &syntax{s.line, `unexpected end of file; a ";" is missing`}
			}
			return nil, s.line, endFile, nil
		}
		c := s.text[s.pos]
		if len(words) == 0 {
			line = s.line
		}
		switch {
		case c == ';' || c == '{':
			if len(words) == 0 {
				return nil, 0, 0, &syntax{s.line, fmt.Sprintf("unexpected %q", string(c))}
			}
			s.pos++
			if c == '{' {
				return words, line, endOpen, nil
			}
			return words, line, endSemicolon, nil
		case c == '}':
			if len(words) > 0 {
				return nil, 0, 0, &syntax{s.line, fmt.Sprintf(`unexpected "}"; the ";" behind %q on line %d is missing`, strings.Join(words, " "), line)}
			}
			s.pos++
			return nil, s.line, endClose, nil
		}
		word, err := s.word()
		if err != nil {
			return nil, 0, 0, err
		}
		words = append(words, word)
	}
}

// skip passes over blanks and comments.
func (s *scanner) skip() {
	for s.pos < len(s.text) {
		switch c := s.text[s.pos]; {
		case c == '\n':
			s.line++
			s.pos++
		case blank(c):
			s.pos++
		case c == '#':
			for s.pos < len(s.text) && s.text[s.pos] != '\n' {
				s.pos++
			}
		default:
			return
		}
	}
}

// word reads one word, which is not empty, or quoted.
func (s *scanner) word() (string, error) {
	first := s.line
	quote := byte(0)
	if c := s.text[s.pos]; c == '"' || c == '\'' {
		quote = c
		s.pos++
	}
	var b strings.Builder
	dollar := false // the last byte was a "$": a "{" belongs to it
	for {
		if s.pos >= len(s.text) {
			if quote != 0 {
				return "", &syntax{s.line, fmt.Sprintf("unexpected end of file; the quote that begins on line %d is never closed", first)}
			}
			return "", &syntax{s.line, `unexpected end of file; a ";" is missing`}
		}
		if b.Len() > maxWord {
			return "", &syntax{first, fmt.Sprintf("a word has more than %d bytes; is a quote not closed?", maxWord)}
		}
		c := s.text[s.pos]
		if c == '\\' {
			if !s.escape(&b) {
				return "", &syntax{s.line, "unexpected end of file behind a backslash"}
			}
			dollar = false
			continue
		}
		switch {
		case quote == 0 && (blank(c) || c == ';' || c == '{' && !dollar):
			return b.String(), nil // what ends it is for next
		case c == quote && quote != 0:
			s.pos++
			return b.String(), s.behindQuote()
		case c == '\n':
			s.line++
		}
		b.WriteByte(c)
		s.pos++
		dollar = c == '$' || dollar && c == '{'
	}
}

// escape reads a backslash and what follows: only these six mean something, in front of others the backslash stays.
func (s *scanner) escape(b *strings.Builder) bool {
	if s.pos+1 >= len(s.text) {
		return false
	}
	switch c := s.text[s.pos+1]; c {
	case '"', '\'', '\\':
		b.WriteByte(c)
	case 't':
		b.WriteByte('\t')
	case 'r':
		b.WriteByte('\r')
	case 'n':
		b.WriteByte('\n')
	default:
		if c == '\n' {
			s.line++
		}
		b.WriteByte('\\')
		b.WriteByte(c)
	}
	s.pos += 2
	return true
}

// behindQuote wants a word's end behind a closing quote; ")" may follow, for the conditions of "if".
func (s *scanner) behindQuote() error {
	if s.pos >= len(s.text) {
		return &syntax{s.line, `unexpected end of file; a ";" is missing`}
	}
	if c := s.text[s.pos]; !blank(c) && c != ';' && c != '{' && c != ')' {
		return &syntax{s.line, fmt.Sprintf("unexpected %q behind a closing quote", string(c))}
	}
	return nil
}

// lua passes over a block of Lua up to the brace that closes it. Braces in Lua's strings and comments do not count.
func (s *scanner) lua() error {
	first := s.line
	for depth := 1; s.pos < len(s.text); {
		switch c := s.text[s.pos]; {
		case c == '{':
			depth++
			s.pos++
		case c == '}':
			depth--
			s.pos++
			if depth == 0 {
				return nil
			}
		case c == '"' || c == '\'':
			s.luaString(c)
		case c == '[' && s.longBracket():
		case strings.HasPrefix(s.text[s.pos:], "--"):
			s.pos += 2
			if s.pos < len(s.text) && s.text[s.pos] == '[' && s.longBracket() {
				continue
			}
			for s.pos < len(s.text) && s.text[s.pos] != '\n' {
				s.pos++
			}
		default:
			s.advance(1)
		}
	}
	return &syntax{s.line, fmt.Sprintf("unexpected end of file; the Lua block that begins on line %d is never closed", first)}
}

// advance moves on by n bytes, or to the end, counting lines.
func (s *scanner) advance(n int) {
	n = min(n, len(s.text)-s.pos)
	s.line += strings.Count(s.text[s.pos:s.pos+n], "\n")
	s.pos += n
}

// luaString passes over a quoted string of Lua, which ends with its line at the latest.
func (s *scanner) luaString(quote byte) {
	for s.pos++; s.pos < len(s.text); {
		switch c := s.text[s.pos]; c {
		case '\\':
			s.advance(2)
		case quote:
			s.pos++
			return
		case '\n':
			return
		default:
			s.pos++
		}
	}
}

// longBracket passes over [[…]] or [==[…]==], and reports whether there is one.
func (s *scanner) longBracket() bool {
	rest := s.text[s.pos+1:]
	level := len(rest) - len(strings.TrimLeft(rest, "="))
	if level >= len(rest) || rest[level] != '[' {
		return false
	}
	closing := "]" + rest[:level] + "]"
	at := strings.Index(rest[level+1:], closing)
	if at < 0 {
		s.advance(len(s.text))
		return true
	}
	s.advance(1 + level + 1 + at + len(closing))
	return true
}
