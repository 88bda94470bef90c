package emperor

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

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
	read  *os.File
	write *os.File // handed to children; closed once the process has it

	waiting atomic.Int32 // pieces that the log has not written yet
	lost    int          // lines since the log has taken one

	mu   sync.Mutex
	last string
	done chan struct{}
}

func newOutput(name string, to *sink) (*output, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	o := &output{name: name, read: r, write: w, done: make(chan struct{})}
	go o.copy(to)
	return o, nil
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

func (o *output) copy(to *sink) {
	defer close(o.done)
	defer o.read.Close()
	buf := make([]byte, 0, 1024)
	for {
		if len(buf) == cap(buf) {
			grown := make([]byte, len(buf), min(2*cap(buf), maxLine))
			copy(grown, buf)
			buf = grown
		}
		n, err := o.read.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		rest := o.lines(buf, to, err != nil || len(buf) == maxLine)
		buf = append(buf[:0], rest...)
		if err != nil {
			return
		}
	}
}

// lines writes the complete lines of text, all of it if flush, and returns what is left.
func (o *output) lines(text []byte, to *sink, flush bool) []byte {
	var out []byte
	lines := 0
	for len(text) > 0 {
		line, rest, whole := bytes.Cut(text, []byte("\n"))
		if !whole && !flush {
			break
		}
		line = bytes.TrimRight(line, "\r")
		out = append(out, '[')
		out = append(out, o.name...)
		out = append(out, "] "...)
		out = append(out, printable(line)...)
		out = append(out, '\n')
		lines++
		if len(bytes.TrimSpace(line)) > 0 {
			o.mu.Lock()
			o.last = pipe.Clean(string(line), lastWords)
			o.mu.Unlock()
		}
		text = rest
	}
	if lines > 0 {
		o.give(out, lines, to)
	}
	return text
}

// give hands lines to the log, unless too much of this vassal's waits there already.
func (o *output) give(out []byte, lines int, to *sink) {
	if o.waiting.Load() >= share {
		o.lost += lines
		return
	}
	if o.lost > 0 {
		out = append(fmt.Appendf(nil, "[%s] (%d lines were dropped here: more came than could be written)\n", o.name, o.lost), out...)
	}
	o.waiting.Add(1)
	if to.put(piece{out, &o.waiting}) {
		o.lost = 0
		return
	}
	o.waiting.Add(-1)
	o.lost += lines
}

// printable replaces control bytes: a tenant must not steer the operator's terminal.
func printable(line []byte) []byte {
	if bytes.IndexFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) < 0 {
		return line
	}
	clean := bytes.Clone(line)
	for i, b := range clean {
		if b < ' ' && b != '\t' || b == 0x7f {
			clean[i] = '?'
		}
	}
	return clean
}

// lastLine returns the last line that said something.
func (o *output) lastLine() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last
}
