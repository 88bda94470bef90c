package emperor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/protocol/api"
)

// read waits until a file is as good says.
func readUntil(t *testing.T, path string, good func(text string) bool) string {
	t.Helper()
	for end := time.Now().Add(40 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(path)
		if err == nil && good(string(text)) {
			return string(text)
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v\n%s", path, err, text)
		}
	}
}

// TestLogtoIsFollowedAndJSONCanBeRead has an emperor that logs JSON into a file, which is moved away.
func TestLogtoIsFollowedAndJSONCanBeRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "emperor.log")
	m := found(t, func(c *configs.Emperor) { c.Log.Path, c.LogJSON = path, true })
	m.put("silent\x1b.ini", shopID, "module = silent", "socket = "+m.socket("silent.ini"))
	readUntil(t, path, func(text string) bool { return strings.Contains(text, "these are my last words") })
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if text, err := os.ReadFile(path + ".1"); err == nil && t.Failed() {
			t.Logf("the first file:\n%s", text)
		}
	})
	readUntil(t, path, func(text string) bool { return strings.Contains(text, "these are my last words") })
	m.end()
	var all []byte
	for _, name := range []string{path + ".1", path} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	found := false
	for line := range strings.Lines(string(all)) {
		var entry struct {
			TS, Level, Msg, Vassal string
			UID                    int
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if _, err := time.Parse(time.RFC3339Nano, entry.TS); err != nil || entry.Level == "" || entry.Msg == "" {
			t.Errorf("%q", line)
		}
		if entry.Msg == "these are my last words" {
			found = entry.Vassal == "silent?.ini" && entry.UID == shopID
		}
	}
	if !found || bytes.ContainsRune(all, 0x1b) {
		t.Errorf("the vassal's line is not there as it should be:\n%s", all)
	}
	if !strings.Contains(string(all), `"msg":"emperor stopped"`) {
		t.Errorf("the last words are missing:\n%s", all)
	}
	if m.log.String() != "" {
		t.Errorf("on standard error: %s", m.log.String())
	}
}

func TestALogThatCannotBeOpenedIsAMistake(t *testing.T) {
	needRoot(t)
	e := &Emperor{c: &configs.Emperor{Log: configs.LogFile{Path: "no/such/emperor.log"}}, o: Options{Dir: "/tmp"}}
	_, _, err := e.openLog()
	var m Mistake
	if err == nil || !strings.Contains(err.Error(), "there is no folder /tmp/no; run: install -d -o 0 -g 0 /tmp/no/such") {
		t.Errorf("%v", err)
	} else if m, _ = err.(Mistake); m.error == nil {
		t.Errorf("no mistake: %v", err)
	}
}

// TestTheJournalGetsPriorities writes to a pipe that JOURNAL_STREAM names, and to one that it does not.
func TestTheJournalGetsPriorities(t *testing.T) {
	for _, named := range []bool{true, false} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(w.Fd()), &st); err != nil {
			t.Fatal(err)
		}
		if !named {
			st.Ino++
		}
		f := newStyle(false, w, []string{"A=B", fmt.Sprintf("JOURNAL_STREAM=%d:%d", st.Dev, st.Ino)})
		s := newSink(w, f)
		l := f.logger(s)
		l.Info("good")
		l.Warn("odd")
		l.Error("bad", zap.String("why", "\x1b"))
		o, err := newOutput("a.ini", 0, s, nil, nil, 1)
		if err != nil {
			t.Fatal(err)
		}
		o.write.WriteString("<0>the machine burns\n")
		o.closeWrite()
		<-o.done
		s.close()
		w.Close()
		var b bytes.Buffer
		b.ReadFrom(r)
		r.Close()
		want := "<6>INFO good\n<4>WARN odd\n<3>ERROR bad {\"why\": \"\\u001b\"}\n[a.ini] <0>the machine burns\n"
		if named && b.String() != want {
			t.Errorf("the journal reads\n%q\nnot\n%q", b.String(), want)
		}
		if !named && (strings.Contains(b.String(), "<6>") || !strings.Contains(b.String(), " INFO good\n")) {
			t.Errorf("%q", b.String())
		}
	}
}

// TestWhyKnowsTheLastLinesOfALogOfItsOwn has vassals that write a log of their own, one that lies about the time, and one that
// writes nonsense.
func TestWhyKnowsTheLastLinesOfALogOfItsOwn(t *testing.T) {
	m := found(t, nil)
	m.app("shop.ini", shopID, "writes a log of its own")
	m.await("shop.ini", Accepting, "")
	has := func(w api.Why, text string) bool {
		for _, l := range w.Lines {
			if l.Text == text && !l.At.After(time.Now()) && time.Since(l.At) < time.Minute && l.Generation > 0 {
				return true
			}
		}
		return false
	}
	m.why("shop.ini", func(w api.Why) bool { return has(w, "from my own log") && has(w, "from the future") })
	m.app("dies.ini", blogID, "writes a log of its own and dies")
	m.why("dies.ini", func(w api.Why) bool {
		return len(w.Exits) > 1 && has(w, "from the future") && strings.Contains(w.Reason, "from the future")
	})
	m.app("junk.ini", blogID, "fills its board")
	w := m.why("junk.ini", func(w api.Why) bool { return w.State == api.Accepting })
	for _, l := range w.Lines {
		t.Errorf("junk: %+v", l)
	}
}
