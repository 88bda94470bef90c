package control

import (
	"encoding/json"
	"fmt"
	"time"
)

// An Order is what vassald tells a host: Load, Fork, Expire, Retire or Stop.
type Order interface{ word() string }

// Load tells the host to load the application.
type Load struct {
	Listeners []int `json:"listeners"` // descriptors
	Processes int   `json:"processes"` // slots of the scoreboard

	Module   string   `json:"module"`   // "pkg.mod", "pkg.mod:callable", "pkg.mod:factory()"; or else
	File     string   `json:"file"`     // a file to run
	Callable string   `json:"callable"` // empty: "application"
	Path     []string `json:"path"`     // pythonpath, globs expanded, in the order of the configuration
	Chdir2   string   `json:"chdir2"`   // folder to go to after loading; empty: none
	Lazy     bool     `json:"lazy"`     // every worker loads for itself
	Log      bool     `json:"log"`      // a line for each request

	LimitAS    int64 `json:"limit_as"`    // bytes of address space of the host and of each worker; 0: as it is
	LimitNproc int   `json:"limit_nproc"` // processes of the user, above which a fork of the application fails; 0: as it is

	Timeout int64    `json:"timeout_ms"` // socket-timeout: how long a peer may neither send nor take anything
	Buffer  int      `json:"buffer"`     // buffer-size in bytes, only shown to the application
	Options []Option `json:"options"`    // the settings, shown to the application as uwsgi.opt

	Name string `json:"name,omitempty"` // what ps shall show of the host; empty: its command line
}

// An Option is one setting as uwsgi.opt shows it. It is encoded as a pair; a setting without a value has true.
type Option struct {
	Key, Value string
	Bare       bool
}

// MarshalJSON makes ["key", "value"] or ["key", true].
func (o Option) MarshalJSON() ([]byte, error) {
	if o.Bare {
		return json.Marshal([2]any{o.Key, true})
	}
	return json.Marshal([2]any{o.Key, o.Value})
}

// Fork tells the host to fork the worker of a slot.
type Fork struct {
	Slot int    `json:"slot"`
	Name string `json:"name,omitempty"` // what ps shall show of it; empty: what it shows of the host
}

// Expire tells the host to interrupt a worker that has been reading a request for too long. The pid makes sure that a
// successor in the same slot is left alone.
type Expire struct {
	Slot int `json:"slot"`
	PID  int `json:"pid"`
}

// Retire tells the host to end the workers that it has now, when their requests are done. It stays, and forks others when
// it is told to.
type Retire struct{}

// Stop tells the host to end its workers and itself.
type Stop struct {
	Mercy time.Duration `json:"-"` // how long requests under way may take
}

func (Load) word() string   { return "load" }
func (Fork) word() string   { return "fork" }
func (Expire) word() string { return "expire" }
func (Retire) word() string { return "retire" }
func (Stop) word() string   { return "stop" }

// Encode returns the packet for an order. A load whose settings do not fit in one packet is an error.
func Encode(o Order) ([]byte, error) {
	type head struct {
		Version int    `json:"version"`
		Word    string `json:"word"`
	}
	h := head{Version, o.word()}
	var packet any
	switch o := o.(type) {
	case Load:
		packet = struct {
			head
			Load
		}{h, o}
	case Fork:
		packet = struct {
			head
			Fork
		}{h, o}
	case Expire:
		packet = struct {
			head
			Expire
		}{h, o}
	case Retire:
		packet = h
	case Stop:
		packet = struct {
			head
			MercyMS int64 `json:"mercy_ms"`
		}{h, o.Mercy.Milliseconds()}
	}
	text, err := json.Marshal(packet)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the order %q: %w", h.Word, err)
	}
	if len(text) > MaxOrder {
		return nil, fmt.Errorf("cannot send the order %q: it has %d bytes, at most %d fit; the configuration is too large", h.Word, len(text), MaxOrder)
	}
	return text, nil
}
