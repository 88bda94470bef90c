package shape

import (
	"strings"
	"testing"
)

func TestShape(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`{"b":1,"a":[{"x":"","y":-2},{"x":"z","y":3}],"c":[],"d":null,"e":true,"f":1.5}`,
			" object|.b integer|.a array|.a[] object|.a[].x string|.a[].y integer|.c array|.d null|.e boolean|.f fraction"},
		{`[1,2]`, " array|[] integer"},
		{`[1,"2"]`, "error"},
		{`[{"a":1,"b":1},{"b":1,"a":1}]`, "error"},
		{`{"a":1} x`, "error"},
		{`{"a":`, "error"},
		{``, "error"},
	} {
		lines, err := Of([]byte(c.text))
		got := strings.Join(lines, "|")
		if err != nil {
			got = "error"
		}
		if got != c.want {
			t.Errorf("%s: got %s (%v), want %s", c.text, got, err, c.want)
		}
	}
}
