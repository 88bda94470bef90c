package emperor

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/protocol/pipe"
	"github.com/emperord/emperord/sockets"
)

// discard forgets an attempt that has no vassal process (any more): what it holds is closed, what it runs is killed.
func (e *Emperor) discard(v *vassal, a *attempt) {
	delete(v.attempts, a.id)
	delete(e.turns, a)
	if a.reader != nil {
		e.unread(a)
	}
	if a.resolver != 0 {
		a.killed = true
		_ = e.killSession(a.resolver, a.who.UID)
		e.killGroup(a.resolver)
	}
	if a.reply != nil {
		_ = a.reply.SetReadDeadline(time.Now()) // somebody else may hold the other end
	}
	for _, f := range []*os.File{a.file, a.board, a.pipe} {
		if f != nil {
			f.Close()
		}
	}
	if a.output != nil {
		a.output.abandon(remnantMercy + time.Second)
		e.fading = append(slices.DeleteFunc(e.fading, (*output).ended), a.output)
	}
	e.dropHooks(a)
	e.down(v)
}

// kill ends an attempt's whole session at once.
func (e *Emperor) kill(a *attempt) {
	if a.pid != 0 {
		a.told, a.killed = true, true
		if err := e.killSession(a.pid, a.who.UID); err != nil {
			e.log.Error("cannot kill a vassal", zap.Int(fieldPID, a.pid), zap.Error(err))
		}
		e.killGroup(a.pid)
	}
}

// killSession kills a leader that is not reaped yet, and its group. The leader by its own number, too: one that its user holds up
// before its program runs may not lead a group yet.
func (e *Emperor) killSession(leader, uid int) error {
	_ = e.signal(-leader, uid, syscall.SIGKILL)
	return e.signal(leader, uid, syscall.SIGKILL)
}

// prune closes and removes the listeners that no generation needs any more, and gives back their addresses.
func (e *Emperor) prune(v *vassal) {
	need := slices.Clone(v.listeners)
	var wanted []string
	if a := v.attempts[v.life.Coming]; a != nil {
		need = append(need, a.listeners...)
		wanted = a.wanted
	}
	v.held = slices.DeleteFunc(v.held, func(l *sockets.Listener) bool {
		if slices.Contains(need, l) {
			return false
		}
		e.remove(v, l)
		delete(v.called, l)
		return true
	})
	v.addresses = slices.DeleteFunc(v.addresses, func(address string) bool {
		if slices.Contains(wanted, address) || slices.ContainsFunc(v.held, func(l *sockets.Listener) bool { return v.called[l] == address }) {
			return false
		}
		delete(e.addresses, address)
		return true
	})
}

// remove closes and removes a listener; one in a tenant's folder beside the loop, because that folder may be slow. Who
// wants to bind the address meanwhile waits for it in bind.
func (e *Emperor) remove(v *vassal, l *sockets.Listener) {
	e.forget(l)
	e.removeFile(v.name, l)
}

// removeFile closes a listener and removes its file.
func (e *Emperor) removeFile(name string, l *sockets.Listener) {
	now := func() {
		if err := l.Remove(); err != nil {
			e.log.Warn("a socket is left", zap.String(fieldVassal, name), zap.Error(err))
		}
	}
	if !l.InTenantsFolder() {
		now()
		e.leftovers.Gone(l)
		return
	}
	address, gone := e.canonical(l.Address), make(chan struct{})
	e.removing[address] = gone
	e.async(func() func() {
		now()
		close(gone)
		return func() {
			e.leftovers.Gone(l)
			if e.removing[address] == gone {
				delete(e.removing, address)
			}
		}
	})
}

// vassalEnded takes the end of a generation's vassald.
func (e *Emperor) vassalEnded(v *vassal, a *attempt, x children.Exit) {
	a.pid = 0
	reason := x.String()
	if a.late != nil {
		reason = a.late.Error()
	}
	n, err := pipe.ReadNotice(a.board)
	if a.told {
		e.about(v).Info("vassal process ended", zap.String(fieldVassal, v.name), zap.Int(fieldPID, x.PID), zap.String(fieldReason, reason))
	}
	v.remember(a, x, n.Failed)
	v.tail.inherit(a, time.Now())
	e.reinforcementEnded(v, a, cmp.Or(n.Failed, reason))
	e.discard(v, a)
	failed := err == nil && n.Failed != ""
	if failed {
		reason = n.Failed + " (" + reason + ")"
	}
	if memory := e.outOfMemory(v, a, x, reason); memory != "" {
		reason += memory
		v.exits[0].OutOfMemory = true
	} else if !failed && !a.told && !a.foreign && !x.Clean() && v.life.Serving != a.id {
		reason += e.tight()
	}
	if !failed && !a.told && x.Status.Exited() && !x.Clean() {
		e.amend(v, a.output, reason)
	}
	e.step(v, Exited{a.id, reason, x.Status.Exited() && x.Status.ExitStatus() == pipe.Exile})
}

// lastWordsWait is how long the last line of a failed vassal is waited for.
const lastWordsWait = 100 * time.Millisecond

// amend adds a failed vassal's last line, which may still be on its way, to the reason of its failure.
func (e *Emperor) amend(v *vassal, out *output, reason string) {
	e.async(func() func() {
		select {
		case <-out.done:
		case <-time.After(lastWordsWait):
		}
		last := out.lastLine()
		if last == "" {
			return nil
		}
		return func() {
			if v.life.Reason == reason {
				v.life.Reason += fmt.Sprintf("; its last words: %q", last)
				e.about(v).Info("the last words of a failed vassal", zap.String(fieldVassal, v.name), zap.String(fieldReason, v.life.Reason))
			}
		}
	})
}
