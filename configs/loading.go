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
	file, section string
	depth         int
	up            *link
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

// ini reads what `ini = NAME` names: file, file:section, or :section of the last INI file opened.
func (r *reader) ini(s Setting, from *link) error {
	file, section := splitSection(s.Value)
	if err := unsupportedScheme(s, file); err != nil {
		return err
	}
	if file == "" && section != "" {
		if r.lastINI == "" {
			return &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "names a section but no file, and no INI file was opened before", Remedy: "write FILE" + s.Value}
		}
		r.names.o, r.names.x = "", section
		return r.load(s, r.lastINI, section, from)
	}
	r.names = names{reader: r, file: file, o: file, x: section}
	if r.first == nil {
		first := r.names
		r.first = &first
	}
	return r.load(s, file, section, from)
}

// byEnding reads a file of include, inherit or the bare command line, which have no sections of their own and whose
// format is told by the ending.
func (r *reader) byEnding(s Setting, from *link) error {
	if err := unsupportedScheme(s, s.Value); err != nil {
		return err
	}
	switch filepath.Ext(s.Value) {
	case ".ini":
		r.names = names{reader: r, file: s.Value, o: s.Value}
		return r.load(s, s.Value, "", from)
	case ".yaml", ".yml", ".json", ".js", ".xml":
		return notYet(s, "names a file that is not INI: YAML, JSON and XML are not supported yet", "write it as INI")
	}
	e := &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "has no ending that tells its format", Remedy: "give the file the ending .ini"}
	if file, section := splitSection(s.Value); section != "" && filepath.Ext(file) == ".ini" {
		e.Cause, e.Remedy = "asks for a section, which only the option ini can", "write ini = "+s.Value
	}
	return e
}

// splitSection cuts "file:section" at the last colon. A colon before a slash belongs to the name.
func splitSection(name string) (file, section string) {
	i := strings.LastIndexByte(name, ':')
	if i < 0 || strings.HasPrefix(name[i+1:], "/") {
		return name, ""
	}
	return name[:i], name[i+1:]
}

// unsupportedScheme refuses the sources that are not files.
func unsupportedScheme(s Setting, name string) error {
	if name == "-" || strings.Contains(name, "://") {
		return notYet(s, "is not a file: reading a configuration from standard input, exec://, fd:// and the like is not supported yet", "write it into a file")
	}
	return nil
}

// notYet is the fault of a text that uWSGI would understand.
func notYet(s Setting, cause, remedy string) *Error {
	return &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: cause, Remedy: remedy, unsupported: true}
}

// load reads one section of one INI file and adds its settings, here and now. Its magic variables are r.names.
func (r *reader) load(s Setting, file, section string, from *link) error {
	here := &link{file: file, section: section, up: from}
	for l := from; l != nil; l = l.up {
		here.depth++
		if l.file == file && l.section == section {
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
	text, lines := r.magic(raw)
	r.lastINI = file
	wanted := section
	if wanted == "" {
		wanted = "uwsgi"
	}
	items, err := lex(text, lines, wanted)
	if err != nil {
		return &Error{Place: Place{File: file}, Cause: "cannot be read as INI: " + err.Error()}
	}
	if len(items) == 0 {
		r.notices = append(r.notices, fmt.Sprintf("%s: there is no section [%s], or it is empty; nothing was read from it", file, wanted))
	}
	for _, it := range items {
		if err := r.add(Setting{Key: it.key, Value: it.value, Place: Place{File: file, Line: it.line}}, here, false); err != nil {
			return err
		}
	}
	return nil
}

// contents returns the bytes of a file that a setting names.
func (r *reader) contents(s Setting, name string) ([]byte, error) {
	if r.files++; r.files > maxFiles {
		return nil, &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: fmt.Sprintf("is file number %d of this configuration", r.files), Remedy: fmt.Sprintf("read at most %d files", maxFiles)}
	}
	f, err := r.open(name)
	if err != nil {
		return nil, unreadable(s, err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, unreadable(s, err)
	}
	if len(raw) > maxFile {
		return nil, &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "names a file of more than 1 MiB", Remedy: "name a configuration file"}
	}
	return raw, nil
}

func unreadable(s Setting, err error) *Error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	e := &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "names a file that cannot be read: " + err.Error(), Remedy: "write the name of a file that is there and may be read"}
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
