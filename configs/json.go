package configs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// lexJSON returns the settings of the wanted member of the top object, in order. Strings and numbers are taken as they are
// written, true is 1, false and null are 0; an array repeats its key. What is nested deeper does not count.
//
// encoding/json judges and cuts the text. Where yajl, which uWSGI reads JSON with, is more lenient (comments, all kinds of
// white space, surrogates without their other half), the text is made ready before or the string is decoded here.
func lexJSON(text []byte, at *counter, section string) (cut, error) {
	var c cut
	w := &jsonWalk{text: text, tokens: json.NewDecoder(bytes.NewReader(text)), at: at, out: &c}
	w.tokens.UseNumber() // a number may be larger than any of Go's
	if t := w.next(); t != json.Delim('{') {
		return c, nil
	}
	for w.next() != json.Delim('}') {
		name := w.string()
		t := w.next()
		switch {
		case name != section:
			w.skip(t)
		case c.found:
			c.remark(w.line(), fmt.Sprintf("uWSGI reads only the first %q of a JSON file; this one does nothing", section))
			w.skip(t)
		case t != json.Delim('{'):
			return c, &fault{w.start, fmt.Sprintf("%q is not an object", section), `write {"` + section + `": {"key": "value"}}`}
		default:
			c.found = true
			w.members()
		}
	}
	return c, nil
}

// plainJSON returns the text without what only yajl allows: comments and two more kinds of white space become blanks, at
// the same places. It is valid JSON.
func plainJSON(raw []byte) ([]byte, error) {
	if nul := bytes.IndexByte(raw, 0); nul >= 0 { // yajl gets a C string
		raw = raw[:nul]
	}
	text := bytes.Clone(raw)
	depth := 0
	for i := 0; i < len(text); i++ {
		switch b := text[i]; {
		case b == '"':
			end, err := stringEnd(text, i)
			if err != nil {
				return text, err
			}
			i = end
		case b == '\v' || b == '\f':
			text[i] = ' '
		case b == '/' && i+1 < len(text) && (text[i+1] == '/' || text[i+1] == '*'):
			end := []byte("\n")
			if text[i+1] == '*' {
				end = []byte("*/")
			}
			n := bytes.Index(text[i+2:], end)
			if n < 0 {
				n = len(text) - i - 2
			}
			stop := min(i+2+n+len(end), len(text))
			for ; i < stop; i++ {
				if text[i] != '\n' {
					text[i] = ' '
				}
			}
			i--
		case b == '[' || b == '{':
			if depth++; depth > maxNesting {
				return text, &fault{i, fmt.Sprintf("here the nesting is deeper than %d", maxNesting), "remove it: uWSGI passes over what is nested"}
			}
		case b == ']' || b == '}':
			depth--
		}
	}
	var whole json.RawMessage
	if err := json.Unmarshal(text, &whole); err != nil {
		var syntax *json.SyntaxError
		if !errors.As(err, &syntax) {
			return text, err
		}
		f := &fault{max(int(syntax.Offset)-1, 0), syntax.Error(), "mend this place; try: python3 -m json.tool FILE"}
		if bytes.HasPrefix(text, []byte("\ufeff")) {
			f.cause, f.remedy = "there is a byte order mark", "save the file without it"
		}
		return text, f
	}
	return text, nil
}

// stringEnd returns where the closing quote of a string is. Of UTF-8, yajl asks only that each character has as many bytes
// as its first one says.
func stringEnd(text []byte, start int) (int, error) {
	for i := start + 1; i < len(text); i++ {
		more := 0
		switch b := text[i]; {
		case b == '"':
			return i, nil
		case b == '\\':
			i++
		case b < 0x80:
		case b>>5 == 6:
			more = 1
		case b>>4 == 14:
			more = 2
		case b>>3 == 30:
			more = 3
		default:
			return 0, notUTF8(i)
		}
		for ; more > 0; more-- {
			if i++; i >= len(text) || text[i]&0xc0 != 0x80 {
				return 0, notUTF8(min(i, len(text)-1))
			}
		}
	}
	return 0, &fault{start, "this quote is not closed", `write a second "`}
}

// A jsonWalk goes through a valid text.
type jsonWalk struct {
	text       []byte
	tokens     *json.Decoder
	start, end int // of the token
	at         *counter
	out        *cut
}

// next returns the next token, nil at the end.
func (w *jsonWalk) next() json.Token {
	t, err := w.tokens.Token()
	if err != nil {
		if err != io.EOF {
			w.out.remark(w.line(), err.Error()) // cannot be: the text was found valid
		}
		return json.Delim('}')
	}
	w.start, w.end = w.end, int(w.tokens.InputOffset())
	for w.start < w.end && strings.IndexByte(" \t\r\n,:", w.text[w.start]) >= 0 {
		w.start++
	}
	return t
}

func (w *jsonWalk) line() int { return w.at.line(w.start) }

// skip moves over the value that begins with a token.
func (w *jsonWalk) skip(t json.Token) {
	for depth := 0; ; t = w.next() {
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth <= 0 {
			return
		}
	}
}

// members reads the section.
func (w *jsonWalk) members() {
	for w.next() != json.Delim('}') {
		key, line := w.string(), w.line()
		t := w.next()
		if t != json.Delim('[') {
			w.value(key, line, t)
			continue
		}
		for t = w.next(); t != json.Delim(']') && t != json.Delim('}'); t = w.next() {
			w.value(key, w.line(), t)
		}
	}
}

func (w *jsonWalk) value(key string, line int, t json.Token) {
	value := ""
	switch t := t.(type) {
	case json.Delim:
		w.out.remark(line, fmt.Sprintf("uWSGI passes over what is nested in option %q; write a text, or a list of texts", key))
		w.skip(t)
		return
	case string:
		value = w.string()
	case json.Number:
		value = string(w.text[w.start:w.end])
	case bool:
		if value = "0"; t {
			value = "1"
		}
	case nil:
		value = "0"
	}
	w.out.add(key, value, line)
}

// string is the string that the token is, up to a NUL, as a C program sees it.
func (w *jsonWalk) string() string {
	raw := w.text[w.start:w.end]
	if len(raw) < 2 {
		return ""
	}
	text, _, _ := strings.Cut(unquoteJSON(raw[1:len(raw)-1]), "\x00")
	return text
}

// unquoteJSON decodes a valid string as yajl does: a first half of a pair takes any \u behind it for the second, and is "?"
// if there is none; a second half alone is written as if it were a character.
func unquoteJSON(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw)
	}
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			continue
		}
		i++
		switch raw[i] {
		case 'u':
			unit := hex4(raw[i+1:])
			i += 4
			switch {
			case unit&0xfc00 == 0xd800 && i+6 < len(raw) && raw[i+1] == '\\' && raw[i+2] == 'u':
				low := hex4(raw[i+3:])
				i += 6
				out = utf8.AppendRune(out, (unit&0x3f)<<10|((unit>>6&0xf)+1)<<16|low&0x3ff)
			case unit&0xfc00 == 0xd800:
				out = append(out, '?')
			case unit&0xfc00 == 0xdc00:
				out = append(out, 0xe0|byte(unit>>12), 0x80|byte(unit>>6&0x3f), 0x80|byte(unit&0x3f))
			default:
				out = utf8.AppendRune(out, unit)
			}
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		default:
			out = append(out, raw[i])
		}
	}
	return string(out)
}

func hex4(raw []byte) rune {
	value := rune(0)
	for _, b := range raw[:4] {
		value = value<<4 | rune(unhex(b))
	}
	return value
}
