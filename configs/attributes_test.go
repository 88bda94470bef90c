package configs

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestAttributesComeFromTheirSectionWithinLimits(t *testing.T) {
	var many strings.Builder
	for i := range 2 * MaxAttributes {
		fmt.Fprintf(&many, "key%d = value\n", i)
	}
	for _, c := range []struct {
		text, want string
		notices    int
	}{
		{"", "[]", 0},
		{"[emperor]\na = 1\n; b = 2\n c=d = e \n[uwsgi]\nx = y\n[emperor]\na = 3\nbare\n", "[{a 1} {c d = e} {a 3} {bare }]", 0},
		{"[emperor]\nlong = " + strings.Repeat("x", 4097) + "\nok = " + strings.Repeat("é", 10) + "\nbad\x1b = 1\nworse = \xff\n", "[{ok éééééééééé}]", 3},
		{"[emperor]\n" + many.String(), fmt.Sprint(MaxAttributes), 1},
	} {
		text := "[uwsgi]\nmodule = a\nsocket = /run/uwsgi/a.sock\n" + c.text
		r := Resolve(Reading{Args: []string{"--ini", "a.ini"}, Dir: "/", Open: func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }})
		if r.Error != "" {
			t.Fatal(r.Error)
		}
		got := fmt.Sprint(r.Attributes)
		if len(r.Attributes) == MaxAttributes {
			got = fmt.Sprint(len(r.Attributes))
		}
		left := 0
		for _, n := range r.Notices {
			if strings.Contains(n, "section [emperor]") {
				left++
			}
		}
		if got != c.want || left != c.notices {
			t.Errorf("%q: %s and %d notices: %q", c.text, got, left, r.Notices)
		}
	}
}

func TestAttributesOfALiarAreRefused(t *testing.T) {
	list := func(n int, a Attribute) string {
		all := make([]Attribute, n)
		for i := range all {
			all[i] = a
		}
		text, _ := json.Marshal(all)
		return string(text)
	}
	for _, c := range []struct{ list, words string }{
		{list(MaxAttributes+1, Attribute{"a", "b"}), "more than 64 items"},
		{list(1, Attribute{"", "b"}), "the name of an attribute"},
		{list(1, Attribute{strings.Repeat("a", 65), ""}), "the name of an attribute"},
		{list(1, Attribute{"a", "\x1b"}), "with a control character"},
		{list(1, Attribute{"a", strings.Repeat("x", 4097)}), "more than 4096 bytes"},
		{`"x"`, "a list was expected"},
	} {
		_, err := DecodeResolution(strings.NewReader(`{"version":1,"settings":[],"sockets":[],"attributes":` + c.list + `}`))
		if err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%.60s: %v", c.list, err)
		}
	}
	if r, err := DecodeResolution(strings.NewReader(`{"version":1,"settings":[],"sockets":[],"attributes":` + list(2, Attribute{"a", "b"}) + `}`)); err != nil || len(r.Attributes) != 2 {
		t.Errorf("%v %v", r, err)
	}
}
