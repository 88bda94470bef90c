package sources

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// An Emperor is a real uWSGI emperor that hands over a configuration without a file (emperor://NAME), as its zmq, amqp,
// PostgreSQL and MongoDB plugins do. Observed on 2.0.21: on the socket UWSGI_EMPEROR_FD_CONFIG stands a uwsgi packet, four bytes
// of header ('s', size as 16 bits low byte first, 0) and the text. It is sent when the vassal is started, when it was
// changed (after word 1), and again when the vassal says word 2 on the emperor pipe. uWSGI waits 5 s for it.
type Emperor struct {
	FD  int          // UWSGI_EMPEROR_FD_CONFIG
	Ask func() error // says word 2, "I am about to read again"; nil for the first reading

	text *string // of this reading
}

// Times of the wait for a configuration.
const (
	firstWait = 5 * time.Second        // for the first packet
	moreWait  = 100 * time.Millisecond // for a newer one behind it: after a change and a word 2 there are two
)

// configuration returns the newest text that the emperor has sent; the same one as often as it is asked for.
func (e *Emperor) configuration(ctx context.Context, until time.Time) (string, error) {
	if e.text != nil {
		return *e.text, nil
	}
	if e.Ask != nil {
		if err := e.Ask(); err != nil {
			return "", fmt.Errorf("cannot ask the emperor: %w", err)
		}
	}
	var text *string
	for wait := firstWait; ; wait = moreWait {
		switch ready, err := readable(ctx, e.FD, sooner(until, time.Now().Add(wait))); {
		case err != nil:
			return "", fmt.Errorf("cannot hear the emperor: %w", err)
		case !ready && text == nil:
			return "", errNothing
		case !ready:
			e.text = text
			return *text, nil
		}
		newer, err := packet(&polled{ctx, e.FD, sooner(until, time.Now().Add(firstWait))})
		if errors.Is(err, errNothing) && text != nil { // the emperor has gone after its last word
			e.text = text
			return *text, nil
		}
		if err != nil {
			return "", err
		}
		text = &newer
	}
}

var errNothing = errors.New("the emperor has sent no configuration")

// packet reads one configuration from an emperor.
func packet(in io.Reader) (string, error) {
	var header [4]byte
	n, err := io.ReadFull(in, header[:])
	switch {
	case n == 0 && err == io.EOF:
		return "", errNothing
	case err != nil:
		return "", fmt.Errorf("the emperor's configuration breaks off: %w", err)
	case header[0] != 's':
		return "", fmt.Errorf("the emperor sends a packet of type %d, and a configuration has type %d", header[0], 's')
	}
	text := make([]byte, binary.LittleEndian.Uint16(header[1:3]))
	if n, err := io.ReadFull(in, text); err != nil {
		return "", fmt.Errorf("the emperor's configuration breaks off after %d of %d bytes: %w", n, len(text), err)
	}
	return string(text), nil
}
