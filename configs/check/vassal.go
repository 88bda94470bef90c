package check

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/emperord/emperord/configs"
)

// A text is a file's bytes as they were read.
type text struct {
	raw []byte
	err error
}

// A subject is one vassal file that is being checked.
type subject struct {
	*run
	file     *File
	path     string // absolute
	dir      string // the vassals' folder: the working folder of the reading
	shown    string // the same as the user wrote it
	settings configs.Settings
	passed   []Finding // what the reading passed over
	refusal  error     // values that the reading refused, beside the settings
	opened   []string  // names as written, in order
	sourced  bool      // something came from a source that was not asked
	unread   bool      // the file's section was not found, which is said
	user     *User     // who the application runs as; nil: not known
	entry    Entry
	chdir    string // absolute: where the application starts
}

// file checks one vassal file, or an emperor's own.
func (r *run) file(arg, section string) {
	if r.ctx.Err() != nil || len(r.report.Files) >= maxFiles {
		return
	}
	path, err := filepath.Abs(arg)
	key := path + "\x00" + section
	if err != nil || r.done[key] {
		return
	}
	r.done[key] = true
	r.report.Files = append(r.report.Files, File{Path: arg, Section: section, Kind: Vassal})
	at := len(r.report.Files) - 1
	f := File{Path: arg, Section: section, Kind: Vassal}
	s := &subject{run: r, file: &f, path: path, dir: filepath.Dir(path), shown: strings.TrimSuffix(arg, filepath.Base(arg))}
	emperor := s.check(section)
	r.report.Files[at] = f
	if emperor != nil && r.Follow {
		r.followed(emperor, s.dir)
	}
}

// followed checks the vassals of an emperor whose file is among the paths.
func (r *run) followed(e *configs.Emperor, dir string) {
	before := r.emperor
	r.obey(e)
	defer r.obey(before)
	for _, source := range e.Sources {
		source = bare(source)
		if !filepath.IsAbs(source) {
			source = filepath.Join(dir, source)
		}
		if err := r.path(source); err != nil {
			f := &r.report.Files[len(r.report.Files)-1]
			f.Findings = append(f.Findings, Finding{Place: configs.Place{File: f.Path}, Level: Warning, Code: MissingFolder,
				What: err.Error(), Why: "the emperor waits until it is there"})
		}
	}
}

// check fills the file's findings. It returns the settings of an emperor's own file.
func (s *subject) check(section string) *configs.Emperor {
	if !s.itself() {
		s.file.Kind = Unreadable
		return nil
	}
	name := filepath.Base(s.path)
	env := s.environment()
	source := s.source
	if s.Sources != nil {
		source = s.Sources(s.dir, env)
	}
	var err error
	s.settings, err = configs.Read(configs.Reading{Args: s.arguments(name, section), Env: env, Dir: s.dir,
		Open: s.opener(s.dir, func(n string) { s.opened = append(s.opened, n) }), Source: source, Notice: s.heard})
	if slices.ContainsFunc(s.settings, func(x configs.Setting) bool { return first(x.Key) == "emperor" }) {
		s.file.Kind = Emperor
	}
	s.lines(section, s.settings != nil)
	if s.refusal = err; s.settings == nil {
		s.faults(err, CannotRead)
		return nil
	}
	if s.file.Kind == Emperor {
		return s.emperorFile()
	}
	s.identify()
	for _, f := range s.passed {
		s.add(f)
	}
	s.keys()
	s.references()
	s.typed(func(list configs.Settings) ([]string, error) {
		_, notices, err := configs.ParseVassal(list)
		return notices, configs.Join(list, s.refusal, err)
	})
	s.included()
	s.overrides()
	s.conflicts()
	s.paths()
	s.python()
	s.sockets()
	s.rights()
	return nil
}

// arguments are the vassal's command line, as the emperor writes it. A file of another ending is looked at as INI.
func (s *subject) arguments(name, section string) []string {
	e := s.emperor
	if e == nil {
		e = &configs.Emperor{}
	}
	plain := *e
	plain.Wrapper = "" // it may have plugins for other endings
	if e.MagicExec && s.entry.Mode.Perm()&0o111 != 0 {
		return plain.ExecArguments(name)
	}
	return plain.Arguments(name, section)
}

// environment is what the vassal's reading sees of the emperor's.
func (s *subject) environment() []string {
	env := slices.Clone(s.Env)
	if u := s.owner(); u != nil && (s.tyrant || u.UID != 0) { // who the emperor lets read the file gets its own
		home := u.Home
		if home == "" {
			home = "/"
		}
		env = append(env, "USER="+u.Name, "LOGNAME="+u.Name, "SHELL=/bin/sh", "HOME="+home)
	}
	return append(env, "EMPERORD_VASSAL="+filepath.Base(s.path))
}

// opener opens the files that a reading names; each is read once in a run.
func (r *run) opener(dir string, seen func(string)) func(string) (io.ReadCloser, error) {
	return func(name string) (io.ReadCloser, error) {
		if seen != nil {
			seen(name)
		}
		t := r.read(join(dir, name))
		if t.err != nil {
			return nil, t.err
		}
		return io.NopCloser(bytes.NewReader(t.raw)), nil
	}
}

func join(dir, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return dir + "/" + name
}

// read returns a file's first bytes: one more than configs takes, so that it refuses what is too long.
func (r *run) read(path string) text {
	if t, ok := r.texts[path]; ok {
		return t
	}
	var t text
	f, err := r.System.Open(path)
	if err == nil {
		t.raw, err = io.ReadAll(io.LimitReader(f, maxFile+1))
		f.Close()
	}
	t.err = err
	if r.cached += len(t.raw); r.cached > maxCache {
		clear(r.texts)
		r.cached = len(t.raw)
	}
	r.texts[path] = t
	return t
}

// source is asked for what is not a file, where nothing is to be opened: it is shown and taken for empty.
func (s *subject) source(scheme, rest string) (io.ReadCloser, error) {
	s.sourced = true
	name := scheme + "://" + rest
	s.add(Finding{Place: s.mention(name), Level: Warning, Code: SourceShown, Value: name,
		What: name + " is named as a source of settings, and was not opened: what comes from there is not checked",
		Why:  "the vassal opens it at every start, as its own user: exec:// runs a program, http:// asks another machine",
		Mend: "to check with its answer: emperorctl check --exec " + quote(s.file.Path)})
	return io.NopCloser(strings.NewReader("")), nil
}

// mention finds the line that names a text.
func (s *subject) mention(name string) configs.Place {
	for _, file := range s.opened {
		n := 0
		for line := range bytes.Lines(s.read(join(s.dir, file)).raw) {
			if n++; bytes.Contains(line, []byte(name)) {
				return configs.Place{File: file, Line: n}
			}
		}
	}
	return s.whole()
}

// whole is the place of what is wrong with the file as a whole.
func (s *subject) whole() configs.Place { return configs.Place{File: filepath.Base(s.path)} }

// add takes a finding. One that stands in a file which several vassals include is said once.
func (s *subject) add(f Finding) {
	own := f.Place.File == filepath.Base(s.path)
	f.Place.File = s.name(f.Place.File)
	f.Place.File, f.Value, f.Option = configs.Printable(f.Place.File), configs.Printable(f.Value), configs.Printable(f.Option)
	f.What, f.Why, f.Mend = configs.Printable(f.What), configs.Printable(f.Why), configs.Printable(f.Mend)
	if !own {
		key := fmt.Sprint(f.Place, f.Code, f.What)
		if s.said[key] {
			return
		}
		s.said[key] = true
	}
	s.file.Findings = append(s.file.Findings, f)
}

// has reports whether there is a finding about an option at a place already.
func (s *subject) has(p configs.Place, option string) bool {
	p.File = configs.Printable(s.name(p.File))
	return slices.ContainsFunc(s.file.Findings, func(f Finding) bool { return f.Place == p && f.Option == configs.Printable(option) })
}

// refused reports whether there is an error about an option at a place already.
func (s *subject) refused(p configs.Place, option string) bool {
	p.File = configs.Printable(s.name(p.File))
	return slices.ContainsFunc(s.file.Findings, func(f Finding) bool {
		return f.Place == p && f.Option == configs.Printable(option) && f.Level == Error
	})
}

// name is a file's name as it is shown.
func (s *subject) name(file string) string {
	if filepath.IsAbs(file) || file == "command line" || file == "environment" || strings.Contains(file, "://") {
		return file
	}
	return s.shown + file
}

// at is a place as it is shown.
func (s *subject) at(p configs.Place) string {
	p.File = s.name(p.File)
	return p.String()
}

// faults takes what configs has refused.
func (s *subject) faults(err error, code Code) {
	for _, one := range failed(err) {
		var e *configs.Error
		if !errors.As(one, &e) {
			s.add(Finding{Place: s.whole(), Level: Error, Code: code, What: one.Error()})
			continue
		}
		f := Finding{Place: e.Place, Level: Error, Code: code, Option: e.Option, Value: e.Value, What: fault(e), Mend: e.Remedy, Why: "vassald refuses the file, and the application does not start"}
		if f.Place.Line == 0 && (f.Place.File == "" || f.Place.File == "command line") {
			f.Place = s.whole()
		}
		if s.file.Kind == Emperor {
			f.Why = "emperord does not start"
		}
		switch {
		case errors.Is(e, errors.ErrUnsupported):
			f.Code, f.Why = NotYet, "uWSGI understands it; emperord does not yet, and refuses the file rather than to leave it out"
		case e.Option == "" && code == WrongValue:
			f.Code = Incomplete
		}
		s.add(f)
	}
}

// fault writes an error of configs without its place and remedy.
func fault(e *configs.Error) string {
	text := e.Cause
	if e.Value != "" {
		text = strconv.Quote(clip(e.Value)) + " " + text
	}
	if e.Option != "" {
		text = e.Option + ": " + text
	}
	return text
}

// typed lets configs read the settings, without the wrong ones, until none is wrong: so that all are found.
func (s *subject) typed(parse func(configs.Settings) ([]string, error)) {
	list := slices.Clone(s.settings)
	removed := false
	for range maxFaults {
		notices, err := parse(list)
		if err == nil {
			s.notices(notices)
			return
		}
		again := false
		for _, one := range failed(err) {
			var e *configs.Error
			if !errors.As(one, &e) || e.Option == "" {
				if !removed && !s.sourced && !s.unread { // what was removed, or not opened, may be what is missing
					s.faults(one, WrongValue)
				}
				continue
			}
			if !s.refused(e.Place, e.Option) {
				s.faults(one, WrongValue)
			}
			left := slices.DeleteFunc(slices.Clone(list), func(x configs.Setting) bool { return x.Place == e.Place && x.Key == e.Option })
			again = again || len(left) < len(list)
			list = left
		}
		removed = true
		if !again {
			s.notices(notices)
			return
		}
	}
}

// heard takes what the reading passes over. That an INI file has no section is said better by header.
func (s *subject) heard(at configs.Place, text string) {
	if at.Line > 0 || filepath.Ext(at.File) != ".ini" {
		f := Finding{Place: at, Level: Warning, Code: Notice, What: text}
		if rest, found := strings.CutPrefix(text, `option "`); found {
			option, what, _ := strings.Cut(rest, `" `)
			f.Option, f.What = option, option+" "+what
		}
		s.passed = append(s.passed, f)
	}
}

// notices takes what configs only warns of, where nothing better has been said about the same line.
func (s *subject) notices(list []string) {
	for _, n := range list {
		f := Finding{Place: s.whole(), Level: Warning, Code: Notice, What: n}
		before, rest, found := strings.Cut(n, `: option "`)
		if found {
			option, what, _ := strings.Cut(rest, `" `)
			file, line, hasLine := cutLast(before, ":")
			f.Place, f.Option, f.What = configs.Place{File: before}, option, option+" "+what
			if number, err := strconv.Atoi(line); hasLine && err == nil {
				f.Place = configs.Place{File: file, Line: number}
			}
			if s.has(f.Place, option) {
				continue
			}
			if s.ownWords(option) {
				continue
			}
		}
		s.add(f)
	}
}

func cutLast(text, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(text, sep); i >= 0 {
		return text[:i], text[i+len(sep):], true
	}
	return text, "", false
}

// reason is the last part of an error of the file system.
func reason(err error) string {
	var pe *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "is not there"
	case errors.Is(err, fs.ErrPermission):
		return "may not be looked at by who runs this check"
	case errors.As(err, &pe):
		return pe.Err.Error()
	}
	return err.Error()
}
