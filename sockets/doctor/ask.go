package doctor

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/emperord/emperord/protocol/api"
	"github.com/emperord/emperord/sockets"
)

// Limits of Ask: tenants own the sockets, may name any number of them, and need not answer. The time is that of all together.
const (
	atOnce  = 64
	allTime = 20 * time.Second
)

// errNoTime stands for the answer of a socket whose turn did not come.
var errNoTime = errors.New("no time was left to ask")

// Ask probes sockets all at once, so that those that do not answer cost their time together, not one after the other. The
// examinations that follow use the answers. After 20 s those that have not had their turn are left out, and their examination
// says so: who cares asks for them by name. Sockets at the beginning of the list come first.
func (x *Examiner) Ask(ctx context.Context, list []Socket) {
	if x.asked == nil {
		x.asked = make(map[string]probe)
	}
	var todo []sockets.Address
	seen := make(map[string]bool)
	for _, s := range list {
		a, err := sockets.ParseAddress(s.Address)
		if _, known := x.asked[s.Address]; err != nil || known || seen[a.String()] || !x.serving(s) {
			continue
		}
		seen[a.String()] = true
		todo = append(todo, a)
	}
	late, cancel := context.WithTimeoutCause(ctx, allTime, errNoTime)
	defer cancel()
	answers := make(map[string]probe)
	var lock sync.Mutex
	var all sync.WaitGroup
	room := make(chan struct{}, atOnce)
	for _, a := range todo {
		select {
		case room <- struct{}{}:
		case <-late.Done():
			lock.Lock()
			answers[a.String()] = probe{err: errNoTime}
			lock.Unlock()
			continue
		}
		all.Go(func() {
			defer func() { <-room }()
			p := x.probe(late, a)
			if context.Cause(late) == errNoTime && (p.err != nil || p.answer == silence || p.answer == closed) { // cut off by us
				p = probe{err: errNoTime}
			}
			lock.Lock()
			answers[a.String()] = p
			lock.Unlock()
		})
	}
	all.Wait()
	if ctx.Err() == nil {
		maps.Copy(x.asked, answers)
	}
}

// serving tells whether a connection may be made: a vassal that waits would be woken by it.
func (x *Examiner) serving(s Socket) bool {
	v := x.vassal(s.Vassal)
	return v == nil || v.State == api.Accepting || v.State == api.Reloading
}
