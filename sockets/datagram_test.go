package sockets

import (
	"os"
	"strings"
	"testing"
)

func TestDatagramSocketsReplaceOnlyDeadOnes(t *testing.T) {
	a := Address{Kind: Unix, Path: t.TempDir() + "/d.sock"}
	first, err := BindDatagram(a, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Lstat(a.Path); err != nil || st.Mode() != os.ModeSocket|0o600 {
		t.Errorf("%v, %v", st, err)
	}
	if _, err := BindDatagram(a, 0o600); err == nil || !strings.Contains(err.Error(), "ss -xlp src "+a.Path) {
		t.Errorf("a living one is replaced: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := BindDatagram(a, 0o600)
	if err != nil {
		t.Fatalf("a dead one is in the way: %v", err)
	}
	if err := os.Remove(a.Path); err != nil {
		t.Fatal(err)
	}
	third, err := BindDatagram(a, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(a.Path); err != nil {
		t.Errorf("somebody else's file was removed: %v", err)
	}
	if err := third.Remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(a.Path); !os.IsNotExist(err) {
		t.Errorf("the file is left: %v", err)
	}
	for _, wrong := range []Address{{Kind: Unix, Path: "/nonexistent/d.sock"}, {Kind: TCP, Host: "192.0.2.1", Port: 9}} {
		if _, err := BindDatagram(wrong, 0o600); err == nil {
			t.Errorf("%s is bound", wrong)
		}
	}
}
