package emperor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/emperord/emperord/sockets"
)

// A reinforcement is a vassal of its own, made from the section zerg of an overloaded vassal's file (emperor-broodlord). It
// serves its leader's listeners, which the loop hands it like any other; uWSGI's zerg servers are not needed. It lives as
// long as its process: nothing restarts it, and it leaves when its leader is reloaded, stopped or loses its sockets. Then, if
// there is still too much to do, the leader asks again.

// zergSection is the section of the file that a reinforcement runs; in uWSGI it is also part of its name.
const zergSection = "zerg"

// How soon a vassal may have its next reinforcement, and how soon after one that did not come to accept.
const (
	reinforceAgain  = time.Second
	reinforceFailed = time.Minute
	reinforceKept   = 10 * time.Second // for whom somebody else gives one away
)

// section is the section of its file that v runs; empty: the usual one.
func (v *vassal) section() string {
	if v.leader != "" {
		return zergSection
	}
	return ""
}

// reinforce starts one more instance of an overloaded vassal, if there may be one.
func (e *Emperor) reinforce(v *vassal, a *attempt) {
	now := time.Now()
	if v.leader != "" { // a reinforcement may call for help for all
		v = e.vassals[v.leader]
	} else if v.life.Serving != a.id {
		return
	}
	if v == nil || e.c.Broodlord == 0 || e.leaving || now.Before(v.enough) || v.life.Serving == 0 {
		return
	}
	v.enough = now.Add(reinforceAgain)
	all, slot := 0, 1
	for _, z := range e.vassals {
		if z.leader == "" {
			continue
		}
		all++
		if z.leader == v.name && z.life.State != Accepting && z.life.State != Reloading {
			return // the last one is not there yet
		}
	}
	for e.vassals[zergName(v.name, slot)] != nil {
		slot++
	}
	if all >= e.c.Broodlord {
		if e.share(v, now) {
			return // it calls again, and then there is room
		}
		v.enough = now.Add(reinforceFailed)
		e.about(v).Warn("vassal is overloaded, and there are as many reinforcements as emperor-broodlord allows", zap.String(fieldVassal, v.name), zap.Int("reinforcements", all))
		return
	}
	z := &vassal{name: zergName(v.name, slot), leader: v.name, sighting: v.sighting, attempts: map[Generation]*attempt{}, called: map[*sockets.Listener]string{}}
	z.dates.seen(now, z.stamp)
	e.vassals[z.name] = z
	e.about(v).Info("vassal is overloaded; reinforcing it", zap.String(fieldVassal, v.name), zap.String("reinforcement", z.name))
	e.step(z, Seen{})
}

// share makes room for a reinforcement of v where somebody else has at least two more: users come first, then the vassals of one user. So
// nobody is overloaded all alone because others were it earlier, and nothing goes back and forth. Who gives one away gets none
// for a while, and all others wait a little, so that v has it. It tells whether there will be room.
func (e *Emperor) share(v *vassal, now time.Time) bool {
	ofUser, ofVassal := map[uint32]int{}, map[string]int{}
	for _, z := range e.vassals {
		switch {
		case z.leader == "":
		case z.life.State == Stopping:
			return true // somebody leaves already
		default:
			ofUser[z.maker]++
			ofVassal[z.leader]++
		}
	}
	var rich *vassal
	for name, n := range ofVassal {
		w := e.vassals[name]
		switch {
		case w == nil:
		case w.maker != v.maker && ofUser[w.maker] < ofUser[v.maker]+2:
		case w.maker == v.maker && n < ofVassal[v.name]+2:
		case rich != nil && cmp.Or(cmp.Compare(ofUser[rich.maker], ofUser[w.maker]), cmp.Compare(ofVassal[rich.name], n), strings.Compare(w.name, rich.name)) >= 0:
		default:
			rich = w
		}
	}
	if rich == nil {
		return false
	}
	for _, w := range e.vassals {
		switch {
		case w == v:
		case w == rich, rich.maker != v.maker && w.maker == rich.maker:
			w.enough = now.Add(reinforceFailed)
		default:
			if w.enough.Before(now.Add(reinforceKept)) {
				w.enough = now.Add(reinforceKept)
			}
		}
	}
	last := slices.MaxFunc(e.reinforcementsOf(rich), func(a, b *vassal) int {
		return cmp.Or(cmp.Compare(len(a.name), len(b.name)), strings.Compare(a.name, b.name))
	})
	e.about(v).Info("vassal is overloaded; the reinforcement of another one leaves for it", zap.String(fieldVassal, v.name), zap.String("reinforcement", last.name))
	e.step(last, Gone{})
	return true
}

// zergName is the name of a vassal's reinforcement. No file can have it: the colon would name a section. In uWSGI all of
// them have that of the first one.
func zergName(leader string, slot int) string {
	if slot == 1 {
		return leader + ":" + zergSection
	}
	return fmt.Sprintf("%s:%s-%d", leader, zergSection, slot)
}

// dismiss sends away the reinforcements of a vassal that goes, or whose new generation has other settings or sockets. One
// that has merely died, and comes again, finds them serving.
func (e *Emperor) dismiss(v *vassal, before Life, event Event) {
	switch event.(type) {
	case Seen:
		v.enough = time.Time{} // the file may be mended
		return
	case Accepted:
		if before.Serving == 0 || before.Serving == v.life.Serving {
			return
		}
	case Reowned, Gone, AskStop, Shutdown:
	default:
		if len(v.listeners) > 0 {
			return
		}
	}
	for _, z := range e.reinforcementsOf(v) {
		e.step(z, Gone{})
	}
}

func (e *Emperor) reinforcementsOf(v *vassal) (all []*vassal) {
	if e.c.Broodlord == 0 || v.leader != "" {
		return nil
	}
	for _, z := range e.vassals {
		if z.leader == v.name {
			all = append(all, z)
		}
	}
	return all
}

// retire ends the life of a reinforcement that could not be had, or was stopped: it does not wait for better times.
func (e *Emperor) retire(z *vassal) {
	if z.leader == "" || e.vassals[z.name] != z {
		return
	}
	switch z.life.State {
	case Backoff, Refused:
		e.holdBack(z)
	case Suspended:
	default:
		return
	}
	e.step(z, Gone{})
}

// holdBack keeps the leader of a reinforcement that failed from having the next one at once.
func (e *Emperor) holdBack(z *vassal) {
	if v := e.vassals[z.leader]; v != nil {
		v.enough = time.Now().Add(reinforceFailed)
	}
}

// reinforcementEnded ends the life of a reinforcement with its process: idle ones leave by themselves (die-on-idle).
func (e *Emperor) reinforcementEnded(z *vassal, a *attempt, reason string) {
	if z.leader == "" || a.told {
		return
	}
	if z.life.Serving != a.id {
		e.holdBack(z)
		e.about(z).Error("reinforcement failed; the next one may come in "+reinforceFailed.String(), zap.String(fieldVassal, z.name), zap.String(fieldReason, reason))
	} else {
		e.about(z).Info("reinforcement leaves", zap.String(fieldVassal, z.name), zap.String(fieldReason, reason))
	}
	if a.pipe != nil { // nobody reads it any more
		a.pipe.Close()
		a.pipe = nil
	}
	e.step(z, Gone{})
}

// leadersListeners are what a reinforcement serves.
func (e *Emperor) leadersListeners(z *vassal) []*sockets.Listener {
	if v := e.vassals[z.leader]; v != nil && z.leader != "" {
		return slices.Clone(v.listeners)
	}
	return nil
}
