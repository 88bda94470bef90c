package notify

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		pid, fds, names string
		want            string // joined by blanks; "!": an error
	}{
		{"7", "2", "~0:app.socket", "~0 app.socket"},
		{"7", "2", "", "unknown unknown"},
		{"7", "2", "one", "unknown unknown"},
		{"7", "2", "one:two:three", "unknown unknown"},
		{"7", "2", ":two", "unknown two"},
		{"7", "1", "a\nb", "a?b"},
		{"8", "2", "a:b", ""},
		{"", "2", "a:b", ""},
		{"07", "2", "a:b", ""},
		{"7", "", "", ""},
		{"7", "0", "", ""},
		{"7", "x", "", "!"},
		{"7", "-1", "", "!"},
		{"7", "65537", "", "!"},
		{"7", "4294967297", "", "!"},
		{"7", "1", strings.Repeat("x", maxNames+1), "!"},
	} {
		names, err := parse(c.pid, c.fds, c.names, 7)
		got := strings.Join(names, " ")
		if err != nil {
			got = "!"
		}
		if got != c.want {
			t.Errorf("%q %q %.20q: got %q, %v", c.pid, c.fds, c.names, got, err)
		}
	}
}

func TestADescriptorThatIsNotOpenSpoilsAll(t *testing.T) {
	if all, err := Inherited([]string{"LISTEN_PID=7", "LISTEN_FDS=60000"}, 7); err == nil {
		t.Errorf("%d descriptors", len(all))
	}
}

func FuzzParse(f *testing.F) {
	f.Add("3", "~0:emperord:app.socket")
	f.Add("2", ":::")
	f.Add("99999999", "")
	f.Fuzz(func(t *testing.T, fds, names string) {
		list, err := parse("7", fds, names, 7)
		if err != nil && list != nil || len(list) > maxDescriptors {
			t.Errorf("%d names, %v", len(list), err)
		}
		for _, n := range list {
			if n == "" || len(n) > 255 || Line(n, 255) != n {
				t.Errorf("the name %q", n)
			}
		}
	})
}
