package emperor

import (
	"path/filepath"
	"slices"

	"go.uber.org/zap"

	"github.com/emperord/emperord/pidfile"
)

// writePidfiles writes the pid files that the configuration names. Whichever of uWSGI's moments their option stands for,
// they are written when the start can hardly fail any more.
func (e *Emperor) writePidfiles() error {
	var paths []string
	for _, path := range []string{e.c.Pidfile, e.c.EmperorPidfile, e.c.SafePidfile, e.c.Pidfile2, e.c.SafePidfile2} {
		if path == "" {
			continue
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(e.o.Dir, path)
		}
		if path = filepath.Clean(path); slices.Contains(paths, path) {
			continue
		}
		f, err := pidfile.Write(path, true)
		if err != nil {
			return err
		}
		paths, e.pidfiles = append(paths, path), append(e.pidfiles, f)
	}
	return nil
}

// removePidfiles removes them.
func (e *Emperor) removePidfiles() {
	for _, f := range e.pidfiles {
		if err := f.Remove(); err != nil {
			e.log.Warn("a pid file is left", zap.Error(err))
		}
	}
	e.pidfiles = nil
}
