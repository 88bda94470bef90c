package configs

import (
	"slices"
	"strings"
	"testing"
)

func parseHook(t *testing.T, key, value string) (*Emperor, error) {
	t.Helper()
	e, _, err := ParseEmperor(Settings{{Key: "emperor", Value: "/x"}, {Key: key, Value: value, Place: Place{File: "e.ini", Line: 2}}})
	return e, err
}

func TestHooksAreRefusedByNameAndLine(t *testing.T) {
	for _, c := range []struct{ key, value, words string }{
		{"hook-as-emperor", "hostname:x", "e.ini:2: option \"hook-as-emperor\": value \"hostname:x\" asks for the hook hostname, which there is not here; write exec:hostname NAME"},
		{"hook-as-emperor", "nonsense:x", "write hook-as-emperor = exec:COMMAND"},
		{"hook-as-emperor", "true", "does not say what to do"},
		{"hook-as-emperor", "cd:/tmp", "asks for the hook cd"},
		{"hook-as-vassal", "exit:0", "asks for the hook exit"},
		{"hook-as-vassal", "mount:tmpfs none /x", "write exec:mount"},
		{"hook-as-vassal", "write:/x", "write hook-as-vassal = write:FILE TEXT"},
		{"hook-as-vassal", "chown:/x root", "write hook-as-vassal = chown:FILE USER GROUP"},
		{"hook-as-vassal", "exec:", "does not say what to exec"},
		{"exec-as-vassal", " ", "does not say what to exec"},
		{"vassals-start-hook", "", "has no value"},
		{"emperor-hook-timeout", "0", "is out of range"},
	} {
		if _, err := parseHook(t, c.key, c.value); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s = %s: %v", c.key, c.value, err)
		}
	}
	if e, err := parseHook(t, "hook-as-vassal", "cd:sub"); err != nil {
		t.Error(err)
	} else if dir, enters := e.Hooks.AsVassal[0].Enters("/v"); dir != "/v/sub" || !enters {
		t.Error(dir)
	}
}

// TestANameIsNeverTextOfAShell looks at the arguments that a hook is started with.
func TestANameIsNeverTextOfAShell(t *testing.T) {
	names := []string{"shop.ini", "-rf", "--help;$(x)", "`x`.ini", "a b", "'"}
	for _, program := range []string{"/usr/bin/hook", "hook with words", "/usr/bin/hook with words", "/a b"} {
		e, err := parseHook(t, "vassals-stop-hook", program)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			path, args := e.Hooks.ShutsDown.Command(name, func(p string) bool { return p == "/a b" })
			last := args[len(args)-1]
			if last != name && last != "./"+name || strings.HasPrefix(last, "-") {
				t.Errorf("%q: %q", name, args)
			}
			if path == "/bin/sh" && args[2] != `exec "$@"` {
				t.Errorf("%q is run by %q", name, args)
			}
			if program == "/a b" && (path != "/a b" || len(args) != 2) {
				t.Errorf("%s %q", path, args)
			}
		}
	}
}

func FuzzHook(f *testing.F) {
	for kind := range hookKinds {
		f.Add(kind+":/a b c d", "name")
	}
	f.Add("exec:$(x)", "-x")
	f.Fuzz(func(t *testing.T, value, name string) {
		h, err := readHook(Setting{Key: "hook-as-vassal", Value: value}, true)
		if err != nil {
			return
		}
		if _, says := h.Says(); says || h.Kind == "cd" {
			return
		}
		path, args := h.Command(name, func(string) bool { return false })
		if path != "/bin/sh" || len(args) < 3 {
			t.Fatalf("%s %q", path, args)
		}
		if h.Kind != "exec" && h.Kind != "safeexec" && !slices.Contains([]string{hookScripts[h.Kind], hookScripts["create"]}, args[2]) {
			t.Fatalf("%q is code", args[2])
		}
	})
}
