package access

import (
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What the real setfacl wrote, byte by byte, for mode 0640.
const (
	goldenUsers = "0200000001000600ffffffff02000500" + "21000000" + "02000000" + "b6f00000" + "04000400ffffffff" + "080001000ef10000" + "10000500ffffffff" + "20000000ffffffff"
	goldenMask  = "0200000001000600ffffffff04000400ffffffff10000400ffffffff20000000ffffffff"
)

func TestParsesWhatSetfaclWrites(t *testing.T) {
	for _, c := range []struct {
		set, golden string
		want        ACL
	}{
		{"u:33:rx,u:61622:-,g:61710:x", goldenUsers, ACL{{TagOwner, 6, 0}, {TagUser, 5, 33}, {TagUser, 0, 61622}, {TagOwningGroup, 4, 0}, {TagGroup, 1, 61710}, {TagMask, 5, 0}, {TagOther, 0, 0}}},
		{"m::r", goldenMask, ACL{{TagOwner, 6, 0}, {TagOwningGroup, 4, 0}, {TagMask, 4, 0}, {TagOther, 0, 0}}},
	} {
		raw, err := hex.DecodeString(c.golden)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseACL(raw)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %v, %v; want %v", c.set, got, err, c.want)
		}
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, nil, 0o640); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("setfacl", "-m", c.set, path).CombinedOutput()
		if err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("setfacl: %v: %s", err, out)
			}
			t.Skipf("setfacl: %v: %s", err, out)
		}
		buf := make([]byte, 1000)
		n, err := unix.Getxattr(path, "system.posix_acl_access", buf)
		if err != nil {
			t.Fatal(err)
		}
		if hex.EncodeToString(buf[:n]) != c.golden {
			t.Errorf("setfacl -m %s writes %x, and the golden bytes are %s", c.set, buf[:n], c.golden)
		}
	}
}

func TestRefusesWhatTheKernelCouldNotHaveWritten(t *testing.T) {
	good := ACL{{Tag: TagOwner}, {Tag: TagOwningGroup}, {Tag: TagOther}}
	if _, err := ParseACL(encode(good)); err != nil {
		t.Error(err)
	}
	for name, raw := range map[string][]byte{
		"empty":     nil,
		"cut":       encode(good)[:15],
		"version":   append([]byte{3}, encode(good)[1:]...),
		"too long":  make([]byte, maxACL+1),
		"no owner":  encode(good[1:]),
		"no mask":   encode(ACL{good[0], {TagUser, 7, 1}, good[1], good[2]}),
		"two masks": encode(ACL{good[0], good[1], {Tag: TagMask}, {Tag: TagMask}, good[2]}),
		"order":     encode(ACL{good[1], good[0], good[2]}),
		"tag":       encode(ACL{good[0], good[1], {Tag: 3}, good[2]}),
		"rights":    encode(ACL{{Tag: TagOwner, Perm: 8}, good[1], good[2]}),
	} {
		if list, err := ParseACL(raw); err == nil {
			t.Errorf("%s: got %v and no error", name, list)
		}
	}
}

func FuzzParseACL(f *testing.F) {
	for _, golden := range []string{goldenUsers, goldenMask} {
		raw, err := hex.DecodeString(golden)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		list, err := ParseACL(raw)
		if err != nil {
			return
		}
		again, err := ParseACL(encode(list))
		if err != nil || !reflect.DeepEqual(list, again) {
			t.Errorf("%v became %v, %v", list, again, err)
		}
		n := Inode{Mode: 0o070, ACL: list, UID: 1, GID: 1}
		for _, u := range []User{{UID: 2, GID: 1}, {UID: 3, GID: 3}, {UID: 33, GID: 33}} {
			if words := n.entries(u, mayX); !strings.HasPrefix(words, "u:") || !strings.Contains(words, "m::") {
				t.Errorf("the command would be setfacl -m %s", words)
			}
		}
	})
}
