package control

import (
	"encoding/json"
	"fmt"
)

// The words of a Report.
const (
	Loaded   = "loaded"
	Failed   = "failed"
	Forked   = "forked"
	Unforked = "unforked"
	Ready    = "ready"
	Active   = "active"
	Exited   = "exited"
	Stopped  = "stopped"
)

// A Report is what a host or a worker tells vassald. Which fields are set depends on the word.
type Report struct {
	Version int    `json:"version"`
	Word    string `json:"word"`
	Slot    int    `json:"slot"`   // failed, forked, unforked, ready, active, exited; -1: the host itself
	PID     int    `json:"pid"`    // forked, ready, exited
	Status  int    `json:"status"` // exited: the wait status
	Held    int    `json:"held"`   // exited: 1 if it had a request in its hands; left out if it had none
	Kind    string `json:"kind"`   // failed: the name of the exception, or NoCallable, NotCallable, Interpreter, chdir2
	Text    string `json:"text"`   // failed: what the exception says; loaded: the interpreter; unforked: why
	File    string `json:"file"`   // failed: where in the application
	Line    int    `json:"line"`
}

// Decode reads a packet from a host. A word of another version or one that is not known comes back with an empty Word,
// to be skipped. The pid and the slot are the sender's word: believe them only as far as the sender may be believed.
func Decode(packet []byte) (Report, error) {
	if len(packet) > MaxReport {
		return Report{}, fmt.Errorf("a word of the host has more than %d bytes", MaxReport)
	}
	var r Report
	if err := json.Unmarshal(packet, &r); err != nil {
		return Report{}, fmt.Errorf("cannot read a word of the host: %w", err)
	}
	if r.Version != Version {
		return Report{}, nil
	}
	switch r.Word {
	case Loaded, Failed, Forked, Unforked, Ready, Active, Exited, Stopped:
		return r, nil
	}
	return Report{}, nil
}
