package sockets

import (
	"encoding/json"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestListenerIsTheSameWithAnotherDescriptor hands a listener of each kind over, as JSON, and lets what has been made of it do all that
// the first one could.
func TestListenerIsTheSameWithAnotherDescriptor(t *testing.T) {
	dir, p := place(t, &shop)
	root := p.Roots[0]
	var all []*Listener
	for _, text := range []string{root + "/a/b/socket", "@handover-" + strings.ReplaceAll(dir, "/", "-"), "127.0.0.1:0", "localhost:0"} {
		a, err := ParseAddress(text)
		if err != nil {
			t.Fatal(err)
		}
		policy := p
		if a.Kind != Unix {
			policy = Policy{}
		}
		l, err := Bind(Request{Address: a, UID: Anyone, GID: Anyone, Backlog: 5}, policy)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Remove()
		all = append(all, l)
		encoded, err := json.Marshal(l.Snapshot())
		if err != nil {
			t.Fatal(err)
		}
		var s Snapshot
		if err := json.Unmarshal(encoded, &s); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Dup(int(l.File.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		next, err := Restore(fd, s)
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := json.Marshal(next.Snapshot()); string(again) != string(encoded) {
			t.Errorf("given %s, given again %s", encoded, again)
		}
		if lost, drift := next.Condition(); lost != "" || drift != "" || !next.Intact() || next.InTenantsFolder() != l.InTenantsFolder() || next.Owned() != l.Owned() {
			t.Errorf("%s: lost %q, drift %q", a, lost, drift)
		}
		if fits, err := next.Fits(Request{Address: a, UID: Anyone, GID: Anyone, Backlog: 5}, policy); err != nil || !fits {
			t.Errorf("%s does not fit any more: %v", a, err)
		}
		if a.Kind == Unix {
			c, err := net.Dial("unix", a.Path)
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			_ = l.Close()
			if err := next.Remove(); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(root + "/a"); !os.IsNotExist(err) {
				t.Errorf("the folders that were made are left: %v", err)
			}
			continue
		}
		next.Close()
	}
	// A descriptor that is something else is refused, and stays open.
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	idle, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(idle)
	s := all[1].Snapshot()
	other := s
	other.Address.Path += "x"
	for _, c := range []struct {
		fd    int
		s     Snapshot
		words string
	}{
		{int(null.Fd()), s, "is no socket"}, {idle, s, "does not listen"}, {1 << 20, s, "is no socket"},
		{int(all[2].File.Fd()), s, "is another socket"}, {int(all[1].File.Fd()), other, "is another socket"}, {int(all[1].File.Fd()), all[2].Snapshot(), "is another socket"},
	} {
		if l, err := Restore(c.fd, c.s); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("descriptor %d for %s: %v, %v; want %q", c.fd, c.s.Address, l, err, c.words)
		}
	}
}

// TestLeftoversAreRememberedBeyondTheProgram: the folder of a socket that has gone goes with the last one in it.
func TestLeftoversAreRememberedBeyondTheProgram(t *testing.T) {
	_, p := place(t, nil)
	root := p.Roots[0]
	bind := func(path string) *Listener {
		l, err := Bind(Request{Address: Address{Kind: Unix, Path: path}, UID: Anyone, GID: Anyone}, p)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	first := bind(root + "/shared/first")
	second := bind(root + "/shared/second")
	var before, after Leftovers
	_ = first.Remove()
	before.Gone(first)
	if err := after.Restore(before.Snapshot()); err != nil {
		t.Fatal(err)
	}
	_ = second.Remove()
	after.Gone(second)
	if _, err := os.Stat(root + "/shared"); !os.IsNotExist(err) {
		t.Errorf("the folder is left: %v", err)
	}
	if err := after.Restore([]LeftoverSnapshot{{Made: []FolderSnapshot{{Path: "relative"}}}}); err == nil {
		t.Error("a relative folder was taken")
	}
}
