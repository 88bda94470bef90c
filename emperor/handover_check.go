package emperor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/emperord/emperord/sockets"
)

// decodeDocument reads a document and checks all that can be checked without its descriptors.
func decodeDocument(r io.Reader) (*document, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the handover: %w", err)
	}
	if len(text) > maxDocument {
		return nil, fmt.Errorf("the handover has more than %d bytes", maxDocument)
	}
	var head struct {
		Format int      `json:"format"`
		Needs  []string `json:"needs"`
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	if err := json.Unmarshal(text, &head); err != nil { // the whole text: nothing may follow the document
		return nil, fmt.Errorf("cannot read the handover: %w", err)
	}
	if head.Format != documentFormat {
		return nil, fmt.Errorf("the handover has format %d, and this emperord reads format %d; restart emperord instead", head.Format, documentFormat)
	}
	for _, need := range head.Needs {
		if !slices.Contains(documentKnows, need) {
			return nil, fmt.Errorf("the handover needs %q, which this emperord does not know; restart emperord instead", need)
		}
	}
	d := &document{}
	if err := decoder.Decode(d); err != nil {
		return nil, fmt.Errorf("cannot read the handover: %w", err)
	}
	d = withStrings(reflect.ValueOf(d), outOfText).Interface().(*document)
	return d, d.check()
}

// check finds what cannot be true.
func (d *document) check() error {
	c := examination{fds: map[int]bool{}, pids: map[int]bool{}, names: map[string]bool{}, addresses: map[string]bool{}, d: d}
	if !filepath.IsAbs(d.Program) || !filepath.IsAbs(d.Before) {
		return fmt.Errorf("the handover is from %q to %q, which are no absolute paths", d.Before, d.Program)
	}
	err := c.fd("the program before", d.Old)
	if d.Control != nil {
		err = errors.Join(err, c.fd("the control socket", d.Control.FD), d.Control.Check())
	}
	if d.Groups != nil {
		err = errors.Join(err, c.fd("the lock", d.Groups.Lock), c.groups(d.Groups))
	}
	err = errors.Join(err, d.Own.check(&c))
	for i := range d.Vassals {
		v := &d.Vassals[i]
		if bad := c.vassal(v); bad != nil {
			return fmt.Errorf("the handover of the vassal %q: %w", v.Name, bad)
		}
	}
	if err != nil {
		return fmt.Errorf("the handover: %w", err)
	}
	for _, r := range d.Remnants {
		if r.Group <= 1 {
			return fmt.Errorf("the handover has a remnant of %q with the group %d", r.Vassal, r.Group)
		}
	}
	return new(sockets.Leftovers).Restore(d.Leftovers)
}

// An examination is one check of a document: nothing may be in it twice.
type examination struct {
	d         *document
	fds, pids map[int]bool
	names     map[string]bool
	addresses map[string]bool
}

func (c *examination) fd(what string, fd int) error {
	if fd < 3 || c.fds[fd] {
		return fmt.Errorf("%s has the descriptor %d, which it cannot have", what, fd)
	}
	c.fds[fd] = true
	return nil
}

func (c *examination) vassal(v *vassalIn) error {
	if v.Name == "" || c.names[v.Name] {
		return errors.New("it has no name of its own")
	}
	c.names[v.Name] = true
	var life Life
	if err := unpack(v.Life, &life, clock{}); err != nil {
		return err
	}
	there := map[Generation]bool{}
	for _, l := range v.Listeners {
		if err := errors.Join(c.fd("a listener", l.FD), l.Check()); err != nil {
			return err
		}
	}
	for i := range v.Attempts {
		a := &v.Attempts[i]
		if a.ID == 0 || there[a.ID] || a.PID <= 1 || c.pids[a.PID] || a.Output == nil || a.ID > life.Last {
			return fmt.Errorf("its generation %d is none", a.ID)
		}
		there[a.ID], c.pids[a.PID] = true, true
		if err := errors.Join(c.fd("a notice board", a.Board), c.fd("an emperor pipe", a.Pipe), a.check(v)); err != nil {
			return err
		}
		if a.Output.FD != 0 {
			if err := c.fd("an output", a.Output.FD); err != nil {
				return err
			}
		}
	}
	if v.Serving != nil {
		if err := v.Serving.check(v); err != nil {
			return err
		}
	}
	if life.Serving != 0 && !there[life.Serving] || life.Coming != 0 && life.Process != there[life.Coming] {
		return errors.New("a generation has no process, or one that it should not have")
	}
	for _, l := range life.Leaving {
		if !there[l.ID] {
			return fmt.Errorf("its leaving generation %d has no process", l.ID)
		}
	}
	for _, a := range v.Addresses {
		if c.addresses[a] {
			return fmt.Errorf("the address %s is another vassal's", a)
		}
		c.addresses[a] = true
	}
	for i := range v.Called {
		if i < 0 || i >= len(v.Listeners) {
			return fmt.Errorf("there is no listener %d", i)
		}
	}
	return v.indices(slices.Concat(v.Own, v.Held))
}

func (a *attemptIn) check(v *vassalIn) error {
	for _, j := range a.Adjust {
		if err := v.indices([]int{j.Listener}); err != nil {
			return err
		}
	}
	return v.indices(a.Listeners)
}

func (v *vassalIn) indices(list []int) error {
	for _, i := range list {
		if i < 0 || i >= len(v.Listeners) {
			return fmt.Errorf("there is no listener %d", i)
		}
	}
	return nil
}

func (c *examination) groups(g *groupsIn) error {
	err := g.Tree.Check()
	for _, b := range g.Bounds {
		err = errors.Join(err, b.Group.Check(g.Tree))
	}
	for _, l := range g.Left {
		err = errors.Join(err, l.Group.Check(g.Tree))
	}
	return err
}
