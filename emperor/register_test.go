package emperor

import (
	"bytes"
	"io/fs"
	"strings"
	"testing"

	"github.com/emperord/emperord/sockets"
)

func someRecord() record {
	return record{Vassal: "shop.ini", Listener: sockets.Snapshot{
		Address: sockets.Address{Kind: sockets.Unix, Path: "/run/uwsgi/shop/a b.sock"}, Owned: sockets.Owned{UID: 61501, GID: 61501, Mode: 0o660}, Backlog: 100,
		Made: []sockets.FolderSnapshot{{Path: "/run/uwsgi/shop", Dev: 23, Ino: 42}}, At: "/run/uwsgi/shop", Dev: 23, Ino: 43,
		As: &sockets.Identity{Name: "shop", UID: 61501, GID: 61501, Groups: []int{1, 2, 3}},
	}}
}

func TestRegisterKeepsRecords(t *testing.T) {
	f, err := newRegister()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !isRegister(int(f.Fd())) {
		t.Fatal("it does not look like a register")
	}
	const last = maxSlots - 1
	for _, slot := range []int{0, 61, 62, last} {
		if _, err := readRecord(f, slot); err == nil {
			t.Errorf("slot %d is not free", slot)
		}
		if err := writeRecord(f, slot, someRecord()); err != nil {
			t.Fatal(err)
		}
	}
	got, err := readRecord(f, last)
	if err != nil || got.Vassal != "shop.ini" || got.Listener.Address != someRecord().Listener.Address || got.Listener.Owned != someRecord().Listener.Owned ||
		got.Listener.As.UID != 61501 || got.Listener.As.Groups != nil || len(got.Listener.Made) != 1 || got.Listener.Ino != 43 {
		t.Errorf("%+v, %v", got, err)
	}
	if err := clearRecord(f, 61); err != nil {
		t.Fatal(err)
	}
	if _, err := readRecord(f, 61); err == nil {
		t.Error("a cleared slot holds something")
	}
	if _, err := readRecord(f, 62); err != nil {
		t.Errorf("the neighbour of a cleared slot: %v", err)
	}
	if err := writeRecord(f, maxSlots, someRecord()); err == nil {
		t.Error("there is a slot behind the last one")
	}
}

// What does not fit goes without the folders; what does not fit then is an error, never half a record.
func TestRegisterNeverCutsARecord(t *testing.T) {
	f, err := newRegister()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := someRecord()
	for range 8 {
		r.Listener.Made = append(r.Listener.Made, sockets.FolderSnapshot{Path: "/run/uwsgi/" + strings.Repeat("x", 150)})
	}
	if err := writeRecord(f, 1, r); err != nil {
		t.Fatal(err)
	}
	if got, err := readRecord(f, 1); err != nil || got.Listener.Made != nil || got.Listener.Ino != 43 {
		t.Errorf("%+v, %v", got, err)
	}
	r.Vassal = strings.Repeat("v", recordSize)
	if err := writeRecord(f, 2, r); err == nil {
		t.Error("a record that does not fit was written")
	}
}

func TestDamagedRecordsAreRefused(t *testing.T) {
	whole, err := encodeRecord(someRecord())
	if err != nil {
		t.Fatal(err)
	}
	whole = append(whole, make([]byte, recordSize-len(whole))...)
	if _, err := decodeRecord(whole); err != nil {
		t.Fatal(err)
	}
	for i := range bytes.IndexByte(whole, '\n') + 1 {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 0x20
		if got, err := decodeRecord(damaged); err == nil && !strings.EqualFold(string(damaged[:18]), string(whole[:18])) {
			t.Errorf("byte %d was changed and it still says %+v", i, got)
		}
		if _, err := decodeRecord(whole[:i]); err == nil {
			t.Errorf("the first %d bytes are a record", i)
		}
	}
}

// All names together, and a colon behind each, must fit in one environment variable beside those of socket units.
func TestSlotNames(t *testing.T) {
	seen, total := map[string]bool{}, 0
	for slot := range maxSlots {
		name := slotName(slot)
		if got, ok := slotOf(name); !ok || got != slot || seen[name] {
			t.Fatalf("slot %d is called %q, which is slot %d", slot, name, got)
		}
		seen[name] = true
		total += len(name) + 1
	}
	if total > 100<<10 {
		t.Errorf("the names have %d bytes together", total)
	}
	for _, bad := range []string{"", "~", "0", "~00", "~zzz", "~0000", "~a:", "~-1", "emperord", "app.socket", "~é"} {
		if slot, ok := slotOf(bad); ok {
			t.Errorf("%q is slot %d", bad, slot)
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	whole, err := encodeRecord(someRecord())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte("emperord1 00000000 {}\n"))
	f.Add([]byte("emperord1 8c736521 null\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := decodeRecord(text)
		if err == nil && (r.Listener.Check() != nil || r.Listener.Owned.Mode&^fs.ModePerm != 0) {
			t.Errorf("%+v", r)
		}
	})
}
