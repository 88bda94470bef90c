package vassal

import (
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestBacklogCountsThoseWhoWait(t *testing.T) {
	dir := t.TempDir()
	for _, a := range []struct{ network, address string }{{"unix", filepath.Join(dir, "s")}, {"tcp", "127.0.0.1:0"}} {
		l, err := net.Listen(a.network, a.address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		raw, err := l.(syscall.Conn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		for want := range 4 {
			got := -1
			for end := time.Now().Add(5 * time.Second); time.Now().Before(end) && got != want; time.Sleep(time.Millisecond) { // TCP's last step is the kernel's
				_ = raw.Control(func(fd uintptr) { got, err = backlog(int(fd)) })
				if err != nil {
					t.Fatal(err)
				}
			}
			if got != want {
				t.Errorf("%s: %d wait, want %d", a.network, got, want)
			}
			c, err := net.Dial(l.Addr().Network(), l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
		}
	}
}

// FuzzReadDiag: whatever arrives as an answer crashes nothing.
func FuzzReadDiag(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, 40))
	if l, err := net.Listen("unix", filepath.Join(f.TempDir(), "s")); err == nil {
		defer l.Close()
		raw, _ := l.(syscall.Conn).SyscallConn()
		_ = raw.Control(func(fd uintptr) {
			var st syscall.Stat_t
			if syscall.Fstat(int(fd), &st) == nil {
				if answer, err := askDiag(uint32(st.Ino)); err == nil {
					f.Add(answer)
				}
			}
		})
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		if n, err := readDiag(answer); n < 0 || err != nil && n != 0 {
			t.Errorf("%d, %v", n, err)
		}
	})
}
