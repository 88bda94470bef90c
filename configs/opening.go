package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"
)

// schemes are uWSGI's names of what is not a file. Any other word before "://" is part of a file's name, file:// too.
var schemes = []string{"exec", "fd", "http", "emperor", "data", "sym", "section", "call", "callint"}

// cutScheme splits a name into scheme and rest. "-" is standard input.
func cutScheme(name string) (scheme, rest string, ok bool) {
	if name == "-" {
		return "fd", "0", true
	}
	for _, s := range schemes {
		if rest, ok := strings.CutPrefix(name, s+"://"); ok {
			return s, rest, true
		}
	}
	return "", "", false
}

// splitSection cuts "file:section" at the last colon, whatever follows it. Behind a scheme what holds a slash is no
// section: http://host:8080/x has none. "-" and a section is a file called "-".
func splitSection(name string) (file, section string) {
	i := strings.LastIndexByte(name, ':')
	if i < 0 {
		return name, ""
	}
	if _, _, ok := cutScheme(name); ok && strings.IndexByte(name[i:], '/') >= 0 {
		return name, ""
	}
	return name[:i], name[i+1:]
}

// source opens a name with a scheme for a setting.
func (r *reader) source(s Setting, scheme, rest string) (io.ReadCloser, error) {
	switch scheme {
	case "data", "sym", "section", "call", "callint":
		return nil, &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "names a part of the uwsgi program itself (" + scheme + "://), which emperord does not have", Remedy: "write that configuration into a file, or let exec:// print it"}
	}
	if r.Source == nil {
		return nil, notYet(s, "is not a file but "+scheme+"://, and here only files are read", "it is opened when the application is started, with the rights of its user")
	}
	f, err := r.Source(scheme, rest)
	if err != nil {
		return nil, &Error{outside: true, Place: s.Place, Option: s.Key, Value: s.Value, Cause: "cannot be read: " + err.Error()}
	}
	return f, nil
}

// contents returns the bytes that a setting names, of a file or of a source with a scheme.
func (r *reader) contents(s Setting, name string) ([]byte, error) {
	if r.files++; r.files > maxFiles {
		return nil, &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: fmt.Sprintf("is file number %d of this configuration", r.files), Remedy: fmt.Sprintf("read at most %d files", maxFiles)}
	}
	if name == "" {
		return nil, unreadable(s, fs.ErrNotExist)
	}
	var f io.ReadCloser
	var err error
	scheme, rest, isSource := cutScheme(name)
	if isSource {
		if f, err = r.source(s, scheme, rest); err != nil {
			return nil, err
		}
	} else if f, err = r.open(name); err != nil {
		return nil, unreadable(s, err)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	ended := f.Close()
	switch {
	case errors.Is(err, syscall.EISDIR): // a folder is an empty file to uWSGI
		return nil, nil
	case err != nil && isSource:
		return nil, &Error{outside: true, Place: s.Place, Option: s.Key, Value: s.Value, Cause: "cannot be read: " + err.Error()}
	case err != nil:
		return nil, unreadable(s, err)
	case len(raw) > maxFile && isSource:
		return nil, &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "gives more than 1 MiB", Remedy: "name a source of configuration"}
	case len(raw) > maxFile:
		return nil, &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "names a file of more than 1 MiB", Remedy: "name a configuration file"}
	case ended != nil && isSource: // uWSGI takes what there is and does not look at how a program has ended
		r.say(s.Place, fmt.Sprintf("%s: %v; what it gave was taken, as in uWSGI", name, ended))
	}
	return raw, nil
}

// inject puts the texts of inject-before and inject-after around a file's own, and answers which line of the file a
// line of the whole is. uWSGI opens what they name anew for every file, and not before there is one.
func (r *reader) inject(raw []byte) (text []byte, place func(file string, line int) Place, err error) {
	if len(r.before) == 0 && len(r.after) == 0 {
		return raw, func(file string, line int) Place { return Place{File: file, Line: line} }, nil
	}
	before, err := r.injected(r.before)
	if err != nil {
		return nil, nil, err
	}
	after, err := r.injected(r.after)
	if err != nil {
		return nil, nil, err
	}
	first := bytes.Count(before, []byte{'\n'})
	last := first + bytes.Count(raw, []byte{'\n'}) + 1
	if bytes.HasSuffix(raw, []byte{'\n'}) {
		last--
	}
	text = bytes.Join([][]byte{before, raw, after}, nil)
	return text, func(file string, line int) Place {
		switch {
		case line <= first:
			return Place{File: "inject-before", Line: line}
		case line > last:
			return Place{File: "inject-after", Line: line - last}
		}
		return Place{File: file, Line: line - first}
	}, nil
}

// injected reads what such options name, one behind the other.
func (r *reader) injected(by []Setting) ([]byte, error) {
	var all []byte
	for _, s := range by {
		raw, err := r.contents(s, s.Value)
		if err != nil {
			return nil, err
		}
		if scheme, _, ok := cutScheme(s.Value); ok && scheme == "exec" && len(raw) == 0 { // as a file of its own it may be empty
			return nil, &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "prints nothing, at which uWSGI ends", Remedy: "let it print at least a line feed, or remove the line"}
		}
		if len(all)+len(raw) > maxFile {
			return nil, &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "makes more than 1 MiB to be put into every file", Remedy: "inject less"}
		}
		all = append(all, raw...)
	}
	return all, nil
}
