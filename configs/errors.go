package configs

import (
	"errors"
	"fmt"
	"slices"
)

// Errors are all faults that were found in a configuration, ordered by place. As an error they read as the first of
// them and the number of the others.
type Errors []*Error

// Error returns the line of the first fault and counts the others.
func (e Errors) Error() string {
	switch len(e) {
	case 0:
		return "no fault"
	case 1:
		return e[0].Error()
	}
	return fmt.Sprintf("%s (and %d more: see emperorctl check)", e[0].Error(), len(e)-1)
}

// Unwrap lets errors.As find the first fault as an *Error.
func (e Errors) Unwrap() []error {
	list := make([]error, len(e))
	for i, fault := range e {
		list[i] = fault
	}
	return list
}

// Faults returns the single faults that an error of this package holds, nil where it holds none.
func Faults(err error) []*Error {
	var all Errors
	if errors.As(err, &all) {
		return all
	}
	var one *Error
	if errors.As(err, &one) {
		return []*Error{one}
	}
	return nil
}

// outside reports whether all that is wrong lies outside the configuration's text, so that it may be good later.
func outside(err error) bool {
	all := Faults(err)
	return len(all) > 0 && !slices.ContainsFunc(all, func(e *Error) bool { return !e.outside })
}

// fault remembers what is wrong; reading goes on, so that everything that is wrong is found.
func (p *parser) fault(err error) {
	var e *Error
	if err == nil || len(p.faults) >= maxNotices || !errors.As(err, &e) {
		return
	}
	if slices.ContainsFunc(p.faults, func(other *Error) bool { return *other == *e }) { // a line repeated by for
		return
	}
	p.faults = append(p.faults, e)
}

// err returns what was wrong.
func (p *parser) err() error { return Errors(p.faults).in(p.settings) }

// in returns the error that all faults together are, ordered by place: files as they were read, in them by line, and what has
// no line at the end.
func (e Errors) in(settings Settings) error {
	order := make(map[string]int)
	for _, s := range settings {
		if _, seen := order[s.Place.File]; !seen {
			order[s.Place.File] = len(order)
		}
	}
	slices.SortStableFunc(e, func(a, b *Error) int {
		if (a.Option == "") != (b.Option == "") {
			if a.Option == "" {
				return 1
			}
			return -1
		}
		if d := order[a.Place.File] - order[b.Place.File]; d != 0 {
			return d
		}
		return a.Place.Line - b.Place.Line
	})
	return e.err()
}

// err is the error that all faults together are: nil, an *Error, or Errors.
func (e Errors) err() error {
	switch len(e) {
	case 0:
		return nil
	case 1:
		return e[0]
	}
	return e
}

// Join puts the faults of a reading and those of its settings together, ordered by place. Of two for the same line and option
// the second one's counts, which knows what the option is good for here.
func Join(settings Settings, read, parsed error) error {
	all := slices.Clone(Faults(parsed))
	if read == nil || parsed != nil && all == nil {
		return parsed
	}
	for _, e := range Faults(read) {
		if !slices.ContainsFunc(all, func(other *Error) bool { return other.Place == e.Place && other.Option == e.Option }) {
			all = append(all, e)
		}
	}
	return Errors(all).in(settings)
}
