package emperor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/protocol/pipe"
)

// maxLine is how many bytes of one line of a vassal's output stay together. A longer line is cut into several.
const maxLine = 8 << 10

// lastWords is how many bytes of a vassal's last line are kept for the reason of its end.
const lastWords = 300

// An output is what one generation of a vassal writes to its standard output and error. Its lines get the vassal's
// name in front and go to the emperor's log.
type output struct {
	name  string
	tail  *tail    // of the vassal; nil: nothing is remembered
	may   *measure // of the vassal; nil: no bound
	from  Generation
	uid   int // of who writes it
	style style
	read  *os.File
	write *os.File // handed to children; closed once the process has it

	waiting atomic.Int32 // pieces that the log has not written yet
	lost    int          // lines since the log has taken one

	paused atomic.Bool // the reader was asked to end and to leave the pipe open
	over   atomic.Bool // the pipe is closed, or about to be: all other ends were
	rest   []byte      // of a line that is not complete; belongs to the reader while there is one

	mu   sync.Mutex
	last []byte
	done chan struct{}
}

func newOutput(name string, uid int, to *sink, tail *tail, may *measure, from Generation) (*output, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	o := &output{name: string(tame(nil, []byte(strings.ReplaceAll(name, "\n", "?")))), tail: tail, may: may, from: from, uid: uid, style: to.style, read: r, write: w, done: make(chan struct{})}
	go o.copy(to)
	return o, nil
}

// pausedOutput is an output that was handed over; resume reads it. Without read it is over.
func pausedOutput(name string, uid int, read *os.File, tail *tail, may *measure, from Generation) *output {
	o := &output{name: string(tame(nil, []byte(strings.ReplaceAll(name, "\n", "?")))), tail: tail, may: may, from: from, uid: uid, read: read, done: make(chan struct{})}
	o.paused.Store(true)
	o.over.Store(read == nil)
	close(o.done)
	return o
}

// closeWrite gives our end of the pipe away for good; the reader ends when the last child has closed its own.
func (o *output) closeWrite() {
	if o.write != nil {
		o.write.Close()
		o.write = nil
	}
}

// abandon ends the reader after a moment, for what dying children still have to say, even if some process keeps the
// pipe open.
func (o *output) abandon(after time.Duration) {
	o.closeWrite()
	_ = o.read.SetReadDeadline(time.Now().Add(after))
}

// pause ends the reader, and leaves what it has not read in the pipe. When ended tells so, resume goes on, in this
// program or in the next one. What was read of a line that is not complete is in rest.
func (o *output) pause() {
	o.paused.Store(true)
	_ = o.read.SetReadDeadline(time.Unix(1, 0))
}

// resume reads again what is not over.
func (o *output) resume(to *sink) {
	if o.over.Load() {
		return
	}
	o.paused.Store(false)
	_ = o.read.SetReadDeadline(time.Time{})
	o.done, o.style = make(chan struct{}), to.style
	go o.copy(to)
}

// ended tells whether nobody reads any more.
func (o *output) ended() bool {
	select {
	case <-o.done:
		return true
	default:
		return false
	}
}

// lastChunks bounds what is read of an output whose time is over.
const lastChunks = 32

// gather is how long lines may gather before they are read: under load, one read, one look and one write for many.
const gather = 5 * time.Millisecond

// chunk is how many bytes are read at a time. Vassals that are quiet hold none of these buffers.
const chunk = 32 << 10

var chunks = sync.Pool{New: func() any { return new([chunk]byte) }}

func (o *output) copy(to *sink) {
	defer close(o.done)
	raw, err := o.read.SyscallConn()
	if err != nil {
		return
	}
	end := false
	take := func(fd uintptr) bool {
		buf := chunks.Get().(*[chunk]byte)
		defer chunks.Put(buf)
		n, err := unix.Read(int(fd), buf[:])
		switch {
		case errors.Is(err, unix.EAGAIN):
			return false
		case errors.Is(err, unix.EINTR):
		case n <= 0:
			end = true
		default:
			o.rest = append([]byte(nil), o.lines(append(o.rest, buf[:n]...), to, false)...)
		}
		return true
	}
	for !end {
		if err := raw.Read(take); err != nil {
			break // the time that abandon gave is over, or pause
		}
		if !end {
			time.Sleep(gather)
		}
	}
	if o.paused.Load() && !end { // what is in the pipe stays there
		return
	}
	defer func() {
		o.over.Store(true)
		o.read.Close()
	}()
	for i, more := 0, !end; i < lastChunks && more && !end; i++ { // what was written in time counts
		_ = raw.Control(func(fd uintptr) { more = take(fd) })
	}
	o.lines(o.rest, to, true)
	o.rest = nil
	if o.lost > 0 { // it has nothing more to write, so nothing else would tell
		to.put(piece{o.dropped(), new(atomic.Int32)})
	}
}

// dropped says how many lines are missing.
func (o *output) dropped() []byte {
	return o.style.said(nil, zapcore.WarnLevel, o.name, o.uid, fmt.Appendf(nil, "(%d lines were dropped here: more came than the log takes)", o.lost))
}

// lines writes the complete lines of text, all of it if flush, and returns what is left.
func (o *output) lines(text []byte, to *sink, flush bool) []byte {
	var out, tamed, last []byte
	var spans [][2]int // of the lines in tamed
	lines := 0
	for len(text) > 0 {
		line, rest, whole := bytes.Cut(text, []byte("\n"))
		if !whole && !flush && len(line) < maxLine {
			break
		}
		if len(line) > maxLine {
			line, rest = line[:maxLine], text[maxLine:]
		}
		line = bytes.TrimRight(line, "\r")
		begin := len(tamed)
		tamed = tame(tamed, line)
		spans = append(spans, [2]int{begin, len(tamed)})
		out = o.style.said(out, zapcore.InfoLevel, o.name, o.uid, tamed[begin:])
		lines++
		if len(line) > 0 {
			last = line
		}
		text = rest
	}
	if lines > 0 {
		o.mu.Lock()
		if last == nil {
			last = o.last
		}
		o.last = append(o.last[:0], last[:min(len(last), lastWords)]...)
		o.mu.Unlock()
		o.remember(tamed, spans)
		o.give(out, lines, to)
	}
	return text
}

// remember keeps the last of the lines for those who ask why.
func (o *output) remember(tamed []byte, spans [][2]int) {
	var lines [][]byte
	for _, s := range spans[max(0, len(spans)-tailLines):] {
		lines = append(lines, tamed[s[0]:s[1]])
	}
	o.tail.add(o.from, time.Now(), lines)
}

// give hands lines to the log, unless too much of this vassal's waits there already, or it has written too much.
func (o *output) give(out []byte, lines int, to *sink) {
	if o.waiting.Load() >= share || !o.may.take(len(out), time.Now()) {
		o.lost += lines
		return
	}
	if o.lost > 0 {
		out = append(o.dropped(), out...)
	}
	o.waiting.Add(1)
	if to.put(piece{out, &o.waiting}) {
		o.lost = 0
		return
	}
	o.waiting.Add(-1)
	o.lost += lines
}

// tame appends line to out without control characters and broken UTF-8: a tenant must not steer the operator's
// terminal.
func tame(out, line []byte) []byte {
	plain := true
	for _, b := range line {
		plain = plain && (b >= ' ' && b < 0x7f || b == '\t')
	}
	if plain {
		return append(out, line...)
	}
	return append(out, pipe.Clean(string(line), len(line))...)
}

// lastLine returns the last line that said something.
func (o *output) lastLine() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.TrimSpace(pipe.Clean(string(o.last), lastWords))
}

// lastly takes a last line that came another way, if it said something.
func (o *output) lastly(line []byte) {
	if len(line) == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = append(o.last[:0], line[:min(len(line), lastWords)]...)
}
