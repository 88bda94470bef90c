package sockets

import (
	"errors"
	"os"
	"testing"
)

func TestDatagramModeIsForTheOwnSocketOnly(t *testing.T) {
	dir := t.TempDir()
	path := dir + "/d"
	d, err := BindDatagram(Address{Kind: Unix, Path: path}, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Remove()
	if err := d.SetMode(0o666); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o666 {
		t.Errorf("%v %v", st.Mode(), err)
	}
	precious := dir + "/precious"
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for what, put := range map[string]func() error{
		"a link":        func() error { return os.Symlink(precious, path) },
		"a hard link":   func() error { return os.Link(precious, path) },
		"another file":  func() error { return os.WriteFile(path, nil, 0o600) },
		"a second name": func() error { return errors.Join(os.Rename(dir+"/kept", path), os.Link(path, dir+"/kept")) },
	} {
		if _, err := os.Lstat(dir + "/kept"); err != nil {
			if err := os.Rename(path, dir+"/kept"); err != nil {
				t.Fatal(err)
			}
		} else if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if err := put(); err != nil {
			t.Fatal(err)
		}
		if err := d.SetMode(0o644); err == nil {
			t.Errorf("%s was given the mode", what)
		}
	}
	if st, err := os.Stat(precious); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st.Mode(), err)
	}
}
