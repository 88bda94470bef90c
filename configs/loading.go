package configs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A link is one file that is being read, and the one that asked for it.
type link struct {
	file, section, format string
	depth                 int
	up                    *link
}

// String names the chain from the outermost file to this one.
func (l *link) String() string {
	if l == nil {
		return ""
	}
	name := l.file
	if l.section != "" {
		name += ":" + l.section
	}
	if l.up == nil {
		return name
	}
	return l.up.String() + " → " + name
}

// byOption reads what `ini = NAME` names, or yaml, json, xml: file, file:section, or :section of the last INI file opened.
func (r *reader) byOption(f format, s Setting, from *link) error {
	file, section := splitSection(s.Value)
	if file == "-" && s.Value != "-" {
		return unreadable(s, fs.ErrNotExist) // standard input has no sections; uWSGI looks for a file of this name
	}
	if _, _, ok := cutScheme(file); ok {
		r.names.o = file
		r.cutSection(f, s, file)
		return r.load(f, s, file, section, from)
	}
	if file == "" && section != "" {
		if f.name != formatINI.name {
			return &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "names a section but no file, which only the option ini can do", Remedy: "write FILE" + s.Value}
		}
		if r.lastINI == "" {
			return &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "names a section but no file, and no INI file was opened before", Remedy: "write FILE" + s.Value}
		}
		r.names.o, r.names.x = "", section
		if r.first == nil && r.inside == 0 { // %O comes later than %X
			first := names{x: section}
			r.first = &first
			defer func() { first.o = s.Value }()
		}
		return r.load(f, s, r.lastINI, section, from)
	}
	if f.name == formatXML.name && section == "" && strings.HasSuffix(s.Value, ":") {
		return &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "asks for an id and names none", Remedy: "write " + s.Key + " = " + file}
	}
	at := len(r.list) - 1
	r.names = names{reader: r, file: file, o: file, x: section}
	first := r.first == nil && r.inside == 0
	if first {
		r.first = &names{reader: r, file: file, o: file, x: section}
	}
	r.cutSection(f, s, file)
	err := r.load(f, s, file, section, from)
	if first && (s.Unlisted || r.list[at].Value == s.Value) {
		r.first.o = s.Value // once it is read, %O is the name with the section
	}
	return err
}

// cutSection takes the section from the value of the entry just read: for XML and JSON uWSGI cuts it off for good.
func (r *reader) cutSection(f format, s Setting, file string) {
	if (f.name == formatXML.name || f.name == formatJSON.name) && !s.Unlisted {
		r.list[len(r.list)-1].Value = file
	}
}

// byEnding reads a file of include, inherit or the bare command line, which have no sections of their own and whose
// format is told by the ending.
func (r *reader) byEnding(s Setting, from *link) error {
	if f, ok := formatOf(s.Value); ok {
		r.inside++
		defer func() { r.inside-- }()
		if _, _, ok := cutScheme(s.Value); ok {
			r.names.o = s.Value
		} else {
			r.names = names{reader: r, file: s.Value, o: s.Value}
		}
		return r.load(f, s, s.Value, "", from)
	}
	e := &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "has no ending that tells its format", Remedy: "give the file one of the endings .ini .yaml .yml .json .js .xml"}
	if file, section := splitSection(s.Value); section != "" {
		if _, ok := formatOf(file); ok {
			e.Cause, e.Remedy = "asks for a section, which only the options ini, yaml, json and xml can", fmt.Sprintf("write %s = %s", strings.TrimPrefix(filepath.Ext(file), "."), s.Value)
		}
	}
	return e
}

// notYet is the fault of a text that uWSGI would understand.
func notYet(s Setting, cause, remedy string) *Error {
	return &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: cause, Remedy: remedy, unsupported: true}
}

// load reads one section of one file and adds its settings, here and now. Its magic variables are r.names.
func (r *reader) load(f format, s Setting, file, section string, from *link) error {
	here := &link{file: file, section: section, format: f.name, up: from}
	for l := from; l != nil; l = l.up {
		here.depth++
		if l.file == file && l.section == section && l.format == f.name {
			return &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "closes a circle: " + here.String(), Remedy: "remove this line"}
		}
	}
	if here.depth >= maxDepth {
		return &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: fmt.Sprintf("is one file too many inside another: at most %d", maxDepth), Remedy: "include fewer files from included files"}
	}
	raw, err := r.contents(s, file)
	if err != nil {
		return err
	}
	raw, place, err := r.inject(raw)
	if err != nil {
		return err
	}
	text, lines := r.magic(raw)
	if lines == nil {
		return &Error{Place: s.Place, Option: s.Key, Value: clip(s.Value, 200), Cause: "names a file that becomes too long where its magic variables (%p, %x and the like) are replaced", Remedy: "use them less often, or name a shorter section"}
	}
	if f.name == formatINI.name {
		r.lastINI = file
	}
	wanted := section
	if wanted == "" && f.name != formatXML.name { // in XML it is an id, and any will do
		wanted = "uwsgi"
	}
	found, err := f.read(file, text, lines, wanted)
	if err != nil {
		return err
	}
	if !found.found {
		if err := r.absent(f, file, wanted); err != nil {
			return err
		}
	}
	r.remarks(file, found)
	for _, it := range found.items {
		if err := r.add(Setting{Key: it.key, Value: it.value, Place: place(file, it.line)}, here, false); err != nil {
			return err
		}
	}
	return nil
}

// absent is said of a file that has not got the section: uWSGI goes on, except with JSON.
func (r *reader) absent(f format, file, wanted string) error {
	switch f.name {
	case formatJSON.name:
		return &Error{Place: Place{File: file}, Cause: fmt.Sprintf("has no object %q", wanted), Remedy: `write {"` + wanted + `": {"key": "value"}}`}
	case formatYAML.name:
		r.say(Place{File: file}, fmt.Sprintf("there is no %q with options below it, each deeper than it on a line of its own; nothing was read from the file", wanted+":"))
	case formatXML.name:
		r.say(Place{File: file}, "the root element is empty and not <uwsgi>; nothing was read from the file")
	default:
		r.say(Place{File: file}, fmt.Sprintf("there is no section [%s], or it is empty; nothing was read from it", wanted))
	}
	return nil
}

func unreadable(s Setting, err error) *Error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	e := &Error{outside: true, Place: s.Place, Option: s.Key, Value: s.Value, Cause: "names a file that cannot be read: " + err.Error(), Remedy: "write the name of a file that is there and may be read"}
	switch {
	case hasReference(s.Value):
		e.Remedy = "references such as %(name) are not replaced here; magic variables such as %n and %d are"
	case !filepath.IsAbs(s.Value):
		e.Remedy = "a relative name starts at the folder where the program was started, not at the file; %d is the file's folder"
	}
	return e
}

// open opens a file by its name as written.
func (r *reader) open(name string) (io.ReadCloser, error) {
	if r.Open != nil {
		return r.Open(name)
	}
	return os.Open(r.path(name))
}

// path puts the working folder before a relative name. It does not clean: "link/.." means what the kernel takes it for.
func (r *reader) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return r.Dir + "/" + name
}
