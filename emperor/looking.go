package emperor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/shell"
)

// look compares what is there with what was there and reports the difference.
func (m *monitor) look() {
	m.raised = map[string]bool{}
	begin := time.Now()
	now := make(map[string]sighting, len(m.seen))
	for _, s := range m.sources {
		found, err := s.look(m.scout, m.extra, m.of)
		if err != nil {
			m.complain("look "+s.pattern, err)
			m.keep(s, now) // nothing is known: nothing has changed
			continue
		}
		delete(m.wrong, "look "+s.pattern)
		if m.vanished(s, found.seen) {
			m.keep(s, now)
			continue
		}
		m.recall(&found)
		for _, b := range found.passed {
			m.complainOf(ownerOf(b.path), "passed "+b.path, b.err)
		}
		for _, v := range found.seen {
			if first, taken := now[v.name]; taken && first.path != v.path {
				if first.dev == v.dev && first.ino == v.ino { // by two ways
					continue
				}
				if m.seen[v.name].path == v.path { // who was there first stays, whatever the order of the sources
					first, v = v, first
					now[v.name] = first
				}
				m.complainOf(v.maker, "twice "+v.path, fmt.Errorf("cannot take %s: another vassal has the same name, %s; rename one of them", v.path, first.path))
				continue
			}
			now[v.name] = v
		}
	}
	m.linger(now)
	m.limit(now)
	if n, example := m.scout.silent(); n > 0 {
		m.complainOf(0, "silent", fmt.Errorf("%d files or folders of the sources do not answer, for example %s; what was known there counts on; see that their file system answers: timeout 5 stat -f %s", n, example, shell.Word(example)))
	}
	for about, c := range m.wrong {
		if c.file && !m.raised[about] {
			delete(m.wrong, about)
		}
	}
	changes := differences(m.seen, now, m.again)
	m.seen, m.looked, m.touched = now, begin, map[string]bool{}
	if len(changes) > 0 {
		m.report(changes)
	}
}

// again tells whether a file may have changed once more within what its file system takes for the same moment: the kernel has
// told of it, and the last change was so young at the look before that another one had the same time.
func (m *monitor) again(v sighting) bool {
	if _, gone := m.lapsed[v.name]; gone || !m.touched[v.path] {
		return false
	}
	moment := 10 * time.Millisecond // a tick of the kernel, at most
	if v.nsec == 0 {
		moment = 2 * time.Second // FAT; others, and ext4 made with small inodes, have a second
	}
	return time.Unix(v.sec, v.nsec).Add(moment).After(m.looked)
}

// note remembers an event on a vassal file that is known.
func (m *monitor) note(path string) {
	for _, name := range []string{filepath.Base(path), path} {
		if v, known := m.seen[name]; known && v.path == path {
			m.touched[path] = true
		}
	}
}

// differences are in the order of the names. again tells what has changed although it looks the same.
func differences(before, now map[string]sighting, again func(sighting) bool) []change {
	var changes []change
	for name, old := range before {
		if _, there := now[name]; !there {
			changes = append(changes, change{old, Gone{}})
		}
	}
	for name, v := range now {
		old, known := before[name]
		switch {
		case known && (old.uid != v.uid || old.gid != v.gid):
			changes = append(changes, change{v, Reowned{}})
		case !known || old != v || again(old):
			changes = append(changes, change{v, Seen{}})
		}
	}
	slices.SortFunc(changes, func(a, b change) int { return strings.Compare(a.name, b.name) })
	return changes
}

// recall adds to a view what was seen before where the view is blind, or where a folder holds more than a look takes:
// nobody is pushed out by who comes later.
func (m *monitor) recall(found *view) {
	if len(found.blind)+len(found.packed)+len(found.silent) == 0 {
		return
	}
	there := map[string]bool{}
	for _, v := range found.seen {
		there[v.path] = true
	}
	hidden := map[string]bool{}
	for _, b := range found.blind {
		hidden[b.path] = true
	}
	for _, path := range found.silent {
		hidden[path] = true
	}
	for _, old := range m.seen {
		switch {
		case there[old.path]:
		case within(hidden, old.path):
			found.seen = append(found.seen, old)
		case slices.Contains(found.packed, filepath.Dir(old.path)):
			silent := len(found.silent)
			if found.sight([]sighting{old}, m.of); len(found.silent) > silent {
				found.seen = append(found.seen, old)
			}
		}
	}
	for _, b := range found.blind {
		m.complainOf(ownerOf(b.path), "blind "+b.path, fmt.Errorf("%w; what was known there counts on", b.err))
	}
	for _, folder := range found.packed {
		m.complainOf(ownerOf(folder), "packed "+folder, fmt.Errorf("cannot take all of %s: it holds more than %d vassal files; remove some", folder, maxNames))
	}
}

// linger takes files that have just gone for what is there now, until lapse is over. One that has only got another name
// goes at once.
func (m *monitor) linger(now map[string]sighting) {
	for name := range m.lapsed {
		if _, there := now[name]; there {
			delete(m.lapsed, name)
		}
	}
	var renamed map[[2]uint64]bool
	for name, old := range m.seen {
		if _, there := now[name]; there {
			continue
		}
		if renamed == nil {
			renamed = map[[2]uint64]bool{}
			for other, v := range now {
				if before, known := m.seen[other]; !known || before != v {
					renamed[[2]uint64{v.dev, v.ino}] = true
				}
			}
		}
		since, noted := m.lapsed[name]
		switch {
		case renamed[[2]uint64{old.dev, old.ino}], noted && time.Since(since) >= lapse:
			delete(m.lapsed, name)
			continue
		case !noted:
			m.lapsed[name] = time.Now()
		}
		now[name] = old
	}
}

// within tells whether a path or a folder above it is in the list.
func within(list map[string]bool, path string) bool {
	for !list[path] {
		up := filepath.Dir(path)
		if up == path {
			return false
		}
		path = up
	}
	return true
}

// ownerOf returns who has made what stands at path, 0 if that cannot be told.
func ownerOf(path string) uint32 {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return 0
	}
	return st.Uid
}

// limit leaves out what one user has beyond its number: what was not there before goes first, then what comes last in
// the alphabet. Root may have any number.
func (m *monitor) limit(now map[string]sighting) {
	if m.most == 0 || len(now) <= m.most {
		return
	}
	of := map[uint32][]string{}
	for name, v := range now {
		if v.maker != 0 {
			of[v.maker] = append(of[v.maker], name)
		}
	}
	for uid, names := range of {
		if len(names) <= m.most {
			continue
		}
		slices.SortFunc(names, func(a, b string) int {
			oldA, oldB := m.seen[a].maker == uid, m.seen[b].maker == uid // root's are not counted: no file is 0's by being unknown
			if oldA != oldB {
				if oldA {
					return -1
				}
				return 1
			}
			return strings.Compare(a, b)
		})
		m.complainOf(uid, fmt.Sprintf("most %d", uid), fmt.Errorf("cannot take all vassals of %s (uid %d): there are %d files, and emperor-max-vassals-per-user is %d; left out is for example %s; remove some, or raise the number", m.users.userName(int(uid)), uid, len(names), m.most, now[names[m.most]].path))
		for _, name := range names[m.most:] {
			delete(now, name)
		}
	}
}

// keep takes what was seen of a source before for what is there now.
func (m *monitor) keep(s source, now map[string]sighting) {
	for name, old := range m.seen {
		if old.base == s.base() {
			now[name] = old
		}
	}
}

// vanished tells whether all vassals of a source have gone with its folder, a moment ago: a folder that is unmounted or
// moved aside in a deployment may be back soon. At the second look, freq later, it is believed.
func (m *monitor) vanished(s source, seen []sighting) bool {
	if _, err := os.Stat(s.base()); len(seen) > 0 || !errors.Is(err, os.ErrNotExist) {
		delete(m.missing, s.pattern)
		return false
	}
	had := false
	for _, old := range m.seen {
		had = had || old.base == s.base()
	}
	if !had {
		return false
	}
	since, noted := m.missing[s.pattern]
	if !noted {
		since = time.Now()
		m.missing[s.pattern] = since
		m.say("", fmt.Errorf("the folder %s is gone; if it is not back in %s, its vassals are stopped", s.base(), m.freq))
	}
	return time.Since(since) < m.freq
}
