package sockets

import (
	"os"
	"strings"
	"testing"
)

func TestConditionOfASocketsFile(t *testing.T) {
	dir := t.TempDir()
	path := dir + "/s.sock"
	l, err := Bind(Request{Address: Address{Kind: Unix, Path: path}, UID: Anyone, GID: Anyone}, Policy{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Remove()
	want := func(lost, drift string) {
		t.Helper()
		gotLost, gotDrift := l.Condition()
		if !strings.Contains(gotLost, lost) || (lost == "") != (gotLost == "") || !strings.Contains(gotDrift, drift) || (drift == "") != (gotDrift == "") {
			t.Errorf("lost %q, drift %q; want %q, %q", gotLost, gotDrift, lost, drift)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	want("", "")
	must(os.Chmod(path, 0o600))
	want("", "mode 0600")
	must(os.Chmod(path, 0o755))
	want("", "")
	must(os.Rename(path, dir+"/away"))
	want("its file was removed", "")
	for kind, put := range map[string]func() error{
		"a file of uid":          func() error { return os.WriteFile(path, nil, 0o600) },
		"a symbolic link of uid": func() error { return os.Symlink(dir+"/away", path) }, // though it leads to the socket: it may lead elsewhere next time
		"a folder of uid":        func() error { return os.Mkdir(path, 0o755) },
	} {
		must(put())
		want(kind, "")
		must(os.Remove(path))
	}
	must(os.Rename(dir+"/away", path))
	want("", "")
}
