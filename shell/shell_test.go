package shell

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

var words = []string{"/srv/shop.ini", "a b", "-rf", "~root", "$(id)", "`id`", "a;id;b", "a';id;'b", `a";id;"b`, `a\';id;'b`, "a\nid\nb", "a\x1b[2J", "ä", "\xff';id;'", "", "*", "#x", "a&&id", "%s", "a\u2028id"}

// read returns what sh makes of a word.
func read(t testing.TB, text string) string {
	t.Helper()
	out, err := exec.Command("/bin/sh", "-c", "printf '%s.' "+text).Output()
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return strings.TrimSuffix(string(out), ".")
}

func TestShReadsTheWord(t *testing.T) {
	for _, w := range words {
		if got := read(t, Quote(w)); got != w {
			t.Errorf("%q is read as %q", w, got)
		}
	}
}

// TestWordsInALogAreWordsToo: as JSON writes it and as it is, a word is itself or NAME.
func TestWordsInALogAreWordsToo(t *testing.T) {
	for _, w := range words {
		text, err := json.Marshal(Word(w))
		if err != nil {
			t.Fatal(err)
		}
		var plain = Word(w)
		escaped := string(text[1 : len(text)-1])
		for _, shown := range []string{plain, escaped} {
			if strings.Contains(shown, `\u`) { // & < >, which our logs leave as they are
				continue
			}
			if got := read(t, shown); got != w && got != "NAME" {
				t.Errorf("%q is shown as %s and read as %q", w, shown, got)
			}
		}
	}
}

func FuzzWord(f *testing.F) {
	for _, w := range words {
		f.Add(w)
	}
	f.Fuzz(func(t *testing.T, w string) {
		if strings.ContainsRune(w, 0) { // no name of a file has it
			return
		}
		if got := read(t, Quote(w)); got != w {
			t.Errorf("%q is read as %q", w, got)
		}
		if shown := Word(w); shown != "NAME" && (strings.ContainsAny(shown, "\n\x1b\\\"") || read(t, shown) != w) {
			t.Errorf("%q is shown as %s", w, shown)
		}
	})
}
