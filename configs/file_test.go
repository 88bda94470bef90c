package configs

import (
	"reflect"
	"strings"
	"testing"
)

// byHand cuts a section into items without ini.v1, by the rules observed on uWSGI.
func byHand(text, section string) []item {
	var items []item
	inside := false
	for n, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "\x00")
		line = strings.Trim(line, " \t\r")
		switch {
		case line == "" || line[0] == ';' || line[0] == '#':
		case line == "[":
			inside = section == ""
		case line[0] == '[':
			inside = line[1:len(line)-1] == section
		case inside:
			key, value, _ := strings.Cut(line, "=")
			items = append(items, item{strings.TrimRight(key, " \t\r"), strings.TrimLeft(value, " \t\r"), n + 1})
		}
	}
	return items
}

func lexed(t *testing.T, text, section string) []item {
	t.Helper()
	r := &reader{}
	_, lines := r.magic([]byte(strings.ReplaceAll(text, "%", "")))
	items, err := lex([]byte(text), lines, section)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return items
}

// Everything that ini.v1 would eat on its own.
var hard = []string{
	"[uwsgi]\na = `b`\nb = \"\"\"c\nd = \"x\ne = 'y'\nf = \\\ng = \"\"\"multi\nline\"\"\"\nh = ```\n",
	"[uwsgi]\na = 1 # x\nb = 1 ; y\nc = ;\nd = #\n",
	"[uwsgi]\nmaster\n\"q\" = 1\n`k` = 2\n= 3\n=\n- = 4\n- = 5\n",
	"[uwsgi]\na=1\na=2\na=1\n[x]\na=3\n[uwsgi]\na=4\n",
	"[DEFAULT]\na=1\n[default]\nb=2\n[uwsgi]\nc=%(a)s\n[uwsgi.sub]\nd=1\n",
	"\xef\xbb\xbf[uwsgi]\na = 1\n",
	"\xef\xbb\xbf\n[uwsgi]\na = \u00a0x\u00a0\nb = \x0bx\x0c\nc = \u2028\n\x85d\x85 = \x85\n",
	"[uwsgi] ; c\na = 1\n[uwsgix\nb = 1\n[\nc = 1\n[]\nd=1\n[ uwsgi ]\ne = 1\n[]]\nf=1\n[a]b]\ng=1\n",
	"a = 1\n[uwsgi]\r\nb\r=\r2\r\nc = 3\rd\n",
	"[uwsgi]\na = ~41\n~7e = ~\nb = x\x00y\n\x00c = 1\n",
	"[uwsgi]\nkey: 1\nk : v = 2\n a  b\tc = d  e\n",
}

func TestLexerEatsNothing(t *testing.T) {
	for _, text := range hard {
		for _, section := range []string{"uwsgi", "", "x", " uwsgi ", "a]", "default", "DEFAULT", "]", "a]b"} {
			if got, want := lexed(t, text, section), byHand(text, section); !reflect.DeepEqual(got, want) {
				t.Errorf("%q [%s]:\ngot  %+v\nwant %+v", text, section, got, want)
			}
		}
	}
}

func FuzzLexerEatsNothing(f *testing.F) {
	for _, text := range hard {
		f.Add(text, "uwsgi")
	}
	f.Fuzz(func(t *testing.T, text, section string) {
		if len(text) > 1<<16 {
			return
		}
		text = strings.ReplaceAll(text, "%", "")
		if got, want := lexed(t, text, section), byHand(text, section); !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	})
}

// Lines are counted in the file as it lies on the disk, whatever the magic variables do to it.
func TestLinesSurviveMagic(t *testing.T) {
	s, err := Read(texts(map[string]string{"a\nb.ini": "; 50%\nx\n[uwsgi]\na = 50%\nglued\n%%\nb = %n\n# %n\nc = 1\n"}, "--ini", "a\nb.ini"))
	if err != nil {
		t.Fatal(err)
	}
	var got []Place
	for _, x := range s[1:] {
		got = append(got, Place{x.Key + "=" + x.Value, x.Place.Line})
	}
	want := []Place{{"a=50glued", 4}, {"%=", 6}, {"b=a", 7}, {"b=", 7}, {"b=", 8}, {"c=1", 9}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}
