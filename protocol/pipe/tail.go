package pipe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"time"
)

// A vassal that writes a log of its own puts its last lines on the notice board too, behind the notice, so that the
// emperor can tell why it ended. TailSize is how many bytes of the board they have.
const TailSize = 20 << 10

// Limits of the last lines: how many, bytes of one, bytes of all.
const (
	TailLines = 50
	TailLine  = 1 << 10
	TailBytes = 16 << 10
)

// tailHead is what stands before the lines: their size in bytes and their CRC-32 (IEEE), each in four bytes, low byte first.
const tailHead = 8

// A Line is one line of a vassal's output and when it was written.
type Line struct {
	At   time.Time // to the millisecond
	Text []byte    // without its line feed
}

// A Tail holds the last lines within the limits, oldest first. The zero value is empty.
type Tail struct {
	Lines []Line
	bytes int
}

// Add takes a line, the text of which is copied and cut to TailLine bytes.
func (t *Tail) Add(at time.Time, text []byte) {
	text = text[:min(len(text), TailLine)]
	for len(t.Lines) > 0 && (len(t.Lines) == TailLines || t.bytes+len(text) > TailBytes) {
		t.bytes -= len(t.Lines[0].Text)
		t.Lines = append(t.Lines[:0], t.Lines[1:]...)
	}
	t.Lines = append(t.Lines, Line{at, bytes.ReplaceAll(text, []byte("\n"), []byte(" "))})
	t.bytes += len(text)
}

// Write puts the lines on the board b.
func (t *Tail) Write(b io.WriterAt) error {
	page := make([]byte, tailHead, TailSize)
	for _, l := range t.Lines {
		page = strconv.AppendInt(page, l.At.UnixMilli(), 36)
		page = append(append(append(page, ' '), l.Text...), '\n')
	}
	binary.LittleEndian.PutUint32(page, uint32(len(page)-tailHead))
	binary.LittleEndian.PutUint32(page[4:], crc32.ChecksumIEEE(page[tailHead:]))
	if _, err := b.WriteAt(page, BoardSize); err != nil {
		return fmt.Errorf("cannot write the last lines on the notice board: %w", err)
	}
	return nil
}

// ReadTail reads the last lines from the board b, oldest first. They are a tenant's: within the limits, cleaned of control
// characters, and their times are whatever it says. A board that has none, or is just being written, gives none.
func ReadTail(b io.ReaderAt) ([]Line, error) {
	page := make([]byte, TailSize)
	n, err := b.ReadAt(page, BoardSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("cannot read the last lines from the notice board: %w", err)
	}
	if n < tailHead {
		return nil, nil
	}
	text, size := page[tailHead:n], binary.LittleEndian.Uint32(page)
	if int64(size) > int64(len(text)) || crc32.ChecksumIEEE(text[:size]) != binary.LittleEndian.Uint32(page[4:]) {
		return nil, nil
	}
	var t Tail
	for line := range bytes.SplitSeq(text[:size], []byte("\n")) {
		when, said, found := bytes.Cut(line, []byte(" "))
		if ms, err := strconv.ParseInt(string(when), 36, 64); found && err == nil {
			t.Add(time.UnixMilli(ms), []byte(Clean(string(said), TailLine)))
		}
	}
	return t.Lines, nil
}
