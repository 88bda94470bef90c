package sockets

import (
	"errors"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDebiansLayoutServesEveryTenant makes /run/uwsgi/app/NAME/socket for two tenants: the folder that both need is root's.
func TestDebiansLayoutServesEveryTenant(t *testing.T) {
	dir, p := place(t, &shop)
	one := mustBind(t, request(dir+"/root/app/shop/socket", 0o660, Anyone, webGroup), p)
	q := p
	q.Tenant = &blog
	two := mustBind(t, request(dir+"/root/app/blog/socket", 0o660, Anyone, webGroup), q)
	wantFile(t, dir+"/root", unix.S_IFDIR, 0o755, 0, 0)
	wantFile(t, dir+"/root/app", unix.S_IFDIR, 0o755, 0, 0)
	wantFile(t, dir+"/root/app/shop", unix.S_IFDIR, 0o755, shop.UID, webGroup)
	wantFile(t, dir+"/root/app/shop/socket", unix.S_IFSOCK, 0o660, shop.UID, webGroup)
	wantFile(t, dir+"/root/app/blog", unix.S_IFDIR, 0o755, blog.UID, webGroup)
	wantFile(t, dir+"/root/app/blog/socket", unix.S_IFSOCK, 0o660, blog.UID, webGroup)
	wantError(t, request(dir+"/root/app/shop/other", 0o660, Anyone, webGroup), q, "permission denied")

	var left Leftovers
	for _, l := range []*Listener{one, two} { // the first one made "app", the last one takes it along
		if err := l.Remove(); err != nil {
			t.Fatal(err)
		}
		left.Gone(l)
	}
	if names, err := os.ReadDir(dir + "/root"); err != nil || len(names) != 0 {
		t.Errorf("left are %v (%v)", names, err)
	}
	if len(left.of) != 0 {
		t.Errorf("remembered are %v", left.of)
	}
}

// TestATenantsNamesakeFolderIsItsOwn gives what is below a folder with the user's name to the user.
func TestATenantsNamesakeFolderIsItsOwn(t *testing.T) {
	dir, p := place(t, &shop)
	mustBind(t, request(dir+"/root/x/shop/y/z/socket", 0o660, Anyone, webGroup), p)
	wantFile(t, dir+"/root/x", unix.S_IFDIR, 0o755, 0, 0)
	for _, name := range []string{"shop", "shop/y", "shop/y/z"} {
		wantFile(t, dir+"/root/x/"+name, unix.S_IFDIR, 0o755, shop.UID, webGroup)
	}
	p.Tenant = &blog
	wantError(t, request(dir+"/root/x/shop/blog/socket", 0o660, Anyone, webGroup), p, "permission denied")
}

// TestOneFolderForTwoVassalsGoesWithTheLast has the maker of a folder go while another socket of the same user is in it,
// and then nested folders, in every order.
func TestOneFolderForTwoVassalsGoesWithTheLast(t *testing.T) {
	dir, p := place(t, &shop)
	var left Leftovers
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		var all []*Listener
		for _, name := range []string{"a/b/one", "a/b/two", "a/c/three"} {
			all = append(all, mustBind(t, request(dir+"/root/"+name, 0o660, Anyone, webGroup), p))
		}
		for _, i := range order {
			if err := all[i].Remove(); err != nil {
				t.Fatal(err)
			}
			left.Gone(all[i])
		}
		if names, err := os.ReadDir(dir + "/root"); err != nil || len(names) != 0 || len(left.of) != 0 {
			t.Errorf("in the order %v left are %v, %v (%v)", order, names, left.of, err)
		}
	}
}

// TestTenantsComeAndGoInOneFolder has two tenants bind and remove in one folder that both need, at the same moment.
func TestTenantsComeAndGoInOneFolder(t *testing.T) {
	dir, p := place(t, &shop)
	var mu sync.Mutex
	var left Leftovers
	var all sync.WaitGroup
	for _, who := range []Identity{shop, blog} {
		q := p
		q.Tenant = &who
		all.Go(func() {
			for range 200 {
				l, err := Bind(request(dir+"/root/app/"+who.Name+"/socket", 0o660, Anyone, webGroup), q)
				if err != nil {
					t.Error(err)
					return
				}
				err = l.Remove()
				mu.Lock()
				left.Gone(l)
				mu.Unlock()
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if _, err := os.Stat(dir + "/root/app/shop"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a tenant's folder is left: %v", err)
	}
}
