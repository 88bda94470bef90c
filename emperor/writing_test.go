package emperor

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
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
	m.end()
	if n := strings.Count(m.log.String(), "vassal accepts"); n != 2 {
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
}
