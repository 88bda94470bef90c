package emperor

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// benchFolder makes a folder with n vassal files, or links to one skeleton, or n folders with one file each.
func benchFolder(b *testing.B, kind string, n int) (pattern string) {
	b.Helper()
	dir := b.TempDir()
	pattern = dir
	for i := range n {
		var err error
		switch kind {
		case "files":
			err = os.WriteFile(fmt.Sprintf("%s/app%05d.ini", dir, i), nil, 0o644)
		case "links":
			err = os.Symlink("/etc/hosts", fmt.Sprintf("%s/app%05d.ini", dir, i))
		case "glob":
			pattern = dir + "/*/app.ini"
			if err = os.Mkdir(fmt.Sprintf("%s/user%05d", dir, i), 0o755); err == nil {
				err = os.WriteFile(fmt.Sprintf("%s/user%05d/app.ini", dir, i), nil, 0o644)
			}
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	return pattern
}

// BenchmarkLook is the slow look, with what it asks of inotify, at a folder in which nothing has changed.
func BenchmarkLook(b *testing.B) {
	for _, kind := range []string{"files", "links", "glob"} {
		for _, n := range []int{400, 10000} {
			b.Run(fmt.Sprintf("%s%d", kind, n), func(b *testing.B) {
				s, err := newSource(benchFolder(b, kind, n), "/")
				if err != nil {
					b.Fatal(err)
				}
				m := &monitor{sources: []source{s}, freq: time.Hour, report: func([]change) {}, say: func(m string, err error) { b.Log(m, err) },
					seen: map[string]sighting{}, wrong: map[string]complaint{}, missing: map[string]time.Time{}, lines: allowances{}, scout: newScout(func() {})}
				w := m.newWatcher()
				defer w.close()
				look := func() {
					m.scout.left = lookPatience
					m.watch(w)
					m.look()
				}
				look()
				if len(m.seen) != n {
					b.Fatalf("%d are seen", len(m.seen))
				}
				for b.Loop() {
					look()
				}
			})
		}
	}
}
