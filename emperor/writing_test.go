package emperor

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestHalfWrittenFilesAreNotRead writes a vassal file in two halves with a long pause between them. The first one alone
// would be a configuration, with a socket less.
func TestHalfWrittenFilesAreNotRead(t *testing.T) {
	m := found(t, nil)
	m.app("slow.ini", shopID, "ok")
	m.await("slow.ini", Accepting, "")
	before, _ := m.ask("slow.ini")
	path := m.dir + "/vassals/slow.ini"
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	mustDo(t, err)
	_, err = fmt.Fprintf(f, "[uwsgi]\nsocket = %s\nchmod-socket = 666\n", m.socket("slow.ini"))
	mustDo(t, err)
	time.Sleep(10 * restless)
	if pid, _ := m.ask("slow.ini"); pid != before {
		t.Error("the half was taken")
	}
	_, err = fmt.Fprintln(f, "module = complete")
	mustDo(t, err, f.Close())
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		_, module := m.ask("slow.ini")
		if module == "complete" {
			break
		}
		if module != "ok" || time.Now().After(end) {
			t.Fatalf("%q answers", module)
		}
	}
	m.await("slow.ini", Accepting, "") // the one that answers says so afterwards
	if n := strings.Count(m.log.String(), "vassal accepts"); n < 2 {
		t.Errorf("%d generations, want 2", n)
	}
}

// TestAFileThatIsNeverClosedIsReadAtLast has a writer that stays: its own vassal is late, and nobody else.
func TestAFileThatIsNeverClosedIsReadAtLast(t *testing.T) {
	m := found(t, nil)
	m.put("held.ini", shopID, "module = ok", "socket = "+m.socket("held.ini"))
	f, err := os.OpenFile(m.dir+"/vassals/held.ini", os.O_WRONLY|os.O_APPEND, 0)
	mustDo(t, err)
	defer f.Close()
	begin := time.Now()
	m.app("other.ini", blogID, "ok")
	m.await("other.ini", Accepting, "")
	if time.Since(begin) > writersTime {
		t.Error("another vassal was late too")
	}
	m.await("held.ini", Accepting, "")
	for _, words := range []string{"waiting until it is closed", "still open for writing; see who writes it: fuser -v " + m.dir + "/vassals/held.ini"} {
		if log := m.log.String(); strings.Count(log, words) != 1 {
			t.Errorf("%q is not said once", words)
		}
	}
}

// TestWritersAreSeenWithoutCapabilities has the rights of a container, and of our systemd unit: none to take leases of others' files.
func TestWritersAreSeenWithoutCapabilities(t *testing.T) {
	needRoot(t)
	path := t.TempDir() + "/a.ini"
	mustDo(t, os.WriteFile(path, nil, 0o644), os.Chown(path, 61300, 61300))
	w, err := os.OpenFile(path, os.O_WRONLY, 0)
	mustDo(t, err)
	defer w.Close()
	r, err := os.Open(path)
	mustDo(t, err)
	defer r.Close()
	done := make(chan struct{})
	var written, known, left, still bool
	go func() {
		defer close(done)
		runtime.LockOSThread() // it ends with its rights
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var sets [2]unix.CapUserData
		if unix.Capget(&header, &sets[0]) != nil {
			return
		}
		sets[0].Effective &^= 1 << unix.CAP_LEASE
		if unix.Capset(&header, &sets[0]) != nil {
			return
		}
		written, known = beingWritten(r)
		over := make(chan struct{})
		close(over)
		left = awaitWriters(r, over, nil)
		w.Close()
		still = awaitWriters(r, over, nil)
	}()
	<-done
	if known || written {
		t.Error("this test needs a thread that may not take leases")
	}
	if !left || still {
		t.Errorf("a writer is seen: %v, and after it has gone: %v", left, still)
	}
}
