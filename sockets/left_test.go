package sockets

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// restore makes a listener again from its descriptor and what was written down of it, as after the end of its process.
func restore(t *testing.T, l *Listener) *Listener {
	t.Helper()
	fd, err := unix.FcntlInt(l.File.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Restore(fd, l.Snapshot().Bare())
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	t.Cleanup(func() { again.Close() })
	return again
}

func TestALeftListenerGoesToItsTenantOnly(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("this test needs root")
		}
		t.Skip("this test needs root")
	}
	dir, err := os.MkdirTemp("/run", "emperord-test-left-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	shop, blog := Identity{Name: "shop", UID: 61512, GID: 61512}, Identity{Name: "blog", UID: 61513, GID: 61513}
	mode := os.FileMode(0o666)
	r := Request{Address: Address{Kind: Unix, Path: filepath.Join(dir, "new", "shop.sock")}, UID: shop.UID, GID: shop.GID, Mode: &mode}
	tyrant := func(who *Identity) Policy { return Policy{Tenant: who, Roots: []string{dir}} }
	l, err := Bind(r, tyrant(&shop))
	if err != nil {
		t.Fatal(err)
	}
	l = restore(t, l)
	regrouped := shop
	regrouped.GID = 61599
	for _, c := range []struct {
		who  Identity
		p    Policy
		want bool
	}{{shop, tyrant(&shop), true}, {blog, tyrant(&blog), false}, {regrouped, tyrant(&regrouped), false}, {shop, Policy{}, false}} {
		if got := l.Belongs(c.who, c.p); got != c.want {
			t.Errorf("for %+v, tenant %v: %v", c.who, c.p.Tenant, got)
		}
	}
	if !l.Resume(r, shop, tyrant(&shop)) {
		t.Fatal("its own tenant may not have it")
	}
	if fits, err := l.Fits(r, tyrant(&shop)); !fits || err != nil {
		t.Errorf("it does not fit: %v", err)
	}
	elsewhere := tyrant(&shop)
	elsewhere.Roots = []string{"/run/uwsgi"}
	if !l.Resume(r, shop, elsewhere) {
		t.Error("it is given up in a folder of the tenant's own")
	}
	plain := r
	plain.Address.Path = filepath.Join(dir, "plain.sock")
	roots, err := Bind(plain, tyrant(&shop))
	if err != nil {
		t.Fatal(err)
	}
	roots = restore(t, roots)
	if !roots.Resume(plain, shop, tyrant(&shop)) || roots.Resume(plain, shop, elsewhere) {
		t.Error("in a folder of root's it may be only below a runtime root")
	}
	if err := roots.Remove(); err != nil {
		t.Fatal(err)
	}
	other := r
	other.Address.Path += "x"
	if l.Resume(other, shop, tyrant(&shop)) {
		t.Error("it is kept for another address")
	}
	c, err := net.Dial("unix", r.Address.Path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := os.Rename(r.Address.Path, r.Address.Path+".away"); err != nil {
		t.Fatal(err)
	}
	if l.Resume(r, shop, tyrant(&shop)) {
		t.Error("it is kept though nobody can reach it")
	}
	if err := os.Rename(r.Address.Path+".away", r.Address.Path); err != nil {
		t.Fatal(err)
	}
	if err := l.Remove(); err != nil {
		t.Fatal(err)
	}
	if names, _ := os.ReadDir(dir); len(names) != 0 {
		t.Errorf("the folder that was made for it is left: %v", names)
	}
}
