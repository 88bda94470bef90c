package check

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/emperord/emperord/configs"
)

// itself looks at the file: whether there is one, and how its name would be read.
func (s *subject) itself() bool {
	_, end, err := s.walk(s.path)
	name := filepath.Base(s.path)
	link, _ := s.lstat(s.path)
	if strings.Contains(name, ":") {
		s.add(Finding{Place: s.whole(), Level: Error, Code: FileName, What: "the file's name holds a colon",
			Why: "what stands behind the last colon is taken for a section's name, and another file is looked for", Mend: "mv -nT " + quote(s.file.Path) + " " + quote(s.shown+strings.ReplaceAll(name, ":", "-")), Runs: true})
		return false
	}
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist) && link.Mode.Type() == linkMode:
		target, _ := s.System.Readlink(s.path)
		s.add(Finding{Place: s.whole(), Level: Error, Code: Symlink, What: "the file is a link to " + target + ", which is not there", Why: "the emperor takes it for no vassal", Mend: "rm " + quote(s.file.Path), Runs: true})
		return false
	default:
		s.add(Finding{Place: s.whole(), Level: Error, Code: CannotRead, What: "the file cannot be looked at: " + err.Error()})
		return false
	}
	s.entry = end.Entry
	if !end.Mode.IsRegular() {
		s.add(Finding{Place: s.whole(), Level: Error, Code: CannotRead, What: fmt.Sprintf("it is not a regular file (%s)", end.Mode), Why: "the emperor takes it for no vassal"})
		return false
	}
	if link.Mode.Type() == linkMode {
		s.add(Finding{Place: s.whole(), Level: Note, Code: Symlink, What: "the file is a link to " + end.path, Why: "the owner of that file counts (now " + s.userName(end.UID) + "), and its change reloads"})
	}
	if t := s.read(s.path); t.err != nil {
		f := Finding{Place: s.whole(), Level: Error, Code: CannotRead, What: "the file cannot be read: " + reason(t.err), Why: "nothing can be said about what is in it"}
		if errors.Is(t.err, fs.ErrPermission) {
			f.Why, f.Mend = f.Why+"; an emperor that runs as root can read it", "check as root, or as "+s.userName(end.UID)
		}
		s.add(f)
		return false
	}
	return true
}

// owner is the user that the file makes the application's in tyrant mode.
func (s *subject) owner() *User {
	u := s.run.user(strconv.Itoa(s.entry.UID))
	if u == nil {
		return nil
	}
	again := *u
	again.GID = s.entry.GID
	if !slices.Contains(again.Groups, again.GID) {
		again.Groups = append([]int{again.GID}, again.Groups...)
	}
	return &again
}

// identify finds out who the application runs as.
func (s *subject) identify() {
	uid, hasUID := s.last("uid")
	gid, hasGID := s.last("gid")
	byOwner := s.tyrant || !s.known && s.entry.UID != 0
	switch {
	case s.User != "":
		s.user = s.run.user(s.User)
	case byOwner:
		if s.entry.UID != 0 { // root's file is refused, and whose it will be is not known
			s.user = s.owner()
		}
		s.overruled(uid, hasUID, gid, hasGID)
	case hasUID:
		if s.user = s.run.user(uid.Value); s.user == nil {
			s.nobody(uid, "user", "the application does not start")
		}
	case s.emperor != nil && s.emperor.UID != "":
		s.user = s.run.user(s.emperor.UID)
	case s.known:
		s.user = s.run.user("0")
		s.add(Finding{Place: s.whole(), Level: Warning, Code: RunsAsRoot, What: "the application would run as root: the file has no uid, and the emperor is not in tyrant mode",
			Why: "whoever breaks into the application has the machine", Mend: "write uid = USER and gid = GROUP, or start emperord with --emperor-tyrant"})
	}
	if hasGID && !byOwner && s.User == "" {
		if g := s.group(gid.Value); g == nil {
			s.nobody(gid, "group", "the application does not start")
		} else if s.user != nil {
			again := *s.user
			again.GID, again.Groups = g.GID, append([]int{g.GID}, again.Groups...)
			s.user = &again
		}
	}
	if s.user == nil {
		return
	}
	s.file.User = s.user.Name
	if s.user.UID == 0 && hasUID && !byOwner && s.User == "" {
		s.add(Finding{Place: uid.Place, Level: Warning, Code: RunsAsRoot, Option: uid.Key, Value: uid.Value, What: "the application would run as root",
			Why: "whoever breaks into the application has the machine", Mend: "write uid = USER with a user of the application's own"})
	}
}

// nobody says that a user or group does not exist.
func (s *subject) nobody(x configs.Setting, kind, why string) {
	if refers(x.Value) || x.Value == "" {
		return
	}
	word, group, _ := strings.Cut(x.Value, ":")
	if kind == "group" && group != "" {
		word = group
	}
	f := Finding{Place: x.Place, Level: Error, Code: UnknownUser, Option: x.Key, Value: x.Value, What: fmt.Sprintf("%s: there is no %s %q", x.Key, kind, clip(word)), Why: why,
		Mend: "useradd --system --user-group " + quote(word), Runs: true}
	uid, _ := s.last("uid")
	switch {
	case kind == "user" && s.group(word) != nil:
		f.Mend = fmt.Sprintf("useradd --system --gid %s %s", quote(word), quote(word))
	case kind == "group" && (uid.Value != word || s.run.user(word) != nil): // else the user's own group, which useradd makes
		f.Mend = "groupadd --system " + quote(word)
	}
	switch {
	case s.entry.UID == 0: // root's own word
	case s.user != nil:
		f.Mend, f.Runs = fmt.Sprintf("write %s, who the application runs as, or one of its groups", s.user.Name), false
	default:
		f.Mend, f.Runs = "write one that is there; or: "+f.Mend, false
	}
	s.add(f)
}

// overruled says which uid and gid the owner of the file makes meaningless.
func (s *subject) overruled(uid configs.Setting, hasUID bool, gid configs.Setting, hasGID bool) {
	mode := "in tyrant mode the file's owner counts"
	if !s.known {
		mode = "in tyrant mode, which this check assumes for a file that is not root's, the owner counts"
	}
	say := func(x configs.Setting, is, mend string) {
		s.add(Finding{Place: x.Place, Level: Warning, Code: UIDIgnored, Option: x.Key, Value: x.Value, What: fmt.Sprintf("%s = %s has no effect: the file belongs to %s", x.Key, clip(x.Value), is),
			Why: mode, Mend: mend})
	}
	if u := s.run.user(uid.Value); hasUID && (u == nil || u.UID != s.entry.UID) {
		mend := "remove the line"
		if u != nil && u.UID != 0 {
			mend = "remove the line, or: chown " + quote(u.Name) + " " + quote(s.file.Path)
		}
		say(uid, s.userName(s.entry.UID), mend)
	}
	if g := s.group(gid.Value); hasGID && (g == nil || g.GID != s.entry.GID) {
		mend := "remove the line"
		if g != nil && g.GID != 0 {
			mend = "remove the line, or: chgrp " + quote(g.Name) + " " + quote(s.file.Path)
		}
		say(gid, "the group "+s.groupName(s.entry.GID), mend)
	}
}

// secrets are parts of names of variables that hold what nobody else should read.
var secrets = []string{"PASSWORD", "PASSWD", "SECRET", "TOKEN", "API_KEY", "APIKEY", "PRIVATE_KEY", "ACCESS_KEY", "DATABASE_URL", "DB_PASS"}

// rights judges owner and mode of the vassal file.
func (s *subject) rights() {
	e, path := s.entry, quote(s.file.Path)
	owner, group := "USER", "GROUP"
	if uid, ok := s.last("uid"); ok && s.run.user(uid.Value) != nil && s.run.user(uid.Value).UID != 0 {
		u := s.run.user(uid.Value)
		owner, group = u.Name, s.groupName(u.GID)
	}
	switch {
	case e.UID == 0 && (s.tyrant || !s.known):
		f := Finding{Place: s.whole(), Level: Error, Code: OwnerRoot, What: "the file belongs to root", Why: "in tyrant mode the owner is who the application runs as, and root is refused",
			Mend: fmt.Sprintf("chown %s:%s %s", owner, group, path), Runs: owner != "USER"}
		if !s.tyrant {
			f.Level, f.Why = Note, "good without tyrant mode; in tyrant mode the owner is who the application runs as, and root is refused"
		}
		s.add(f)
	case s.tyrant && e.GID == 0:
		u := s.run.user(strconv.Itoa(e.UID))
		own := "GROUP"
		if u != nil && u.GID != 0 {
			own = s.groupName(u.GID)
		}
		s.add(Finding{Place: s.whole(), Level: Error, Code: OwnerRoot, What: "the file's group is root", Why: "in tyrant mode the group is what the application runs with, and root's is refused", Mend: "chgrp " + own + " " + path, Runs: own != "GROUP"})
	}
	switch {
	case e.Mode&0o002 != 0:
		f := Finding{Place: s.whole(), Level: Error, Code: Writable, What: fmt.Sprintf("everybody may write the file (mode %04o)", e.Mode.Perm()), Why: "everybody could run programs as the application's user; tyrant mode refuses it", Mend: "chmod o-w " + path, Runs: true}
		s.add(f)
	case e.Mode&0o020 != 0 && !(s.user != nil && e.GID == s.primary(e.UID)):
		f := Finding{Place: s.whole(), Level: Warning, Code: Writable, What: fmt.Sprintf("the members of the group %s may write the file (mode %04o)", s.groupName(e.GID), e.Mode.Perm()), Why: "they could run programs as the application's user", Mend: "chmod g-w " + path, Runs: true}
		if u := s.run.user(strconv.Itoa(e.UID)); s.tyrant && (u == nil || e.GID != u.GID && !slices.Contains(u.Groups, e.GID)) {
			f.Level, f.Why = Error, f.Why+"; tyrant mode refuses it, since the owner is none of them"
		}
		s.add(f)
	}
	if e.UID != 0 && (s.tyrant || !s.known) {
		s.way()
	}
	if e.Mode&0o004 == 0 {
		return
	}
	for _, x := range s.each("env") {
		name, value, _ := strings.Cut(x.Value, "=")
		if x.Place.File == s.whole().File && value != "" && slices.ContainsFunc(secrets, func(w string) bool { return strings.Contains(strings.ToUpper(name), w) }) {
			s.add(Finding{Place: x.Place, Level: Note, Code: SecretReadable, Option: x.Key, What: fmt.Sprintf("%s stands in a file that everybody may read (mode %04o)", clip(strings.TrimSpace(name)), e.Mode.Perm()),
				Why: "every user of the machine has it; the emperor needs no more than the owner's right", Mend: "chmod o-r " + path, Runs: true})
			return
		}
	}
}

// primary is the primary group of a user, -1 where it has none.
func (s *subject) primary(uid int) int {
	if u := s.run.user(strconv.Itoa(uid)); u != nil {
		return u.GID
	}
	return -1
}
