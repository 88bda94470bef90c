// Package sources opens what a configuration names and is not a file: programs, descriptors, addresses. It does so with the
// rights of the process that calls it, and every source has a limit and a deadline.
package sources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// Limits of one source.
const (
	maxBody   = 1 << 20          // bytes that a source may give
	maxHeader = 16 << 10         // bytes of an HTTP answer's header
	patience  = 10 * time.Second // for all sources of one reading together
)

// An Opener opens sources for one reading of a configuration. Its Open and Setenv are what configs.Reading wants. It is
// for one goroutine.
type Opener struct {
	Dir      string        // working folder of programs
	Env      []string      // environment of programs, "NAME=value"
	Stdin    *os.File      // standard input of programs, and fd://0; nil is /dev/null
	Stderr   *os.File      // standard error of programs; nil is /dev/null
	Patience time.Duration // how long all sources together may take; 0 is 10 s

	// Inherited are the descriptors that fd://N may read, beside 0: see Inherited. What the program has opened itself, or
	// was handed by emperord, is not for configurations.
	Inherited []int

	Emperor *Emperor // the emperor that emperor:// asks; nil where there is none

	// Context ends the reading from outside: what is read fails at once, and nothing more is opened. Nil: it never does.
	Context context.Context

	until time.Time // the end of patience, from the first source on
}

// Open opens "scheme://rest". The reader gives at most 1 MiB, then an error. Close releases everything and ends what is left of a program; its
// error says what was odd about the source though its text counts, such as an exit code.
func (o *Opener) Open(scheme, rest string) (io.ReadCloser, error) {
	if o.Context == nil {
		o.Context = context.Background()
	}
	if o.Context.Err() != nil {
		return nil, errGivenUp
	}
	if o.until.IsZero() {
		limit := o.Patience
		if limit == 0 {
			limit = patience
		}
		o.until = time.Now().Add(limit)
	}
	switch scheme {
	case "exec":
		return o.exec(rest)
	case "fd":
		return o.descriptor(rest)
	case "http":
		return o.http(rest)
	case "emperor":
		if o.Emperor == nil {
			return nil, errors.New("no emperor hands configurations to this program (UWSGI_EMPEROR_FD_CONFIG is not set); name a file")
		}
		text, err := o.Emperor.configuration(o.Context, o.until)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(strings.NewReader(text)), nil
	}
	return nil, fmt.Errorf("%s:// is not known", scheme)
}

// Setenv changes the environment of programs that are started from now on; nil removes a variable.
func (o *Opener) Setenv(name string, value *string) {
	kept := make([]string, 0, len(o.Env)+1)
	for _, kv := range o.Env {
		if !strings.HasPrefix(kv, name+"=") {
			kept = append(kept, kv)
		}
	}
	if value != nil {
		kept = append(kept, name+"="+*value)
	}
	o.Env = kept
}

var errGivenUp = errors.New("was given up: the reading is over")

var errTooMuch = fmt.Errorf("gives more than %d bytes; configurations are shorter", maxBody)

// A bounded reader fails after maxBody bytes.
type bounded struct {
	io.Reader
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if len(p) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.Reader.Read(p)
	if n > b.left {
		return b.left, errTooMuch
	}
	b.left -= n
	return n, err
}
