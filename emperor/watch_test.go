package emperor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A watch is a monitor that runs on a folder and remembers what it reported.
type watch struct {
	t    *testing.T
	dir  string
	mu   sync.Mutex
	seen []string
	said []string

	before []string // reports that further has waited for

	monitor *monitor
	looked  chan struct{} // closed after the first look
}

func newWatch(t *testing.T, freq time.Duration, nofollow bool, sources ...string) *watch {
	t.Helper()
	w := &watch{t: t, dir: t.TempDir(), looked: make(chan struct{})}
	m := &monitor{freq: freq, of: links{time: nofollow}, now: make(chan struct{}, 1), first: func() { close(w.looked) },
		report: func(changes []change) {
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, c := range changes {
				w.seen = append(w.seen, strings.TrimPrefix(fmt.Sprintf("%T %s", c.event, strings.TrimPrefix(c.name, w.dir+"/")), "emperor."))
			}
		},
		say: func(msg string, err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.said = append(w.said, fmt.Sprint(msg, err))
		},
	}
	if len(sources) == 0 {
		sources = []string{"."}
	}
	for _, text := range sources {
		s, err := newSource(text, w.dir)
		if err != nil {
			t.Fatal(err)
		}
		m.sources = append(m.sources, s)
	}
	w.monitor = m
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { m.run(ctx); close(done) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			t.Error("the monitor does not stop")
		}
	})
	return w
}

func (w *watch) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// want waits for exactly these reports since the last want.
func (w *watch) want(within time.Duration, reports ...string) {
	w.t.Helper()
	for end := time.Now().Add(within); ; time.Sleep(time.Millisecond) {
		w.mu.Lock()
		got := slices.Clone(w.seen)
		w.mu.Unlock()
		if slices.Equal(got, reports) {
			break
		}
		if time.Now().After(end) {
			w.t.Fatalf("reported %q, want %q", got, reports)
		}
	}
	w.mu.Lock()
	w.seen = nil
	w.mu.Unlock()
}

// further waits for these reports. What was reported so before may come once more: a look that comes in the moment of a change, and
// the kernel's word of it afterwards, are two.
func (w *watch) further(reports ...string) {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		w.mu.Lock()
		got := slices.Clone(w.seen)
		w.mu.Unlock()
		missing := slices.ContainsFunc(reports, func(r string) bool { return !slices.Contains(got, r) })
		other := slices.ContainsFunc(got, func(r string) bool { return !slices.Contains(reports, r) && !slices.Contains(w.before, r) })
		if !missing && !other {
			break
		}
		if time.Now().After(end) {
			w.t.Fatalf("reported %q, want %q", got, reports)
		}
	}
	w.mu.Lock()
	w.seen, w.before = nil, append(w.before, reports...)
	w.mu.Unlock()
}

const never = time.Hour // the slow look does not come
