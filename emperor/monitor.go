package emperor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	quiet    = 10 * time.Millisecond // after this long without a further event a change is complete
	restless = 80 * time.Millisecond // but nobody waits longer than this
)

// A change is one difference between two looks.
type change struct {
	sighting
	event Event // Seen, Reowned or Gone
}

// A monitor watches the sources. inotify tells at once that something happened; what it was, a look at the folder
// finds out. Because inotify loses events on overflow and sees neither through symbolic links nor what other machines
// do on a network mount, there is a look every freq anyway.
type monitor struct {
	sources  []source
	extra    []string
	nofollow bool
	freq     time.Duration
	report   func([]change)            // called in the monitor's goroutine; blocks it
	say      func(msg string, e error) // says what went wrong, once until it is well again
	now      chan struct{}             // somebody wants a look at once

	seen    map[string]sighting
	wrong   map[string]string    // what was complained about, so that it is said once
	missing map[string]time.Time // sources whose folder has gone, and since when
}

// run looks and watches until ctx ends. It has reported the first look before it waits for anything.
func (m *monitor) run(ctx context.Context) {
	m.seen, m.wrong, m.missing = map[string]sighting{}, map[string]string{}, map[string]time.Time{}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		m.complain("watch", fmt.Errorf("cannot watch folders: %w; changes are found every %s; raise fs.inotify.max_user_instances", err, m.freq))
		watcher = &fsnotify.Watcher{Events: make(chan fsnotify.Event), Errors: make(chan error)}
	} else {
		defer watcher.Close()
	}
	watched := map[string]bool{}
	look := func() {
		if err == nil {
			m.watch(watcher, watched)
		}
		m.look()
	}
	look()
	slow := time.NewTicker(m.freq)
	defer slow.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-slow.C:
			look()
		case <-m.now:
			look()
		case e := <-watcher.Errors:
			m.say("lost sight of some changes; looking again", e)
			look()
		case e := <-watcher.Events:
			if !m.concerns(e) {
				continue
			}
			if !m.settle(ctx, watcher) {
				return
			}
			look()
		}
	}
}

// settle waits until nothing has happened for a moment, so that files are complete when they are read.
func (m *monitor) settle(ctx context.Context, watcher *fsnotify.Watcher) bool {
	limit := time.NewTimer(restless)
	defer limit.Stop()
	calm := time.NewTimer(quiet)
	defer calm.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-limit.C:
			return true
		case <-calm.C:
			return true
		case e := <-watcher.Events:
			if m.concerns(e) {
				calm.Reset(quiet)
			}
		}
	}
}

// concerns tells whether an event may change what a look shows: one on a vassal file, or on a watched folder itself.
func (m *monitor) concerns(e fsnotify.Event) bool {
	if isVassal(e.Name, m.extra) {
		return true
	}
	return slices.ContainsFunc(m.sources, func(s source) bool { return s.pattern == e.Name || s.glob })
}

// watch asks inotify for every folder that it should: those of the sources, and for globs those of the pattern and
// of its matches.
func (m *monitor) watch(watcher *fsnotify.Watcher, watched map[string]bool) {
	want := map[string]bool{}
	for _, s := range m.sources {
		if !s.glob {
			want[s.pattern] = true
			continue
		}
		dirs, _ := filepath.Glob(filepath.Dir(s.pattern)) // a broken pattern was refused when it was read
		for _, d := range dirs {
			want[d] = true
		}
		if st, err := os.Stat(s.base()); err == nil && st.IsDir() {
			want[s.base()] = true
		}
	}
	for dir := range want {
		err := watcher.Add(dir) // again each time: a folder that was removed and made again has lost its watch
		switch {
		case err == nil:
			watched[dir] = true
			delete(m.wrong, dir)
		case os.IsNotExist(err):
			m.complain(dir, fmt.Errorf("cannot watch %s: it does not exist; make it: mkdir -p %s", dir, dir))
		default:
			m.complain(dir, fmt.Errorf("cannot watch %s: %w; changes there are found every %s", dir, err, m.freq))
		}
	}
	for dir := range watched {
		if !want[dir] {
			_ = watcher.Remove(dir) // it may have gone with its folder
			delete(watched, dir)
		}
	}
}

// look compares what is there with what was there and reports the difference.
func (m *monitor) look() {
	now := map[string]sighting{}
	var changes []change
	for _, s := range m.sources {
		seen, err := s.look(m.extra, m.nofollow)
		if err != nil {
			m.complain("look "+s.pattern, err)
			m.keep(s, now) // nothing is known: nothing has changed
			continue
		}
		delete(m.wrong, "look "+s.pattern)
		if m.vanished(s, seen) {
			m.keep(s, now)
			continue
		}
		for _, v := range seen {
			if first, taken := now[v.name]; taken && first.path != v.path {
				m.complain("twice "+v.path, fmt.Errorf("cannot take %s: another vassal has the same name, %s; rename one of them", v.path, first.path))
				continue
			}
			now[v.name] = v
		}
	}
	for name, old := range m.seen {
		if _, there := now[name]; !there {
			changes = append(changes, change{old, Gone{}})
		}
	}
	for name, v := range now {
		old, known := m.seen[name]
		switch {
		case known && (old.uid != v.uid || old.gid != v.gid):
			changes = append(changes, change{v, Reowned{}})
		case !known || old != v:
			changes = append(changes, change{v, Seen{}})
		}
	}
	m.seen = now
	if len(changes) > 0 {
		slices.SortFunc(changes, func(a, b change) int { return strings.Compare(a.name, b.name) })
		m.report(changes)
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

func (m *monitor) complain(about string, err error) {
	if m.wrong[about] != err.Error() {
		m.wrong[about] = err.Error()
		m.say("", err)
	}
}
