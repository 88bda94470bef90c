package emperor

import (
	"slices"
	"sync"
	"time"

	"github.com/emperord/emperord/protocol/api"
)

// Limits of what is remembered of a vassal's output: lines, bytes of one line, bytes of all.
const (
	tailLines = 50
	tailLine  = 1 << 10
	tailBytes = 16 << 10
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
