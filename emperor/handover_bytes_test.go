package emperor

import (
	"encoding/json"
	"os"
	"reflect"
	"testing"
	"unicode/utf8"
)

// TestNamesThatAreNoTextSurviveAnUpgrade has two that JSON alone would not tell apart: an upgrade was refused because of them.
func TestNamesThatAreNoTextSurviveAnUpgrade(t *testing.T) {
	e := household(t)
	for _, name := range []string{"a\xff.ini", "a\xfe.ini", "\U0010FFFF.ini", "plain \n ünï.ini"} {
		v := &vassal{name: name, life: Life{State: Refused}, attempts: map[Generation]*attempt{}, leader: "by \xff",
			sighting: sighting{name: name, path: "/v/" + name, dir: "/v", base: "/v", file: name, monitor: "/v"}}
		e.vassals[name] = v
	}
	self, err := os.Open("/proc/self/exe")
	mustDo(t, err)
	defer self.Close()
	first, _, err := e.document("/next", self, e.upgrade.last)
	mustDo(t, err)
	f, _, err := first.file()
	mustDo(t, err)
	defer f.Close()
	_, err = f.Seek(0, 0)
	mustDo(t, err)
	second, err := decodeDocument(f)
	mustDo(t, err)
	for i, v := range first.Vassals {
		got := second.Vassals[i]
		if got.Name != v.Name || got.Sighting != v.Sighting || got.Leader != v.Leader {
			t.Errorf("given %+v, taken %+v", v.Sighting, got.Sighting)
		}
	}
}

func FuzzIntoText(f *testing.F) {
	for _, s := range []string{"", "plain", "a\xff\xfe", "\U0010FF80", "\U0010FFFF\xf4", "\xf4\x8f\xbe\x80", "ü\xc3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		text := intoText(s)
		if !utf8.ValidString(text) || outOfText(text) != s {
			t.Errorf("%q becomes %q and %q", s, text, outOfText(text))
		}
		type part struct {
			S  string
			M  map[string][]string
			P  *string
			No []byte
		}
		given := part{s, map[string][]string{s: {s, "x"}}, &s, []byte(s)}
		out, err := json.Marshal(withStrings(reflect.ValueOf(given), intoText).Interface())
		if err != nil {
			t.Fatal(err)
		}
		var taken part
		if err := json.Unmarshal(out, &taken); err != nil {
			t.Fatal(err)
		}
		taken = withStrings(reflect.ValueOf(taken), outOfText).Interface().(part)
		if !reflect.DeepEqual(given, taken) && len(s) > 0 {
			t.Errorf("given %+v, taken %+v", given, taken)
		}
	})
}
