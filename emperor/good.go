package emperor

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/sockets"
)

// A Good is what is kept of the generation that served last, to make it again should the file have been broken
// meanwhile. It leaves with the vassal's owner, with its file and when it is told to stop.
type Good struct {
	Document []byte // the resolution, encoded
	UID, GID uint32 // whose the file was
	Trusted  bool   // nobody but root can have written it
	RanUID   int    // the rights that it ran with
	RanGID   int
}

// maxGood bounds, in bytes, what is kept of a vassal: a tenant chooses its size, and may have a thousand of them.
const maxGood = 32 << 10

// good tells whether it can be made again: a program that is not ours reads the file itself.
func (a *attempt) good() bool {
	return !a.foreign && len(a.document) > 0 && len(a.document) <= maxGood
}

// keep returns what it takes to make a generation again that has accepted.
func (a *attempt) keep(v *vassal) *Good {
	return &Good{Document: slices.Clone(a.document), UID: v.uid, GID: v.gid, Trusted: a.trusted, RanUID: a.who.UID, RanGID: a.who.GID}
}

func (g *Good) ranAs(as sockets.Identity) bool {
	return g != nil && g.RanUID == as.UID && g.RanGID == as.GID
}

// sameAs tells whether the file is as good as what is kept: its settings are the same, or it has not come to be read.
func (a *attempt) sameAs(g *Good) bool {
	return a.reply == nil && !a.done || g != nil && len(a.document) > 0 && bytes.Equal(g.Document, a.document)
}

// encode makes the document that the process gets.
func (a *attempt) encode() error {
	var b bytes.Buffer
	if err := a.answer.Encode(&b); err != nil {
		return fmt.Errorf("cannot encode the settings: %w", err)
	}
	a.document = b.Bytes()
	return nil
}

// silence says what can be expected of the program.
func (a *attempt) silence() Silence {
	if !a.foreign {
		return Speaks
	}
	kind := MayBeSilent
	for _, s := range a.answer.Settings {
		if s.Key == "cheap" {
			kind = Silent
			if !s.Bare && (s.Value == "false" || s.Value == "0") {
				kind = MayBeSilent
			}
		}
	}
	return kind
}

// restore prepares a generation from what is kept of the one that served last. Its file has to be there still, and its
// owner's: nobody gets rights, or keeps them, by breaking it.
func (e *Emperor) restore(v *vassal, a *attempt) {
	path, uid := v.path, int(v.uid)
	e.known(v, a, func() []question { return e.directory.ofOwner(uid) }, func() {
		good := v.good
		e.apart(v, a, func() func() {
			var owner sockets.Identity
			var r *configs.Resolution
			err := good.owns(path, e.c.TyrantNoFollow)
			if err == nil {
				owner = e.directory.identify(int(good.UID), int(good.GID), !e.tyrant || e.c.TyrantInitgroups)
				r, err = configs.DecodeResolution(bytes.NewReader(good.Document))
			}
			return func() {
				if v.attempts[a.id] != a {
					return
				}
				if err == nil && (v.uid != good.UID || v.gid != good.GID) {
					err = errors.New("its file was given to another owner")
				}
				if err == nil {
					a.output, err = newOutput(v.name, owner.UID, e.sink, &v.tail, &v.may, a.id)
				}
				if err != nil {
					e.prepared(v, a, err)
					return
				}
				a.who, a.change, a.trusted = owner, e.powers.changeUsers() && (e.tyrant || owner.UID != 0), good.Trusted
				a.answer, a.notices, a.document = r, kept(r.Notices), good.Document
				a.rests = !a.asked && v.demand != ""
				err := e.collect(a, r.Attributes)
				if err == nil {
					err = e.claim(v, a, r.Sockets)
				}
				if err != nil {
					e.prepared(v, a, err)
					return
				}
				e.known(v, a, func() []question { return e.directory.ofWishes(r) }, func() { e.bind(v, a, r) })
			}
		})
	})
}

// owns looks whether the file is there and has the owner that it had.
func (g *Good) owns(path string, links bool) error {
	if g == nil {
		return errors.New("nothing is kept of them")
	}
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	if err == nil && links {
		err = unix.Lstat(path, &st)
	}
	switch {
	case err != nil:
		return fmt.Errorf("cannot look at %s: %w", path, err)
	case st.Uid != g.UID || st.Gid != g.GID:
		return fmt.Errorf("%s was given to another owner: from uid %d, gid %d to uid %d, gid %d", path, g.UID, g.GID, st.Uid, st.Gid)
	}
	return nil
}

// waitsForCommand tells whether the vassal, if it is new, waits until somebody starts it. One that served when the emperor
// was killed has been started.
func (e *Emperor) waitsForCommand(v *vassal) bool {
	return e.c.WaitCommand && !e.served(v.name) && !slices.ContainsFunc(e.c.WaitCommandNo, func(name string) bool {
		return name == v.name || strings.HasSuffix(v.name, "/"+name) && !strings.Contains(name, "/")
	})
}
