package nginxconf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A Directive is one directive as it stands in a file: the name, its words without quotes, and the directives of its
// block. What stood in place of an include stands here in place of it.
type Directive struct {
	Name  string
	Args  []string
	File  string // as opened: absolute where Read was given an absolute path
	Line  int
	Block []Directive
	Opens bool // it has a block, which may be empty
}

// A Fault is something that nginx refuses, or that could not be read.
type Fault struct {
	File  string
	Line  int // 0: the file as a whole
	Cause string
	// Unread is true where the fault may be ours alone: the file is there, but who asks may not read it, or it is beyond
	// a limit of this package. nginx may well take it.
	Unread bool
}

// Error returns "FILE:LINE: cause".
func (f Fault) Error() string {
	if f.Line == 0 {
		return fmt.Sprintf("%s: %s", f.File, f.Cause)
	}
	return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Cause)
}

// A Config is what nginx's main file and all that it includes say.
type Config struct {
	File       string // the main file
	Directives []Directive
	Files      []string // every file read, once, in order
	Faults     []Fault  // nginx does not load a configuration that has one (but see Fault.Unread); what could be read is here all the same
}

// Read reads the configuration with the main file path, which has to be absolute. Relative includes are looked for in
// the main file's folder, whichever file includes them, as in nginx. The error is for the main file only, where it
// cannot be read at all; all else is in Config.Faults.
func Read(path string) (*Config, error) {
	r := &reader{config: &Config{File: path}, prefix: filepath.Dir(path), seen: map[string]bool{}}
	text, err := r.load(path)
	if err != nil {
		return nil, err
	}
	r.config.Directives = r.file(path, text, true, 0)
	return r.config, nil
}

// Parse reads the text of one file, without what it includes.
func Parse(name, text string) *Config {
	r := &reader{config: &Config{File: name, Files: []string{name}}, alone: true}
	r.config.Directives = r.file(name, text, true, 0)
	return r.config
}

type reader struct {
	config *Config
	prefix string
	seen   map[string]bool
	open   []string // the files that are being read: each includes the next
	files  int
	bytes  int
	kept   int
	alone  bool
	full   bool
}

func (r *reader) fault(f Fault) {
	if len(r.config.Faults) < maxFaults {
		r.config.Faults = append(r.config.Faults, f)
	}
}

// load returns the text of a file.
func (r *reader) load(path string) (string, error) {
	if r.files++; r.files > maxFiles {
		return "", &Fault{File: path, Cause: fmt.Sprintf("more than %d files are included", maxFiles), Unread: true}
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0) // no FIFO may keep us waiting
	if err != nil {
		return "", unreadable(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", unreadable(path, err)
	case !info.Mode().IsRegular():
		return "", &Fault{File: path, Cause: "it is no plain file"}
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return "", unreadable(path, err)
	case len(text) > maxFile:
		return "", &Fault{File: path, Cause: fmt.Sprintf("it is larger than %d bytes, and was not read", maxFile), Unread: true}
	}
	if r.bytes += len(text); r.bytes > maxTotal {
		return "", &Fault{File: path, Cause: fmt.Sprintf("all files together are larger than %d bytes; this one was not read", maxTotal), Unread: true}
	}
	if !r.seen[path] {
		r.seen[path] = true
		r.config.Files = append(r.config.Files, path)
	}
	return string(text), nil
}

func unreadable(path string, err error) *Fault {
	if errors.Is(err, fs.ErrPermission) {
		return &Fault{File: path, Cause: fmt.Sprintf("uid %d may not read it", os.Geteuid()), Unread: true}
	}
	var path2 *fs.PathError
	if errors.As(err, &path2) {
		err = path2.Err
	}
	return &Fault{File: path, Cause: err.Error()}
}

// Error values of load are *Fault.
var _ error = (*Fault)(nil)

// file reads the directives of one file, which has to close the blocks that it opens.
func (r *reader) file(path, text string, keep bool, depth int) []Directive {
	r.open = append(r.open, path)
	defer func() { r.open = r.open[:len(r.open)-1] }()
	s := &scanner{text: text, line: 1}
	all, how, err := r.block(s, path, keep, depth)
	if err == nil && how == endClose {
		err = &syntax{s.line, `unexpected "}"; it closes nothing that was opened in this file`}
	}
	var wrong *syntax
	if errors.As(err, &wrong) {
		r.fault(Fault{File: path, Line: wrong.line, Cause: wrong.cause})
	}
	return all
}

// apart are the blocks that hold values, not directives. Some are very long, and nothing in them names a socket.
var apart = map[string]bool{"map": true, "geo": true, "types": true, "split_clients": true, "charset_map": true}

// block reads directives up to "}" or the end of the file. With keep false they are only checked.
func (r *reader) block(s *scanner, path string, keep bool, depth int) (all []Directive, how end, err error) {
	if depth > maxDepth {
		return nil, 0, &syntax{s.line, fmt.Sprintf("more than %d blocks inside each other", maxDepth)}
	}
	for {
		words, line, how, err := s.next()
		if err != nil || how == endClose || how == endFile {
			return all, how, err
		}
		d := Directive{Name: words[0], Args: words[1:], File: path, Line: line, Opens: how == endOpen}
		switch {
		case d.Opens && strings.HasSuffix(d.Name, "_by_lua_block"):
			err = s.lua()
		case d.Opens:
			var closed end
			d.Block, closed, err = r.block(s, path, keep && !apart[d.Name], depth+1)
			if err == nil && closed == endFile {
				err = &syntax{s.line, fmt.Sprintf(`unexpected end of file; the "}" of %q on line %d is missing`, d.Name, line)}
			}
		case d.Name == "include" && keep && !r.alone:
			if len(d.Args) != 1 {
				return all, 0, &syntax{line, `invalid number of arguments in "include"; is the ";" missing?`}
			}
			all = append(all, r.include(d, depth)...)
			continue
		}
		if keep && r.keep(d) {
			all = append(all, d)
		}
		if err != nil {
			return all, 0, err
		}
	}
}

// keep counts a directive, and reports whether there is room for it.
func (r *reader) keep(d Directive) bool {
	if r.kept++; r.kept <= maxDirectives {
		return true
	}
	if !r.full {
		r.full = true
		r.fault(Fault{File: d.File, Line: d.Line, Cause: fmt.Sprintf("the configuration has more than %d directives; the rest was not looked at", maxDirectives), Unread: true})
	}
	return false
}

// include reads what an include names: one file that must be there, or a pattern that may match nothing.
func (r *reader) include(d Directive, depth int) (all []Directive) {
	name := d.Args[0]
	if !filepath.IsAbs(name) {
		name = filepath.Join(r.prefix, name)
	}
	name = filepath.Clean(name)
	if len(r.open) > maxIncludes {
		r.fault(Fault{File: d.File, Line: d.Line, Cause: fmt.Sprintf("more than %d includes inside each other", maxIncludes), Unread: true})
		return nil
	}
	files := []string{name}
	if strings.ContainsAny(name, "*?[") {
		var err error
		if files, err = glob(name); err != nil {
			r.fault(Fault{File: d.File, Line: d.Line, Cause: fmt.Sprintf("the pattern %s is broken", name)})
			return nil
		}
	}
	for _, file := range files {
		if cycle := r.cycle(file); cycle != "" {
			r.fault(Fault{File: d.File, Line: d.Line, Cause: "the files include each other without end: " + cycle})
			continue
		}
		text, err := r.load(file)
		var f *Fault
		if errors.As(err, &f) {
			r.fault(Fault{File: d.File, Line: d.Line, Cause: fmt.Sprintf("include %s: %s", file, f.Cause), Unread: f.Unread})
			continue
		}
		all = append(all, r.file(file, text, true, depth)...)
	}
	return all
}

// cycle returns "a → b → a" where file is being read already.
func (r *reader) cycle(file string) string {
	for i, open := range r.open {
		if open == file {
			return strings.Join(append(append([]string{}, r.open[i:]...), file), " → ")
		}
	}
	return ""
}

// glob is glob(3) with its flags of zero: unlike in Go, a wildcard does not match a dot at the beginning of a name.
func glob(pattern string) ([]string, error) {
	found, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	want := strings.Split(pattern, "/")
	kept := found[:0]
	for _, file := range found {
		hidden := false
		for i, part := range strings.Split(file, "/") {
			hidden = hidden || strings.HasPrefix(part, ".") && i < len(want) && !strings.HasPrefix(want[i], ".")
		}
		if !hidden {
			kept = append(kept, file)
		}
	}
	return kept, nil
}
