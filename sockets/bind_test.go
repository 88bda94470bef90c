package sockets

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Two strangers that no real system has.
var (
	shop = Identity{Name: "shop", UID: 61001, GID: 61001, Groups: []int{61001, 61010}}
	blog = Identity{Name: "blog", UID: 61002, GID: 61002}
)

const webGroup = 61099

// place returns a folder that only root may write and that everybody can reach, and the policy of a tenant there.
func place(t *testing.T, who *Identity) (string, Policy) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("the tests of rights need root")
		}
		t.Skip("the tests of rights need root")
	}
	dir, err := os.MkdirTemp("/run", "sockets-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, Policy{Tenant: who, Roots: []string{filepath.Join(dir, "root")}, Groups: []int{webGroup}}
}

func request(path string, mode fs.FileMode, uid, gid int) Request {
	return Request{Address: Address{Kind: Unix, Path: path}, Mode: &mode, UID: uid, GID: gid}
}

func mustBind(t *testing.T, r Request, p Policy) *Listener {
	t.Helper()
	l, err := Bind(r, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func wantError(t *testing.T, r Request, p Policy, parts ...string) {
	t.Helper()
	l, err := Bind(r, p)
	if err == nil {
		l.Remove()
		t.Fatalf("Bind(%s) succeeded", r.Address)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the message %q does not hold %q", err, part)
		}
	}
}

func wantFile(t *testing.T, path string, kind uint32, mode os.FileMode, uid, gid int) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("%#o %#o %d:%d", st.Mode&unix.S_IFMT, st.Mode&0o7777, st.Uid, st.Gid)
	want := fmt.Sprintf("%#o %#o %d:%d", kind, mode, uid, gid)
	if got != want {
		t.Errorf("%s is %s, want %s", path, got, want)
	}
}

func mkdir(t *testing.T, path string, mode os.FileMode, uid, gid int) {
	t.Helper()
	if err := os.Mkdir(path, mode); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chown(path, uid, gid), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
}

func TestMissingRuntimeRootIsMadeAndTheSocketHasItsOwnerAndMode(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	dir, p := place(t, &shop)
	path := dir + "/root/shop.sock"
	l := mustBind(t, request(path, 0o660, Anyone, webGroup), p)
	wantFile(t, dir+"/root", unix.S_IFDIR, 0o755, 0, 0)
	wantFile(t, path, unix.S_IFSOCK, 0o660, shop.UID, webGroup)
	name, err := unix.Getsockname(int(l.File.Fd()))
	if err != nil || name.(*unix.SockaddrUnix).Name != path {
		t.Errorf("getsockname shows %+v, %v; want %s", name, err, path)
	}
	if c, err := net.Dial("unix", path); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
	if !l.Intact() {
		t.Error("a fresh listener is not intact")
	}
	if err := l.Remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Remove: %v", err)
	}
}

func TestFolderBelowTheRootBelongsToTheSocketsOwner(t *testing.T) {
	dir, p := place(t, &shop)
	mustBind(t, request(dir+"/root/shop/deep/a.sock", 0o666, Anyone, webGroup), p)
	wantFile(t, dir+"/root", unix.S_IFDIR, 0o755, 0, 0)
	wantFile(t, dir+"/root/shop", unix.S_IFDIR, 0o755, shop.UID, webGroup)
	wantFile(t, dir+"/root/shop/deep", unix.S_IFDIR, 0o755, shop.UID, webGroup)
	mustBind(t, request(dir+"/root/shop/b.sock", 0o666, Anyone, webGroup), p) // now with the tenant's own rights
	wantFile(t, dir+"/root/shop/b.sock", unix.S_IFSOCK, 0o666, shop.UID, webGroup)
	p.Tenant = &blog
	wantError(t, request(dir+"/root/shop/c.sock", 0o666, Anyone, Anyone), p, "permission denied", dir+"/root/shop")
}

func TestTenantsOwnFolder(t *testing.T) {
	dir, p := place(t, &shop)
	mkdir(t, dir+"/home", 0o750, shop.UID, shop.GID)
	path := dir + "/home/a.sock"
	l := mustBind(t, request(path, 0o660, Anyone, webGroup), p)
	wantFile(t, path, unix.S_IFSOCK, 0o660, shop.UID, webGroup)
	wantError(t, request(path, 0o660, Anyone, Anyone), p, "another process answers")
	l.Close()
	mustBind(t, request(path, 0o660, Anyone, Anyone), p) // the dead one is replaced
	wantError(t, request(dir+"/home/missing/a.sock", 0o660, Anyone, Anyone), p, "no such file", "shop")
	p.Tenant = &blog
	wantError(t, request(dir+"/home/b.sock", 0o660, Anyone, Anyone), p, "blog", "permission denied")
}

func TestGroupWritableFolderOfASupplementaryGroup(t *testing.T) {
	dir, p := place(t, &shop)
	mkdir(t, dir+"/team", 0o770, 0, 61010)
	mustBind(t, request(dir+"/team/a.sock", 0o660, Anyone, 61010), p)
	wantFile(t, dir+"/team/a.sock", unix.S_IFSOCK, 0o660, shop.UID, 61010)
}

func TestStickyFolder(t *testing.T) {
	dir, p := place(t, &shop)
	mkdir(t, dir+"/tmp", 0o777|os.ModeSticky, 0, 0)
	l := mustBind(t, request(dir+"/tmp/a.sock", 0o600, Anyone, Anyone), p)
	p.Tenant = &blog
	wantError(t, request(dir+"/tmp/a.sock", 0o600, Anyone, Anyone), p, "socket of uid 61001")
	l.Close()
	wantError(t, request(dir+"/tmp/a.sock", 0o600, Anyone, Anyone), p, "socket of uid 61001")
}

func TestPlacesThatAreNotTheTenants(t *testing.T) {
	dir, p := place(t, &shop)
	mkdir(t, dir+"/mysqld", 0o755, 0, 0)
	wantError(t, request(dir+"/mysqld/mysqld.sock", 0o600, Anyone, Anyone), p, "emperor-socket-root", dir+"/mysqld")
	wantError(t, request(dir+"/absent/a.sock", 0o600, Anyone, Anyone), p, "does not exist")
	if _, err := os.Lstat(dir + "/absent"); err == nil {
		t.Error("a folder outside the runtime roots was made")
	}
	wantError(t, Request{Address: Address{Kind: TCP, Host: "127.0.0.1", Port: 80}, UID: Anyone, GID: Anyone}, p, "1024")
}

func TestOwnersThatATenantMayNotChoose(t *testing.T) {
	dir, p := place(t, &shop)
	path := dir + "/root/a.sock"
	wantError(t, request(path, 0o660, 0, Anyone), p, "uid 0", "chown-socket = shop:")
	wantError(t, request(path, 0o660, blog.UID, Anyone), p, "uid 61002")
	wantError(t, request(path, 0o660, Anyone, 61077), p, "gid 61077", "emperor-socket-groups")
	if _, err := os.Lstat(dir + "/root"); err == nil {
		t.Error("a refused request made a folder")
	}
	mustBind(t, request(path, 0o4777, shop.UID, Anyone), p)
	wantFile(t, path, unix.S_IFSOCK, 0o777, shop.UID, shop.GID) // no set-uid bit
}

func TestWhatStandsInTheWay(t *testing.T) {
	dir, p := place(t, &shop)
	mkdir(t, dir+"/home", 0o755, shop.UID, shop.GID)
	for name, make := range map[string]func(path string) error{
		"file":    func(path string) error { return os.WriteFile(path, []byte("precious"), 0o666) },
		"symlink": func(path string) error { return os.Symlink("/etc/passwd", path) },
		"fifo":    func(path string) error { return unix.Mkfifo(path, 0o666) },
		"folder":  func(path string) error { return os.Mkdir(path, 0o777) },
	} {
		path := dir + "/home/" + name
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		var before, after unix.Stat_t
		if err := unix.Lstat(path, &before); err != nil {
			t.Fatal(err)
		}
		wantError(t, request(path, 0o666, Anyone, Anyone), p, "not a socket", path)
		wantError(t, request(path, 0o666, shop.UID, Anyone), Policy{}, "not a socket", path)
		if err := unix.Lstat(path, &after); err != nil || before != after {
			t.Errorf("%s was changed: %+v, %v", name, after, err)
		}
	}
}

func TestReplacedFileIsNoticedAndNotRemoved(t *testing.T) {
	dir, p := place(t, &shop)
	path := dir + "/root/a.sock"
	l := mustBind(t, request(path, 0o660, Anyone, Anyone), p)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if l.Intact() {
		t.Error("a deleted socket is intact")
	}
	mustBind(t, request(path, 0o660, Anyone, Anyone), p)
	if l.Intact() {
		t.Error("a replaced socket is intact")
	}
	if err := l.Remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error("Remove took the successor's file:", err)
	}
}

func TestWithoutATenantTheConfigurationIsRootsWord(t *testing.T) {
	dir, _ := place(t, nil)
	mkdir(t, dir+"/shared", 0o777, 0, 0)
	l := mustBind(t, request(dir+"/shared/a.sock", 0o666, blog.UID, webGroup), Policy{})
	wantFile(t, dir+"/shared/a.sock", unix.S_IFSOCK, 0o666, blog.UID, webGroup)
	c, err := net.Dial("unix", dir+"/shared/a.sock")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	conn, _, err := unix.Accept(int(l.File.Fd())) // the proof left the listener blocking and its queue empty but for us
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(conn)
}

func TestLinkedRuntimeRoot(t *testing.T) {
	dir, p := place(t, &shop)
	if err := os.Symlink(dir, dir+"/var"); err != nil {
		t.Fatal(err)
	}
	p.Roots = []string{dir + "/var/root"}
	mustBind(t, request(dir+"/var/root/sub/a.sock", 0o660, Anyone, Anyone), p)
	wantFile(t, dir+"/root", unix.S_IFDIR, 0o755, 0, 0)
	wantFile(t, dir+"/root/sub/a.sock", unix.S_IFSOCK, 0o660, shop.UID, shop.GID)
}

func TestTCPAndAbstract(t *testing.T) {
	l := mustBind(t, Request{Address: Address{Kind: TCP, Host: "127.0.0.1"}, UID: Anyone, GID: Anyone, Backlog: 1 << 20}, Policy{})
	if len(l.Warnings) != 1 || !strings.Contains(l.Warnings[0], "somaxconn") {
		t.Errorf("warnings: %q", l.Warnings)
	}
	name, err := unix.Getsockname(int(l.File.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	port := name.(*unix.SockaddrInet4).Port
	wantError(t, Request{Address: Address{Kind: TCP, Host: "127.0.0.1", Port: port}, UID: Anyone, GID: Anyone}, Policy{}, "ss -lntp")
	abstract := Request{Address: Address{Kind: Abstract, Path: fmt.Sprintf("sockets-test-%d", os.Getpid())}, UID: Anyone, GID: Anyone}
	mustBind(t, abstract, Policy{})
	wantError(t, abstract, Policy{}, "ss -xlp")
	wantError(t, Request{Address: Address{Kind: TCP, Host: "no.such.host.invalid", Port: 1}, UID: Anyone, GID: Anyone}, Policy{}, "no.such.host.invalid")
}

func TestAdjustChangesTheSocketInPlace(t *testing.T) {
	dir, p := place(t, &shop)
	path := dir + "/root/a.sock"
	l := mustBind(t, request(path, 0o660, Anyone, Anyone), p)
	if fits, err := l.Fits(request(path, 0o606, Anyone, webGroup), p); fits || err != nil {
		t.Errorf("before: fits %v, %v", fits, err)
	}
	if _, err := l.Adjust(request(path, 0o606, Anyone, webGroup), p); err != nil {
		t.Fatal(err)
	}
	if fits, err := l.Fits(request(path, 0o606, Anyone, webGroup), p); !fits || err != nil {
		t.Errorf("after: fits %v, %v", fits, err)
	}
	wantFile(t, path, unix.S_IFSOCK, 0o606, shop.UID, webGroup)
	if !l.Intact() || l.Owned() != (Owned{shop.UID, webGroup, 0o606}) {
		t.Errorf("intact %v, %+v", l.Intact(), l.Owned())
	}
	if _, err := l.Adjust(request(path, 0o606, 0, Anyone), p); err == nil {
		t.Error("the socket was given to root")
	}
	if err := errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Adjust(request(path, 0o666, Anyone, webGroup), p); err == nil || !strings.Contains(err.Error(), "somebody else") {
		t.Errorf("a replaced file: %v", err)
	}
	wantFile(t, path, unix.S_IFREG, 0o600, 0, 0)
}

func TestWhoConnectsIsToldTheTenant(t *testing.T) {
	dir, p := place(t, &shop)
	mkdir(t, dir+"/home", 0o755, shop.UID, shop.GID)
	abstract := Request{Address: Address{Kind: Abstract, Path: dir}, UID: Anyone, GID: Anyone}
	for name, r := range map[string]Request{"\x00" + dir + "\x00": abstract, dir + "/root/a.sock": request(dir+"/root/a.sock", 0o666, Anyone, Anyone), dir + "/home/a.sock": request(dir+"/home/a.sock", 0o666, Anyone, Anyone)} {
		l := mustBind(t, r, p)
		if r.Address.Kind == Unix {
			if _, err := l.Adjust(request(r.Address.Path, 0o666, Anyone, Anyone), p); err != nil { // listens again
				t.Fatal(err)
			}
		}
		c, err := net.Dial("unix", name)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := c.(*net.UnixConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var peer *unix.Ucred
		if e := raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); e != nil || err != nil {
			t.Fatal(e, err)
		}
		if int(peer.Uid) != shop.UID || int(peer.Gid) != shop.GID {
			t.Errorf("%q: the listener is %+v, want uid %d", name, peer, shop.UID)
		}
		c.Close()
	}
}

func TestFoldersMadeForASocketGoWithIt(t *testing.T) {
	dir, p := place(t, &shop)
	first := mustBind(t, request(dir+"/root/blog.sock/deep/a.sock", 0o666, Anyone, Anyone), p)
	if err := first.Remove(); err != nil {
		t.Fatal(err)
	}
	if names, err := os.ReadDir(dir + "/root"); err != nil || len(names) > 0 {
		t.Errorf("left in the runtime root: %v, %v", names, err)
	}
	second := mustBind(t, request(dir+"/root/sub/deep/a.sock", 0o666, Anyone, Anyone), p)
	if err := os.WriteFile(dir+"/root/sub/keep", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := second.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(dir + "/root/sub/keep"); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(dir + "/root/sub/deep"); err == nil {
		t.Error("an empty folder is left")
	}
	wantError(t, request(dir+"/root/1/2/3/4/5/6/7/8/9/a.sock", 0o666, Anyone, Anyone), p, "at most 8")
	blogs := p
	blogs.Tenant = &blog
	mustBind(t, request(dir+"/root/blog.sock", 0o666, Anyone, Anyone), blogs)
}

func TestNoDescriptorIsLeft(t *testing.T) {
	dir, p := place(t, &shop)
	mkdir(t, dir+"/home", 0o755, shop.UID, shop.GID)
	count := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	round := func() {
		for _, path := range []string{"/root/a.sock", "/root/sub/a.sock", "/home/a.sock", "/absent/a.sock", "/home/none/a.sock"} {
			if l, err := Bind(request(dir+path, 0o660, Anyone, Anyone), p); err == nil {
				l.Remove()
			}
			if l, err := Bind(request(dir+path, 0o660, Anyone, Anyone), Policy{}); err == nil {
				l.Remove()
			}
		}
	}
	round()
	before := count()
	for range 20 {
		round()
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// TestAFullFolderIsNamed has no room for one more file.
func TestAFullFolderIsNamed(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("full", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=64k,nr_inodes=1,mode=755"); err != nil {
		if os.Getenv("CI") == "" {
			t.Skipf("no file system can be made here: %v", err)
		}
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	_, err := Bind(request(dir+"/a.sock", 0o660, Anyone, Anyone), Policy{})
	want := "cannot listen on " + dir + "/a.sock: bind failed: no space left on device; make room there: see df -h " + dir + " and df -i " + dir
	if err == nil || err.Error() != want {
		t.Errorf("%v, not %s", err, want)
	}
}
