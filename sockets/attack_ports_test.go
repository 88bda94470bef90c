package sockets

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func tcp(host string, port int) Request {
	return Request{Address: Address{Kind: TCP, Host: host, Port: port}, UID: Anyone, GID: Anyone}
}

func portOf(t *testing.T, l *Listener) int {
	t.Helper()
	name, err := unix.Getsockname(int(l.File.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return name.(*unix.SockaddrInet4).Port
}

// TestPortsOfOthersStayTheirs takes ports by every address that could mean the same one.
func TestPortsOfOthersStayTheirs(t *testing.T) {
	_, p := place(t, &eve)
	for _, port := range []int{1, 80, 443, 1023} {
		wantError(t, tcp("127.0.0.1", port), p, "ports below 1024", "eve")
	}
	free := mustBind(t, tcp("127.0.0.1", 0), Policy{Tenant: &bob})
	port := portOf(t, free)
	if err := free.Remove(); err != nil {
		t.Fatal(err)
	}
	bobs := mustBind(t, tcp("127.0.0.1", port), Policy{Tenant: &bob})
	for _, host := range []string{"127.0.0.1", "", "0.0.0.0", "::", "localhost"} {
		t.Run("of one address, by "+host, func(t *testing.T) {
			l, err := Bind(tcp(host, port), p)
			if err == nil {
				l.Remove()
				t.Fatal("eve has bob's port")
			}
			if !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), "ss -lntp") || host != "localhost" && !bobs.Blocks(err) {
				t.Errorf("%v; blocked by bob's: %v", err, bobs.Blocks(err))
			}
		})
	}
	every := mustBind(t, tcp("", 0), Policy{Tenant: &bob})
	wantError(t, tcp("127.0.0.1", portOf(t, every)), p, "address already in use")
	if other := mustBind(t, tcp("", 0), p); other.Blocks(&Error{Address: "127.0.0.1:1", Err: unix.EADDRINUSE}) {
		t.Error("another port is blamed")
	}
}

// TestPortCannotBeSharedByAnotherProcess has a process of the same tenant want the port without end, with every option
// that could let it in, while the socket is made and gone again.
func TestPortCannotBeSharedByAnotherProcess(t *testing.T) {
	_, p := place(t, &eve)
	free := mustBind(t, tcp("127.0.0.1", 0), p)
	port := portOf(t, free)
	if err := free.Remove(); err != nil {
		t.Fatal(err)
	}
	thief := unleash(t, eve, "squat", strconv.Itoa(port))
	had := 0
	for i := 0; i < 20000 && had < 200; i++ {
		l, err := Bind(tcp("127.0.0.1", port), p)
		if err != nil {
			if !errors.Is(err, unix.EADDRINUSE) {
				t.Fatal(err)
			}
			continue
		}
		had++
		c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.SetNonblock(int(l.File.Fd()), true); err != nil {
			t.Fatal(err)
		}
		poll := []unix.PollFd{{Fd: int32(l.File.Fd()), Events: unix.POLLIN}}
		if n, err := unix.Poll(poll, 10000); n != 1 || err != nil {
			t.Fatalf("the connection went to somebody else: %v", err)
		}
		c.(*net.TCPConn).SetLinger(0) // no TIME_WAIT
		c.Close()
		if err := l.Remove(); err != nil {
			t.Fatal(err)
		}
	}
	if had == 0 {
		t.Error("the socket was never made")
	}
	if thief.end() == 0 {
		t.Error("the thief did nothing")
	}
}

// TestAbstractNamesBelongToWhoHasThemFirst shows what package sockets promises of them, and what it does not: the
// kernel keeps no owner of such a name, so a tenant may have any that is free, as it might without us; but who looks
// who listens is told the tenant.
func TestAbstractNamesBelongToWhoHasThemFirst(t *testing.T) {
	_, p := place(t, &eve)
	name := fmt.Sprintf("/tmp/.X11-unix/X%d", os.Getpid())
	r := Request{Address: Address{Kind: Abstract, Path: name}, UID: Anyone, GID: Anyone}
	bobs := mustBind(t, r, Policy{Tenant: &bob})
	l, err := Bind(r, p)
	if err == nil {
		l.Remove()
		t.Fatal("eve has bob's name")
	}
	if !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), name) || !bobs.Blocks(err) {
		t.Errorf("%v", err)
	}
	c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(c)
	if err := unix.Connect(c, &unix.SockaddrUnix{Name: "@" + name + "\x00"}); err != nil {
		t.Fatal(err)
	}
	if peer, err := unix.GetsockoptUcred(c, unix.SOL_SOCKET, unix.SO_PEERCRED); err != nil || int(peer.Uid) != bob.UID {
		t.Errorf("who listens is %+v, %v", peer, err)
	}
}

// TestNewNamesInARuntimeRootAreTheVassalsOwn is emperor-socket-policy = own-name: a folder with a neighbour's name is as
// good as its socket.
func TestNewNamesInARuntimeRootAreTheVassalsOwn(t *testing.T) {
	dir, p := place(t, &eve)
	p.Names = []string{"app", "eve"}
	root := p.Roots[0]
	for _, path := range []string{"/app.sock", "/eve/any.sock", "/eve.socket", "/app/deep/er.sock"} {
		l := mustBind(t, request(root+path, 0o666, Anyone, Anyone), p)
		if err := l.Remove(); err != nil {
			t.Error(err)
		}
	}
	for _, path := range []string{"/bob.sock", "/bob.sock/app.sock", "/bob/eve", "/shared/app/x.sock"} {
		wantError(t, request(root+path, 0o666, Anyone, Anyone), p, "own-name", "app or eve", root+"/app.sock")
	}
	mkdir(t, root+"/shared", 0o755, 0, 0) // Debian's /run/uwsgi/app/NAME/socket, with root's folder in between
	mustBind(t, request(root+"/shared/app/x.sock", 0o666, Anyone, Anyone), p)
	mkdir(t, dir+"/home", 0o755, eve.UID, eve.GID)
	mustBind(t, request(dir+"/home/x.sock", 0o666, Anyone, Anyone), p)
}

// TestTwoWhoMakeOneFolderBothGetTheirSocket races for the folders on the way.
func TestTwoWhoMakeOneFolderBothGetTheirSocket(t *testing.T) {
	dir, p := place(t, &eve)
	for i := range 200 {
		var found [4]*Listener
		done := make(chan error)
		for n := range found {
			go func() {
				var err error
				found[n], err = Bind(request(fmt.Sprintf("%s/root/eve%d/in/%d/a.sock", dir, i, n), 0o666, Anyone, Anyone), p)
				done <- err
			}()
		}
		for range found {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		for n, l := range found {
			c, err := net.Dial("unix", l.Address.Path)
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			wantFile(t, fmt.Sprintf("%s/root/eve%d/in", dir, i), unix.S_IFDIR, 0o755, 0, 0)
			wantFile(t, fmt.Sprintf("%s/root/eve%d/in/%d", dir, i, n), unix.S_IFDIR, 0o755, eve.UID, eve.GID)
			if err := l.Remove(); err != nil {
				t.Error(err)
			}
		}
		if names, err := filepath.Glob(dir + "/root/.*"); err != nil || len(names) > 0 {
			t.Fatalf("left in the runtime root: %v, %v", names, err)
		}
	}
}

// TestNoThreadKeepsATenantsRights takes the process's first thread into account, which the runtime cannot end.
func TestNoThreadKeepsATenantsRights(t *testing.T) {
	place(t, &eve)
	before := openDescriptors(t)
	first := 0
	for i := range 400 {
		err := withRights(eve, func() error {
			if unix.Gettid() == unix.Getpid() {
				first++
			}
			header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			var have [2]unix.CapUserData
			if err := unix.Capget(&header, &have[0]); err != nil || have != [2]unix.CapUserData{} {
				return fmt.Errorf("round %d: capabilities %+v, %v", i, have, err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if first > 0 {
		t.Errorf("%d times it was the first thread", first)
	}
	for _, f := range audit(before) {
		t.Error(f)
	}
}
