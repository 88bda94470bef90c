package configs

import (
	"os"
	"strings"
	"testing"
)

// The README's examples say what they claim.
func TestReadmesFormats(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "```yaml\n")
	example, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatal("the README has no example in YAML")
	}
	settings, notices, err := readAs("shop.yml", example)
	if err != nil || len(notices) > 0 {
		t.Fatal(notices, err)
	}
	want := "plugin = python3\nname = shop\nsocket = /run/uwsgi/shop.sock\nchdir = /srv/shop\nbase = /srv\nmodule = shop:application\nmaster = true\nenv = A=1\nenv = B=2\n"
	if got := shown(settings[1:]); got != want {
		t.Errorf("the example in YAML is\n%s", got)
	}
	for name, form := range map[string]string{"a.json": `{"uwsgi": {"env": ["A=1", "B=2"], "master": true}}`, "a.xml": "<uwsgi><env>A=1</env><env>B=2</env><master/></uwsgi>"} {
		if !strings.Contains(string(text), form) {
			t.Errorf("the README does not show %s", form)
		}
		settings, _, err := readAs(name, form)
		if err != nil || shown(settings[1:]) != "env = A=1\nenv = B=2\nmaster = 1\n" {
			t.Errorf("%s: %v, %v", form, settings, err)
		}
	}
}
