// Package dictionary reads the block of names and values that uWSGI's programs send each other: the variables of a
// request, and datagrams such as commands to an emperor. It knows nothing of what they mean.
package dictionary

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Max is the largest block in bytes: its size is a 16 bit number on the wire.
const Max = 1<<16 - 1

// HeaderSize is the size of what stands before a block: modifier 1, the block's size (low byte first), modifier 2.
const HeaderSize = 4

// What may be wrong with a block.
var (
	ErrOverrun = errors.New("a size inside the block of variables is larger than what is left of the block")
	ErrSize    = errors.New("the size in the header is not that of what follows it")
	ErrEntries = errors.New("it has too many entries")
)

// An Entry is one name with its value, as sent.
type Entry struct {
	Name, Value string
}

// Parse cuts a block into its entries, in the order of the wire, repeated names included. Every size is checked against what
// is left before it is used.
func Parse[E ~struct{ Name, Value string }](block string) ([]E, error) {
	var entries []E
	for len(block) > 0 {
		var e struct{ Name, Value string }
		var ok bool
		if e.Name, block, ok = cut(block); !ok {
			return nil, ErrOverrun
		}
		if e.Value, block, ok = cut(block); !ok {
			return nil, ErrOverrun
		}
		entries = append(entries, E(e))
	}
	return entries, nil
}

// cut cuts a size and so many bytes from the front of s.
func cut(s string) (text, rest string, ok bool) {
	if len(s) < 2 {
		return "", "", false
	}
	n := int(s[0]) | int(s[1])<<8
	s = s[2:]
	if n > len(s) {
		return "", "", false
	}
	return s[:n], s[n:], true
}

// Datagram reads a datagram that is a header and a block of at most so many entries. The modifiers are passed over: what
// a datagram is for, its socket says.
func Datagram(packet []byte, most int) ([]Entry, error) {
	if len(packet) < HeaderSize {
		return nil, fmt.Errorf("%d bytes are no header: %w", len(packet), ErrSize)
	}
	if size := int(binary.LittleEndian.Uint16(packet[1:3])); size != len(packet)-HeaderSize {
		return nil, fmt.Errorf("%d, and %d bytes follow: %w", size, len(packet)-HeaderSize, ErrSize)
	}
	entries, err := Parse[Entry](string(packet[HeaderSize:]))
	if err == nil && len(entries) > most {
		return nil, fmt.Errorf("%d, at most %d: %w", len(entries), most, ErrEntries)
	}
	return entries, err
}
