package emperor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/sockets"
)

// A register says what each listener in systemd's store is: a memory file that lies in the store too, and outlives this
// process like them. The names there cannot say it: all of them together become one environment variable, which the kernel
// limits to 128 KiB, and a longer one keeps the unit from ever starting again (status 203/EXEC, tried).
//
// It has one record of recordSize bytes for each slot: a line with the form's number, a checksum and JSON; a record that
// begins with NUL is free. A record never crosses a page, so that it is written whole or not at all.
const (
	registerName = "emperord" // FDNAME of the register
	recordForm   = "emperord1"
	recordSize   = 1 << 10
	maxSlots     = 20000 // with names of at most four bytes and a colon: 100 KB of the 128
)

// A record is what is known of one listener.
type record struct {
	Vassal   string           `json:"vassal"`
	Listener sockets.Snapshot `json:"listener"`
}

// newRegister makes an empty one.
func newRegister() (*os.File, error) {
	return memfd("register", unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL, func(f *os.File) error {
		return f.Truncate(maxSlots * recordSize) // only what is written takes memory
	})
}

// isRegister tells whether a descriptor can be a register: nobody can make it shorter under our hands.
func isRegister(fd int) bool {
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	var st unix.Stat_t
	return err == nil && seals&unix.F_SEAL_SHRINK != 0 && unix.Fstat(fd, &st) == nil && st.Size == maxSlots*recordSize
}

// writeRecord fills a slot.
func writeRecord(f io.WriterAt, slot int, r record) error {
	r.Listener = r.Listener.Bare()
	text, err := encodeRecord(r)
	if err == nil && len(text) > recordSize {
		r.Listener.Made = nil // long paths: the folders that were made for the socket will stay, empty
		text, err = encodeRecord(r)
	}
	if err == nil && len(text) > recordSize {
		err = errors.New("its address is too long")
	}
	if err != nil {
		return err
	}
	_, err = f.WriteAt(append(text, make([]byte, recordSize-len(text))...), int64(slot)*recordSize)
	return err
}

func encodeRecord(r record) ([]byte, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%s %08x %s\n", recordForm, crc32.ChecksumIEEE(text), text), nil
}

// clearRecord frees a slot.
func clearRecord(f io.WriterAt, slot int) error {
	_, err := f.WriteAt(make([]byte, recordSize), int64(slot)*recordSize)
	return err
}

// readRecord reads a slot. The error says that it is free, or damaged, or of another form.
func readRecord(f io.ReaderAt, slot int) (record, error) {
	text := make([]byte, recordSize)
	if _, err := f.ReadAt(text, int64(slot)*recordSize); err != nil {
		return record{}, err
	}
	return decodeRecord(text)
}

func decodeRecord(text []byte) (record, error) {
	line, _, whole := bytes.Cut(text, []byte("\n"))
	parts := bytes.SplitN(line, []byte(" "), 3)
	if !whole || len(parts) != 3 || string(parts[0]) != recordForm {
		return record{}, errors.New("there is no record of form " + recordForm)
	}
	if sum, err := strconv.ParseUint(string(parts[1]), 16, 32); err != nil || uint32(sum) != crc32.ChecksumIEEE(parts[2]) {
		return record{}, errors.New("the record is damaged")
	}
	var r record
	if err := json.Unmarshal(parts[2], &r); err != nil {
		return record{}, err
	}
	return r, r.Listener.Check()
}

// slotDigits are the digits of a slot's name.
const slotDigits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// slotName is the FDNAME of a slot: as short as can be, with a first letter that no socket unit's name has.
func slotName(slot int) string {
	name := ""
	for n := slot; n > 0 || name == ""; n /= len(slotDigits) {
		name = string(slotDigits[n%len(slotDigits)]) + name
	}
	return "~" + name
}

// slotOf reads the name of a slot.
func slotOf(name string) (slot int, ok bool) {
	digits, found := strings.CutPrefix(name, "~")
	if !found || digits == "" || len(digits) > 3 {
		return 0, false
	}
	for _, c := range []byte(digits) {
		i := strings.IndexByte(slotDigits, c)
		if i < 0 {
			return 0, false
		}
		slot = slot*len(slotDigits) + i
	}
	return slot, slot < maxSlots && slotName(slot) == name
}
