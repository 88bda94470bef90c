package configs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// Resolve reads a vassal's configuration into the document that `vassald --resolve` answers. It always answers: what
// is wrong stands in Error.
func Resolve(in Reading) *Resolution {
	r := &Resolution{Version: resolutionVersion}
	odd := false
	if open := in.Source; open != nil {
		in.Source = func(scheme, rest string) (io.ReadCloser, error) {
			f, err := open(scheme, rest)
			return &watched{f, &odd}, err
		}
	}
	if err := r.fill(in); err != nil {
		*r = Resolution{Version: resolutionVersion, Error: err.Error(), Passing: odd || outside(err)}
		r.bound()
	}
	return r
}

// watched notes whether a source has ended oddly, such as a program with an exit code. What is wrong then may come from that,
// and be well the next time: a program that was being written when it was run, one that found no network.
type watched struct {
	io.ReadCloser
	odd *bool
}

func (w *watched) Close() error {
	err := w.ReadCloser.Close()
	if err != nil {
		*w.odd = true
	}
	return err
}

func (r *Resolution) fill(in Reading) error {
	if in.Dir == "" {
		dir, err := os.Getwd()
		if err != nil {
			return err
		}
		in.Dir = dir
	}
	settings, said, refused := read(in)
	if settings == nil {
		return refused
	}
	if in.Took != nil && refused == nil {
		in.Took(settings)
	}
	if isEmperor(settings) {
		return r.nest(settings, said, refused)
	}
	v, notices, err := ParseVassal(settings)
	if err = Join(settings, refused, err); err != nil {
		// A misspelt section is the likeliest reason for a file that asks for nothing.
		var e *Error
		if errors.As(err, &e) && e.Option == "" && len(said) > 0 {
			return fmt.Errorf("%w (%s)", err, said[0])
		}
		return err
	}
	for i, wish := range v.Sockets {
		if v.Sockets[i], err = absolute(wish, in.Dir, v.Chdir); err != nil {
			return err
		}
	}
	r.Settings, r.Sockets, r.UID, r.GID, r.Vacuum, r.OnDemand = settings, v.Sockets, v.UID, v.GID, v.Vacuum, v.OnDemand
	own, left := attributes(in)
	r.Attributes = own
	r.Notices = slices.Concat(said, notices, left)
	r.Mercy = int(max(v.ReloadMercy, v.WorkerMercy) / time.Second)
	r.bound()
	return nil
}

// bound cuts what we say ourselves to what a reader of the document accepts.
func (r *Resolution) bound() {
	r.Error = clip(Printable(r.Error), maxError)
	if len(r.Notices) > maxNotices {
		more := len(r.Notices) - maxNotices + 1
		r.Notices = append(r.Notices[:maxNotices-1:maxNotices-1], fmt.Sprintf("and %d more of the kind", more))
	}
	for i, n := range r.Notices {
		r.Notices[i] = clip(Printable(n), maxNotice)
	}
}
