package emperor

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A manager is a systemd of a test: it takes what is said, and keeps the descriptors.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
	said chan string
	kept chan *os.File // in the order of FDSTORE=1
}

func newManager(t *testing.T, keep bool) (*manager, string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	m := &manager{t: t, conn: c, said: make(chan string, 10000), kept: make(chan *os.File, 100)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf, oob := make([]byte, 1<<14), make([]byte, 256)
		for {
			n, o, _, _, err := c.ReadMsgUnix(buf, oob)
			if err != nil {
				return
			}
			m.said <- string(buf[:n])
			all, _ := unix.ParseSocketControlMessage(oob[:o])
			for _, one := range all {
				fds, _ := unix.ParseUnixRights(&one)
				for _, fd := range fds {
					unix.CloseOnExec(fd)
					if f := os.NewFile(uintptr(fd), "kept"); keep {
						m.kept <- f
					} else {
						f.Close()
					}
				}
			}
		}
	}()
	t.Cleanup(func() {
		c.Close()
		<-done
	})
	return m, name
}

// hear waits for a message that begins with words, and returns it and those before it.
func (m *manager) hear(words string) (message string, before []string) {
	m.t.Helper()
	limit := time.After(15 * time.Second)
	for {
		select {
		case s := <-m.said:
			if strings.HasPrefix(s, words) {
				return s, before
			}
			before = append(before, s)
		case <-limit:
			m.t.Fatalf("nothing that begins with %q; before it: %q", words, before)
		}
	}
}

func has(said []string, words string) bool {
	return slices.ContainsFunc(said, func(s string) bool { return strings.HasPrefix(s, words) })
}

func TestReadyComesWhenAllAcceptOrHaveFailed(t *testing.T) {
	needRoot(t)
	systemd, name := newManager(t, false)
	m := foundWith(t, nil, []string{"NOTIFY_SOCKET=" + name}, func(m *empire) {
		m.app("shop.ini", shopID, "shop")
		m.app("bad\nMAINPID=1.ini", blogID, "fails")
		m.put("refused.ini", 0, "module = x")
		for i := range 12 {
			m.put(fmt.Sprintf("zz%02d%s.ini", i, strings.Repeat("x", 100)), 0, "module = x")
		}
	})
	ready, before := systemd.hear("READY=1\n")
	if v, err := m.status("shop.ini"); err != nil || v.State != "accepting" {
		t.Errorf("at READY the shop is %+v, %v", v, err)
	}
	if !has(before, "EXTEND_TIMEOUT_USEC=") {
		t.Errorf("no more time was asked for: %q", before)
	}
	lines := strings.Split(ready, "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[1], "STATUS=15 vassals: 13 refused, ") || !strings.Contains(lines[1], "1 accepting") ||
		!strings.Contains(lines[1], "failing: bad?MAINPID=1.ini, refused.ini, zz00x") || !strings.Contains(lines[1], "… and 6 more; see: emperorctl why NAME") || len(lines[1]) > 700 {
		t.Errorf("READY says %q", ready)
	}
	m.end()
	if _, before := systemd.hear("STOPPING=1\nSTATUS=stopping: "); has(before, "READY=1") {
		t.Errorf("READY came twice: %q", before)
	}
}

func TestReloadIsAnnouncedAndEnds(t *testing.T) {
	needRoot(t)
	systemd, name := newManager(t, false)
	m := foundWith(t, nil, []string{"NOTIFY_SOCKET=" + name}, func(m *empire) { m.app("shop.ini", shopID, "shop") })
	systemd.hear("READY=1")
	old, _ := m.ask("shop.ini")
	var begin unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &begin)
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	reloading, _ := systemd.hear("RELOADING=1\nMONOTONIC_USEC=")
	_, text, _ := strings.Cut(reloading, "USEC=")
	if usec, err := strconv.ParseInt(text, 10, 64); err != nil || usec < begin.Nano()/1000 {
		t.Errorf("%q is before the signal, %d", reloading, begin.Nano()/1000)
	}
	systemd.hear("READY=1")
	if pid, _ := m.ask("shop.ini"); pid == old {
		t.Errorf("after READY process %d of the old generation answers", pid)
	}
}

func TestTheLoopFeedsTheWatchdog(t *testing.T) {
	needRoot(t)
	systemd, name := newManager(t, false)
	foundWith(t, nil, []string{"NOTIFY_SOCKET=" + name, "WATCHDOG_USEC=100000", "WATCHDOG_PID=" + strconv.Itoa(os.Getpid())}, nil)
	for range 5 {
		systemd.hear("WATCHDOG=1")
	}
}

func TestListenersGoToTheStoreAndLeaveIt(t *testing.T) {
	needRoot(t)
	systemd, name := newManager(t, true)
	m := foundWith(t, nil, []string{"NOTIFY_SOCKET=" + name}, nil)
	m.app("shop.ini", shopID, "shop")
	m.app("blog.ini", blogID, "blog")
	first, _ := systemd.hear("FDSTORE=1")
	if first != "FDSTORE=1\nFDPOLL=0\nFDNAME=emperord" {
		t.Errorf("first comes %q", first)
	}
	register := <-systemd.kept
	defer register.Close()
	if !isRegister(int(register.Fd())) {
		t.Fatal("the register is none")
	}
	names := map[string]string{}
	for range 2 {
		text, _ := systemd.hear("FDSTORE=1")
		l := <-systemd.kept
		defer l.Close()
		_, slot, _ := strings.Cut(text, "FDNAME=")
		n, ok := slotOf(slot)
		if !ok {
			t.Fatalf("a slot is called %q", slot)
		}
		r, err := readRecord(register, n)
		if err != nil {
			t.Fatal(err)
		}
		address, err := unix.Getsockname(int(l.Fd()))
		if u, is := address.(*unix.SockaddrUnix); err != nil || !is || u.Name != r.Listener.Address.Path || u.Name != m.socket(r.Vassal) {
			t.Errorf("slot %s holds %v, %v, and the record says %+v", slot, address, err, r)
		}
		names[r.Vassal] = slot
	}
	m.await("shop.ini", Accepting, "")
	if err := os.Remove(m.dir + "/vassals/shop.ini"); err != nil {
		t.Fatal(err)
	}
	if text, _ := systemd.hear("FDSTOREREMOVE=1"); text != "FDSTOREREMOVE=1\nFDNAME="+names["shop.ini"] {
		t.Errorf("it says %q, and the shop is %s", text, names["shop.ini"])
	}
	slot, _ := slotOf(names["shop.ini"])
	if r, err := readRecord(register, slot); err == nil {
		t.Errorf("the register still has %+v", r)
	}
}
