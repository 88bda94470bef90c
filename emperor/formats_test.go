package emperor

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/emperord/emperord/configs"
)

// write puts a vassal file with any text, moved into place.
func (m *empire) write(name string, uid int, text string) {
	m.t.Helper()
	path := m.dir + "/vassals/" + name
	if err := os.WriteFile(path+".tmp", []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Chown(path+".tmp", uid, uid); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		m.t.Fatal(err)
	}
}

func TestVassalsOfEveryFormatRunAndReload(t *testing.T) {
	m := found(t, nil)
	formats := map[string]string{
		"a.yaml": "uwsgi:\n  module: %s\n  socket: \"%s\"\n  chmod-socket: 666\n",
		"b.yml":  "uwsgi:\n  module: %s\n  socket:\n  - \"%s\"\n  chmod-socket: \"666\"\n",
		"c.json": `{"uwsgi": {"module": "%s", "socket": "%s", "chmod-socket": 666}}`,
		"d.js":   `{"uwsgi": {"module": "%s", "socket": ["%s"], "chmod-socket": true}} // uWSGI's JSON has comments`,
		"e.xml":  "<uwsgi><module>%s</module><socket>%s</socket><chmod-socket>666</chmod-socket></uwsgi>",
	}
	for name, text := range formats {
		m.write(name, shopID, fmt.Sprintf(text, "ok", m.socket(name)))
	}
	m.write("f.YAML", shopID, "uwsgi:\n  module: never\n") // the case of an ending counts
	for name, text := range formats {
		m.await(name, Accepting, "")
		if _, module := m.ask(name); module != "ok" {
			t.Errorf("%s: module %q answers", name, module)
		}
		m.write(name, shopID, fmt.Sprintf(text, "fails", m.socket(name)))
		m.await(name, Accepting, "cannot import shop")
	}
	if _, err := m.status("f.YAML"); err == nil {
		t.Error("f.YAML was taken for a vassal")
	}
}

func TestMistakesInEveryFormatAreNamedByLine(t *testing.T) {
	m := found(t, nil)
	for name, c := range map[string][2]string{
		"a.yaml": {"uwsgi:\n  module: %(x)\n", "a.yaml:2: cannot be read as YAML: a value cannot begin with %"},
		"c.json": {"{\"uwsgi\": {\n\"module\": x}}", "c.json:2: cannot be read as JSON"},
		"e.xml":  {"<uwsgi>\n<module><b/></module></uwsgi>", "e.xml:2: cannot be read as XML: <module> begins with another element"},
	} {
		m.write(name, shopID, c[0])
		m.await(name, Refused, c[1])
	}
}

// The order is uWSGI's, whatever the order of the emperor's own options.
func TestArgumentsOfEveryFormat(t *testing.T) {
	e := &Emperor{c: &configs.Emperor{InheritBefore: []string{"b"}, IncludeBefore: []string{"c"}, VassalSet: []string{"k=v"}, Inherit: []string{"i"}, Include: []string{"n"}}}
	for file, option := range map[string]string{"a.ini": "--ini", "a.xml": "--xml", "a.yml": "--yaml", "a.yaml": "--yaml", "a.js": "--json", "a.json": "--json", "a.conf": "--ini"} {
		want := []string{"--inherit", "b", "--include", "c", "--set", "k=v", option, file, "--inherit", "i", "--include", "n"}
		if got := e.c.Arguments(file, ""); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
	wrapped := &configs.Emperor{Wrapper: "/usr/bin/uwsgi"} // it may have a plugin for such files
	if got := wrapped.Arguments("a.conf", ""); !slices.Equal(got, []string{"--config", "a.conf"}) {
		t.Errorf("%q", got)
	}
	for file, want := range map[string][]string{
		"a.ini":          {"--ini", "exec://./a.ini"},
		"/v/a.yaml":      {"--yaml", "exec:///v/a.yaml"},
		"my app.json":    {"--json", "exec://'./my app.json'"},
		"a';reboot;.ini": {"--ini", `exec://'./a'\'';reboot;.ini'`},
		"$(reboot).ini":  {"--ini", "exec://'./$(reboot).ini'"},
		"a.conf":         {"--config", "exec://./a.conf"},
	} {
		if got := wrapped.ExecArguments(file); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
}
