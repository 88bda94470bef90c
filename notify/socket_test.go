package notify

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// listen makes a systemd of a test: the socket that it listens on, and its name.
func listen(t *testing.T, abstract bool) (*net.UnixConn, string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "notify")
	if abstract {
		name = "@emperord-test-" + filepath.Base(filepath.Dir(name)) + t.Name()
	}
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, name
}

// receive takes one message and the descriptors that came with it.
func receive(t *testing.T, c *net.UnixConn) (string, []int) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf, oob := make([]byte, 1<<14), make([]byte, 256)
	n, m, _, _, err := c.ReadMsgUnix(buf, oob)
	if err != nil {
		t.Fatal(err)
	}
	var fds []int
	if all, err := unix.ParseSocketControlMessage(oob[:m]); err == nil {
		for _, one := range all {
			more, _ := unix.ParseUnixRights(&one)
			fds = append(fds, more...)
		}
	}
	return string(buf[:n]), fds
}

func TestSaysToPathsAndAbstractNames(t *testing.T) {
	for _, abstract := range []bool{false, true} {
		c, name := listen(t, abstract)
		s, err := Open([]string{"NOTIFY_SOCKET=/first/is/not/it", "NOTIFY_SOCKET=" + name})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.Say("READY=1", "STATUS=a\nMAINPID=1\x1b[31m"); err != nil {
			t.Fatal(err)
		}
		if got, _ := receive(t, c); got != "READY=1\nSTATUS=a?MAINPID=1?[31m" {
			t.Errorf("got %q", got)
		}
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if sent, err := s.Offer(int(w.Fd()), "FDSTORE=1", "FDNAME=~0"); !sent || err != nil {
			t.Fatal(sent, err)
		}
		w.Close()
		got, fds := receive(t, c)
		if got != "FDSTORE=1\nFDNAME=~0" || len(fds) != 1 {
			t.Fatalf("got %q, %v", got, fds)
		}
		kept := os.NewFile(uintptr(fds[0]), "kept")
		if _, err := kept.WriteString("x"); err != nil {
			t.Error(err)
		}
		kept.Close()
	}
}

func TestWithoutASocketNothingIsSaid(t *testing.T) {
	s, err := Open([]string{"HOME=/", "NOTIFY_SOCKET="})
	if s != nil || err != nil {
		t.Fatal(s, err)
	}
	if err := s.Say("READY=1"); err != nil || s.Behind() || s.Flush() != nil {
		t.Error("a nil socket has something to do")
	}
	s.Close()
	for _, bad := range []string{"relative", "vsock:2:1", "/", "@", "/" + strings.Repeat("x", 107)} {
		if s, err := Open([]string{"NOTIFY_SOCKET=" + bad}); err == nil {
			t.Errorf("%q: %v", bad, s)
		}
	}
}

// A systemd that does not read must not hold us up, and hears everything in order when it reads again.
func TestNeverWaitsForAReader(t *testing.T) {
	c, name := listen(t, false)
	s, err := Open([]string{"NOTIFY_SOCKET=" + name})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const many = 5000 // net.unix.max_dgram_qlen is a few hundred at most
	for i := range many {
		if err := s.Say("STATUS=" + strings.Repeat("x", i%7)); err != nil {
			t.Fatal(err)
		}
	}
	if !s.Behind() {
		t.Fatal("5000 messages wait in the kernel; send more")
	}
	if sent, err := s.Offer(0, "FDSTORE=1"); sent || err != nil {
		t.Errorf("a descriptor overtook: %v, %v", sent, err)
	}
	for i := range many {
		if got, _ := receive(t, c); got != "STATUS="+strings.Repeat("x", i%7) {
			t.Fatalf("message %d is %q", i, got)
		}
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if s.Behind() {
		t.Error("something is left")
	}
}

func TestAnUnreachableReaderIsAnErrorOnce(t *testing.T) {
	s, err := Open([]string{"NOTIFY_SOCKET=" + t.TempDir() + "/nobody"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Say("READY=1"); err == nil || s.Behind() {
		t.Errorf("%v, behind %v", err, s.Behind())
	}
}

func TestLine(t *testing.T) {
	for text, want := range map[string]string{
		"shop.ini": "shop.ini", "a\nb": "a?b", "\x1b[0m": "?[0m", "ü\xff": "ü?", "a\u2028b": "a?b", "\u202eini": "?ini",
		"0123456789ab": "0123456…", "012345üü9abc": "012345…",
	} {
		if got := Line(text, 10); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestWatchdog(t *testing.T) {
	for env, want := range map[string]time.Duration{
		"": 0, "WATCHDOG_USEC=30000000": 30 * time.Second, "WATCHDOG_USEC=2000000 WATCHDOG_PID=7": 2 * time.Second,
		"WATCHDOG_USEC=2000000 WATCHDOG_PID=8": 0, "WATCHDOG_USEC=9223372036854775807": maxWatchdog,
	} {
		if got, err := Watchdog(strings.Fields(env), 7); got != want || err != nil {
			t.Errorf("%q: %v, %v", env, got, err)
		}
	}
	for _, env := range []string{"WATCHDOG_USEC=0", "WATCHDOG_USEC=-1", "WATCHDOG_USEC=x", "WATCHDOG_USEC=1e9", "WATCHDOG_USEC=99999999999999999999"} {
		if got, err := Watchdog([]string{env}, 7); err == nil {
			t.Errorf("%q: %v", env, got)
		}
	}
}

// TestWhatWaitsIsBoundedAndInOrder has an unread queue: the oldest goes, and a descriptor comes after what waits.
func TestWhatWaitsIsBoundedAndInOrder(t *testing.T) {
	c, name := listen(t, false)
	s, err := Open([]string{"NOTIFY_SOCKET=" + name})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for !s.Behind() {
		if err := s.Say("STATUS=full"); err != nil {
			t.Fatal(err)
		}
	}
	for range MaxQueue {
		if err := s.Say("STATUS=old"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Say("STATUS=new"); err != nil || len(s.queue) != MaxQueue || s.queue[MaxQueue-1] != "STATUS=new" {
		t.Fatalf("%v, %d wait, the last one is %q", err, len(s.queue), s.queue[len(s.queue)-1])
	}
	s.queue = s.queue[MaxQueue-1:]
	for got := ""; got != "STATUS=full"; { // room for two, at least
		got, _ = receive(t, c)
	}
	receive(t, c)
	if sent, err := s.Offer(0, "FDSTORE=1"); !sent || err != nil {
		t.Fatal(sent, err)
	}
	for _, want := range []string{"STATUS=new", "FDSTORE=1"} {
		got, fds := "STATUS=full", []int(nil)
		for got == "STATUS=full" {
			got, fds = receive(t, c)
		}
		for _, fd := range fds {
			unix.Close(fd)
		}
		if got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}
