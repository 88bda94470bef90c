package check

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/emperord/emperord/configs"
)

// python checks what the interpreter needs. It only looks for files; nothing is imported.
func (s *subject) python() {
	home := s.home()
	module, hasModule := s.last("module")
	file, hasFile := s.last("wsgi-file")
	switch {
	case hasModule && names(module):
		if s.chdir != "" {
			s.module(module, home)
		}
	case hasFile && names(file) && (s.chdir != "" || filepath.IsAbs(file.Value)):
		s.readable(file, from(s.chdir, file.Value), "the application does not start: this is its file")
	}
	for _, x := range s.each("pythonpath") {
		if !names(x) || s.chdir == "" && !filepath.IsAbs(x.Value) {
			continue
		}
		path := from(s.chdir, x.Value)
		if found := s.glob(path); len(found) > 0 { // as the option does
			path = found[0]
		}
		if _, o := s.reach(s.user, path, 0); o != nil {
			f := Finding{Level: Warning, Code: MissingFolder, Why: "Python looks for modules there, and passes over what is missing", Mend: "remove the line"}
			if strings.Contains(x.Value, ":") {
				f.Mend = "one line for each folder: a colon does not separate them"
			}
			s.stuck(x, o, f)
		}
	}
}

// home checks the virtual environment and returns its folder; "" where there is none to look in.
func (s *subject) home() string {
	x, ok := s.last("home")
	if !ok || !names(x) {
		return ""
	}
	home := from(s.dir, x.Value)
	f := Finding{Level: Error, Code: MissingVirtualenv, Why: "the application does not start: its interpreter is there", Mend: "python3 -m venv " + quote(home), Runs: true}
	if as, safe := s.grant(home); safe {
		f.Mend = as + f.Mend
	} else {
		f.Mend, f.Runs = ours+f.Mend, false
	}
	if end, o := s.reach(s.user, home, maySearch); o != nil {
		s.stuck(x, o, f)
		return ""
	} else if !end.Mode.IsDir() {
		f.What, f.Runs, f.Mend = fmt.Sprintf("%s: %s is no folder", x.Key, home), false, "write the folder of the virtual environment"
		s.stuck(x, &obstacle{missing: true}, f)
		return ""
	}
	again := f
	again.Mend = fmt.Sprintf("python3 -m venv %s.new, install the requirements there, and write %s = %s.new", quote(home), x.Key, home)
	again.Runs = false
	var first *obstacle
	for _, name := range []string{"python3", "python"} {
		path := filepath.Join(home, "bin", name)
		_, o := s.reach(s.user, path, maySearch)
		if o == nil {
			s.version(x, home, path)
			return home
		}
		if target, err := s.System.Readlink(path); err == nil && o.missing {
			again.What = fmt.Sprintf("%s: the virtual environment is broken: %s leads to %s, which is not there", x.Key, path, target)
			s.stuck(x, o, again)
			return ""
		}
		if first == nil || first.missing {
			first = o
		}
	}
	if first.missing {
		f.What = fmt.Sprintf("%s: %s is no virtual environment: it has no bin/python", x.Key, home)
	}
	s.stuck(x, first, f)
	return ""
}

// version compares what the environment was made for with the interpreter that it has now.
func (s *subject) version(x configs.Setting, home, python string) {
	t := s.read(filepath.Join(home, "pyvenv.cfg"))
	if t.err != nil {
		return
	}
	_, end, err := s.walk(python)
	if err != nil {
		return
	}
	is, found := strings.CutPrefix(filepath.Base(end.path), "python")
	if !found || !strings.Contains(is, ".") {
		return
	}
	for line := range strings.Lines(string(t.raw)) {
		name, value, _ := strings.Cut(line, "=")
		parts := strings.SplitN(strings.TrimSpace(value), ".", 3)
		if strings.TrimSpace(name) != "version" && strings.TrimSpace(name) != "version_info" || len(parts) < 2 {
			continue
		}
		if was := parts[0] + "." + parts[1]; was != is {
			s.add(Finding{Place: x.Place, Level: Error, Code: MissingVirtualenv, Option: x.Key, Value: x.Value, What: fmt.Sprintf("%s: the virtual environment was made for Python %s, and its interpreter is now Python %s", x.Key, was, is),
				Why: fmt.Sprintf("Python %s does not look into lib/python%s, where its packages are", is, was), Mend: "python3 -m venv --upgrade " + quote(home) + ", and install the requirements again"})
		}
		return
	}
}

// module looks for the application's module where Python would: the working folder, pythonpath, the packages of the
// virtual environment or of the system.
func (s *subject) module(x configs.Setting, home string) {
	dotted, _, _ := strings.Cut(x.Value, ":")
	parts := strings.Split(dotted, ".")
	if slices.ContainsFunc(parts, func(p string) bool { return p == "" || strings.ContainsAny(p, "/ \t()") }) {
		return
	}
	own := []string{s.chdir}
	places, sure := s.packages(home)
	for _, p := range s.each("pythonpath") {
		if names(p) {
			own = append(own, s.glob(from(s.chdir, p.Value))...)
		}
	}
	for _, e := range s.each("env") {
		if path, ok := strings.CutPrefix(e.Value, "PYTHONPATH="); ok {
			for _, p := range strings.Split(path, ":") {
				own = append(own, from(s.chdir, p))
			}
		}
	}
	if slices.ContainsFunc(own, func(p string) bool { e, err := s.follow(p); return err == nil && e.Mode.IsRegular() }) {
		return // an archive, which is not opened
	}
	for _, dir := range append(own, places...) {
		at, ok := s.within(dir, parts)
		if ok && s.unlisted(x, dir, parts) {
			return
		}
		if ok {
			if _, o := s.reach(s.user, at, mayRead); o != nil {
				s.stuck(x, o, Finding{Level: Error, Code: MissingModule, Why: "the application does not start: its module cannot be read"})
			}
			return
		}
		if at != "" { // the package is there, and Python looks for the rest of the name in it only
			s.add(Finding{Place: x.Place, Level: Error, Code: MissingModule, Option: x.Key, Value: x.Value, What: fmt.Sprintf("%s: the package %s has no module %s: there is no %s.py below %s", x.Key, parts[0], dotted, strings.Join(parts, "/"), dir),
				Why: "the application does not start: Python takes the first package of that name", Mend: "write the module that holds the application"})
			return
		}
	}
	f := Finding{Place: x.Place, Level: Error, Code: MissingModule, Option: x.Key, Value: x.Value, What: fmt.Sprintf("%s: no module %s is in %s", x.Key, parts[0], strings.Join(own, ", ")),
		Why: "the application does not start: Python looks in the working folder, in pythonpath and among the installed packages", Mend: "write chdir or pythonpath with the folder that holds " + parts[0] + ".py or " + parts[0] + "/"}
	if parts[len(parts)-1] == "py" {
		f.What = fmt.Sprintf("%s: %s is a file's name, and Python would look for a module py in a package %s", x.Key, dotted, strings.Join(parts[:len(parts)-1], "."))
		f.Mend = fmt.Sprintf("%s = %s, or wsgi-file = %s.py", x.Key, strings.TrimSuffix(dotted, ".py")+strings.TrimPrefix(x.Value, dotted), strings.Join(parts[:len(parts)-1], "/"))
	} else if !sure {
		f.Level, f.Why = Warning, "Python also looks in places that files (*.pth) or its own installation name, which this check does not read"
	}
	s.add(f)
}

// imports tells whether the application's module lies in a folder, so that Python has to list it.
func (s *subject) imports(dir string) bool {
	x, named := s.last("module")
	if !named || !names(x) {
		return false
	}
	dotted, _, _ := strings.Cut(x.Value, ":")
	first, _, _ := strings.Cut(dotted, ".")
	if first == "" || strings.ContainsAny(first, "/ \t()") {
		return false
	}
	_, ok := s.within(dir, []string{first})
	return ok
}

// unlisted finds a folder on the way to a module that may be entered and not be read: Python finds modules by listing the
// folders (importlib's FileFinder), so there the module is missing though its file can be read.
func (s *subject) unlisted(x configs.Setting, dir string, parts []string) bool {
	for i := range parts {
		folder := filepath.Join(append([]string{dir}, parts[:i]...)...)
		if _, o := s.reach(s.user, folder, mayRead|maySearch); o != nil {
			s.stuck(x, o, Finding{Level: Error, Code: MissingModule, Why: "the application does not start: Python lists the folders in which it looks for modules, and finds none where it may not"})
			return true
		}
	}
	return false
}

// within looks for a dotted name below a folder. at without ok is a package that lacks the rest.
func (s *subject) within(dir string, parts []string) (at string, ok bool) {
	for i, part := range parts {
		path := filepath.Join(dir, part)
		end, err := s.follow(path)
		isDir := err == nil && end.Mode.IsDir()
		initial := ""
		if isDir {
			initial = filepath.Join(path, "__init__.py")
			if _, err := s.follow(initial); err != nil {
				initial = ""
			}
		}
		if i == len(parts)-1 {
			if initial != "" {
				return initial, true
			}
			for _, ending := range []string{".py", ".pyc", ".so", ".abi3.so"} {
				if e, err := s.follow(path + ending); err == nil && e.Mode.IsRegular() {
					return path + ending, true
				}
			}
			if s.compiled(dir, part) != "" {
				return s.compiled(dir, part), true
			}
			if isDir && i > 0 {
				return path, true // a package without __init__.py
			}
			return at, false
		}
		if !isDir {
			if i == 0 {
				return "", false
			}
			return at, false
		}
		if initial != "" && i == 0 {
			at = path
		}
		dir = path
	}
	return at, false
}

// compiled finds part.cpython-311-x86_64-linux-gnu.so.
func (s *subject) compiled(dir, part string) string {
	list, more, err := s.System.List(dir, 10000)
	if err != nil || more {
		return ""
	}
	for _, name := range list {
		if strings.HasPrefix(name, part+".") && strings.HasSuffix(name, ".so") {
			return filepath.Join(dir, name)
		}
	}
	return ""
}
