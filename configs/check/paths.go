package check

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/sockets/access"
)

// from is an absolute path: relative ones start at dir.
func from(dir, name string) string {
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(dir, name)
}

// names reports whether a value can be a path at all: one with an unresolved reference has a finding of its own.
func names(x configs.Setting) bool { return x.Value != "" && !x.Bare && !refers(x.Value) }

const owned = "write another path: it is not the application's, and a file that names it is no reason to give it away; if it should have it, let its owner grant it (setfacl)"

const moved = "move it out of root's home, for example to /srv"

// stuck says why the application's user does not get what it needs.
func (s *subject) stuck(x configs.Setting, o *obstacle, f Finding) {
	f.Place, f.Option, f.Value = x.Place, x.Key, x.Value
	switch {
	case o.hidden:
		f.Level, f.Code, f.Why, f.Mend, f.Runs = Note, CannotLook, "nothing can be said about it", "check as root", false
	case !o.missing:
		f.Code = NoAccess
		f.Mend, f.Runs = o.mend, o.mend != ""
		switch {
		case o.move:
			f.Mend = moved
		case o.kept:
			f.Mend = owned
		}
	}
	if f.What == "" || !o.missing {
		f.What = fmt.Sprintf("%s: %s", x.Key, o.what)
	}
	s.add(f)
}

// paths checks the folders and files that the settings name, for the user that the application runs as.
func (s *subject) paths() {
	s.chdir = s.dir
	if x, ok := s.last("chdir"); ok && names(x) {
		s.chdir = from(s.dir, x.Value)
		f := Finding{Level: Error, Code: MissingFolder, Why: "the application does not start: it begins in this folder", Mend: "write the folder of the application, or: mkdir -p " + quote(s.chdir)}
		want := fs.FileMode(maySearch)
		if s.imports(s.chdir) {
			want |= mayRead
		}
		if end, o := s.reach(s.user, s.chdir, want); o != nil {
			s.stuck(x, o, f)
			s.chdir = ""
		} else if !end.Mode.IsDir() {
			f.Code, f.What, f.Mend, f.Runs = MissingFolder, fmt.Sprintf("%s: %s is no folder", x.Key, s.chdir), "write the folder of the application", false
			s.stuck(x, &obstacle{missing: true}, f)
			s.chdir = ""
		}
	}
	for _, option := range []string{"logto", "logto2", "daemonize", "daemonize2", "log-master", "pidfile", "safe-pidfile", "pidfile2", "safe-pidfile2"} {
		x, ok := s.last(option)
		if opt, _ := configs.Lookup(option); opt.Standing == configs.Never || opt.Standing == configs.Honoured && opt.Obeys&configs.ByVassal == 0 {
			continue // nothing is written there, which is said of the line
		}
		if ok && names(x) && filepath.IsAbs(x.Value) && !strings.HasPrefix(x.Value, "/dev/") && !strings.HasPrefix(x.Value, "/proc/") {
			s.writes(x)
		}
	}
	for _, option := range []string{"touch-reload", "touch-chain-reload", "touch-workers-reload"} {
		for _, x := range s.each(option) {
			if !names(x) || !filepath.IsAbs(x.Value) {
				continue
			}
			if _, o := s.reach(s.user, x.Value, 0); o != nil {
				as, safe := s.grant(x.Value)
				s.stuck(x, o, Finding{Level: Note, Code: MissingFile, Why: "nothing is reloaded until it is there and touched", Mend: as + "touch " + quote(x.Value), Runs: safe})
			}
		}
	}
}

// writes checks a file that the application's processes write: its folder, or the file itself where it is there.
func (s *subject) writes(x configs.Setting) {
	dir := filepath.Dir(filepath.Clean(x.Value))
	why := "uWSGI ends when it cannot open it"
	if end, o := s.reach(nil, x.Value, 0); o == nil && end.Mode.IsRegular() {
		if _, o := s.reach(s.user, x.Value, mayWrite); o != nil {
			s.stuck(x, o, Finding{Level: Warning, Why: why})
		}
		return
	}
	end, o := s.reach(s.user, dir, mayWrite|maySearch)
	f := Finding{Level: Warning, Code: MissingFolder, Why: why, Runs: true}
	switch {
	case o != nil && o.missing:
		f.Mend, f.Runs = s.makes(dir, "750")
		s.stuck(x, o, f)
	case o != nil:
		if s.user != nil && !o.hidden && !o.move && !o.kept && end.Mode.IsDir() && !may(s.user, end.Entry, mayWrite|maySearch) { // the folder is somebody else's: no mode bit for everybody is good advice
			way := ""
			if o.at != end.path {
				way = o.mend + " && "
			} else if !may(s.user, end.Entry, maySearch) {
				way = s.better(s.user, dir, access.Enter, "")
				if way != "" {
					way += " && "
				}
			}
			_, safe := s.grant(dir)
			o.mend = way + fmt.Sprintf("install -o %s -g %s -m 640 /dev/null %s", quote(s.user.Name), quote(s.groupName(s.user.GID)), quote(filepath.Clean(x.Value)))
			if !safe {
				o.kept, o.mend = true, ""
			}
		}
		s.stuck(x, o, f)
	case !end.Mode.IsDir():
		f.What, f.Runs = fmt.Sprintf("%s: %s is no folder", x.Key, dir), false
		s.stuck(x, &obstacle{missing: true}, f)
	}
}

// readable checks a file that the application's user reads.
func (s *subject) readable(x configs.Setting, path, why string) {
	end, o := s.reach(s.user, path, mayRead)
	f := Finding{Level: Error, Code: MissingFile, Why: why}
	switch {
	case o != nil:
		s.stuck(x, o, f)
	case end.Mode&fs.ModeType != 0:
		f.What = fmt.Sprintf("%s: %s is no file", x.Key, path)
		s.stuck(x, &obstacle{missing: true}, f)
	}
}

// included checks that the application's user may read what the file brings in: the emperor opens the vassal file itself,
// and nothing else, for it.
func (s *subject) included() {
	seen := map[string]bool{filepath.Base(s.path): true}
	for _, name := range s.opened {
		if seen[name] {
			continue
		}
		seen[name] = true
		if _, o := s.reach(s.user, filepath.Clean(join(s.dir, name)), mayRead); o != nil && !o.missing && !o.hidden {
			f := Finding{Place: s.mention(name), Level: Error, Code: NoAccess, Value: name, What: o.what, Why: "the configuration is read with the rights of the application's user", Mend: o.mend, Runs: o.mend != ""}
			switch {
			case o.move:
				f.Mend = moved
			case o.kept:
				f.Mend = owned
			}
			s.add(f)
		}
	}
}
