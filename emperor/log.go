package emperor

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Names of the fields of log lines.
const (
	fieldVassal = "vassal"
	fieldPID    = "pid"
	fieldUser   = "user"
	fieldReason = "reason"
	fieldNext   = "next"
	fieldSocket = "socket"
	fieldState  = "state"
)

// sinkSize is how many lines may wait for a slow reader of our log. Then lines are dropped and counted: an emperor that
// waits for its log would let all vassals down.
const sinkSize = 8192

// A sink writes lines in the order they were given, without making their writer wait.
type sink struct {
	lines   chan []byte
	dropped atomic.Int64
	done    sync.WaitGroup
	stop    chan struct{}
	closing sync.Once
}

func newSink(w io.Writer) *sink {
	s := &sink{lines: make(chan []byte, sinkSize), stop: make(chan struct{})}
	s.done.Go(func() { s.run(w) })
	return s
}

func (s *sink) run(w io.Writer) {
	put := func(line []byte) {
		if n := s.dropped.Swap(0); n > 0 {
			fmt.Fprintf(w, "emperord: %d log lines were dropped here, because nobody read them in time\n", n)
		}
		_, _ = w.Write(line) // a log that cannot be written has nobody to be told
	}
	for {
		select {
		case line := <-s.lines:
			put(line)
		case <-s.stop:
			for {
				select {
				case line := <-s.lines:
					put(line)
				default:
					return
				}
			}
		}
	}
}

// Write takes whole lines and never blocks.
func (s *sink) Write(text []byte) (int, error) {
	select {
	case s.lines <- append([]byte(nil), text...):
	default:
		s.dropped.Add(1)
	}
	return len(text), nil
}

// Sync does nothing: close does.
func (s *sink) Sync() error { return nil }

// close writes what has been given and ends the sink's goroutine. What is written afterwards is lost.
func (s *sink) close() {
	s.closing.Do(func() { close(s.stop) })
	s.done.Wait()
}

func newLogger(s *sink) *zap.Logger {
	c := zap.NewProductionEncoderConfig()
	c.EncodeTime = zapcore.TimeEncoderOfLayout("2006-01-02 15:04:05.000")
	c.EncodeLevel = zapcore.CapitalLevelEncoder
	c.ConsoleSeparator = " "
	return zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(c), s, zapcore.InfoLevel))
}
