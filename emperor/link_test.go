package emperor

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/configs"
)

// TestLinksOfTyrantsReadNothingForStrangers has users of links that lead to what is not theirs: emperor-tyrant-nofollow makes
// the owner of a link the user of the vassal.
func TestLinksOfTyrantsReadNothingForStrangers(t *testing.T) {
	needRoot(t)
	dir, err := os.MkdirTemp("/run", "link-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	mustDo(t, os.Chmod(dir, 0o755))
	folder := func(name string, mode os.FileMode, uid, gid int) {
		t.Helper()
		mustDo(t, os.Mkdir(dir+name, 0o755), os.Chown(dir+name, uid, gid), os.Chmod(dir+name, mode))
	}
	file := func(name string, mode os.FileMode, uid, gid int) {
		t.Helper()
		mustDo(t, os.WriteFile(dir+name, []byte("[uwsgi]\n"), 0o644), os.Chown(dir+name, uid, gid), os.Chmod(dir+name, mode))
	}
	link := func(to, name string, uid, gid int) {
		t.Helper()
		mustDo(t, os.Symlink(to, dir+name), os.Lchown(dir+name, uid, gid))
	}
	folder("/v", 0o755, 0, 0)
	folder("/closed", 0o700, 0, 0)
	folder("/shop", 0o755, shopID, shopID)
	folder("/blog", 0o755, blogID, blogID)
	folder("/delegated", 0o755, blogID, blogID)
	folder("/sticky", 0o777|os.ModeSticky, 0, 0)
	folder("/open", 0o777, 0, 0)
	folder("/team", 0o775, 0, blogID)
	file("/skeleton", 0o644, 0, 0)
	file("/secret", 0o600, 0, 0)
	file("/closed/skeleton", 0o644, 0, 0)
	file("/anybodys", 0o646, 0, 0)
	file("/groups", 0o664, 0, blogID)
	file("/shop/app", 0o600, shopID, shopID)
	file("/blog/app", 0o644, blogID, blogID)
	file("/blog/private", 0o600, blogID, blogID)
	file("/open/skeleton", 0o644, 0, 0)
	file("/v/plain.ini", 0o644, shopID, shopID)
	file("/delegated/app", 0o644, shopID, shopID)
	link(dir+"/skeleton", "/blog/way", blogID, blogID)
	for name, to := range map[string]string{
		"/v/good.ini": "/skeleton", "/v/own.ini": "/shop/app", "/v/secret.ini": "/secret", "/v/closed.ini": "/closed/skeleton", "/v/anybodys.ini": "/anybodys", "/v/groups.ini": "/groups",
		"/v/theirs.ini": "/blog/app", "/v/private.ini": "/blog/private", "/v/way.ini": "/blog/way", "/v/open.ini": "/open/skeleton", "/v/none.ini": "/none", "/v/folder.ini": "/shop",
		"/blog/moved.ini": "/skeleton", "/sticky/good.ini": "/skeleton", "/open/moved.ini": "/skeleton", "/delegated/skeleton.ini": "/skeleton", "/team/twice.ini": "/skeleton",
	} {
		link(dir+to, name, shopID, shopID)
	}
	mustDo(t, os.Link(dir+"/team/twice.ini", dir+"/team/thrice.ini"))
	file("/theirs", 0o644, blogID, blogID)
	link(dir+"/theirs", "/v/given.ini", shopID, shopID)
	link("app", "/delegated/relative.ini", shopID, shopID) // its owner may have made it elsewhere, where "app" was another file
	link(dir+"/skeleton", "/v/roots.ini", 0, 0)
	link(dir+"/skeleton", "/v/roots-group.ini", shopID, 0)
	link("roots.ini", "/v/through.ini", shopID, shopID)
	for name, want := range map[string]string{
		"/v/good.ini":             "",
		"/v/own.ini":              "",
		"/v/through.ini":          "",
		"/v/plain.ini":            "",
		"/sticky/good.ini":        "",
		"/delegated/skeleton.ini": "", // root has named the folder, so its owner may put vassals there
		"/v/roots.ini":            "chown -h USER:GROUP",
		"/v/roots-group.ini":      "the link's group is root",
		"/v/secret.ini":           "permission denied as 61001",
		"/v/closed.ini":           "permission denied as 61001",
		"/v/private.ini":          "permission denied as 61001",
		"/v/anybodys.ini":         "everybody may write",
		"/v/groups.ini":           "may write it",
		"/v/theirs.ini":           "could put another file where it leads",
		"/v/given.ini":            "what it leads to belongs to 61002",
		"/v/way.ini":              "could put another file where it leads",
		"/v/open.ini":             "everybody could put another file where it leads",
		"/blog/moved.ini":         "could have moved it there",
		"/open/moved.ini":         "everybody could have moved it there",
		"/delegated/relative.ini": "could put another file where it leads",
		"/team/twice.ini":         "hard links",
		"/v/none.ini":             "no such file",
		"/v/folder.ini":           "not a regular file",
	} {
		base := dir + "/v"
		if strings.HasPrefix(name, "/delegated") {
			base = dir + "/delegated"
		}
		j, err := newDirectory(nil).judge(dir+name, base, law{tyrant: true, linkOwners: true, rootsLinks: true, initgroups: true})
		if j.file != nil {
			j.file.Close()
		}
		switch {
		case want == "" && err != nil:
			t.Errorf("%s is refused: %v", name, err)
		case want == "" && j.owner.UID != shopID:
			t.Errorf("%s would run as %d", name, j.owner.UID)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	link(dir+"/shop/app", "/v/enabled.ini", 0, 0) // with emperor-nofollow alone, root's link is root's word for its target
	if j, err := newDirectory(nil).judge(dir+"/v/enabled.ini", dir+"/v", law{tyrant: true, linkOwners: true, initgroups: true}); err != nil || j.owner.UID != shopID {
		t.Errorf("root's link to a tenant's file: %+v, %v", j.owner, err)
	} else {
		j.file.Close()
	}
	if _, err := newDirectory(nil).judge(dir+"/v/secret.ini", dir+"/v", law{tyrant: true, linkOwners: true, initgroups: true}); err == nil {
		t.Error("emperor-nofollow alone reads root's secret for a link's owner")
	}
	if _, err := os.Stat(dir + "/secret"); errors.Is(err, os.ErrPermission) {
		t.Error("a thread has kept the rights of the links' owner")
	}
}

// TestOneSkeletonServesManyUsers has links of several users to one skeleton of root's, whose content comes from their names.
func TestOneSkeletonServesManyUsers(t *testing.T) {
	m := found(t, func(c *configs.Emperor) { c.TyrantNoFollow, c.NoFollow = true, true })
	skeleton := m.dir + "/skeleton"
	mustDo(t, os.WriteFile(skeleton, []byte("[uwsgi]\nmodule = ok\nsocket = "+m.dir+"/run/%n.sock\nchmod-socket = 666\n"), 0o644))
	users := map[string]int{"one.ini": shopID, "two.ini": blogID}
	before := map[string]int{}
	for name, uid := range users {
		at := m.dir + "/vassals/" + name
		mustDo(t, os.Symlink(skeleton, at), os.Lchown(at, uid, uid))
	}
	for name, uid := range users {
		v := m.await(name, Accepting, "")
		if v.UID != uid {
			t.Errorf("%s runs as %d", name, v.UID)
		}
		before[name], _ = m.ask(name)
	}
	now := time.Now()
	tv := []unix.Timespec{{Sec: now.Unix()}, {Sec: now.Unix()}}
	mustDo(t, os.Chtimes(skeleton, now, now), unix.UtimesNanoAt(unix.AT_FDCWD, m.dir+"/vassals/one.ini", tv, unix.AT_SYMLINK_NOFOLLOW)) // touch, and touch -h
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if pid, _ := m.ask("one.ini"); pid != before["one.ini"] {
			break
		}
		if time.Now().After(end) {
			t.Fatal("touch -h does not reload the vassal of the link")
		}
	}
	if pid, _ := m.ask("two.ini"); pid != before["two.ini"] {
		t.Error("the other link's vassal has been reloaded too")
	}
	mustDo(t, os.Lchown(m.dir+"/vassals/two.ini", shopID, shopID))
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if v, err := m.status("two.ini"); err == nil && v.State == "accepting" && v.UID == shopID {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the link's new owner is not who the vassal runs as")
		}
	}
	m.touch("two.ini")
	for _, name := range []string{"one.ini", "two.ini"} {
		mustDo(t, os.Remove(m.dir+"/vassals/"+name))
		m.await(name, Absent, "")
	}
}
