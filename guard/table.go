package guard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A Record is a session that the emperor has started for a vassal.
type Record struct {
	Session int           // its leader's pid
	UID     int           // of its processes
	Mark    uint64        // what Variable says in the environment of its processes; 0: nothing
	Mercy   time.Duration // how long its leader may take to leave when the emperor has gone; 0: as long as Watch is told
	Folder  string        // its control group; empty: it has none of its own
}

// Variable is the environment variable that holds Record.Mark, as MarkText writes it.
const Variable = "EMPERORD_MARK"

// MarkText is the value of Variable.
func MarkText(mark uint64) string { return fmt.Sprintf("%016x", mark) }

// A Table is what the guard knows. Each record has 512 bytes, little-endian: session (4), uid (4), mark (8), mercy in nanoseconds (8),
// when the leader ended in CLOCK_BOOTTIME's nanoseconds (8), when the record was written (8), the inode of the folder (8), the length of the
// folder (4), the folder. A session of 0 is no record. The first 512 bytes say what the file is.
type Table struct {
	file  *os.File
	slots int            // that there are
	free  []int          // those without a record
	of    map[int]int    // session → slot
	ended []endedSession // whose record is kept for a while, the oldest first
}

type endedSession struct {
	slot, session int
	at            time.Duration
}

const (
	slotSize = 512
	heading  = 48
	title    = "emperord guard table 2\n"
	// maxRecords bounds the table: one for each process that an emperor starts for a vassal.
	maxRecords = 1 << 17
	// Lingering is how long a session is known after its leader has ended: what is left of it is the emperor's to end, who may be
	// killed before it has.
	Lingering = 5 * time.Second
)

// NewTable makes an empty table.
func NewTable() (*Table, error) {
	fd, err := unix.MemfdCreate("emperord-guard", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot make a memory file: %w", err)
	}
	t := &Table{file: os.NewFile(uintptr(fd), "guard table"), of: map[int]int{}}
	if err := t.write(0, []byte(title)); err != nil {
		t.file.Close()
		return nil, err
	}
	return t, nil
}

// File is what Watch reads.
func (t *Table) File() *os.File { return t.file }

// Leaders returns how many sessions have a leader that has not ended.
func (t *Table) Leaders() int { return len(t.of) }

// Close forgets everything.
func (t *Table) Close() error { return t.file.Close() }

// Put writes a record down. A session that is there already is replaced. The leader has to be a child that is not reaped, and its control
// group has to be there: the guard knows both again by when they were made, whoever has the number or the name by then.
func (t *Table) Put(r Record) error {
	now := boottime()
	t.tidy(now)
	if r.Session <= 1 || r.UID < 0 {
		return fmt.Errorf("the session %d of uid %d is none", r.Session, r.UID)
	}
	slot, there := t.of[r.Session]
	if !there {
		if n := len(t.free); n > 0 {
			slot, t.free = t.free[n-1], t.free[:n-1]
		} else if slot = t.slots; slot >= maxRecords {
			return errors.New("the table of sessions is full")
		} else {
			t.slots++
		}
		t.of[r.Session] = slot
	}
	return t.write(slot+1, encode(known{Record: r, written: now, ino: inode(r.Folder)}))
}

// End says that a session's leader has ended and that the emperor looks after what is left of it.
func (t *Table) End(session int) error {
	slot, known := t.of[session]
	if !known {
		return nil
	}
	delete(t.of, session) // its number may soon be another leader's
	now := boottime()
	t.ended = append(t.ended, endedSession{slot, session, now})
	var at [8]byte
	binary.LittleEndian.PutUint64(at[:], uint64(now))
	_, err := t.file.WriteAt(at[:], int64(slot+1)*slotSize+24)
	t.tidy(now)
	return err
}

// tidy removes the records of sessions that ended long ago.
func (t *Table) tidy(now time.Duration) {
	for len(t.ended) > 0 && now-t.ended[0].at > Lingering {
		slot := t.ended[0].slot
		t.ended = t.ended[1:]
		if t.write(slot+1, make([]byte, heading)) == nil {
			t.free = append(t.free, slot)
		}
	}
}

func (t *Table) write(slot int, text []byte) error {
	var b [slotSize]byte
	copy(b[:], text)
	if _, err := t.file.WriteAt(b[:], int64(slot)*slotSize); err != nil {
		return fmt.Errorf("cannot write the table of sessions: %w", err)
	}
	return nil
}

func encode(r known) []byte {
	b := make([]byte, heading, slotSize)
	binary.LittleEndian.PutUint32(b, uint32(r.Session))
	binary.LittleEndian.PutUint32(b[4:], uint32(r.UID))
	binary.LittleEndian.PutUint64(b[8:], r.Mark)
	binary.LittleEndian.PutUint64(b[16:], uint64(r.Mercy))
	binary.LittleEndian.PutUint64(b[24:], uint64(r.ended))
	binary.LittleEndian.PutUint64(b[32:], uint64(r.written))
	binary.LittleEndian.PutUint64(b[40:], r.ino)
	if len(r.Folder) > slotSize-heading-4 { // sessions and marks are known without it
		r.Folder = ""
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.Folder)))
	return append(b, r.Folder...)
}

// a known record is one that was read.
type known struct {
	Record
	ended   time.Duration // 0: its leader lived when the emperor ended, as far as the emperor knew
	written time.Duration // its leader began before
	ino     uint64        // of its control group; 0: it has none
}

// read returns the records of a table.
func read(f io.ReaderAt) ([]known, error) {
	text, err := io.ReadAll(io.NewSectionReader(f, 0, (maxRecords+1)*slotSize))
	if err != nil {
		return nil, fmt.Errorf("cannot read the table of sessions: %w", err)
	}
	if len(text) < slotSize || !bytes.HasPrefix(text, []byte(title)) {
		return nil, errors.New("descriptor 3 is no table of sessions: this is for emperord itself")
	}
	var all []known
	for b := text[slotSize:]; len(b) >= slotSize; b = b[slotSize:] {
		session, uid := int32(binary.LittleEndian.Uint32(b)), int32(binary.LittleEndian.Uint32(b[4:]))
		mercy, ended, written := int64(binary.LittleEndian.Uint64(b[16:])), int64(binary.LittleEndian.Uint64(b[24:])), int64(binary.LittleEndian.Uint64(b[32:]))
		length := binary.LittleEndian.Uint32(b[heading:])
		if session <= 1 || mercy < 0 || ended < 0 || length > slotSize-heading-4 {
			continue
		}
		r := Record{int(session), int(uint32(uid)), binary.LittleEndian.Uint64(b[8:]), time.Duration(mercy), string(b[heading+4 : heading+4+length])}
		all = append(all, known{r, time.Duration(ended), time.Duration(written), binary.LittleEndian.Uint64(b[40:])})
	}
	return all, nil
}

// boottime is the clock of the start times in /proc.
func boottime() time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) // cannot fail
	return time.Duration(now.Nano())
}
