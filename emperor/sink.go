package emperor

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap/zapcore"
)

// sinkSize is how many pieces may wait for a slow reader of our log. Then they are dropped and counted: an emperor that
// waits for its log would let all vassals down.
const sinkSize = 8192

// sinkBytes bounds them in bytes.
const sinkBytes = 16 << 20

// share is how many pieces of one vassal's output may wait: a tenant that floods its log loses its own lines, not those
// of others.
const share = 16

// patience bounds how long the end of the program waits for a log that nobody reads.
const patience = time.Second

// A sink writes pieces of whole lines in the order they were given, without making their writer wait.
type sink struct {
	style   style
	pieces  chan piece
	bytes   atomic.Int64 // in pieces
	dropped atomic.Int64
	done    chan struct{}
	stop    chan struct{}
	closing sync.Once
}

// A piece is some whole lines. from counts the pieces of its writer that wait; nil: nobody counts.
type piece struct {
	text []byte
	from *atomic.Int32
}

func newSink(w io.Writer, f style) *sink {
	s := &sink{style: f, pieces: make(chan piece, sinkSize), stop: make(chan struct{}), done: make(chan struct{})}
	go s.run(w)
	return s
}

func (s *sink) run(w io.Writer) {
	defer close(s.done)
	put := func(p piece) {
		s.bytes.Add(int64(-len(p.text)))
		if p.from != nil {
			p.from.Add(-1)
		}
		if n := s.dropped.Swap(0); n > 0 {
			_, _ = w.Write(s.style.own(zapcore.WarnLevel, fmt.Sprintf("%d pieces of the log were dropped here, because nobody read them in time", n)))
		}
		_, _ = w.Write(p.text) // stderr that cannot be written has nobody to be told; a file tells itself
	}
	for {
		select {
		case p := <-s.pieces:
			put(p)
		case <-s.stop:
			for {
				select {
				case p := <-s.pieces:
					put(p)
				default:
					return
				}
			}
		}
	}
}

// put takes a piece and never blocks. It tells whether the piece will be written.
func (s *sink) put(p piece) bool {
	if s.bytes.Add(int64(len(p.text))) <= sinkBytes {
		select {
		case s.pieces <- p:
			return true
		default:
		}
	}
	s.bytes.Add(int64(-len(p.text)))
	s.dropped.Add(1)
	return false
}

// Write takes whole lines and never blocks. What does not belong on a terminal is replaced: names of files are a tenant's,
// and zap escapes only what JSON demands.
func (s *sink) Write(text []byte) (int, error) {
	s.put(piece{text: append(tame(nil, bytes.TrimSuffix(text, []byte("\n"))), '\n')})
	return len(text), nil
}

// flush waits until all that has been given is written, but not for longer than for a log that nobody reads.
func (s *sink) flush() {
	var waiting atomic.Int32
	waiting.Add(1)
	if !s.put(piece{from: &waiting}) {
		return
	}
	for end := time.Now().Add(patience); waiting.Load() > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

// Sync does nothing: close does.
func (s *sink) Sync() error { return nil }

// close writes what has been given and ends the sink's goroutine, or leaves it behind if nobody reads the log: then
// the program ends without its last words. What is written afterwards is lost.
func (s *sink) close() {
	s.closing.Do(func() { close(s.stop) })
	select {
	case <-s.done:
	case <-time.After(patience):
	}
}
