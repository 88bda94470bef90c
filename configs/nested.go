package configs

import (
	"os"
	"slices"
	"strings"
	"time"
)

// isEmperor tells whether a vassal file is an emperor's: it names vassals of its own.
func isEmperor(settings Settings) bool {
	return slices.ContainsFunc(settings, func(s Setting) bool { return firstName(s.Key) == "emperor" })
}

func firstName(key string) string {
	opt, known := Lookup(key)
	if !known {
		return ""
	}
	return opt.First()
}

// stopTime is how long an emperor takes, beside its own mercy, to end what its vassals have left.
const stopTime = 3 * time.Second

// nest fills the answer for a vassal that is an emperor. In uWSGI it may have workers beside; here an application has a file
// of its own.
func (r *Resolution) nest(settings Settings, said []string, refused error) error {
	e, notices, err := ParseEmperor(settings)
	if err = Join(settings, refused, err); err != nil {
		return err
	}
	for _, s := range settings {
		switch name := firstName(s.Key); {
		case slices.Contains([]string{"socket", "uwsgi-socket", "http-socket", "http11-socket", "http", "https", "https-socket", "fastcgi-socket", "scgi-socket", "shared-socket"}, name):
			return wrong(s, "is for an application, and this file is an emperor's", "move the application's lines into a vassal file of its own, below "+bare(e.Sources[0]))
		case name == "emperor-tyrant" && e.Tyrant && os.Geteuid() != 0:
			return wrong(s, "makes each vassal's owner its user, which takes root, and this emperor runs as a vassal without root", "remove the line: its vassals run as this file's owner")
		}
	}
	r.Settings, r.UID, r.GID, r.Emperor = settings, e.UID, e.GID, true
	r.Notices = append(said, notices...)
	r.Mercy = int((e.Mercy + stopTime) / time.Second)
	r.bound()
	return nil
}

// bare is a source without its scheme.
func bare(source string) string {
	for _, scheme := range []string{"dir://", "glob://"} {
		source = strings.TrimPrefix(source, scheme)
	}
	return source
}
