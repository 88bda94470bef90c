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

// prefix is the width of the number that stands before every key and section: a file of 1 MiB has fewer than 10^7 lines.
const prefix = 7

// lex returns the key lines of one section (all sections of that name, in order) as uWSGI sees them. lines gives for
// each line of text the line of the file that it came from.
//
// ini.v1 does the cutting. Left to itself it would merge repeated keys, lose their order and line numbers, and eat
// quotes, backticks, backslashes and some blanks; so each key and header goes in with the number of its line before it,
// and with every byte that ini.v1 has an opinion about written as ~XX.
// uWSGI's own rules (what a comment, a header and a blank is) are those observed on 2.0.21.
func lex(text []byte, lines []int, section string) ([]item, error) {
	f, err := ini.LoadSources(ini.LoadOptions{
		IgnoreInlineComment:     true,
		IgnoreContinuation:      true,
		PreserveSurroundedQuote: true,
		KeyValueDelimiters:      "=",
	}, numbered(text))
	if err != nil {
		return nil, err
	}
	var items []item
	for _, sec := range f.Sections() {
		name := sec.Name()
		if len(name) < prefix || name == ini.DefaultSection || unescape(name[prefix:]) != section {
			continue
		}
		for _, k := range sec.Keys() {
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
	}
	return items, nil
}

// numbered rewrites the text for ini.v1.
func numbered(text []byte) []byte {
	out := bytes.NewBuffer(make([]byte, 0, len(text)+len(text)/2+64))
	header := false // what stands before the first one belongs to no section
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
			header = true
			fmt.Fprintf(out, "[%0*d", prefix, n)
			if len(line) > 1 {
				escape(out, line[1:len(line)-1], true)
			}
			out.WriteString("]\n")
		case header:
			fmt.Fprintf(out, "%0*d ", prefix, n)
			escape(out, line, false)
			if bytes.IndexByte(line, '=') < 0 {
				out.WriteByte('=')
			}
			out.WriteByte('\n')
		}
	}
	return out.Bytes()
}

// escape writes as ~XX what ini.v1 would touch. Blanks stay: it trims them where uWSGI does, and nowhere else once all
// other white space is escaped. In a header they are part of the name.
func escape(out *bytes.Buffer, text []byte, header bool) {
	const hex = "0123456789abcdef"
	for _, b := range text {
		blank := b == ' ' || b == '\t' || b == '\r'
		odd := b < 0x20 || b >= 0x7f || strings.IndexByte("~`\"'\\#;[]", b) >= 0
		if (blank && !header) || (!blank && !odd) {
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
