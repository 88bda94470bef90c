package dictionary

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

// subscription is a datagram of a real uWSGI 2.0.21: a master that announces itself (subscribe2), recorded from its socket.
const subscription = "testdata/uwsgi-2.0.21-subscribe.bin"

func TestDatagramOfARealPeer(t *testing.T) {
	packet, err := os.ReadFile(subscription)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Datagram(packet, 8)
	want := []Entry{{"key", "shop.example"}, {"address", "@x"}, {"modifier1", "0"}, {"modifier2", "0"}, {"cores", "1"}, {"load", "0"}, {"weight", "3"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
	if again := encode(packet[0], packet[3], want); !bytes.Equal(again, packet) {
		t.Errorf("written again: %q", again)
	}
}

func encode(modifier1, modifier2 byte, entries []Entry) []byte {
	var block []byte
	for _, e := range entries {
		for _, s := range []string{e.Name, e.Value} {
			block = append(binary.LittleEndian.AppendUint16(block, uint16(len(s))), s...)
		}
	}
	return append([]byte{modifier1, byte(len(block)), byte(len(block) >> 8), modifier2}, block...)
}

func TestDatagramFaults(t *testing.T) {
	for name, c := range map[string]struct {
		packet string
		want   error
	}{
		"empty":              {"", ErrSize},
		"half a header":      {"\x00\x00\x00", ErrSize},
		"less than promised": {"\x00\x06\x00\x00\x01\x00a\x00", ErrSize},
		"more than promised": {"\x00\x04\x00\x00\x01\x00a\x00\x00", ErrSize},
		"HTTP":               {"GET / HTTP/1.0\r\n\r\n", ErrSize},
		"an overrun":         {"\x00\x04\x00\x00\x03\x00ab", ErrOverrun},
		"a name alone":       {"\x00\x03\x00\x00\x01\x00a", ErrOverrun},
		"too many":           {string(encode(0, 0, make([]Entry, 4))), ErrEntries},
	} {
		if _, err := Datagram([]byte(c.packet), 3); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	if got, err := Datagram(encode(9, 9, []Entry{{"a", ""}, {"", ""}, {"a", "b"}}), 3); err != nil || len(got) != 3 {
		t.Errorf("got %q, %v", got, err)
	}
}

// FuzzDatagram: nothing crashes, nothing is read that is not there, and what is read is what was sent.
func FuzzDatagram(f *testing.F) {
	if packet, err := os.ReadFile(subscription); err == nil {
		f.Add(packet)
	}
	f.Add([]byte("\x00\x00\x00\x00"))
	f.Add([]byte("\x00\x04\x00\x00\xff\xff\xff\xff"))
	f.Add(encode(0, 0, []Entry{{"cmd", "spawn"}, {"vassal", strings.Repeat("x", 300)}}))
	f.Fuzz(func(t *testing.T, packet []byte) {
		entries, err := Datagram(packet, 16)
		if err != nil {
			if entries != nil {
				t.Errorf("%v, and still %q", err, entries)
			}
			return
		}
		if len(entries) > 16 {
			t.Errorf("%d entries", len(entries))
		}
		if again := encode(packet[0], packet[3], entries); !bytes.Equal(again, packet) {
			t.Errorf("%q became %q", packet, again)
		}
	})
}
