package configs

import (
	"go/ast"
	goparser "go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
)

func TestTableIsSortedAndWhole(t *testing.T) {
	letters := make(map[byte]string)
	for i, o := range table {
		if i > 0 && table[i-1].Name >= o.Name {
			t.Errorf("%s stands behind %s", o.Name, table[i-1].Name)
		}
		if o.Same != "" {
			first, ok := Lookup(o.Same)
			if !ok || first.Same != "" {
				t.Errorf("%s: %s is not a first spelling", o.Name, o.Same)
			}
			// All that is not the spelling itself is that of the first one.
			spelt := first
			spelt.Name, spelt.Same, spelt.Letter = o.Name, o.Same, o.Letter
			if spelt != o {
				t.Errorf("%s and %s differ: %+v, %+v", o.Name, o.Same, o, first)
			}
		}
		if o.Letter != 0 {
			if letters[o.Letter] != "" {
				t.Errorf("-%c is both %s and %s", o.Letter, letters[o.Letter], o.Name)
			}
			letters[o.Letter] = o.Name
		}
		switch o.Standing {
		case Honoured:
			if o.Help == "" {
				t.Errorf("%s is honoured and has no help", o.Name)
			}
			if o.Obeys == ByNobody {
				t.Errorf("%s is honoured by nobody", o.Name)
			}
		case Accepted, Never:
			if o.Reason == "" {
				t.Errorf("%s is %s without a reason", o.Name, o.Standing)
			}
		}
	}
}

// cases returns the texts of all case clauses in a function of this package.
func cases(t *testing.T, file, function string) map[string]bool {
	t.Helper()
	f, err := goparser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Name.Name != function {
			continue
		}
		ast.Inspect(fn, func(n ast.Node) bool {
			if c, ok := n.(*ast.CaseClause); ok {
				for _, e := range c.List {
					if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
						name, _ := strconv.Unquote(l.Value)
						found[name] = true
					}
				}
			}
			return true
		})
	}
	return found
}

// TestTableTellsTheTruth holds the table against the code that obeys it.
func TestTableTellsTheTruth(t *testing.T) {
	vassal, emperor, reader := cases(t, "vassal_parse.go", "apply"), cases(t, "emperor.go", "apply"), cases(t, "immediate.go", "act")
	for _, set := range []map[string]bool{vassal, emperor, reader, cases(t, "emperor.go", "idle")} {
		for name := range set {
			if o, ok := Lookup(name); !ok || o.Same != "" {
				t.Errorf("the code asks for %q, which is not the first spelling of an option", name)
			}
		}
	}
	for _, o := range table {
		if o.Same != "" || o.Standing != Honoured {
			continue
		}
		if o.Obeys&(ByVassal|ByLanguage) != 0 && !vassal[o.Name] {
			t.Errorf("%s counts as honoured by vassals, and ParseVassal does not read it", o.Name)
		}
		if o.Obeys&ByEmperor != 0 && !emperor[o.Name] && o.Name != "vacuum" {
			t.Errorf("%s counts as honoured by the emperor, and ParseEmperor does not read it", o.Name)
		}
		if o.Obeys == ByReader && !reader[o.Name] && !opens(o.Name) && !closes(o.Name) && o.Name != "inherit" {
			t.Errorf("%s counts as honoured by the reader, and it does not act", o.Name)
		}
	}
}

func TestNearest(t *testing.T) {
	for name, want := range map[string]string{
		"proceses": "processes", "sokcet": "socket", "chmod_socket": "chmod-socket", "Master": "master",
		"harikiri": "harakiri", "wsgi_file": "wsgi-file", "virtualenvv": "virtualenv", "max-request": "max-requests",
		"project": "", "x": "", "frobnicate": "", "emperor-tyran": "emperor-tyrant", strings.Repeat("x", 5000): "",
	} {
		if got := Nearest(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestLookupKnowsWhatUwsgiKnows(t *testing.T) {
	for name, first := range map[string]string{"wsgi": "module", "venv": "home", "workers": "processes", "chmod": "chmod-socket", "yml": "yaml", "set-ph": "set-placeholder", "vassal-set": "vassals-set"} {
		if o, ok := Lookup(name); !ok || o.First() != first {
			t.Errorf("%s: %+v", name, o)
		}
	}
	if _, ok := Lookup("frobnicate"); ok {
		t.Error("frobnicate is known")
	}
	if len(Options()) < 1090 {
		t.Errorf("%d options", len(Options()))
	}
}
