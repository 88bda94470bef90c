package configs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// readAs reads one text as the file that name says.
func readAs(name, text string) (Settings, []string, error) {
	option := map[string]string{".ini": "--ini", ".yml": "--yaml", ".json": "--json", ".xml": "--xml"}[filepath.Ext(name)]
	return read(texts(map[string]string{name: text}, option, name))
}

func TestFormatsNameTheLine(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"percent", "a.yml: uwsgi:\n  n: web\n  a: %(n)\n", "a.yml:3: cannot be read as YAML: a value cannot begin with % in YAML; put it into quotes, such as \"%(name)\" or \"@(file)\""},
		{"tab", "a.yml: uwsgi:\n\ta: 1\n", "a.yml:2: cannot be read as YAML: a tab cannot indent; indent with blanks"},
		{"quote", "a.yml: uwsgi:\n  a: 'x\n  b: 1\n", "a.yml:2: cannot be read as YAML: this quote is not closed; write a second '"},
		{"second colon", "a.yml: uwsgi:\n  a: b: c\n", "a.yml:2: cannot be read as YAML: there is a second \": \" in this value, or the line is indented deeper than the one above; put the value into quotes, or begin all options of a section in the same column"},
		{"no colon", "a.yml: uwsgi:\n  a: 1\n  b\n  c: 2\n", "a.yml:3: cannot be read as YAML: this line has neither a \":\" with a blank behind it nor belongs to the value above; write KEY: VALUE, and indent the further lines of a value deeper than its key"},
		{"escape", "a.yml: uwsgi:\n  a: \"\\d\"\n", "a.yml:2: cannot be read as YAML: there is no such escape in YAML; write a backslash twice, or use single quotes"},
		{"latin1", "a.yml: uwsgi:\n  a: \xe9\n", "a.yml:2: cannot be read as YAML: this byte is not UTF-8; save the file as UTF-8"},
		{"magic moves no line", "a.yml: # 50%\nx\nuwsgi:\n  %n: %d\n  b: @(x)\n", "a.yml:5: cannot be read as YAML: a value cannot begin with @ in YAML; put it into quotes, such as \"%(name)\" or \"@(file)\""},
		{"trailing comma", "a.json: {\"uwsgi\": {\n\"a\": 1,\n}}", "a.json:3: cannot be read as JSON: invalid character '}' looking for beginning of object key string; mend this place; try: python3 -m json.tool FILE"},
		{"no object", "a.json: {\"other\": {\"a\": 1}}", "a.json: has no object \"uwsgi\"; write {\"uwsgi\": {\"key\": \"value\"}}"},
		{"not an object", "a.json: {\n\"uwsgi\": [1]}", "a.json:2: cannot be read as JSON: \"uwsgi\" is not an object; write {\"uwsgi\": {\"key\": \"value\"}}"},
		{"byte order mark", "a.json: \ufeff{}", "a.json:1: cannot be read as JSON: there is a byte order mark; save the file without it"},
		{"nested", "a.xml: <uwsgi>\n<a><b>1</b></a></uwsgi>", "a.xml:2: cannot be read as XML: <a> begins with another element or an empty instruction, and uWSGI dies of that; write the value there, and inner options beside it"},
		{"mismatch", "a.xml: <uwsgi>\n<a>1</b>\n</uwsgi>", "a.xml:2: cannot be read as XML: </b> stands where <a> must be closed; write </a>"},
		{"open", "a.xml: <uwsgi>\n<a>1</a>\n", "a.xml:1: cannot be read as XML: <uwsgi> is not closed; write </uwsgi>"},
		{"root", "a.xml: <top>\n<a>1</a></top>", "a.xml:1: cannot be read as XML: the root element is <top>, and there is no <uwsgi> in it; write <uwsgi> around the options"},
		{"ampersand", "a.xml: <uwsgi>\n<a>1 & 2</a></uwsgi>", "a.xml:2: cannot be read as XML: invalid character entity & (no semicolon); mend this place; in a text, < is written &lt; and & is written &amp;"},
		{"encoding", "a.xml: <?xml version=\"1.0\" encoding=\"koi8-r\"?><uwsgi/>", "a.xml:1: cannot be read as XML: its encoding is \"koi8-r\", which is not understood; save the file as UTF-8 and write encoding=\"UTF-8\""},
		{"external entity", "a.xml: <!DOCTYPE u [<!ENTITY e SYSTEM \"/etc/passwd\">]>\n<uwsgi><a>&e;</a></uwsgi>", "a.xml:2: cannot be read as XML: invalid character entity &e;; mend this place; in a text, < is written &lt; and & is written &amp;"},
	} {
		file, text, _ := strings.Cut(c.text, ": ")
		_, _, err := readAs(file, text)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s:\ngot  %v\nwant %s", c.name, err, c.want)
		}
	}
}

// What uWSGI passes over in silence is kept, and told.
func TestFormatsTellWhatIsDropped(t *testing.T) {
	for _, c := range []struct{ text, settings, want string }{
		{"a.yml: uwsgi:\n  master:\n  a: 1\n  endif:\n", "a = 1\n", "a.yml:2: option \"master\" has no value, and uWSGI drops such a line; write master: true|a.yml:4: option \"endif\" has no value, and uWSGI drops such a line; write endif: \"\""},
		{"a.yml: uwsgi:\n  a:\n  - 1\n  - 2\n  m:\n    x: 1\n", "a = 1\na = 2\nx = 1\n", ""},
		{"a.yml: uwsgi: {a: 1}\n", "", "a.yml: there is no \"uwsgi:\" with options below it, each deeper than it on a line of its own; nothing was read from the file"},
		{"a.yml: x: &v 1\nuwsgi:\n  a: *v\n", "", "a.yml: there is no \"uwsgi:\" with options below it, each deeper than it on a line of its own; nothing was read from the file"},
		{"a.yml: uwsgi:\n  a: 1\n  b: *v\n  c: !!str 1\n", "a = 1\n", "a.yml:3: uWSGI does not follow aliases: this one stands for nothing; write the value itself|a.yml:4: uWSGI stops reading the file here; remove the anchor or tag before the value, or the second value"},
		{"a.json: {\"uwsgi\": {\"a\": 1,\n\"b\": {\"c\": 1}, \"d\": [1,\n [2]]}, \"uwsgi\": {}}", "a = 1\nd = 1\n", "a.json:2: uWSGI passes over what is nested in option \"b\"; write a text, or a list of texts|a.json:3: uWSGI passes over what is nested in option \"d\"; write a text, or a list of texts|a.json:3: uWSGI reads only the first \"uwsgi\" of a JSON file; this one does nothing"},
		{"a.xml: <uwsgi>\nmaster\n<a>1<!-- c -->2</a></uwsgi>", "a = 1\n", "a.xml:1: uWSGI passes over text outside of elements; write <option>value</option>|a.xml:3: uWSGI takes only the beginning of <a>, up to the first comment, element, CDATA or declared entity; write the value in one piece"},
		{"a.xml: <uwsgi><app mountpoint=\"/\"><script>x</script></app></uwsgi>", "", "a.xml:1: uWSGI sees nothing in this <app>; write <mount>/path=module</mount>"},
	} {
		file, text, _ := strings.Cut(c.text, ": ")
		settings, notices, err := readAs(file, text)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		if got := shown(settings[1:]); got != c.settings {
			t.Errorf("%q: read\n%s", c.text, got)
		}
		if got := strings.Join(notices, "|"); got != c.want {
			t.Errorf("%q:\ngot  %s\nwant %s", c.text, got, c.want)
		}
	}
}

func TestLinesOfEveryFormat(t *testing.T) {
	for name, text := range map[string]string{
		"a.yml":  "# 1\nuwsgi:\n  a: %n%n\n  b: # 4\n  - 1\n  - |\n    x\n  c:\n    y\n",
		"a.json": "// 1\n{\"uwsgi\": {\n\"a\": \"%n%n\",\n\"b\": [\n1,\n\"x\\n\"],\n/*7*/\n\"c\": \"y\"}}",
		"a.xml":  "<!-- 1 -->\n<uwsgi>\n<a>%n%n</a>\n\n<b>1</b>\n<b>x\n</b>\n<c>y</c></uwsgi>",
	} {
		settings, _, err := readAs(name, text)
		if err != nil {
			t.Error(err)
			continue
		}
		var got strings.Builder
		for _, s := range settings[1:] {
			fmt.Fprintf(&got, "%d %s=%q ", s.Place.Line, s.Key, s.Value)
		}
		if want := `3 a="aa" 5 b="1" 6 b="x\n" 8 c="y" `; got.String() != want {
			t.Errorf("%s: got %s", name, got.String())
		}
	}
}

// Documents of 1 MiB that are made to cost more than they weigh. They must come to an end at once: a reader that is
// quadratic anywhere takes minutes for one of them, and the test's own limit ends it.
func heavy() map[string]string {
	fill := func(head, piece, tail string) string {
		return head + strings.Repeat(piece, (maxFile-len(head)-len(tail))/len(piece)) + tail
	}
	half := func(open, close string) string {
		n := maxFile / 2 / max(len(open), len(close))
		return strings.Repeat(open, n) + strings.Repeat(close, n)
	}
	docs := map[string]string{
		"brackets.yml":     fill("uwsgi:\n a: ", "[", ""),
		"braces.yml":       fill("uwsgi:\n a: ", "{a: ", ""),
		"dashes.yml":       fill("uwsgi:\n a:\n  ", "- ", ""),
		"questions.yml":    fill("uwsgi:\n ", "? ", ""),
		"one-line.yml":     fill("uwsgi:\n a: [", "x, ", "y]\n"),
		"flow-keys.yml":    fill("uwsgi:\n a: "+strings.Repeat("[", 200), "a,", ""),
		"aliases.yml":      fill("uwsgi:\n a: [", "*a , x, ", "y]\n"),
		"bomb.yml":         "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a ,*a ,*a ,*a ]\n" + fill("uwsgi:\n c: [", "*b ,", "*b ]\n"),
		"anchors.yml":      fill("", "&a ", "uwsgi"),
		"long-key.yml":     fill("uwsgi:\n ", "k", ": 1\n"),
		"keys.yml":         fill("uwsgi:\n", " k: v\n", ""),
		"dropped.yml":      fill("uwsgi:\n", " k:\n", ""),
		"open-quote.yml":   fill("uwsgi:\n a: \"", "x\n", ""),
		"block.yml":        fill("uwsgi:\n a: |\n", "\n", "  x\n"),
		"folded.yml":       fill("uwsgi:\n a: x", "\n   x", "\n"),
		"blanks.yml":       fill("uwsgi:\n a: x", " ", "y\n"),
		"comments.yml":     fill("uwsgi:\n a: 1\n", "#\n", ""),
		"documents.yml":    fill("", "---\n", ""),
		"escapes.yml":      fill("uwsgi:\n a: \"", `\U0010ffff`, "\"\n"),
		"brackets.json":    fill(`{"uwsgi": {"a": `, "[", ""),
		"nested.json":      `{"uwsgi": {"a": ` + half("[", "]") + "}}",
		"objects.json":     fill("", `{"a":`, ""),
		"list.json":        fill(`{"uwsgi": {"a": [`, `"",`, `1]}}`),
		"lists.json":       fill(`{"uwsgi": {"a": [`, `[],`, `1]}}`),
		"others.json":      fill(`{`, `"a":{},`, `"uwsgi":{}}`),
		"comments.json":    fill("{}", "/**/", ""),
		"open.json":        fill("{}", "/*", ""),
		"number.json":      fill(`{"uwsgi": {"a": `, "9", "}}"),
		"surrogates.json":  fill(`{"uwsgi": {"a": "`, `\ud83d`, `"}}`),
		"long-key.json":    fill(`{"uwsgi": {"`, "k", `": 1}}`),
		"nested.xml":       fill("", "<a>", ""),
		"siblings.xml":     fill("<uwsgi>", "<a/>", "</uwsgi>"),
		"attributes.xml":   "<uwsgi><a" + manyAttributes(maxFile/2) + "/></uwsgi>",
		"cdata.xml":        fill("<uwsgi>", "<![CDATA[xxxxxxxxxxxx]]>", "</uwsgi>"),
		"comments.xml":     fill("<uwsgi><a>", "<!---->", "</a></uwsgi>"),
		"laughs.xml":       laughs(),
		"attribute.xml":    `<!DOCTYPE u [<!ENTITY e "` + strings.Repeat("x", maxFile/2) + `">]><uwsgi><a id="` + strings.Repeat("&e;", maxFile/7) + `">1</a></uwsgi>`,
		"references.xml":   `<!DOCTYPE u [<!ENTITY e "` + strings.Repeat("x", maxFile/2) + `">]><uwsgi><a>` + strings.Repeat("&e;", maxFile/7) + `</a></uwsgi>`,
		"entities.xml":     "<!DOCTYPE u [" + strings.Repeat(`<!ENTITY e "">`, maxFile/20) + "]><uwsgi/>",
		"doctype.xml":      fill("<!DOCTYPE u [", "<", ""),
		"prefixes.xml":     fill("<uwsgi>", `<x:a xmlns:x="u"/>`, "</uwsgi>"),
		"declaration.xml":  fill("<?xml version=\"1.0\"", " ", "?><uwsgi/>"),
		"instructions.xml": fill("<uwsgi><a>", "<?p x?>", "</a></uwsgi>"),
	}
	return docs
}

func manyAttributes(size int) string {
	var b strings.Builder
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, " a%d=''", i)
	}
	return b.String()
}

// laughs is the billion laughs: each entity is ten of the one before.
func laughs() string {
	var b strings.Builder
	b.WriteString(`<!DOCTYPE u [<!ENTITY e0 "ha">`)
	for i := range 20 {
		fmt.Fprintf(&b, `<!ENTITY e%d "%s">`, i+1, strings.Repeat(fmt.Sprintf("&e%d;", i), 10))
	}
	b.WriteString("]><uwsgi><a>&e20;</a></uwsgi>")
	return b.String()
}

func TestHostileDocumentsEnd(t *testing.T) {
	for name, text := range heavy() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			settings, notices, err := readAs(name, text)
			var fault *Error
			if err != nil && !errors.As(err, &fault) {
				t.Errorf("the error is no *Error: %v", err)
			}
			if len(notices) > maxRemarks+1 {
				t.Errorf("%d notices", len(notices))
			}
			size := 0
			for _, s := range settings {
				size += len(s.Key) + len(s.Value)
			}
			if size > 2*maxFile {
				t.Errorf("%d bytes became %d", len(text), size)
			}
		})
	}
}

// fuzzed reads a text in one format, with nothing else to be found. Whatever it is, the answer is settings or an *Error
// that names the file.
func fuzzed(f *testing.F, ending string) {
	files, err := filepath.Glob("testdata/dialect/*/*" + ending)
	if err != nil || len(files) < 10 {
		f.Fatalf("%d dialect cases with the ending %s, %v", len(files), ending, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	form, _ := formatOf("a" + ending)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > 1<<16 {
			return
		}
		text, lines := (&reader{}).magic(raw)
		last := bytes.Count(raw, []byte{'\n'}) + 1
		for _, section := range []string{"uwsgi", "", "a"} {
			c, err := form.read("f", text, lines, section)
			var fault *Error
			if err != nil {
				if !errors.As(err, &fault) || fault.Place.File != "f" || fault.Place.Line > last {
					t.Fatalf("the error is %#v", err)
				}
				continue
			}
			for _, it := range c.items {
				if it.line < 1 || it.line > last || strings.Contains(it.key+it.value, "\x00") {
					t.Fatalf("item %+v in %d lines", it, last)
				}
			}
		}
	})
}

func FuzzYAML(f *testing.F) { fuzzed(f, ".yml") }
func FuzzJSON(f *testing.F) { fuzzed(f, ".json") }
func FuzzXML(f *testing.F)  { fuzzed(f, ".xml") }
