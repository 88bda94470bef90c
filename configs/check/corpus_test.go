package check

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/emperord/emperord/configs"
)

// shared finds the folder of facts about uWSGI beside the repository. It is not a part of the project: without it the tests
// that need it say so, and fail where CI is set.
func shared(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../../../shared/uwsgi", name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("there are no files to check: %v", err)
	}
	return path
}

// library is a fake machine like a fresh Debian, with the corpus's files in a folder; they belong to root.
func library(t testing.TB, dir, folder string) (*fake, []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.ini"))
	if err != nil || len(files) < 90 {
		t.Fatalf("%d files in %s: %v", len(files), dir, err)
	}
	f := newFake()
	for _, dir := range []string{"/opt", "/home", "/var/www", "/var/log", "/usr/lib/python3/dist-packages"} {
		f.dir(dir, 0o755, 0, 0)
	}
	f.dir("/tmp", 0o777|os.ModeSticky, 0, 0)
	f.symlink("/var/run", "/run")
	var names []string
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := folder + "/" + filepath.Base(file)
		f.file(name, string(raw), 0o644, 0, 0)
		names = append(names, name)
	}
	return f, names
}

// TestCorpus reads files of real projects: there is no crash, and no option that uWSGI knows is called unknown.
func TestCorpus(t *testing.T) {
	f, names := library(t, shared(t, "corpus/raw"), "/srv/vassals")
	for _, tyrant := range []bool{false, true} {
		report, err := Run(context.Background(), names, Options{System: f, Tyrant: tyrant})
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Files) != len(names) {
			t.Errorf("%d files of %d were checked", len(report.Files), len(names))
		}
		known := theirOptions(t)
		for _, file := range report.Files {
			for _, x := range file.Findings {
				if (x.Code == UnknownOption || x.Code == Underscore) && slices.Contains(known, x.Option) {
					t.Errorf("%s: %s is an option of uWSGI", x.Place, x.Option)
				}
				if x.What == "" || x.Place.File == "" || strings.Contains(x.What+x.Why+x.Mend, "%!") {
					t.Errorf("%s: %+v", file.Path, x)
				}
			}
		}
	}
}

// theirOptions returns the names of all options that any uWSGI knows.
func theirOptions(t testing.TB) []string {
	t.Helper()
	var names []string
	for _, list := range []string{"options.tsv", "options-more.tsv"} {
		raw, err := os.ReadFile(shared(t, list))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(raw)) {
			name, _, _ := strings.Cut(strings.TrimRight(line, "\n"), "\t")
			if name != "" && !strings.HasPrefix(name, "#") && name != "option" {
				names = append(names, name)
			}
		}
	}
	if len(names) < 1000 {
		t.Fatalf("only %d options", len(names))
	}
	return names
}

// TestNoOptionOfUWSGIIsUnknown checks a file for every single option.
func TestNoOptionOfUWSGIIsUnknown(t *testing.T) {
	f := newFake()
	names := theirOptions(t)
	for _, name := range names {
		f.file("/srv/vassals/"+name+".ini", good+name+" = 1\n", 0o640, 1000, 1000)
	}
	report, err := Run(context.Background(), []string{"/srv/vassals"}, Options{System: f})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range report.Files {
		for _, x := range file.Findings {
			if x.Code == UnknownOption || x.Code == Underscore || strings.Contains(x.What, "is unknown") {
				t.Errorf("%s: %s", x.Place, x.What)
			}
		}
	}
	for _, o := range configs.Options() { // ours too
		f.file("/srv/one.ini", good+o.Name+" = 1\n", 0o640, 1000, 1000)
		report, err := Run(context.Background(), []string{"/srv/one.ini"}, Options{System: f})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range report.Files[0].Findings {
			if x.Code == UnknownOption {
				t.Errorf("%s: %s", o.Name, x.What)
			}
		}
	}
}

// five are files of real projects whose findings teach something; the README shows what is said of them.
var five = []string{"070-metachris-raspberrypi-django.ini", "094-davidrios-systemd-python.ini", "116-unicefuganda-edtrac.ini", "140-jtilander-niftyflask.ini", "160-1600307376king-Mixture.ini"}

func TestFiveOfTheCorpus(t *testing.T) {
	fiveFile, err1 := filepath.Abs("testdata/five.golden")
	readmeFile, err2 := filepath.Abs("../../README.md")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	corpus := shared(t, "corpus/raw")
	here := t.TempDir()
	t.Chdir(here)
	f, _ := library(t, corpus, here)
	report, err := Run(context.Background(), five, Options{System: f})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := report.Print(&out, Style{}); err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(out.String(), here, "/srv/vassals")
	golden(t, fiveFile, []byte(text))
	readme, err := os.ReadFile(readmeFile)
	if err != nil {
		t.Fatal(err)
	}
	const begin = "```console\n$ emperorctl check "
	before, rest, found := strings.Cut(string(readme), begin)
	_, after, ended := strings.Cut(rest, "```\n")
	if !found || !ended {
		t.Fatal("README.md shows no run of emperorctl check")
	}
	golden(t, readmeFile, []byte(before+begin+strings.Join(five, " ")+"\n"+text+"```\n"+after))
}
