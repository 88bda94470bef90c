package witness

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func TestEveryKindOfChangeIsSeen(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"kept", "removed", "chmodded", "replaced", "written", "mine"} {
		if err := os.WriteFile(dir+"/"+name, []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := Look(t, dir, dir+"/later")
	if d := s.Differences(t, nil); d != nil {
		t.Fatalf("nothing happened: %q", d)
	}
	err := errors.Join(os.Remove(dir+"/removed"), os.Chmod(dir+"/chmodded", 0o600), os.WriteFile(dir+"/new", nil, 0o644),
		os.Rename(dir+"/new", dir+"/replaced"), os.WriteFile(dir+"/written", []byte("longer than it was"), 0o644), os.Mkdir(dir+"/later", 0o755), os.Remove(dir+"/mine"))
	if err != nil {
		t.Fatal(err)
	}
	got := s.Differences(t, func(path string) bool { return path == dir+"/mine" })
	want := []string{"/chmodded was changed", "/later was made", "/removed was removed", "/replaced was changed", "/written was changed"}
	if len(got) != len(want) {
		t.Fatalf("%q", got)
	}
	for i, part := range want {
		if !strings.Contains(got[i], part) {
			t.Errorf("%q does not hold %q", got[i], part)
		}
	}
}
