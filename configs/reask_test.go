package configs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The records are worth something only as long as the real program still says the same. TestRecordsAreTrue asks it again for
// a part of them that is spread over all sections: every fifth dialect case.
func TestRecordsAreTrue(t *testing.T) {
	needUWSGI(t)
	lockCases(t)
	cases, err := os.ReadDir("testdata/dialect")
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(cases); i += 5 {
		if notAsked[cases[i].Name()] != "" {
			continue
		}
		t.Run(cases[i].Name(), func(t *testing.T) { reask(t, cases[i].Name()) })
	}
}

// notAsked names the cases of the sample that cannot be asked for everywhere, and why.
var notAsked = map[string]string{
	"743-if-plugin-names": "loads languages that cmd/e2e/install.sh does not install",
	"228-magic-root-file": "writes into the root folder",
}

// TestCorpusRecordsAreTrue asks again for a third of the corpus. It leaves out the files whose settings reach outside when they
// are applied: their records are from a machine that had all the folders they name.
func TestCorpusRecordsAreTrue(t *testing.T) {
	runs := corpusRuns(t)
	needUWSGI(t)
	runs = slices.DeleteFunc(runs, func(run corpusRun) bool {
		text, err := os.ReadFile(run.expected)
		if err != nil {
			t.Fatal(err)
		}
		return outward.Match(text)
	})
	for i := 0; i < len(runs); i += 3 {
		t.Run(runs[i].name, func(t *testing.T) {
			q := runs[i].question(t)
			if differs := runs[i].compare(t, q, ask(t, q)); differs != "" {
				t.Error(differs)
			}
		})
	}
}

// outward finds the settings that open files or leave the terminal as soon as they are applied, and the encoders, which
// would change the block itself.
var outward = regexp.MustCompile(`(?m)^(logto2?|daemonize2?|(req-)?logger|log-maxsize|spooler|cap|log-(req-)?encoder) = |^ERROR$`)

// reask asks the real program for one case and compares with the record: the settings, or how it ended and its words.
func reask(t *testing.T, name string) {
	src := filepath.Join("testdata/dialect", name)
	q := caseQuestion(t, name)
	if q.root != "" {
		return // the real one would have to find it in the root folder
	}
	got := ask(t, q)
	if want, err := os.ReadFile(filepath.Join(src, "error.txt")); err == nil {
		if text := recordedError(t, src, got); text != string(want) {
			t.Errorf("uwsgi says now\n%s\nand the record is\n%s", text, want)
		}
		return
	}
	want, err := os.ReadFile(filepath.Join(src, "expected.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if got.end != "" {
		t.Fatalf("uwsgi refuses now: %s", got)
	}
	if text := masked(t, src, got.shown); text != string(want) {
		t.Error(firstDifference(text, string(want)))
	}
}

// recordedError is an answer as error.txt has it: the end, and the first words of the program.
func recordedError(t *testing.T, src string, a answer) string {
	const most = 40
	if !strings.HasPrefix(a.end, "exit ") {
		return a.end + "\n"
	}
	lines := strings.SplitAfter(masked(t, src, a.said), "\n")
	return a.end + "\n" + strings.Join(lines[:min(len(lines), most)], "")
}
