package emperor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/emperord/emperord/configs"
)

const (
	quiet    = 10 * time.Millisecond // after this long without a further event a change is complete
	restless = 80 * time.Millisecond // but nobody waits longer than this
)

// Looking may take a fifth of the time: who makes us look without end, at as many files as it can, gets no more. But nobody
// waits longer than longestRest.
const (
	restShare   = 4
	longestRest = time.Second
)

// lapse is how long a file that is not there any more still counts: who saves it, or checks out another version, may remove it and
// write it anew. Its vassal would lose its sockets in between.
const lapse = 40 * time.Millisecond

// maxFolders bounds the folders of globs that are watched: tenants may make folders that match.
const maxFolders = 10000

// repeat is how often the same complaint is said again with other words, such as another number.
const repeat = time.Minute

// A change is one difference between two looks.
type change struct {
	sighting
	event Event // Seen, Reowned or Gone
}

// A monitor watches the sources. inotify tells at once that something happened; what it was, a look at the folder
// finds out. Because inotify loses events on overflow and sees neither through symbolic links nor what other machines
// do on a network mount, there is a look every freq anyway.
type monitor struct {
	sources []source
	extra   []string
	of      links
	freq    time.Duration
	most    int                       // vassal files of one user other than root; 0: any number
	users   *directory                // nil: users of the files only
	report  func([]change)            // called in the monitor's goroutine; blocks it
	say     func(msg string, e error) // says what went wrong, once until it is well again
	now     chan struct{}             // somebody wants a look at once
	first   func()                    // called after the first look

	seen    map[string]sighting
	looked  time.Time            // when the last look began
	touched map[string]bool      // files that the kernel has spoken of since then
	wrong   map[string]complaint // what was complained about, so that it is said once
	raised  map[string]bool      // which of them the look under way has found again
	missing map[string]time.Time // sources whose folder has gone, and since when
	lapsed  map[string]time.Time // vassals whose file has gone, which is not reported yet, and since when
	lines   allowances           // for complaints about what a tenant has made

	scout *scout // for what may hang; nil: there is no limit
}

// A complaint is something that was said to be wrong.
type complaint struct {
	text string
	said time.Time
	file bool // about vassal files: it is forgotten with the look that does not find it again
}

// run looks and watches until ctx ends. It has reported the first look before it waits for anything.
func (m *monitor) run(ctx context.Context) {
	m.wrong, m.missing, m.lapsed, m.lines, m.touched = map[string]complaint{}, map[string]time.Time{}, map[string]time.Time{}, allowances{}, map[string]bool{}
	if m.seen == nil { // else: what the program before has seen
		m.seen = map[string]sighting{}
	}
	if m.scout == nil {
		m.newScout()
	}
	watcher := m.newWatcher()
	defer func() { watcher.close() }()
	again := time.NewTimer(lapse)
	again.Stop()
	defer again.Stop()
	look := func(storm bool) (ok bool) {
		begin := time.Now()
		m.scout.left = lookPatience
		m.scout.forget()
		if watcher.blind() { // whoever had used up what it takes may have gone
			watcher = m.newWatcher()
		}
		m.watch(watcher)
		m.look()
		if len(m.lapsed) > 0 {
			again.Reset(lapse)
		}
		busy := time.Since(begin)
		if storm {
			busy += restless
		}
		return rest(ctx, min(restShare*busy, longestRest))
	}
	ok := look(false)
	if m.first != nil {
		m.first()
	}
	slow := time.NewTicker(m.freq)
	defer slow.Stop()
	for ok {
		select {
		case <-ctx.Done():
			return
		case <-slow.C:
			ok = look(false)
		case <-m.now:
			ok = look(false)
		case <-again.C:
			ok = look(false)
		case e := <-watcher.Errors:
			if time.Since(m.wrong["lost"].said) > repeat {
				delete(m.wrong, "lost")
			}
			clear(watcher.watched)
			m.complain("lost", fmt.Errorf("lost sight of some changes, looking again: %w", e))
			ok = look(true)
		case e := <-watcher.Events:
			concerned, storm := m.concerns(watcher, e), false
			if !concerned {
				concerned, storm = m.sift(watcher)
			}
			switch {
			case concerned:
				ok = look(m.settle(ctx, watcher))
			case storm:
				ok = rest(ctx, restShare*sifting)
			}
		}
	}
}

// newScout makes the scout, whose late answers make us look again.
func (m *monitor) newScout() {
	m.scout = newScout(func() {
		select {
		case m.now <- struct{}{}:
		default:
		}
	})
}

// sifting is how long events that concern nothing are read without a rest.
const sifting = 5 * time.Millisecond

// sift reads the events that follow one that concerned nothing, until one does. storm tells that there was no end of them.
func (m *monitor) sift(watcher *watcher) (concerned, storm bool) {
	for end := time.Now().Add(sifting); time.Now().Before(end); {
		select {
		case e := <-watcher.Events:
			if m.concerns(watcher, e) {
				return true, false
			}
		case <-time.After(sifting / 5):
			return false, false
		}
	}
	return false, true
}

// rest waits for a moment and tells whether to go on. What happens meanwhile waits in the kernel, which has room for a
// limited number of events and says when there were more: so it costs us nothing.
func rest(ctx context.Context, pause time.Duration) bool {
	over := time.NewTimer(pause)
	defer over.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-over.C:
		return true
	}
}

// settle waits until nothing has happened for a moment, so that files are complete when they are read, and tells whether
// it had to give up waiting.
func (m *monitor) settle(ctx context.Context, watcher *watcher) (storm bool) {
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
			return false
		case e := <-watcher.Events:
			if m.concerns(watcher, e) {
				calm.Reset(quiet)
			}
		}
	}
}

// concerns tells whether an event may change what a look shows: one on a vassal file, on a watched folder itself, or on one
// above it, which is watched while the folder is missing. In the last folders of a glob nothing but vassal files matters; above them, folders that may match come and go.
func (m *monitor) concerns(w *watcher, e fsnotify.Event) bool {
	if e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) {
		delete(w.watched, e.Name) // a folder has lost its watch
	}
	if configs.IsVassal(e.Name, m.extra) {
		if e.Has(fsnotify.Write) || e.Has(fsnotify.Chmod) {
			m.note(e.Name)
		}
		return true
	}
	if vassal, beside := strings.CutSuffix(e.Name, m.of.beside); beside && configs.IsVassal(vassal, m.extra) {
		return true
	}
	return slices.ContainsFunc(m.sources, func(s source) bool {
		return strings.HasPrefix(s.pattern+"/", e.Name+"/") || s.glob && strings.Count(e.Name, "/") < strings.Count(s.pattern, "/")
	})
}

// complain says that something is wrong: once, and again when it has other words than a while ago.
func (m *monitor) complain(about string, err error) {
	if old, known := m.wrong[about]; known && (old.text == err.Error() || time.Since(old.said) < repeat) {
		return
	}
	m.wrong[about] = complaint{text: err.Error(), said: time.Now()}
	m.say("", err)
}

// complainOf complains about something that uid has made.
func (m *monitor) complainOf(uid uint32, about string, err error) {
	m.raised[about] = true
	if old, known := m.wrong[about]; known && (old.text == err.Error() || time.Since(old.said) < repeat) {
		return
	}
	may, lost := m.lines.take(uid, time.Now())
	if !may {
		return
	}
	m.wrong[about] = complaint{text: err.Error(), said: time.Now(), file: true}
	if lost > 0 {
		err = fmt.Errorf("%w (%d lines about files of uid %d were left out before this one)", err, lost, uid)
	}
	m.say("", err)
}
