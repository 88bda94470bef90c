package vassal

import (
	"path/filepath"
	"slices"

	"github.com/emperord/emperord/pidfile"
)

// writePidfiles writes the pid files of the configuration. It happens when the application accepts requests, so that
// during a reload by the emperor they name the old generation until the new one is there. An application is worth more than its
// pid file: where one cannot be written, that is said.
func (s *supervisor) writePidfiles() {
	var paths []string
	for _, o := range []struct{ name, path, from string }{
		{"pidfile", s.app.Pidfile, ""}, {"pidfile2", s.app.Pidfile2, s.app.Chdir},
		{"safe-pidfile", s.app.SafePidfile, s.app.Chdir}, {"safe-pidfile2", s.app.SafePidfile2, s.app.Chdir},
	} {
		if o.path == "" {
			continue
		}
		path := o.path
		for _, above := range []string{o.from, s.dir} {
			if !filepath.IsAbs(path) {
				path = filepath.Join(above, path)
			}
		}
		if slices.Contains(paths, path) {
			continue
		}
		paths = append(paths, path)
		f, err := pidfile.Write(path, false)
		if err != nil {
			s.say("%s%v", prefix(s.app.place(o.name)), err)
			continue
		}
		s.pidfiles = append(s.pidfiles, f)
	}
}

// removePidfiles removes those that no other generation has written since.
func (s *supervisor) removePidfiles() {
	for _, f := range s.pidfiles {
		if err := f.Remove(); err != nil {
			s.say("%v", err)
		}
	}
}
