package sockets

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// given makes a socket as a socket unit does.
func given(t *testing.T, network, address, name string) *Given {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	if u, is := l.(*net.UnixListener); is {
		u.SetUnlinkOnClose(false)
	}
	f, err := l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	fd, err := unix.Dup(int(f.Fd()))
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	g, err := NewGiven(fd, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

func TestAGivenSocketServesItsAddressOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.sock")
	unixSocket, every, one := given(t, "unix", path, "shop.socket"), given(t, "tcp", "[::]:0", "web"), given(t, "tcp", "127.0.0.1:0", "web")
	port := func(g *Given) int {
		a, err := ParseAddress(g.String())
		if err != nil {
			t.Fatal(err)
		}
		return a.Port
	}
	for _, c := range []struct {
		g    *Given
		a    Address
		want bool
	}{
		{unixSocket, Address{Kind: Unix, Path: path}, true},
		{unixSocket, Address{Kind: Unix, Path: path + "x"}, false},
		{unixSocket, Address{Kind: Abstract, Path: path}, false},
		{every, Address{Kind: TCP, Port: port(every)}, true},
		{every, Address{Kind: TCP, Host: "0.0.0.0", Port: port(every)}, true},
		{every, Address{Kind: TCP, Host: "127.0.0.1", Port: port(every)}, false},
		{every, Address{Kind: TCP, Port: port(every) + 1}, false},
		{one, Address{Kind: TCP, Host: "127.0.0.1", Port: port(one)}, true},
		{one, Address{Kind: TCP, Port: port(one)}, false},
		{one, Address{Kind: TCP, Host: "localhost", Port: port(one)}, false},
	} {
		if got := c.g.Serves(c.a); got != c.want {
			t.Errorf("%s for %s: %v", c.g, c.a, got)
		}
	}
	abstract := given(t, "unix", "@emperord-test-given", "x")
	if !abstract.Serves(Address{Kind: Abstract, Path: "emperord-test-given"}) || abstract.Serves(Address{Kind: Unix, Path: "@emperord-test-given"}) {
		t.Error("the abstract name")
	}
}

func TestAGivenSocketIsForWhomItsMakerNames(t *testing.T) {
	g := given(t, "unix", filepath.Join(t.TempDir(), "shop.sock"), "shop.socket")
	tenant := &Identity{Name: "tenant", UID: 61510, GID: 61510}
	for names, want := range map[string]bool{"shop.ini": true, "shop.socket": true, "shop": true, "shop2.ini": false, "blog.ini": false} {
		err := g.For(tenant, names)
		if (err == nil) != want || err != nil && !errors.Is(err, ErrPolicy) {
			t.Errorf("%s: %v", names, err)
		}
	}
	if err := g.For(nil, "blog.ini"); err != nil {
		t.Errorf("root's word: %v", err)
	}
	g.owned.UID = tenant.UID
	if err := g.For(tenant, "blog.ini"); err != nil {
		t.Errorf("SocketUser=tenant: %v", err)
	}
	if err := g.For(&Identity{Name: "other", UID: 61511}, "blog.ini"); err == nil {
		t.Error("it is somebody else's")
	}
}

// systemd keeps its socket, and decides on owner, mode and backlog.
func TestAListenerOnAGivenSocketLeavesItAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.sock")
	g := given(t, "unix", path, "shop.socket")
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	mode := os.FileMode(0o666)
	r := Request{Address: Address{Kind: Unix, Path: path}, UID: 1, GID: 1, Mode: &mode}
	for range 2 { // it can be had again
		l, err := g.Listener(r.Address, nil)
		if err != nil {
			t.Fatal(err)
		}
		if fits, err := l.Fits(r, Policy{}); !fits || err != nil || !l.Given() || !l.Intact() {
			t.Errorf("%v, %v", fits, err)
		}
		if warnings, err := l.Adjust(r, Policy{}); len(warnings) != 0 || err != nil {
			t.Errorf("%v, %v", warnings, err)
		}
		if err := l.Remove(); err != nil {
			t.Error(err)
		}
	}
	st, err := os.Lstat(path)
	if err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", st, err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestOnlyStreamSocketsThatListenAreTaken(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	packets, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range []int{pair[0], pair[1], packets, null} {
		if g, err := NewGiven(fd, "x"); err == nil {
			t.Errorf("%s", g)
		}
		unix.Close(fd)
	}
}
