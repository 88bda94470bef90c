package emperor

import (
	"slices"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/emperord/emperord/children"
)

// reap takes every child that has ended.
func (e *Emperor) reap() {
	now := time.Now()
	for _, x := range children.Reap() {
		p, ours := e.processes[x.PID]
		delete(e.processes, x.PID)
		e.unguard(x.PID)
		leaf := e.cg.leaves[x.PID]
		delete(e.cg.leaves, x.PID)
		e.strangers = slices.DeleteFunc(e.strangers, func(pid int) bool { return pid == x.PID })
		if ours && p.then != nil {
			p.then(x)
			continue
		}
		if !ours || p.getent { // an orphan that the kernel gave us, or getent, whose answer says all
			delete(e.strays, x.PID)
			delete(e.passed, x.PID)
			e.lookIn(now, lookPause)
			continue
		}
		if p.hook != nil {
			e.sweep(x.PID, p.hook.uid(), p.hook.name)
			e.hookEnded(p.hook, x)
			if leaf != nil {
				e.bury(leaf, p.hook.name)
			}
			continue
		}
		mercy, pause := remnantMercy, lookPause
		if p.a.killed {
			mercy, pause = 0, 0
		}
		switch {
		case e.leaving:
			pause = 0
		case p.resolver && x.Clean():
			pause = calmerPause
		}
		e.leaderEnded(x.PID, p.a.who.UID, p.v.name, p.a.mark, mercy, pause)
		e.sweep(x.PID, p.a.who.UID, p.v.name)
		if p.reader != nil {
			e.forsake(p.reader)
		} else if p.resolver {
			e.resolverEnded(p.v, p.a, x)
		} else {
			e.vassalEnded(p.v, p.a, x)
		}
		if leaf != nil { // after its counters have been read
			e.bury(leaf, p.v.name)
		}
	}
	e.remnants = slices.DeleteFunc(e.remnants, func(r remnant) bool { return !children.InGroup(r.group) })
}

// sweep asks what is left of a dead leader's session to terminate. What is still there a second later is killed.
func (e *Emperor) sweep(group, uid int, name string) {
	if e.signalGroup(group, uid, syscall.SIGTERM) {
		e.remnants = append(e.remnants, remnant{group, uid, name, time.Now().Add(remnantMercy)})
	}
}

// signalGroup sends sig to a group if a child of ours is in it, and tells whether one was.
func (e *Emperor) signalGroup(group, uid int, sig syscall.Signal) bool {
	if group <= 1 || !children.InGroup(group) {
		return false
	}
	_ = e.signal(-group, uid, sig) // ESRCH and EPERM leave nothing that this process could do
	return true
}

// sweepAll ends, after the last vassal, the descendants that had left their sessions.
func (e *Emperor) sweepAll() {
	for tries := 0; tries < 100; tries++ {
		kids, err := children.Kids()
		kids = slices.DeleteFunc(kids, e.isOther)
		if err != nil || len(kids) == 0 {
			return
		}
		sig := syscall.SIGTERM
		if tries > 50 {
			sig = syscall.SIGKILL
		}
		if tries == 0 || tries == 51 {
			e.log.Info("ending processes that vassals have left behind", zap.Ints("pids", kids), zap.Stringer("signal", sig))
		}
		for _, pid := range kids {
			_ = e.signal(pid, userOf(pid), sig) // not reaped yet, so it is still the one we mean
		}
		time.Sleep(20 * time.Millisecond)
		for _, x := range children.Reap() {
			e.forgetGuard(x.PID) // its number may be another's soon
		}
	}
	if kids, err := children.Kids(); err == nil && len(slices.DeleteFunc(kids, e.isOther)) > 0 {
		e.log.Error("some processes that vassals have left behind do not end, or fork faster than they are killed", zap.Ints("pids", kids[:min(len(kids), 20)]))
	}
}
