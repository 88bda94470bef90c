package emperor

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emperord/emperord/sockets"
)

// TestLastGoodSettingsComeBack is about a crash while the edited file is refused: by what it says, or because what it
// names does not load.
func TestLastGoodSettingsComeBack(t *testing.T) {
	for _, broken := range []struct{ module, reason string }{{"lies", "cannot use what vassald --resolve said"}, {"fails", "cannot import shop"}} {
		t.Run(broken.module, func(t *testing.T) {
			m := found(t, nil)
			m.app("shop.ini", shopID, "ok")
			before := m.await("shop.ini", Accepting, "").PID
			m.app("shop.ini", shopID, broken.module)
			m.await("shop.ini", Accepting, broken.reason)
			_ = syscall.Kill(before, syscall.SIGKILL)
			v := m.await("shop.ini", Accepting, "it runs with its last good settings, because its file as it is now was refused: ")
			if !strings.Contains(v.Reason, broken.reason) || v.UID != shopID {
				t.Errorf("%+v", v)
			}
			if pid, module := m.ask("shop.ini"); module != "ok" || pid == before {
				t.Errorf("%d %s answers", pid, module)
			}
			if w := m.known("shop.ini"); w.Refused == nil || !strings.Contains(w.Refused.Reason, broken.reason) {
				t.Errorf("why says %+v", w.Refused)
			}
			m.awaitLog("vassal accepts, with its last good settings")
			m.app("shop.ini", shopID, broken.module, "# still broken") // and it is said still
			m.await("shop.ini", Accepting, "it runs with its last good settings")
			m.app("shop.ini", shopID, "slow")
			for end := time.Now().Add(5 * time.Second); ; time.Sleep(2 * time.Millisecond) {
				if v := m.await("shop.ini", Accepting, ""); v.Reason == "" {
					break
				} else if time.Now().After(end) {
					t.Fatalf("a mended file is not taken: %+v", v)
				}
			}
			if _, module := m.ask("shop.ini"); module != "slow" {
				t.Errorf("%s answers", module)
			}
		})
	}
}

// TestLastGoodSettingsGoWithRightsAndFile: nobody keeps an application by breaking its file.
func TestLastGoodSettingsGoWithRightsAndFile(t *testing.T) {
	m := found(t, nil)
	path := m.dir + "/vassals/shop.ini"
	m.app("shop.ini", shopID, "ok")
	before := m.await("shop.ini", Accepting, "").PID
	mustDo(t, os.Chmod(path, 0o666)) // not what it says, but who may write it
	m.await("shop.ini", Accepting, "everybody may write it")
	_ = syscall.Kill(before, syscall.SIGKILL)
	m.await("shop.ini", Refused, "everybody may write it")
	mustDo(t, os.Chmod(path, 0o644))
	m.await("shop.ini", Accepting, "")
	m.app("shop.ini", shopID, "fails")
	m.await("shop.ini", Accepting, "cannot import")
	mustDo(t, os.Remove(path))
	m.await("shop.ini", Absent, "")
	m.app("shop.ini", shopID, "fails") // another vassal of the same name
	m.await("shop.ini", Backoff, "cannot import")
}

func TestGoodSettingsBelongToTheFilesOwner(t *testing.T) {
	needRoot(t)
	path := t.TempDir() + "/shop.ini"
	mustDo(t, os.WriteFile(path, nil, 0o644), os.Chown(path, shopID, shopID), os.Symlink(path, path+".link"), os.Lchown(path+".link", blogID, blogID))
	g := &Good{UID: shopID, GID: shopID, RanUID: shopID, RanGID: shopID}
	for _, c := range []struct {
		path  string
		links bool
		good  *Good
		want  string
	}{
		{path, false, g, ""},
		{path, true, g, ""},
		{path + ".link", false, g, ""},
		{path + ".link", true, g, "was given to another owner: from uid 61001, gid 61001 to uid 61002, gid 61002"},
		{path, false, &Good{UID: blogID, GID: shopID}, "was given to another owner"},
		{path, false, &Good{UID: shopID, GID: blogID}, "was given to another owner"},
		{path + ".gone", false, g, "no such file"},
		{path, false, nil, "nothing is kept"},
	} {
		err := c.good.owns(c.path, c.links)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s, %v: %v, want %q", c.path, c.links, err, c.want)
		}
	}
	if !g.ranAs(sockets.Identity{UID: shopID, GID: shopID}) || g.ranAs(sockets.Identity{UID: shopID, GID: 0}) || g.ranAs(sockets.Identity{UID: 0, GID: shopID}) {
		t.Error("ranAs takes other rights for the same")
	}
	big := &attempt{document: make([]byte, maxGood+1)}
	if big.good() || !(&attempt{document: make([]byte, maxGood)}).good() || (&attempt{document: []byte{1}, foreign: true}).good() {
		t.Error("what is kept is too much, or of a program that reads the file itself")
	}
}
