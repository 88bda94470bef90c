package configs

import (
	"fmt"
	"go/ast"
	goparser "go/parser"
	"go/token"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
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

// TestTableTellsTheTruth holds the table against the code that obeys it, both ways.
func TestTableTellsTheTruth(t *testing.T) {
	reader := cases(t, "immediate.go", "act")
	vassal, emperor := new(vassalParser), new(emperorParser)
	programs := []struct {
		name    string
		party   Party
		fields  fields
		special map[string]bool // what the code names
		reads   func(first string) bool
	}{
		{"vassal", ByVassal | ByLanguage, fieldsOf(new(Vassal), new(allSockets), new(LogFile)), cases(t, "vassal_parse.go", "special"), func(n string) bool { return vassal.special(n) != nil }},
		{"emperor", ByEmperor, fieldsOf(new(Emperor), new(LogFile)), cases(t, "emperor.go", "special"), func(n string) bool { return emperor.special(n) != nil || n == "vacuum" }},
	}
	for _, set := range []map[string]bool{reader, cases(t, "emperor.go", "idle"), programs[0].special, programs[1].special} {
		for name := range set {
			if o, ok := Lookup(name); !ok || o.Same != "" {
				t.Errorf("the code asks for %q, which is not the first spelling of an option", name)
			}
		}
	}
	for _, p := range programs {
		if len(p.special) < 6 || len(p.fields) < 15 {
			t.Fatalf("%s: only %d fields and %d special options were found", p.name, len(p.fields), len(p.special))
		}
		for name := range p.fields {
			o, ok := Lookup(name)
			switch {
			case !ok || o.Same != "":
				t.Errorf("%s: a tag names %q, which is not the first spelling of an option", p.name, name)
			case o.Obeys&p.party == 0:
				t.Errorf("%s: there is a field for %s, which it does not obey according to the table", p.name, name)
			case o.Standing == Never:
				t.Errorf("%s: there is a field for %s, which has no effect according to the table", p.name, name)
			case p.reads(name):
				t.Errorf("%s: %s has a field and is special", p.name, name)
			}
		}
	}
	for _, o := range table {
		if o.Same != "" || o.Standing != Honoured {
			continue
		}
		for _, p := range programs {
			if _, field := p.fields[o.Name]; o.Obeys&p.party != 0 && !field && !p.reads(o.Name) {
				t.Errorf("%s counts as honoured by a %s, and is neither a field nor special", o.Name, p.name)
			}
		}
		if o.Obeys == ByReader && !reader[o.Name] && !opens(o.Name) && !closes(o.Name) && o.Name != "inherit" {
			t.Errorf("%s counts as honoured by the reader, and it does not act", o.Name)
		}
	}
}

// samples holds a good value of each kind that fields have, and what it is as text of the field.
var samples = map[Kind][2]string{
	Bool: {"1", "true"}, BoolInverse: {"1", "true"}, Int: {"7", "7"}, Uint64: {"7", "7"}, Uint16: {"7", "7"}, Megabytes: {"7", "7"}, Mode: {"640", "-rw-r-----"},
	String: {"text", "text"}, List: {"text", "[text]"}, User: {"shop", "shop"}, Group: {"shop", "shop"},
}

// TestEveryFieldTakesItsOption fails where a field's type does not fit the kind or the unit of its row.
func TestEveryFieldTakesItsOption(t *testing.T) {
	for _, p := range []*parser{
		{party: ByVassal | ByLanguage, fields: fieldsOf(new(Vassal), new(allSockets), new(LogFile))},
		{party: ByEmperor, fields: fieldsOf(new(Emperor), new(LogFile))},
	} {
		p.rest = p.standing
		for name, field := range p.fields {
			o, _ := Lookup(name)
			sample, ok := samples[o.Kind]
			if !ok {
				t.Errorf("%s: the test has no sample of its kind", name)
				continue
			}
			if err := p.take(o, Setting{Key: name, Value: sample[0]}); err != nil {
				t.Errorf("%s = %s: %v", name, sample[0], err)
			}
			want := sample[1]
			if field.Type() == reflect.TypeFor[time.Duration]() {
				want += o.Unit
			}
			if field.Kind() == reflect.Pointer && !field.IsNil() {
				field = field.Elem()
			}
			if got := fmt.Sprint(field.Interface()); got != want {
				t.Errorf("%s = %s: the field is %s, want %s", name, sample[0], got, want)
			}
		}
	}
}

// TestDefaultsAreTheTables holds what a program starts with against the rows.
func TestDefaultsAreTheTables(t *testing.T) {
	v, _, err := ParseVassal(shop(t, minimal))
	e, _, bad := emperorOf(t, "", "--emperor", "/x")
	if err != nil || bad != nil {
		t.Fatal(err, bad)
	}
	compared := 0
	for _, set := range []fields{fieldsOf(v), fieldsOf(e)} {
		for name, field := range set {
			o, _ := Lookup(name)
			if o.Default == "" || field.IsZero() { // zero: whoever uses it puts the default there
				continue
			}
			compared++
			want := o.Default
			if field.Type() == reflect.TypeFor[time.Duration]() {
				d, _ := time.ParseDuration(want + o.Unit)
				want = d.String()
			}
			if got := fmt.Sprint(field.Interface()); got != want {
				t.Errorf("%s: the table says that %s counts when it is not set, and it is %s", name, o.Default, got)
			}
		}
	}
	if compared < 5 {
		t.Errorf("only %d defaults were compared", compared)
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
