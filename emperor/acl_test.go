package emperor

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAnACLCannotMakeAnothersWordRun lets strangers write a file through its ACL, which the mode hides: its group's bits
// are the mask then. After the command of the refusal the file is taken.
func TestAnACLCannotMakeAnothersWordRun(t *testing.T) {
	needRoot(t)
	dir, err := os.MkdirTemp("/run", "acl-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	mustDo(t, os.Chmod(dir, 0o755))
	path := dir + "/shop.ini"
	for _, c := range []struct {
		name    string
		owner   int
		mode    os.FileMode
		acl     string
		trusted bool   // where tyrant is off: root may run it
		refused string // in tyrant mode
	}{
		{name: "no ACL", owner: shopID, mode: 0o664},
		{name: "no ACL, root's", mode: 0o664, trusted: true},
		{name: "a stranger writes", owner: shopID, mode: 0o644, acl: "u:61402:rw", refused: "uid 61402"},
		{name: "a stranger reads", owner: shopID, mode: 0o644, acl: "u:61402:r"},
		{name: "a stranger writes root's file", mode: 0o644, acl: "u:61402:rw"},
		{name: "a strange group writes root's file", mode: 0o644, acl: "g:61402:rw"},
		{name: "a stranger reads root's file", mode: 0o644, acl: "u:61402:r", trusted: true},
		{name: "the mask lets nobody write root's file", mode: 0o644, acl: "u:61402:rw,m::r", trusted: true},
		{name: "root's group writes root's file", mode: 0o644, acl: "g:0:rw,u:0:rw", trusted: true},
		{name: "the mask lets nobody write", owner: shopID, mode: 0o644, acl: "u:61402:rw,m::r"},
		{name: "a strange group writes", owner: shopID, mode: 0o644, acl: "g:61402:rw", refused: "group 61402 (gid 61402)"},
		{name: "the owner and its group write", owner: shopID, mode: 0o644, acl: "u:61001:rw,g:61001:rw"},
		{name: "root may write anyway", owner: shopID, mode: 0o644, acl: "u:0:rw,g:0:rw"},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer os.Remove(path)
			acl := strings.NewReplacer("61001", strconv.Itoa(shopID)).Replace(c.acl)
			mustDo(t, os.WriteFile(path, []byte("[uwsgi]\n"), c.mode), os.Chown(path, c.owner, c.owner), os.Chmod(path, c.mode))
			if acl != "" {
				run(t, "setfacl -m "+acl+" "+path)
			}
			judge := func(tyrant bool) (judgement, error) {
				j, err := newDirectory(nil).judge(path, dir, law{tyrant: tyrant, initgroups: true})
				if j.file != nil {
					j.file.Close()
				}
				return j, err
			}
			if j, err := judge(false); err != nil || j.trusted != c.trusted {
				t.Errorf("without tyrant it is trusted: %v, want %v (%v)", j.trusted, c.trusted, err)
			}
			if c.owner == 0 {
				return
			}
			_, err := judge(true)
			if c.refused == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !errors.As(err, new(refusal)) || !strings.Contains(err.Error(), c.refused) {
				t.Fatalf("%v, want a refusal that names %s", err, c.refused)
			}
			_, remedy, _ := strings.Cut(err.Error(), "run: ")
			run(t, remedy)
			if _, err := judge(true); err != nil {
				t.Errorf("after %s: %v", remedy, err)
			}
		})
	}
}

// TestAnACLThatIsBrokenIsNoPermission feeds what no kernel would answer.
func TestAnACLThatIsBrokenIsNoPermission(t *testing.T) {
	for _, text := range []string{"", "\x02", "\x01\x00\x00\x00", "\x02\x00\x00\x00\x02\x00"} {
		if w, err := decodeACL([]byte(text), 1); err == nil {
			t.Errorf("%q is read as %v", text, w)
		}
	}
	st := unix.Stat_t{Mode: unix.S_IFREG | 0o664, Gid: 7}
	if w, err := writersOf(-1, &st); err == nil {
		t.Errorf("a file that cannot be asked lets %v write", w)
	}
}

func run(t *testing.T, line string) {
	t.Helper()
	words := strings.Fields(line)
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
}
