package emperor

import (
	"slices"
	"sync"
	"time"

	"github.com/emperord/emperord/protocol/api"
	"github.com/emperord/emperord/protocol/pipe"
)

// Limits of what is remembered of a vassal's output: lines, bytes of one line, bytes of all.
const (
	tailLines = pipe.TailLines
	tailLine  = pipe.TailLine
	tailBytes = pipe.TailBytes
)

// A tail remembers the last lines that a vassal wrote, whichever generation wrote them. Any goroutine may use it.
type tail struct {
	mu    sync.Mutex
	lines []remembered // oldest first
	bytes int
}

type remembered struct {
	generation Generation
	at         time.Time
	text       []byte
}

// add remembers lines, which must be fit for a terminal. The text is copied.
func (t *tail) add(g Generation, now time.Time, lines [][]byte) {
	if t == nil {
		return
	}
	lines = lines[max(0, len(lines)-tailLines):]
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, line := range lines {
		line = line[:min(len(line), tailLine)]
		var room []byte // a vassal that writes all the time uses the same memory again
		for len(t.lines) > 0 && (len(t.lines) == tailLines || t.bytes+len(line) > tailBytes) {
			room = t.lines[0].text[:0]
			t.bytes -= len(t.lines[0].text)
			t.lines = append(t.lines[:0], t.lines[1:]...)
		}
		if cap(room) < len(line) || cap(room) > 2*len(line)+64 {
			room = make([]byte, 0, len(line))
		}
		t.lines = append(t.lines, remembered{g, now, append(room, line...)})
		t.bytes += len(line)
	}
}

// read returns what is remembered, oldest first.
func (t *tail) read() []api.Line {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []api.Line
	for _, l := range t.lines {
		all = append(all, api.Line{Generation: uint64(l.generation), At: l.at, Text: string(l.text)})
	}
	return slices.Clip(all)
}

// ownLines returns the last lines that a generation has written to a log of its own. Their times are the tenant's word, within
// its life.
func (a *attempt) ownLines(now time.Time) []pipe.Line {
	if a.board == nil {
		return nil
	}
	lines, err := pipe.ReadTail(a.board)
	if err != nil {
		return nil // it is for a diagnosis, and the emperor's own words say more about a board that cannot be read
	}
	for i, l := range lines {
		switch {
		case l.At.Before(a.since):
			lines[i].At = a.since
		case l.At.After(now):
			lines[i].At = now
		}
	}
	return lines
}

// inherit keeps the last lines of a generation that has ended.
func (t *tail) inherit(a *attempt, now time.Time) {
	for _, l := range a.ownLines(now) {
		t.add(a.id, l.At, [][]byte{l.Text})
		a.output.lastly(l.Text)
	}
}

// lines returns what is remembered of a vassal, what the generations that live have written to logs of their own included.
func (v *vassal) lines(now time.Time) []api.Line {
	all := v.tail.read()
	for _, a := range v.attempts {
		for _, l := range a.ownLines(now) {
			all = append(all, api.Line{Generation: uint64(a.id), At: l.At, Text: string(l.Text)})
		}
	}
	slices.SortStableFunc(all, func(x, y api.Line) int { return x.At.Compare(y.At) })
	return all[max(0, len(all)-tailLines):]
}
