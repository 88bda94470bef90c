package emperor

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emperord/emperord/protocol/api"
)

// why waits until what is remembered of a vassal is as good says.
func (m *empire) why(name string, good func(api.Why) bool) api.Why {
	m.t.Helper()
	c := api.NewClient(m.config.ControlSocket)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		w, err := c.Why(context.Background(), name)
		if err == nil && good(w) {
			return w
		}
		if time.Now().After(end) {
			m.t.Fatalf("%+v, %v", w, err)
		}
	}
}

func TestWhyRemembersHowItEndedAndWhatItSaid(t *testing.T) {
	m := found(t, nil)
	m.app("shop.ini", shopID, "ok")
	pid := m.await("shop.ini", Accepting, "").PID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w := m.why("shop.ini", func(w api.Why) bool { return len(w.Exits) == 1 && w.State == api.Accepting })
	if e := w.Exits[0]; e.PID != pid || e.Signal != "SIGKILL" || e.Code != nil || e.Asked || e.Role != api.Serving || e.Text != "killed by SIGKILL" || e.At.Before(e.Started) || e.Generation != 1 {
		t.Errorf("%+v", e)
	}
	m.app("shop.ini", shopID, "fails")
	w = m.why("shop.ini", func(w api.Why) bool { return w.Refused != nil })
	if e := w.Exits[0]; !strings.Contains(w.Refused.Reason, "cannot import shop") || e.Code == nil || *e.Code != 1 || e.Role != api.Coming || !strings.Contains(e.Reason, "cannot import") || len(w.Exits) != 2 || w.State != api.Accepting {
		t.Errorf("%+v", w)
	}
	m.app("shop.ini", shopID, "ok")
	w = m.why("shop.ini", func(w api.Why) bool { return w.Refused == nil && len(w.Exits) == 3 })
	if e := w.Exits[0]; !e.Asked || e.Role != api.Leaving {
		t.Errorf("%+v", e)
	}
	m.app("talker.ini", blogID, "silent")
	w = m.why("talker.ini", func(w api.Why) bool { return len(w.Exits) == keptExits && w.NextTry != nil && w.Failures > 2 })
	lines := 0
	for _, l := range w.Lines {
		if l.Text == "these are my last words" && l.Generation > 0 && !l.At.IsZero() {
			lines++
		}
	}
	if lines < keptExits-1 || *w.Exits[0].Code != 3 {
		t.Errorf("%+v", w)
	}
}

func TestTailKeepsTheLastLinesAndNoMore(t *testing.T) {
	var l tail
	now := time.Unix(1, 0)
	for i := range 3 * tailLines {
		l.add(Generation(i), now, [][]byte{fmt.Appendf(nil, "line %d", i)})
	}
	got := l.read()
	if len(got) != tailLines || got[0].Text != fmt.Sprintf("line %d", 2*tailLines) || got[tailLines-1].Text != fmt.Sprintf("line %d", 3*tailLines-1) || got[0].Generation != 2*tailLines {
		t.Errorf("%+v", got)
	}
	var many [][]byte
	for range 1000 {
		many = append(many, bytes.Repeat([]byte("x"), 5000))
	}
	l.add(1, now, many)
	l.add(2, now, [][]byte{[]byte("short")})
	got = l.read()
	total := 0
	for _, line := range got {
		total += len(line.Text)
		if len(line.Text) > tailLine {
			t.Fatalf("a line of %d bytes", len(line.Text))
		}
	}
	if total > tailBytes || total < tailBytes/2 || got[len(got)-1].Text != "short" || l.bytes != total {
		t.Errorf("%d bytes in %d lines, counted as %d", total, len(got), l.bytes)
	}
	l.add(3, now, [][]byte{nil})
	if got = l.read(); got[len(got)-1].Text != "" {
		t.Errorf("an empty line is a line: %+v", got[len(got)-1])
	}
}
