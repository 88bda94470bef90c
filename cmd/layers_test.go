// Package cmd has no code of its own; its test keeps the rooms apart.
package cmd

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/emperord/emperord"

// mains are the rooms that docs/architecture.md does not list, because nothing imports them, and what they may import
// of ours. "…" is everything.
var mains = map[string][]string{
	"cmd":             nil,
	"cmd/emperord":    {"children", "configs", "configs/sources", "emperor", "procname"},
	"cmd/vassald":     {"configs", "procname", "vassal"},
	"cmd/e2e":         {"…"},
	"cmd/e2e/bench":   {"protocol/uwsgi"}, // it looks from outside, and only writes a request
	"cmd/e2e/booted":  {"protocol/uwsgi"}, // it looks from outside, and only writes a request
	"cmd/e2e/witness": nil,                // remembers what a file tree looked like
	"cmd/e2e/shape":   nil,                // keys and types of a JSON document
	"configs/dist":    nil,
}

// more is what a room may import beyond the line in docs/architecture.md.
var more = map[string][]string{
	"cmd/emperorctl": {"configs/dist"}, // the example vassals of demo
}

// libraries says which rooms may import a library, and why no others.
var libraries = []struct {
	path  string
	rooms []string
	why   string
}{
	{"golang.org/x/sys/unix", []string{"…"}, ""},
	{"gopkg.in/ini.v1", []string{"configs"}, "configs is the only room that reads vassal files"},
	{"github.com/fsnotify/fsnotify", []string{"emperor", "vassal"}, "only the two daemons watch files"},
	{"go.uber.org/zap", []string{"emperor", "vassal", "cmd/emperord", "cmd/vassald"}, "other rooms return errors and never log"},
	{"github.com/spf13/cobra", []string{"cmd/emperorctl"}, "the daemons take uWSGI's options, which cobra cannot parse"},
}

// forbidden lists what a program may not reach through any of our rooms.
var forbidden = []struct{ program, imports, why string }{
	{"cmd/emperord", "os/exec", "its loop waits for every child itself; os/exec waits too, and one of them would lose the exit code"},
	{"cmd/emperord", "net/http/cgi", "it imports os/exec, and root parses no request"},
	{"cmd/emperord", module + "/protocol/uwsgi", "the program that is root must not be able to parse a request"},
	{"cmd/emperord", module + "/vassal", "the program that is root runs no application"},
	{"cmd/emperord", module + "/vassal/hosts", "the program that is root contains no language code"},
	{"cmd/vassald", module + "/emperor", "a tenant's process has no credentials code"},
	{"cmd/vassald", module + "/rights", "a tenant's process has no credentials code"},
	{"cmd/vassald", "net/http", "vassald exists once per application, and its memory is paid as often"},
	{"cmd/vassald", "os/exec", "its loop waits for every child itself; os/exec waits too, and one of them would lose the exit code"},
}

// imports returns what the sources of each folder import, by folder and file. Tests are left out: they may look
// wherever they have to.
func imports(t *testing.T) map[string]map[string][]string {
	t.Helper()
	rooms := make(map[string]map[string][]string)
	err := filepath.WalkDir("..", func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if name == "testdata" || (strings.HasPrefix(name, ".") && name != "..") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		file = filepath.ToSlash(strings.TrimPrefix(file, "../"))
		room := path.Dir(file)
		if rooms[room] == nil {
			rooms[room] = make(map[string][]string)
		}
		if strings.HasSuffix(name, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", file), nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			rooms[room][imported] = append(rooms[room][imported], file)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rooms
}

// table reads the table of rooms in docs/architecture.md.
func table(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n| room |")
	if !found {
		t.Fatal("docs/architecture.md has no table of rooms (| room | duty | may import of ours |)")
	}
	code := regexp.MustCompile("`([^`]+)`")
	rooms := make(map[string][]string)
	for line := range strings.Lines(rest) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 5 {
			if len(rooms) > 0 {
				break
			}
			continue
		}
		room := code.FindStringSubmatch(cells[1])
		if room == nil {
			continue
		}
		rooms[room[1]] = []string{}
		for _, m := range code.FindAllStringSubmatch(cells[3], -1) {
			rooms[room[1]] = append(rooms[room[1]], m[1])
		}
	}
	if len(rooms) < 5 {
		t.Fatalf("docs/architecture.md lists only %d rooms; has the table changed its form?", len(rooms))
	}
	return rooms
}

// allows tells whether a list allows a room: by name, by "folder/*", or by "…".
func allows(list []string, room string) bool {
	return slices.ContainsFunc(list, func(allowed string) bool {
		prefix, all := strings.CutSuffix(allowed, "*")
		return allowed == "…" || allowed == room || (all && strings.HasPrefix(room, prefix))
	})
}

func TestRoomsImportOnlyWhatTheTableAllows(t *testing.T) {
	allowed := table(t)
	for room, list := range mains {
		if documented, both := allowed[room]; both && !slices.Equal(documented, list) {
			t.Errorf("docs/architecture.md says that %s may import %q, cmd/layers_test.go says %q; remove one of them", room, documented, list)
		}
		allowed[room] = list
	}
	for room, list := range more {
		allowed[room] = append(allowed[room], list...)
	}
	rooms := imports(t)
	for room := range table(t) {
		if rooms[room] == nil {
			t.Errorf("docs/architecture.md lists %s, and there is no such folder with Go files; remove the line", room)
		}
	}
	for _, room := range slices.Sorted(maps.Keys(rooms)) {
		list, known := allowed[room]
		if !known {
			t.Errorf("the folder %s is no room yet; say in the table of docs/architecture.md what it is for and what it may import", room)
			continue
		}
		for _, imported := range slices.Sorted(maps.Keys(rooms[room])) {
			ours, isOurs := strings.CutPrefix(imported, module+"/")
			if isOurs && ours != room && !allows(list, ours) {
				t.Errorf("%v: %s may not import %s; the table in docs/architecture.md allows %q, because each arrow between rooms is one more that a reader must know",
					rooms[room][imported], room, ours, list)
			}
		}
	}
}

func TestLibrariesStayInTheirRooms(t *testing.T) {
	for room, list := range imports(t) {
		for imported, files := range list {
			if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") || strings.HasPrefix(imported, module) {
				continue // the standard library and ours
			}
			i := slices.IndexFunc(libraries, func(l struct {
				path  string
				rooms []string
				why   string
			}) bool {
				return imported == l.path || strings.HasPrefix(imported, l.path+"/")
			})
			switch {
			case i < 0:
				t.Errorf("%v: the library %s is in no list; add it to cmd/layers_test.go with the rooms that need it", files, imported)
			case !allows(libraries[i].rooms, room):
				t.Errorf("%v: %s may not import %s: %s", files, room, imported, libraries[i].why)
			}
		}
	}
}

func TestProgramsDoNotReachWhatTheyMustNot(t *testing.T) {
	rooms := imports(t)
	for _, rule := range forbidden {
		if chain := reach(rooms, rule.program, rule.imports, make(map[string]bool)); chain != nil {
			t.Errorf("%s must not import %s: %s\n\t%s", rule.program, rule.imports, rule.why, strings.Join(chain, " → "))
		}
	}
}

// reach returns the way from a room to an import, nil if there is none.
func reach(rooms map[string]map[string][]string, room, target string, seen map[string]bool) []string {
	if seen[room] {
		return nil
	}
	seen[room] = true
	for _, imported := range slices.Sorted(maps.Keys(rooms[room])) {
		if imported == target {
			return []string{room, target}
		}
		if ours, isOurs := strings.CutPrefix(imported, module+"/"); isOurs {
			if chain := reach(rooms, ours, target, seen); chain != nil {
				return append([]string{room}, chain...)
			}
		}
	}
	return nil
}

// TestTheRulesBite fails if the checks above would let everything pass.
func TestTheRulesBite(t *testing.T) {
	rooms := map[string]map[string][]string{
		"cmd/vassald":    {module + "/vassal": nil},
		"vassal":         {module + "/protocol/uwsgi": nil},
		"protocol/uwsgi": {"net/http": nil, module + "/vassal": nil},
	}
	if chain := reach(rooms, "cmd/vassald", "net/http", map[string]bool{}); strings.Join(chain, " ") != "cmd/vassald vassal protocol/uwsgi net/http" {
		t.Errorf("got %q", chain)
	}
	if chain := reach(rooms, "cmd/vassald", "os/exec", map[string]bool{}); chain != nil {
		t.Errorf("got %q", chain)
	}
	if list := []string{"configs", "protocol/*"}; !allows(list, "configs") || !allows(list, "protocol/pipe") || allows(list, "configs/dist") || allows(list, "sockets") || allows(nil, "cmd") {
		t.Error("allows is wrong")
	}
	docs := table(t)
	if got := docs["emperor"]; !slices.Contains(got, "protocol/pipe") || allows(got, "protocol/uwsgi") {
		t.Errorf("the table says that emperor may import %q", got)
	}
	if got, there := docs["children"]; !there || len(got) != 0 {
		t.Errorf("the table says that children may import %q", got)
	}
	seen := imports(t)
	if _, there := seen["protocol/api"]["net/http"]; !there {
		t.Error("the imports of protocol/api were not read")
	}
}
