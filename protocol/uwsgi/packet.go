package uwsgi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/emperord/emperord/protocol/dictionary"
)

// MaxBlock is the largest block of variables in bytes: its size is a 16 bit number on the wire.
const MaxBlock = dictionary.Max

// headerSize is the size of what stands before the block.
const headerSize = dictionary.HeaderSize

// Modifiers (first byte of a packet) that this package answers. All others choose another language or manage a uWSGI.
const (
	ModifierWSGI       byte = 0   // a request
	ModifierManageName byte = 30  // a request whose SCRIPT_NAME is to be cut from its PATH_INFO
	ModifierPing       byte = 100 // are you there? the answer is 100 with modifier 2 = 1
)

// What a reader may find wrong with a packet. A connection that ends before the first byte is io.EOF, one that ends
// later io.ErrUnexpectedEOF.
var (
	ErrOverrun       = dictionary.ErrOverrun
	ErrNUL           = errors.New("a variable holds a NUL byte")
	ErrContentLength = errors.New("CONTENT_LENGTH is not one whole number")
	ErrPlainHTTP     = errors.New("the peer speaks HTTP, not the uwsgi protocol; use uwsgi_pass instead of proxy_pass, or http-socket instead of socket")
	ErrTooLarge      = errors.New("the variables do not fit into the 65535 bytes that the uwsgi protocol has for them; send fewer or shorter headers")
)

// A Var is one variable of a request.
type Var struct {
	Name, Value string
}

// A Packet is everything that stands before the body of a request.
type Packet struct {
	Modifier1 byte
	Modifier2 byte
	Vars      []Var // in the order of the wire, repeated names included
}

// ReadPacket reads one packet from r and not a byte more. It allocates at most MaxBlock bytes and what the variables'
// headers need. The names and values are as sent; NewRequest judges them.
func ReadPacket(r io.Reader) (Packet, error) {
	var head [headerSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Packet{}, err
	}
	if startsHTTP(head) {
		return Packet{}, ErrPlainHTTP
	}
	block := make([]byte, binary.LittleEndian.Uint16(head[1:3]))
	if _, err := io.ReadFull(r, block); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return Packet{}, err
	}
	p := Packet{Modifier1: head[0], Modifier2: head[3]}
	var err error
	p.Vars, err = dictionary.Parse[Var](string(block))
	return p, err
}

// startsHTTP tells whether head is the start of an HTTP request. None of these methods begins with a modifier that is
// answered, so nothing that would be served is mistaken.
func startsHTTP(head [headerSize]byte) bool {
	switch string(head[:]) {
	case "GET ", "HEAD", "POST", "PUT ", "PATC", "DELE", "OPTI", "CONN", "TRAC", "PRI ":
		return true
	}
	return false
}

// AppendPacket appends p as it goes over the wire to b. It refuses what a reader would refuse: ErrTooLarge, ErrNUL.
func AppendPacket(b []byte, p Packet) ([]byte, error) {
	size := 0
	for _, v := range p.Vars {
		if strings.IndexByte(v.Name, 0) >= 0 || strings.IndexByte(v.Value, 0) >= 0 {
			return b, fmt.Errorf("variable %q: %w", v.Name, ErrNUL)
		}
		if size += 4 + len(v.Name) + len(v.Value); size > MaxBlock {
			return b, ErrTooLarge
		}
	}
	b = append(b, p.Modifier1, byte(size), byte(size>>8), p.Modifier2)
	for _, v := range p.Vars {
		b = append(b, byte(len(v.Name)), byte(len(v.Name)>>8))
		b = append(b, v.Name...)
		b = append(b, byte(len(v.Value)), byte(len(v.Value)>>8))
		b = append(b, v.Value...)
	}
	return b, nil
}
