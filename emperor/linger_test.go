package emperor

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/sockets"
)

// TestAFarewellWaitsForWhoIsInTheBacklog and until nobody can connect any more, but not for ever.
func TestAFarewellWaitsForWhoIsInTheBacklog(t *testing.T) {
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	begin := func(until time.Duration, gone ...chan struct{}) (over chan struct{}) {
		fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			t.Fatal(err)
		}
		f := &farewell{files: []int{fd}, gone: gone, until: time.Now().Add(until)}
		over = make(chan struct{})
		go func() { f.wait(); close(over) }()
		return over
	}
	lasts := func(over chan struct{}, why string) {
		t.Helper()
		select {
		case <-over:
			t.Errorf("the farewell is over %s", why)
		case <-time.After(100 * time.Millisecond):
		}
	}
	ends := func(over chan struct{}, why string) {
		t.Helper()
		select {
		case <-over:
		case <-time.After(10 * time.Second):
			t.Fatalf("the farewell is not over %s", why)
		}
	}
	removed := make(chan struct{})
	over := begin(time.Hour, removed)
	lasts(over, "while the socket's file is there")
	client, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	close(removed)
	lasts(over, "while somebody waits")
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	ends(over, "though nobody waits any more")
	ends(begin(50*time.Millisecond, make(chan struct{})), "after its time")
}

// TestShutOutKeepsWhoIsOnTheWay: whoever the kernel has promised a connection gets it, and can use it; whoever comes later gets none.
func TestShutOutKeepsWhoIsOnTheWay(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		var plain net.ListenConfig
		plain.SetMultipathTCP(false) // as ours are
		l, err := plain.Listen(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		raw, err := l.(*net.TCPListener).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		on := func(do func(fd int) error) {
			t.Helper()
			var failed error
			if err := errors.Join(raw.Control(func(fd uintptr) { failed = do(int(fd)) }), failed); err != nil {
				t.Fatal(err)
			}
		}
		on(func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 20) }) // not accepted before it has sent something
		early, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer early.Close()
		on(shutOut)
		if late, err := net.DialTimeout("tcp", l.Addr().String(), 300*time.Millisecond); err == nil {
			late.Close()
			t.Error("a newcomer is let in")
		}
		_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := early.Write([]byte("first")); err != nil {
			t.Fatal(err)
		}
		c, err := l.Accept()
		if err != nil {
			t.Fatalf("who was on the way is lost: %v", err)
		}
		defer c.Close()
		both := []net.Conn{early, c}
		for i, from := range append(both, both...) { // in both directions, after the first bytes too
			text := make([]byte, 5)
			_ = errors.Join(early.SetDeadline(time.Now().Add(10*time.Second)), c.SetDeadline(time.Now().Add(10*time.Second)))
			if i > 0 {
				if _, err := from.Write([]byte("later")); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := io.ReadFull(both[(i+1)%2], text); err != nil {
				t.Fatalf("%d: %v", i, err)
			}
		}
	}
}

// TestAFarewellLeavesTimeForRequests: the word to leave must come before the kill.
func TestAFarewellLeavesTimeForRequests(t *testing.T) {
	path := t.TempDir() + "/s"
	l, err := sockets.Bind(sockets.Request{Address: sockets.Address{Kind: sockets.Unix, Path: path}, UID: sockets.Anyone, GID: sockets.Anyone}, sockets.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Remove()
	for mercy, most := range map[time.Duration]time.Duration{3 * time.Second: time.Second, time.Hour: lastServed} {
		a := &attempt{id: 7, accepting: true, listeners: []*sockets.Listener{l}}
		v := &vassal{life: Life{Leaving: []Leaver{{ID: 7, KillAt: time.Now().Add(mercy)}}}}
		(&Emperor{}).takeLeave(v, a, 2)
		if len(v.farewells) != 1 || !a.told {
			t.Fatalf("%+v, told %v", v.farewells, a.told)
		}
		f := v.farewells[0]
		for _, fd := range f.files {
			unix.Close(fd)
		}
		if time.Until(f.until) > most {
			t.Errorf("who is killed after %s is told after %s, want %s at most", mercy, time.Until(f.until), most)
		}
	}
}

// TestADescriptorThatIsSomethingElseIsNotTaken over by the next program.
func TestADescriptorThatIsSomethingElseIsNotTaken(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if _, err := descriptor(int(null.Fd()), "emperor pipe", unix.S_IFSOCK); err == nil {
		t.Error("/dev/null was taken for the emperor pipe")
	}
}

// TestSeenLeavesOutWhoseFileIsGone: if such a file is back after an upgrade, it is news to the monitor, or the vassal would never start.
func TestSeenLeavesOutWhoseFileIsGone(t *testing.T) {
	e := &Emperor{vassals: map[string]*vassal{
		"serves.ini":    {life: Life{State: Accepting}},
		"restarts.ini":  {life: Life{State: Stopping, Then: Resolving}},
		"leaves.ini":    {life: Life{State: Stopping, Then: Absent}},
		"shop.ini:zerg": {life: Life{State: Accepting}, leader: "serves.ini"},
	}}
	seen := e.seen()
	_, serves := seen["serves.ini"]
	_, restarts := seen["restarts.ini"]
	if !serves || !restarts || len(seen) != 2 {
		t.Errorf("%v", seen)
	}
}

// TestABellThatIsTakenDownIsForgotten: those that hang are counted against the limit of open files.
func TestABellThatIsTakenDownIsForgotten(t *testing.T) {
	b, err := newBells()
	if err != nil {
		t.Fatal(err)
	}
	defer b.epoll.Close()
	l, err := sockets.Bind(sockets.Request{Address: sockets.Address{Kind: sockets.Unix, Path: t.TempDir() + "/s"}, UID: sockets.Anyone, GID: sockets.Anyone}, sockets.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Remove()
	e, v := &Emperor{bells: b}, &vassal{listeners: []*sockets.Listener{l}}
	for range 3 {
		e.hang(v)
		e.hang(v) // which hangs already
		if len(b.hung) != 1 || len(v.bells) != 1 {
			t.Fatalf("%d bells hang, the vassal knows of %d, want 1", len(b.hung), len(v.bells))
		}
		e.unhang(v)
		if len(b.hung) != 0 || len(v.bells) != 0 {
			t.Fatalf("%d bells hang, the vassal knows of %d, want none", len(b.hung), len(v.bells))
		}
	}
}
