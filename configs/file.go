package configs

import (
	"bytes"
	"fmt"
	"strings"

	"gopkg.in/ini.v1"
)

// An item is one key and value of a file.
type item struct {
	key, value string
	line       int // in the file, from 1
}

// lexINI is lex as a format.
func lexINI(text []byte, at *counter, section string) (cut, error) {
	items, err := lex(text, at.lines, section)
	return cut{items: items, found: len(items) > 0}, err
}

// prefix is the width of the number that stands before every key: a file of 1 MiB has fewer than 10^7 lines.
const prefix = 7

// lex returns the key lines of one section (all sections of that name, in order) as uWSGI sees them. lines gives for
// each line of text the line of the file that it came from.
//
// ini.v1 does the cutting. Left to itself it would merge repeated keys, lose their order and line numbers, and eat
// quotes, backticks, backslashes and some blanks; so each key goes in with the number of its line before it,
// and with every byte that ini.v1 has an opinion about written as ~XX.
// uWSGI's own rules (what a comment, a header and a blank is) are those observed on 2.0.21.
//
// It sees one section and few lines at a time: it looks through all keys at each new one, and a hostile file may have half a
// million.
func lex(text []byte, lines []int, section string) ([]item, error) {
	const few = 64
	var items []item
	chunk := bytes.NewBuffer(make([]byte, 0, 4096))
	inside, held := false, 0 // what stands before the first header belongs to no section
	for n := 0; len(text) > 0; n++ {
		line, rest, _ := bytes.Cut(text, []byte{'\n'})
		text = rest
		if nul := bytes.IndexByte(line, 0); nul >= 0 {
			line = line[:nul]
		}
		line = bytes.Trim(line, " \t\r")
		switch {
		case len(line) == 0 || line[0] == '#' || line[0] == ';':
		case line[0] == '[': // the name goes up to the last byte, whatever that is
			name := line[1:]
			inside = string(name[:max(len(name)-1, 0)]) == section
		case inside:
			number(chunk, line, n)
			held++
		}
		if held == few || (len(text) == 0 && held > 0) {
			more, err := keyLines(chunk.Bytes(), lines)
			if err != nil {
				return nil, err
			}
			items = append(items, more...)
			chunk.Reset()
			held = 0
		}
	}
	return items, nil
}

// keyLines cuts a few numbered lines.
func keyLines(chunk []byte, lines []int) ([]item, error) {
	f, err := ini.LoadSources(ini.LoadOptions{
		IgnoreInlineComment:     true,
		IgnoreContinuation:      true,
		PreserveSurroundedQuote: true,
		KeyValueDelimiters:      "=",
	}, chunk)
	if err != nil {
		return nil, err
	}
	var items []item
	for _, k := range f.Section("").Keys() {
		number := 0
		for _, digit := range k.Name()[:prefix] {
			number = number*10 + int(digit-'0')
		}
		items = append(items, item{
			key:   unescape(strings.TrimLeft(k.Name()[prefix:], " \t\r")),
			value: unescape(k.Value()),
			line:  lines[number],
		})
	}
	return items, nil
}

// number writes one key line with its number before it.
func number(out *bytes.Buffer, line []byte, n int) {
	fmt.Fprintf(out, "%0*d ", prefix, n)
	escape(out, line)
	if bytes.IndexByte(line, '=') < 0 {
		out.WriteByte('=')
	}
	out.WriteByte('\n')
}

// escape writes as ~XX what ini.v1 would touch. Blanks stay: it trims them where uWSGI does, and nowhere else once all
// other white space is escaped.
func escape(out *bytes.Buffer, text []byte) {
	const hex = "0123456789abcdef"
	for _, b := range text {
		blank := b == ' ' || b == '\t' || b == '\r'
		odd := b < 0x20 || b >= 0x7f || strings.IndexByte("~`\"'\\#;[]", b) >= 0
		if blank || !odd {
			out.WriteByte(b)
			continue
		}
		out.Write([]byte{'~', hex[b>>4], hex[b&15]})
	}
}

func unescape(s string) string {
	if strings.IndexByte(s, '~') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '~' && i+2 < len(s) {
			out = append(out, nibble(s[i+1])<<4|nibble(s[i+2]))
			i += 2
			continue
		}
		out = append(out, s[i])
	}
	return string(out)
}

func nibble(b byte) byte {
	if b >= 'a' {
		return b - 'a' + 10
	}
	return b - '0'
}
