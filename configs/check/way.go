package check

import (
	"fmt"
	"io/fs"
	"slices"
	"strconv"
)

// way looks for somebody who could have put the file where it is, though it is not his: a folder or a link on the way that
// belongs to another than root, the file's owner and the owner of the vassals' folder. The emperor refuses that in tyrant
// mode, because the file's owner may never have meant the file to be run (emperor/path.go).
func (s *subject) way() {
	owner := s.userName(s.entry.UID)
	trusted := []int{0, s.entry.UID}
	if e, err := s.follow(s.dir); err == nil {
		trusted = append(trusted, e.UID)
	}
	f := Finding{Place: s.whole(), Level: Error, Code: OthersWay, Why: "in tyrant mode the owner of the file is who the application runs as; what a stranger could have put there is refused"}
	if !s.tyrant {
		f.Level = Warning
	}
	links, found := 0, false
	say := func(uid int, what, mend string) {
		if found || slices.Contains(trusted, uid) {
			return
		}
		found = true
		who := "everybody"
		if uid >= 0 {
			who = s.userName(uid)
		}
		again := f
		again.What, again.Mend, again.Runs = fmt.Sprintf("%s could have put another file of %s's there: %s", who, owner, what), mend, true
		s.add(again)
	}
	var last Entry // the folder that holds the file
	_, _, _ = s.trail(s.path, func(folder, entry step) {
		last = folder.Entry
		mode := folder.Mode.Perm()
		switch {
		case folder.Mode&fs.ModeSticky == 0 || folder.UID != 0:
			say(folder.UID, fmt.Sprintf("the folder %s is %s's", folder.path, s.userName(folder.UID)), "chown root "+quote(folder.path))
			if mode&0o002 != 0 {
				say(-1, fmt.Sprintf("the folder %s may be written by all (%s)", folder.path, s.run.rights(folder.Entry)), "chmod o-w "+quote(folder.path))
			}
		case mode&0o022 != 0: // only the entry's owner can move it
			say(entry.UID, fmt.Sprintf("%s is %s's", entry.path, s.userName(entry.UID)), "chown -h "+quote(owner)+" "+quote(entry.path))
		}
		if entry.Mode.Type() == linkMode {
			links++
			say(entry.UID, fmt.Sprintf("the link %s is %s's", entry.path, s.userName(entry.UID)), "chown -h "+quote(owner)+" "+quote(entry.path))
		}
	})
	shared := last.UID != 0 || last.Mode.Perm()&0o022 != 0
	u := s.run.user(strconv.Itoa(s.entry.UID))
	if found || u == nil || s.entry.GID == 0 || !shared && links == 0 || slices.Contains(u.Groups, s.entry.GID) {
		return
	}
	f.What = fmt.Sprintf("the file's group %s is none of %s's", s.groupName(s.entry.GID), owner)
	f.Mend, f.Runs = "chgrp "+quote(s.groupName(u.GID))+" "+quote(s.file.Path), true
	s.add(f)
}
