package configs

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// corpusFolder holds real files of public projects with the real program's answer. They are other people's text, so they lie
// beside the project.
const corpusFolder = "../../shared/uwsgi/corpus"

// corpusDiffers names the runs that differ on purpose, and why.
var corpusDiffers = map[string]string{}

// A corpusRun is one recorded answer.
type corpusRun struct {
	name, file, mode string
	expected         string   // file of the answer
	env              []string // beyond the one that all runs had
}

// corpusRuns lists all runs, without and with the environment of each file.
func corpusRuns(t testing.TB) []corpusRun {
	t.Helper()
	table, err := os.ReadFile(filepath.Join(corpusFolder, "RUNS.tsv"))
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("the real files of public projects are not there (%v); they lie beside the project, in %s as seen from configs", err, corpusFolder)
	}
	var runs []corpusRun
	for _, line := range strings.Split(strings.TrimSpace(string(table)), "\n")[1:] {
		field := strings.Split(line, "\t")
		run := corpusRun{name: field[0], file: field[1], mode: field[2], expected: filepath.Join(corpusFolder, "expected", field[0]+".txt")}
		runs = append(runs, run)
		if env, err := os.ReadFile(filepath.Join(corpusFolder, "expected-env", field[0]+".env")); err == nil {
			run.name += " with its environment"
			run.env = strings.Split(strings.TrimSpace(string(env)), "\n")
			run.expected = filepath.Join(corpusFolder, "expected-env", field[0]+".txt")
			runs = append(runs, run)
		}
	}
	return runs
}

// question is what was asked when the run was recorded. The plugins of mode B are those that its files need.
func (run corpusRun) question(t testing.TB) question {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join(corpusFolder, "raw"))
	if err != nil {
		t.Fatal(err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		t.Fatal(err)
	}
	q := question{dir: dir, args: []string{"--ini", run.file}}
	q.env = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/tmp"}, run.env...)
	if run.mode == "B" {
		q.args = append([]string{"--plugins", corpusPlugins}, q.args...)
	}
	return q
}

const corpusPlugins = "python3,http,logfile,logsocket,syslog,rsyslog,router_basicauth,router_redirect,router_static,router_http,router_uwsgi,router_rewrite,router_cache,router_hash,router_expires,router_metrics,transformation_gzip,transformation_chunked,transformation_offload,transformation_template,transformation_tofile,transformation_toupper,cheaper_busyness"

// compare returns how an answer differs from the recorded one, or "". Lines that the record leaves out (what the command line
// and UWSGI_ variables have become) are left out here too.
func (run corpusRun) compare(t testing.TB, q question, got answer) string {
	t.Helper()
	raw, err := os.ReadFile(run.expected)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(string(raw), "@DIR@", q.dir)
	if strings.HasPrefix(want, "ERROR\n") {
		if got.end == "" {
			return fmt.Sprintf("was read, and uWSGI said: %s", want)
		}
		return ""
	}
	if got.end != "" {
		return got.String()
	}
	text := got.shown
	for _, kv := range run.env {
		if name, value, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "UWSGI_") {
			key := strings.ReplaceAll(strings.ToLower(name[len("UWSGI_"):]), "_", "-")
			text = strings.Replace(text, key+" = "+value+"\n", "", 1)
		}
	}
	if run.mode == "B" {
		text = strings.Replace(text, "plugins = "+corpusPlugins+"\n", "", 1)
	}
	text = strings.Replace(text, "ini = "+run.file+"\n", "", 1)
	if text != want {
		return firstDifference(text, want)
	}
	return ""
}

// firstDifference shows where two lists of settings part.
func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d:\ngot  %q\nwant %q", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("got %d lines, want %d\ngot\n%s\nwant\n%s", len(g), len(w), got, want)
}

// onTwoProcessors answers as on the machine of the records, where %k was 2.
func onTwoProcessors(t testing.TB, q question) answer {
	if runtime.NumCPU() == 2 {
		return mine(t, q)
	}
	r := q.reading(t)
	r.Open = func(name string) (io.ReadCloser, error) {
		if !filepath.IsAbs(name) {
			name = filepath.Join(q.dir, name)
		}
		raw, err := os.ReadFile(name)
		return io.NopCloser(strings.NewReader(strings.ReplaceAll(string(raw), "%k", "2"))), err
	}
	return answered(t, r)
}

// TestCorpus reads every file of the corpus and compares with what `uwsgi --show-config` printed for it, byte for byte.
func TestCorpus(t *testing.T) {
	runs := corpusRuns(t)
	listed, same := len(corpusDiffers), 0
	for _, run := range runs {
		t.Run(run.name, func(t *testing.T) {
			reason, known := corpusDiffers[run.name]
			if known {
				listed--
			}
			q := run.question(t)
			switch differs := run.compare(t, q, onTwoProcessors(t, q)); {
			case differs == "" && known:
				t.Errorf("is the same now; take it off the list (%q)", reason)
			case differs != "" && !known:
				t.Error(differs)
			case differs == "":
				same++
			}
		})
	}
	if listed != 0 {
		t.Errorf("the list names %d runs that do not exist", listed)
	}
	t.Logf("%d of %d runs come out as in uWSGI", same, len(runs))
}
