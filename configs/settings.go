// Package configs turns uWSGI configuration text into an ordered list of settings, and the settings into typed structs.
//
// It logs nothing and changes nothing. The order of settings and repeated settings are kept: uWSGI's meaning depends
// on both. What every option means, who obeys it and whether it is honoured yet stands in one table (options.go).
package configs

import (
	"errors"
	"fmt"
)

// A Place is where a setting was written. Line counts from 1; 0 means that it came from no file (command line,
// environment), and File then says from where.
type Place struct {
	File string `json:"file"`
	Line int    `json:"line,omitempty"`
}

// String returns "shop.ini:7", or the bare source where there is no line.
func (p Place) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// A Setting is one key and its value, as it stands after all references have been resolved.
type Setting struct {
	Key   string `json:"key"`
	Value string `json:"value"`
	Bare  bool   `json:"bare,omitempty"` // a command line flag that had no value at all
	Used  bool   `json:"used,omitempty"` // something asked for it as a placeholder, or it was made to be one (set)
	Place Place  `json:"place"`

	// Unlisted: it counts, and is no entry of the list that --show-config prints. A template of declare-option and
	// early-envdir make such settings.
	Unlisted bool `json:"unlisted,omitempty"`
}

// Settings are in the order in which uWSGI would apply them. Nothing is merged.
type Settings []Setting

// An Error is a fault in a configuration, written for the person who has to mend it: where, which option, which
// value, what is wrong and what to do.
type Error struct {
	Place  Place
	Option string // empty where the fault is not one option's
	Value  string
	Cause  string // "is not a number"
	Remedy string // "write a whole number from 1 to 1024"

	unsupported bool
	outside     bool // the text may be good: something that it names was not there, or did not answer
	local       bool // it lies in what this machine has, or in how uWSGI was built: elsewhere it may be right
}

// Is reports that a fault is errors.ErrUnsupported where the text is good uWSGI configuration that is not understood yet.
func (e *Error) Is(target error) bool { return e.unsupported && target == errors.ErrUnsupported }

// Error returns one line: `shop.ini:7: option "processes": value "fuor" is not a number; write a whole number from 1 to 1024`.
func (e *Error) Error() string {
	text := e.Place.String() + ": "
	if e.Option != "" {
		text += fmt.Sprintf("option %q: ", e.Option)
	}
	if e.Value != "" {
		text += fmt.Sprintf("value %q ", e.Value)
	}
	text += e.Cause
	if e.Remedy != "" {
		text += "; " + e.Remedy
	}
	return text
}
