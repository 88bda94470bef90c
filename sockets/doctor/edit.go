package doctor

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/shell"
	"github.com/emperord/emperord/sockets/access"
)

// maxFile bounds a vassal file in bytes, as package configs does.
const maxFile = 1 << 20

// An option is a line that a vassal file is to have.
type option struct{ key, value string }

func (o option) String() string { return o.key + " = " + o.value }

// Set returns the command that sets one option in the vassal file that asks for the socket, or the words that say what to write
// there. Both are empty where the file says so already, or is not known.
func (s Socket) Set(key, value string) (command, note string) {
	if s.File == "" {
		return "", ""
	}
	return s.edit(option{key, value})
}

// edit returns the command that sets options in the vassal file, in the section of the socket: a line that sets one already is
// replaced, else a line is added behind the socket's. Lines are found by what they say, not by their numbers, so that the command
// does nothing to a file that has changed meanwhile, and nothing when it is run again. Where it cannot be done there is no command, and the
// note says what to write.
func (s Socket) edit(options ...option) (command, note string) {
	var words []string
	for _, o := range options {
		words = append(words, o.String())
	}
	byHand := fmt.Sprintf("write into %s: %s", s.File, strings.Join(words, " and "))
	path, err := filepath.EvalSymlinks(s.File) // sed -i would replace a link by a file
	if err != nil {
		return "", byHand
	}
	switch filepath.Ext(s.File) {
	case ".yml", ".yaml", ".json", ".js", ".xml":
		return "", byHand
	}
	text, settings, err := readFile(s.File)
	if err != nil {
		return "", byHand
	}
	f := script{path: path, text: text}
	for _, o := range options {
		if note := f.set(settings, filepath.Base(s.File), o); note != "" {
			return "", byHand + " (" + note + ")"
		}
	}
	if f.added != "" {
		f.steps = append(f.steps, f.behind+"a "+f.added+f.end)
	}
	if len(f.steps) == 0 {
		return "", ""
	}
	script := ""
	for _, step := range f.steps {
		script += " -e " + shell.Quote(step)
	}
	if len(f.steps) == 1 {
		script = " " + shell.Quote(f.steps[0])
	}
	return f.guard + access.AsOwner(path) + "sed -i" + script + " " + shell.Quote(path), ""
}

// readFile reads a vassal file with everything it includes, and asks no sources.
func readFile(file string) (text [][]byte, settings configs.Settings, err error) {
	raw, err := readMost(file)
	if err != nil {
		return nil, nil, err
	}
	dir := filepath.Dir(file)
	settings, err = configs.Read(configs.Reading{Args: []string{"--ini", filepath.Base(file)}, Dir: dir, Open: func(name string) (io.ReadCloser, error) {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		raw, err := readMost(name)
		return io.NopCloser(bytes.NewReader(raw)), err
	}})
	if settings != nil {
		err = nil // wrong values are other people's business
	}
	return bytes.Split(raw, []byte{'\n'}), settings, err
}

// readMost reads the begin of a file. Its owner may exchange it at any moment, so what was opened is looked at, not the name, and
// no FIFO may keep us waiting.
func readMost(name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// A script is what sed does to a file.
type script struct {
	path   string
	text   [][]byte
	steps  []string // replacements
	behind string   // the address of the line that new ones are put behind
	added  string   // those, in the form of sed's a
	end    string   // what the line ends with before the newline
	guard  string   // what is asked first, so that nothing is added twice
}

// set writes the script for one option. The note says why it cannot be done.
func (f *script) set(settings configs.Settings, name string, o option) (note string) {
	var set, socket *configs.Setting
	for i := range settings {
		x := &settings[i]
		opt, known := configs.Lookup(x.Key)
		switch {
		case !known:
		case opt.First() == o.key:
			set = x // the last one counts
		case opt.First() == "socket" || opt.First() == "uwsgi-socket":
			if socket == nil && x.Place.File == name && x.Place.Line > 0 {
				socket = x
			}
		}
	}
	switch {
	case set != nil && set.Value == o.value:
		return ""
	case set != nil && (set.Place.File != name || set.Place.Line == 0):
		return fmt.Sprintf("%s says %s = %s", set.Place, set.Key, set.Value)
	case set != nil:
		at, end, ok := f.address(set.Place.Line)
		if !ok {
			return "the line is no plain text"
		}
		f.steps = append(f.steps, fmt.Sprintf("%ss|.*|%s%s|", at, replacement(o.String()), end))
		return ""
	case socket == nil:
		return "the socket's line is in another file"
	}
	at, end, ok := f.address(socket.Place.Line)
	if !ok {
		return "the socket's line is no plain text"
	}
	if f.added != "" { // behind the line before
		f.added += end + `\n` + o.String()
	} else {
		f.behind, f.added = at, o.String()
		if !bytes.Contains(bytes.Join(append([][]byte{nil}, f.text...), []byte{'\n'}), []byte("\n"+o.String())) { // in another section it says nothing
			f.guard = fmt.Sprintf("grep -q %s %s || ", shell.Quote("^"+escape(o.String())), shell.Quote(f.path))
		}
	}
	f.end = end
	return ""
}

// address finds a line for sed: by all of its text, or by number and text where that text stands in the file more than once. end is
// what the file's lines end with before the newline.
func (f *script) address(number int) (address, end string, ok bool) {
	if number < 1 || number > len(f.text) {
		return "", "", false
	}
	line := f.text[number-1]
	body, cr := bytes.CutSuffix(line, []byte{'\r'})
	if slices.ContainsFunc(body, func(b byte) bool { return b < ' ' && b != '\t' || b >= 0x7f }) {
		return "", "", false
	}
	pattern := "^" + escape(string(body))
	if cr {
		pattern, end = pattern+`\r`, `\r`
	}
	same := 0
	for _, other := range f.text {
		if bytes.Equal(other, line) {
			same++
		}
	}
	if same > 1 {
		return fmt.Sprint(number), end, true
	}
	if !strings.Contains(pattern, "|") { // paths are easier to read without \/
		return `\|` + strings.ReplaceAll(pattern, `\/`, "/") + "$|", end, true
	}
	return "/" + pattern + "$/", end, true
}

// escape makes a basic regular expression that matches the text alone.
func escape(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		if strings.IndexByte(`\/.*[]^$`, c) >= 0 {
			b.WriteByte('\\')
		}
		if c == '\t' {
			b.WriteString(`\t`)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// replacement makes the right side of sed's s.
func replacement(text string) string {
	return strings.NewReplacer(`\`, `\\`, "&", `\&`, "|", `\|`).Replace(text)
}
