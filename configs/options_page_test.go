package configs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A chapter of docs/options.md is a part of uWSGI, or those of its core who obey together.
type chapter struct {
	order int
	title string
}

// chapterOf says where an option stands in docs/options.md.
func chapterOf(o Option) chapter {
	if o.Where != "core" && o.Where != "emperord" {
		names := map[string]string{"cgi": "CGI", "php": "PHP", "psgi": "Perl (psgi)", "rack": "Ruby (rack)", "python": "Python", "http": "HTTP router (http)", "2.1": "From uWSGI 2.1"}
		return chapter{10, cmp.Or(names[o.Where], "Plugin "+o.Where)}
	}
	switch {
	case o.Obeys == ByNobody:
		return chapter{99, "Nobody"}
	case o.Obeys&ByEmperor != 0 && o.Obeys != ByEmperor:
		return chapter{2, "Emperor and vassal"}
	case o.Obeys&ByEmperor != 0:
		return chapter{1, "Emperor"}
	case o.Obeys&ByVassal != 0:
		return chapter{3, "Vassal"}
	case o.Obeys&ByLanguage != 0:
		return chapter{4, "Application, in any language"}
	case o.Obeys&ByReader != 0:
		return chapter{0, "Reading the configuration"}
	}
	return chapter{5, "Gateways"}
}

// cell escapes what Markdown would take for something else in a table.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", ">", "&gt;", "*", `\*`, "_", `\_`, "\n", " ").Replace(s)
}

// optionsPage writes docs/options.md.
func optionsPage() string {
	chapters := make(map[chapter][]Option)
	counts := make(map[Standing]int)
	for _, o := range table {
		if o.Same == "" {
			chapters[chapterOf(o)] = append(chapters[chapterOf(o)], o)
			counts[o.Standing]++
		}
	}
	order := make([]chapter, 0, len(chapters))
	for c := range chapters {
		order = append(order, c)
	}
	slices.SortFunc(order, func(a, b chapter) int { return cmp.Or(a.order-b.order, strings.Compare(a.title, b.title)) })

	var out strings.Builder
	fmt.Fprintf(&out, `# Options

<!-- Printed from configs/options_table.go by: go test ./configs -run TestOptionsPage -update -->

All %d spellings of the %d options that uWSGI 2.0 or emperord knows, and what becomes of each here. `+"`emperorctl options NAME`"+` shows
one of them; `+"`emperorctl check FILE`"+` says what a file uses.

| standing | options | meaning |
|---|--:|---|
| **honoured** | %d | does what it does in uWSGI |
| accepted | %d | nothing needs to be done: its purpose is fulfilled anyway, for the reason given |
| not yet | %d | known and checked, without effect so far; each start names it once, with file and line |
| never | %d | will not come; the reason says what to use instead |

| kind | a value is |
|---|---|
| boolean | true unless it is `+"`false`, `off`, `no` or `0`"+`; inverse: true switches something off |
| number | a whole number, in the unit and range given; uWSGI reads `+"`32k`"+` as 32 and `+"`abc`"+` as 0, here both are errors; `+"`30s`"+` is taken where seconds count |
| number of MiB | a whole number, times 1048576 |
| list | one item for each line; commas and blanks do not split, unless it says so |
| plugins | names with commas |
| octal mode | three octal digits |
| regular expression | PCRE; with a value: the expression, a blank, the value |
| socket | `+"`/path`, `@abstract`, `host:port`, `[v6]:port`, `:port`"+` |
| in its own way | see what it does |

A letter is for the command line. A value of the wrong kind is an error with file, line and remedy, whatever the standing.
`, len(table), counts[Honoured]+counts[Accepted]+counts[NotYet]+counts[Never], counts[Honoured], counts[Accepted], counts[NotYet], counts[Never])
	for _, c := range order {
		honoured := 0
		for _, o := range chapters[c] {
			if o.Standing == Honoured {
				honoured++
			}
		}
		fmt.Fprintf(&out, "\n## %s\n\n%d options, %d honoured.\n\n| option | takes | standing | what it does |\n|---|---|---|---|\n", c.title, len(chapters[c]), honoured)
		for _, o := range chapters[c] {
			optionLine(&out, o)
		}
	}
	return out.String()
}

func optionLine(out *strings.Builder, o Option) {
	name := "`" + o.Name + "`"
	if o.Letter != 0 {
		name += " `-" + string(o.Letter) + "`"
	}
	for _, alias := range o.Aliases() {
		name += "<br>`" + alias + "`"
	}
	standing, what := o.Standing.String(), cell(o.Help)
	if o.Standing == Honoured {
		standing = "**honoured**"
	}
	if o.Reason != "" {
		if what != "" {
			what += " "
		}
		what += "*" + strings.ToUpper(o.Reason[:1]) + cell(o.Reason[1:]) + ".*"
	}
	fmt.Fprintf(out, "| %s | %s | %s | %s |\n", name, cell(o.Takes()), standing, what)
}

func TestOptionsPage(t *testing.T) {
	page := optionsPage()
	if page != optionsPage() {
		t.Error("the page is different each time")
	}
	golden(t, "../docs/options.md", page)
	for _, o := range table {
		if !strings.Contains(page, "`"+o.Name+"`") {
			t.Errorf("%s is not on the page", o.Name)
		}
	}
	for line := range strings.Lines(page) {
		if cells := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|"); strings.HasPrefix(line, "| `") && cells != 5 {
			t.Errorf("a row with %d cells: %s", cells-1, line)
		}
	}
}
