package check

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// A vassal file that is not root's is a stranger's wish, and the commands that are printed for it are run by root: none may give
// its owner more than its own places. Otherwise "logto = /etc/systemd/system/ssh.service.d/x" has root make a folder of the tenant's
// whose files root obeys.

// grant tells whether a command about a path may be printed to be run. as is put before it: where the place belongs to the
// application's user, that user makes it, and the kernel judges.
func (s *subject) grant(path string) (as string, safe bool) {
	if s.entry.UID == 0 {
		return "", true
	}
	fair := true // root's alone from end to end, so that nobody leads the command elsewhere
	way, end, err := s.trail(path, func(folder, found step) {
		kept := folder.Mode.Perm()&0o022 == 0 || folder.Mode&fs.ModeSticky != 0 // in /tmp everybody moves its own
		fair = fair && folder.UID == 0 && found.UID == 0 && kept
	})
	at, place := end.path, end
	if err != nil {
		var b *broken
		if !errors.As(err, &b) || len(way) == 0 {
			return "", false
		}
		at, place = b.at, way[len(way)-1]
	}
	switch {
	case s.user != nil && s.user.UID != 0 && place.UID == s.user.UID && place.Mode.IsDir():
		return fmt.Sprintf("setpriv --reuid=%d --regid=%d --clear-groups ", s.user.UID, s.user.GID), true
	case fair && place.UID == 0 && place.Mode.Perm()&0o022 == 0:
		return "", applications(at, err != nil)
	}
	return "", false
}

// system are the top folders whose contents are the machine's (hier(7)).
var system = []string{"bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "root", "run", "sbin", "sys", "usr", "var"}

// applications tells whether a place is one where applications are kept.
func applications(path string, missing bool) bool {
	if path == "/var/www" || strings.HasPrefix(path, "/var/www/") || missing && filepath.Dir(path) == "/var/log" {
		return true
	}
	top, _, below := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return below && !slices.Contains(system, top)
}

// ours is put before a command that root runs only if it knows the place to be the application's.
const ours = "write another path; or, if this one is meant to be the application's: "

// makes writes the command that makes a folder for the application's user, or says who is to judge about that.
func (s *subject) makes(dir, mode string) (mend string, runs bool) {
	as, safe := s.grant(dir)
	switch {
	case as != "":
		mend = fmt.Sprintf("%sinstall -d -m %s %s", as, mode, quote(dir))
	case s.user == nil || s.user.UID == 0:
		mend = fmt.Sprintf("install -d -m %s %s", mode, quote(dir))
	default:
		mend = fmt.Sprintf("install -d -o %s -g %s -m %s %s", quote(s.user.Name), quote(s.groupName(s.user.GID)), mode, quote(dir))
	}
	if !safe {
		mend = ours + mend
	}
	return mend, safe
}
