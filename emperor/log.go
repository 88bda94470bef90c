package emperor

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Names of the fields of log lines.
const (
	fieldVassal = "vassal"
	fieldPID    = "pid"
	fieldUser   = "user"
	fieldUID    = "uid"
	fieldReason = "reason"
	fieldNext   = "next"
	fieldSocket = "socket"
	fieldState  = "state"
)

// about returns the log for one line about a vassal: that of the emperor, or none if its user has used up what may be
// said about it. It is for the loop.
func (e *Emperor) about(v *vassal) *zap.Logger {
	if v.maker == 0 { // root's word
		return e.log
	}
	may, lost := e.lines.take(v.maker, time.Now())
	if !may {
		return zap.NewNop()
	}
	if lost > 0 {
		e.log.Warn("too much happens to the vassals of one user; lines about them were left out", zap.Uint32(fieldUID, v.maker), zap.Int("lines", lost))
	}
	return e.log
}

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

func newSink(w io.Writer) *sink {
	s := &sink{pieces: make(chan piece, sinkSize), stop: make(chan struct{}), done: make(chan struct{})}
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
			fmt.Fprintf(w, "emperord: %d pieces of the log were dropped here, because nobody read them in time\n", n)
		}
		_, _ = w.Write(p.text) // a log that cannot be written has nobody to be told
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

func newLogger(s *sink) *zap.Logger {
	c := zap.NewProductionEncoderConfig()
	c.EncodeTime = zapcore.TimeEncoderOfLayout("2006-01-02 15:04:05.000")
	c.EncodeLevel = zapcore.CapitalLevelEncoder
	c.ConsoleSeparator = " "
	return zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(c), s, zapcore.InfoLevel))
}
