package emperor

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// TestTyrantRunsNobodysFileForAStranger tries to run code as shop by way of blog's folders and links.
func TestTyrantRunsNobodysFileForAStranger(t *testing.T) {
	needRoot(t)
	dir, err := os.MkdirTemp("/run", "judge-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	folder := func(name string, mode os.FileMode, uid, gid int) {
		t.Helper()
		must(errors.Join(os.Mkdir(dir+name, 0o755), os.Chown(dir+name, uid, gid), os.Chmod(dir+name, mode)))
	}
	file := func(name string, uid, gid int) {
		t.Helper()
		must(errors.Join(os.WriteFile(dir+name, []byte("[uwsgi]\n"), 0o644), os.Chown(dir+name, uid, gid)))
	}
	link := func(to, name string, uid int) {
		t.Helper()
		must(errors.Join(os.Symlink(to, dir+name), os.Lchown(dir+name, uid, uid)))
	}
	must(os.Chmod(dir, 0o755))
	folder("/delegated", 0o755, blogID, blogID)
	file("/delegated/shop.ini", shopID, shopID)
	if j, err := newDirectory(nil).judge(dir+"/delegated/shop.ini", dir+"/delegated", law{tyrant: true, initgroups: true}); err != nil {
		t.Errorf("root has named the folder, so its owner may put vassals there: %v", err)
	} else {
		j.file.Close()
	}
	folder("/v", 0o755, 0, 0)
	folder("/shop", 0o755, shopID, shopID)
	folder("/blog", 0o755, blogID, blogID)
	folder("/open", 0o777, 0, 0)
	folder("/sticky", 0o777|os.ModeSticky, 0, 0)
	folder("/team", 0o775, 0, blogID)
	file("/v/plain.ini", shopID, shopID)
	file("/shop/app.ini", shopID, shopID)
	file("/blog/app.ini", blogID, blogID)
	file("/open/app.ini", shopID, shopID)
	file("/sticky/app.ini", shopID, shopID)
	file("/team/app.ini", shopID, shopID)
	file("/team/twice.ini", shopID, shopID)
	must(os.Link(dir+"/team/twice.ini", dir+"/team/thrice"))
	link("../shop/app.ini", "/v/shop.ini", 0)
	link(dir+"/blog/app.ini", "/v/blog.ini", 0)
	link(dir+"/blog/evil.ini", "/v/evil.ini", 0)
	link(dir+"/shop/app.ini", "/blog/evil.ini", blogID)
	link(dir+"/shop/app.ini", "/v/theirs.ini", blogID)
	link("loop.ini", "/v/loop.ini", 0)
	link(dir+"/shop/app.ini", "/sticky/link.ini", blogID)
	link("/nonexistent", "/v/dangling.ini", 0)
	file("/v/roots.ini", 0, 0)
	file("/v/roots-group.ini", shopID, 0)
	file("/v/anybodys.ini", shopID, shopID)
	must(os.Chmod(dir+"/v/anybodys.ini", 0o646))
	for name, want := range map[string]string{
		"/v/roots.ini":       "belongs to root",
		"/v/roots-group.ini": "group is root",
		"/v/anybodys.ini":    "everybody may write it",
		"/v/plain.ini":       "",
		"/v/shop.ini":        "",
		"/v/blog.ini":        "",
		"/shop/app.ini":      "",
		"/v/../v/shop.ini":   "",
		"/sticky/app.ini":    "",
		"/team/app.ini":      "", // root lets the group put vassals there
		"/v/evil.ini":        "blog is",
		"/v/theirs.ini":      "v/theirs.ini is",
		"/sticky/link.ini":   "sticky is",
		"/open/app.ini":      "everybody could",
		"/team/twice.ini":    "hard links",
		"/v/loop.ini":        "too many",
		"/v":                 "not a regular file",
		"/v/dangling.ini":    "no such file",
		"/v/plain.ini/x":     "not a directory",
	} {
		j, err := newDirectory(nil).judge(dir+name, dir+"/v", law{tyrant: true, initgroups: true})
		if j.file != nil {
			j.file.Close()
		}
		switch {
		case want == "" && err != nil:
			t.Errorf("%s is refused: %v", name, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}
