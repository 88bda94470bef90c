package configs

import (
	"flag"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var (
	randomCount = flag.Int("random", 60, "random configurations that TestAgainstRealUWSGI asks about")
	randomSeed  = flag.Uint64("seed", 1, "where TestAgainstRealUWSGI begins; every configuration has a seed of its own, which a failure names")
)

// TestAgainstRealUWSGI makes random configurations, has the installed uWSGI read them, and compares. To look for more:
//
//	go test ./configs -run TestAgainstRealUWSGI -random 20000 -seed 1000
func TestAgainstRealUWSGI(t *testing.T) { against(t, grammar.scene) }

// TestMixedAgainstRealUWSGI is the same with files of all formats that name each other, sources, links and declared options.
func TestMixedAgainstRealUWSGI(t *testing.T) { against(t, grammar.mixed) }

func against(t *testing.T, make func(grammar) scene) {
	needUWSGI(t)
	dir := realDir(t)
	asked, shown := 0, 0
	for seed := *randomSeed; seed < *randomSeed+uint64(*randomCount); seed++ {
		s := make(grammar{rand.New(rand.NewPCG(seed, 0))})
		if s.lay(t, dir); strings.Contains(strings.Join(s.args, " "), "\x00") {
			continue
		}
		q := question{dir: dir, args: s.args, env: append([]string{"PATH=/usr/bin:/bin"}, s.env...), hurry: true}
		want, got := ask(t, q), mine(t, q)
		asked++
		if want.end == "" {
			shown++
		}
		if reason := onPurpose(s, want, got); !want.alike(got) && reason == "" {
			t.Errorf("seed %d: uwsgi says\n%s\nwe say\n%s\nof\n%s", seed, want, got, s)
		}
	}
	t.Logf("%d asked; %d of them were shown by uwsgi, the others refused", asked, shown)
}

// onPurpose is the list of the differences that are wanted, with their reasons.
func onPurpose(s scene, want, got answer) string {
	switch {
	case want.end == "crashes" || want.end == "never ends":
		if got.end != "" {
			return "a crash is a clean refusal here"
		}
	case strings.Contains(want.said, "invalid option") || strings.Contains(want.said, "unrecognized option"):
		// the options of languages are built in here, in Debian they are plugins
		if strings.Contains(strings.Join(s.args, " "), "module") {
			return "the language is built in"
		}
	}
	return ""
}

// realDir is an empty folder by its real name, as uWSGI sees it.
func realDir(t testing.TB) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// lay writes the files of a scene.
func (s scene) lay(t testing.TB, dir string) {
	t.Helper()
	for name, text := range s.files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range s.links {
		name = filepath.Join(dir, name)
		if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if err := os.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
	}
}

// data is a file that no configuration is.
func (g grammar) data() string {
	return g.one("x", "hello\n", "a\r\n", "%(a)", "two\nlines\n", "$(A)", "", "data\n\n", " blanks \n", "@(data.txt)")
}

// String writes a scene so that it can be laid out by hand.
func (s scene) String() string {
	var b strings.Builder
	b.WriteString("args " + strings.Join(s.args, " | ") + "\nenv  " + strings.Join(s.env, " | ") + "\n")
	for _, name := range slices.Sorted(maps.Keys(s.links)) {
		b.WriteString("link " + name + " to " + s.links[name] + "\n")
	}
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		b.WriteString("--- " + name + "\n" + s.files[name] + "\n")
	}
	return b.String()
}
