package configs

import (
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

// golden compares a text with a file, or rewrites the file.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	a, b := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			t.Fatalf("%s is stale from line %d on:\ngot  %s\nwant %s\nrun: go test ./configs -update", file, i+1, a[i], b[i])
		}
	}
	t.Fatalf("%s is stale: it has %d lines and should have %d; run: go test ./configs -update", file, len(b), len(a))
}

func TestHelpGolden(t *testing.T) {
	for file, party := range map[string]Party{"emperord": ByEmperor | ByReader, "vassald": ByVassal | ByLanguage | ByReader} {
		text, err := Help("usage: "+file+"\n", party, nil)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "testdata/help-"+file+".golden", text)
		for line := range strings.Lines(text) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > helpWidth {
				t.Errorf("%s: %d columns: %s", file, n, line)
			}
		}
	}
	text, err := Help("", 0, []string{"processes", "harakiri", "buffer-size", "dlopen", "venv", "s", "listen", "emperor-throttle"})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/help-options.golden", text)
}

func TestHelpFindsNames(t *testing.T) {
	for _, name := range []string{"processes", "--processes", "-p", "p"} {
		if text, err := Help("head", ByVassal, []string{name}); err != nil || !strings.HasPrefix(text, "-p, --processes N\n") {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	if text, err := Help("head", ByVassal, []string{"--ini", "x"}); err != nil || !strings.HasPrefix(text, "head") {
		t.Errorf("%q, %v", text, err)
	}
	_, err := Help("head", ByVassal, []string{"proceses"})
	if want := `command line: option "proceses": is unknown, to uWSGI as well; did you mean processes?`; err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

// TestEveryOptionCanBeDescribed holds the width for rows that no golden file shows.
func TestEveryOptionCanBeDescribed(t *testing.T) {
	for _, o := range table {
		text := o.Describe()
		if !strings.Contains(text, "--"+o.Name) || strings.HasPrefix(o.Kind.String(), "kind ") {
			t.Errorf("%s", text)
		}
		for line := range strings.Lines(text) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > helpWidth {
				t.Errorf("%d columns: %s", n, line)
			}
		}
	}
}

func TestWrap(t *testing.T) {
	for text, want := range map[string]string{"": "", "a b": "a b", "aaa bbb": "aaa|bbb", "äöü x": "äöü x", "aaaaaaaa b": "aaaaaaaa|b", " a  b ": "a b"} {
		if got := strings.Join(wrap(text, 5), "|"); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
