package configs

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf16"
)

// A format is one way to write a configuration. All of them end in the same list of keys, values and lines; what comes
// after that (logic, immediate options, references) is the same for all.
type format struct {
	name string

	// decode makes the bytes of a file, whose magic variables are replaced already, into the text that cut reads. A *fault
	// counts in the text that it returns, and line ends stay line ends. Nil: the bytes are the text.
	decode func(raw []byte) ([]byte, error)

	// cut returns the settings of one section.
	cut func(text []byte, at *counter, section string) (cut, error)
}

var (
	formatINI  = format{name: "INI", cut: lexINI}
	formatYAML = format{name: "YAML", decode: yamlText, cut: lexYAML}
	formatJSON = format{name: "JSON", decode: plainJSON, cut: lexJSON}
	formatXML  = format{name: "XML", decode: xmlText, cut: lexXML}
)

// formatOf tells a file's format by its ending, in lower case as for uWSGI.
func formatOf(name string) (format, bool) {
	switch filepath.Ext(name) {
	case ".ini":
		return formatINI, true
	case ".yaml", ".yml":
		return formatYAML, true
	case ".json", ".js":
		return formatJSON, true
	case ".xml":
		return formatXML, true
	}
	return format{}, false
}

// HasFormat tells whether a file's ending is that of a format.
func HasFormat(name string) bool {
	_, known := formatOf(name)
	return known
}

// maxVassalName is the longest name of a vassal's file in bytes that uWSGI's emperor takes.
const maxVassalName = 254

// IsVassal tells whether an emperor takes a file of this name, or path, for a vassal's: its ending is that of a format, or one
// of extra (emperor-extra-extension).
func IsVassal(name string, extra []string) bool {
	ends := func(e string) bool { return e != "" && strings.HasSuffix(name, e) }
	return len(filepath.Base(name)) <= maxVassalName && (HasFormat(name) || slices.ContainsFunc(extra, ends))
}

// A cut is what a format has found in a file.
type cut struct {
	items   []item
	found   bool     // the section is there
	remarks []remark // what uWSGI passes over in silence
}

// A remark is something that the writer of a file would want to know: we read as uWSGI does, and say so.
type remark struct {
	line int
	text string
}

func (c *cut) add(key, value string, line int) { c.items = append(c.items, item{key, value, line}) }

func (c *cut) remark(line int, text string) {
	if len(c.remarks) < maxRemarks {
		c.remarks = append(c.remarks, remark{line, text})
	}
}

const (
	maxNesting = 250 // collections or elements inside each other, in YAML, JSON and XML; libxml2 allows 256
	maxRemarks = 20  // of one file
)

// A fault is what is wrong with a text, and where.
type fault struct {
	at            int // offset
	cause, remedy string
}

func (f *fault) Error() string { return f.cause }

func notUTF8(at int) error { return &fault{at, "this byte is not UTF-8", "save the file as UTF-8"} }

// read returns what a file holds. lines gives for each line of raw the line of the file that it came from. Every error is
// an *Error.
func (f format) read(file string, raw []byte, lines []int, section string) (cut, error) {
	text, err := raw, error(nil)
	if f.decode != nil {
		text, err = f.decode(raw)
	}
	at := &counter{text: text, lines: lines}
	var c cut
	if err == nil {
		c, err = f.cut(text, at, section)
	}
	if err == nil {
		return c, nil
	}
	e := &Error{Place: Place{File: file}, Cause: "cannot be read as " + f.name + ": " + err.Error()}
	var wrong *fault
	if errors.As(err, &wrong) {
		e.Place.Line, e.Remedy = at.line(wrong.at), wrong.remedy
	}
	return c, e
}

// remarks puts file and line before what a format remarked.
func (r *reader) remarks(file string, c cut) {
	for _, remark := range c.remarks {
		r.say(Place{File: file, Line: remark.line}, remark.text)
	}
}

// A counter turns offsets into lines.
type counter struct {
	text  []byte
	lines []int
	ends  []int // offsets of the line ends, found when first wanted
}

func (c *counter) line(offset int) int {
	if c.ends == nil {
		c.ends = make([]int, 0, len(c.lines))
		for i, b := range c.text {
			if b == '\n' {
				c.ends = append(c.ends, i)
			}
		}
	}
	n, _ := slices.BinarySearch(c.ends, offset)
	return c.lines[min(n, len(c.lines)-1)]
}

// fromUTF16 decodes a text that begins with the byte order mark of UTF-16; any other is returned as it is.
func fromUTF16(raw []byte) (text []byte, decoded bool) {
	if len(raw) < 2 || !(raw[0] == 0xff && raw[1] == 0xfe || raw[0] == 0xfe && raw[1] == 0xff) {
		return raw, false
	}
	units := make([]uint16, 0, len(raw)/2)
	for i := 0; i+1 < len(raw); i += 2 {
		unit := uint16(raw[i]) | uint16(raw[i+1])<<8
		if raw[0] == 0xfe {
			unit = unit<<8 | unit>>8
		}
		units = append(units, unit)
	}
	return []byte(string(utf16.Decode(units))), true
}
