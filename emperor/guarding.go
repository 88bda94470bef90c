package emperor

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/guard"
	"github.com/emperord/emperord/rights"
)

// Should this emperor be killed, nobody of its own is left to end what vassals leave, and whoever else could do it, vassald or a host, may be
// killed at the same moment. So a guard waits beside it: package guard. It is this program with GuardFlag. It runs as long as a vassal, or who
// reads its file, does: emperors of vassals that wait for their first connections have no process beside them.

// GuardFlag is the first argument of this program as a guard; the emperor's pid and the mercy in milliseconds follow.
const GuardFlag = "--emperord-guard"

const (
	// guardMercy is how long vassals may take when their emperor was killed. vassald ends everything within 0.8 s, and is let do it; the
	// promise is one second.
	guardMercy = 850 * time.Millisecond
	// nestedGuardMercy is that of an emperor that is a vassal: what it leaves, its guard too, the one above kills after remnantMercy.
	nestedGuardMercy = 600 * time.Millisecond
	// lastResort is how much longer than its mercy a vassald that has lost its emperor may live (vassal/run.go).
	lastResort = 3 * time.Second
	// guardAgain is when a guard that was killed is replaced.
	guardAgain = 500 * time.Millisecond
	// guardRest is how long after the last process of a vassal the guard ends. What comes back soon needs no new one.
	guardRest  = 2 * time.Second
	guardTable = 3 // its descriptor in the guard
)

// A guarding is the guard and what it is told.
type guarding struct {
	table  *guard.Table // nil: nobody guards
	pid    int          // 0: it does not run
	later  bool         // it was killed, or could not be started: the next one comes after a pause
	former int          // the guard of the program before, which ends when ours runs, or one that is ending
	restAt time.Time    // when it may end if nobody leads a session then
}

// RunGuard is the whole life of a program that was started with GuardFlag.
func RunGuard(args []string, stderr *os.File) error {
	wrong := fmt.Errorf("%s is for emperord itself, which starts its guard so", GuardFlag)
	if len(args) != 2 {
		return wrong
	}
	emperor, err := strconv.Atoi(args[0])
	millis, failed := strconv.Atoi(args[1])
	if err != nil || failed != nil || emperor <= 1 || millis < 0 {
		return wrong
	}
	return guard.Watch(emperor, os.NewFile(guardTable, "guard table"), time.Duration(millis)*time.Millisecond, stderr)
}

// beginGuard makes the table, tells the guard of what there is already, and starts it where that is anything. An emperor without one governs
// nevertheless.
func (e *Emperor) beginGuard() {
	g := &e.guarding
	if !e.o.Guard || os.Getpid() == 1 { // with PID 1 the kernel ends everybody
		return
	}
	var err error
	if g.table, err = guard.NewTable(); err != nil {
		e.log.Warn("nobody will end what vassals leave should this emperor be killed", zap.Error(err))
		return
	}
	for _, end := range e.endings { // the emperor looks after them, and is guarded meanwhile
		_ = g.table.Put(guard.Record{Session: end.session, UID: end.uid, Mark: end.mark})
		_ = g.table.End(end.session)
	}
	for _, name := range e.names() {
		for _, a := range e.vassals[name].attempts {
			if a.pid != 0 {
				e.guardLeader(a.pid, a, e.leaderMercy(a))
			}
		}
	}
	if g.former != 0 {
		e.startGuard()
	}
	e.tendGuard()
}

// tendGuard starts the guard where somebody leads a session and there is none.
func (e *Emperor) tendGuard() {
	if g := &e.guarding; g.table != nil && g.pid == 0 && !g.later && g.table.Leaders() > 0 {
		e.startGuard()
	}
}

// startGuard starts the guard's process. Whoever it is started for runs already.
func (e *Emperor) startGuard() {
	g := &e.guarding
	pid, later, err := e.guardProcess()
	if err != nil {
		e.log.Warn("cannot start the guard, who ends what vassals leave should this emperor be killed; tries again", zap.Error(err))
		e.guardLater()
		return
	}
	g.pid, g.restAt = pid, time.Now().Add(guardRest)
	e.processes[pid] = process{then: func(x children.Exit) {
		g.pid = 0
		e.log.Warn("the guard ended; another one starts as soon as there is somebody to guard", zap.Stringer(fieldReason, x))
		e.guardLater()
	}}
	if later != nil { // the machine is busy; nobody else can hold it up
		e.beside(func() func() {
			if later.Wait() == nil {
				return nil
			}
			return func() {
				if g.pid == pid {
					_ = syscall.Kill(pid, syscall.SIGKILL) // not reaped yet
				}
			}
		})
	}
	if former := g.former; former != 0 {
		g.former = 0
		_ = syscall.Kill(former, syscall.SIGKILL) // handed over as our child, and not reaped yet
	}
}

// guardLater starts the guard again after a pause, if it is still needed then.
func (e *Emperor) guardLater() {
	e.guarding.later = true
	e.beside(func() func() {
		select {
		case <-e.closing:
			return nil
		case <-time.After(guardAgain):
			return func() {
				e.guarding.later = false
				e.tendGuard()
			}
		}
	})
}

// guardMayRest tells whether there is nothing that a guard could end, and will be nothing unless something is started.
func (e *Emperor) guardMayRest() bool {
	g := &e.guarding
	return g.pid != 0 && g.table.Leaders() == 0 && len(e.strays)+len(e.remnants)+len(e.cg.left) == 0 && e.lookAt.IsZero()
}

// ringGuard ends the guard when nobody has needed it for a while.
func (e *Emperor) ringGuard(now time.Time) {
	g := &e.guarding
	if !e.guardMayRest() || g.restAt.After(now) {
		return
	}
	_ = syscall.Kill(g.pid, syscall.SIGKILL) // not reaped yet
	e.endsGuard(g.pid)
	g.pid = 0
}

func (e *Emperor) guardProcess() (int, *rights.Pending, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, nil, fmt.Errorf("cannot open %s: %w", os.DevNull, err)
	}
	defer null.Close()
	mercy := guardMercy
	if e.o.Superior != nil {
		mercy = nestedGuardMercy
	}
	r := rights.Rights{Limits: e.limits}
	if os.Geteuid() != 0 && e.powers != 0 {
		if err := setInheritable(uint64(e.powers)); err != nil {
			return 0, nil, err
		}
		r.Keep = uint64(e.powers)
	}
	return rights.Start(rights.Spec{
		Path: "/proc/self/exe", Args: []string{"emperord", GuardFlag, strconv.Itoa(os.Getpid()), strconv.FormatInt(mercy.Milliseconds(), 10)},
		Env: []string{}, Dir: "/", Files: []uintptr{null.Fd(), null.Fd(), os.Stderr.Fd(), e.guarding.table.File().Fd()}, Rights: r, Setsid: true,
	})
}

// endsGuard notes that a guard is to end and that nobody is to come in its place.
func (e *Emperor) endsGuard(pid int) {
	e.guarding.former = pid
	e.processes[pid] = process{then: func(children.Exit) { e.forgetGuard(pid) }}
}

// endGuard ends the guard, after the last vassal.
func (e *Emperor) endGuard() {
	g := &e.guarding
	for _, pid := range []int{g.pid, g.former} {
		if pid == 0 {
			continue
		}
		_ = syscall.Kill(pid, syscall.SIGKILL) // our child, and not reaped yet
		for {
			if _, err := syscall.Wait4(pid, nil, 0, nil); err != syscall.EINTR {
				break
			}
		}
		delete(e.processes, pid)
	}
	if g.table != nil {
		_ = g.table.Close()
	}
	*g = guarding{}
}

// forgetGuard notes that a child was reaped that may have been the guard.
func (e *Emperor) forgetGuard(pid int) {
	switch g := &e.guarding; pid {
	case g.pid:
		g.pid = 0
	case g.former:
		g.former = 0
	}
}

// newMark is what tells the processes of one start from all others.
func newMark() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

// guardLeader tells the guard of a session that was started for a vassal.
func (e *Emperor) guardLeader(pid int, a *attempt, mercy time.Duration) {
	if e.guarding.table == nil {
		return
	}
	r := guard.Record{Session: pid, UID: a.who.UID, Mark: a.mark, Mercy: mercy}
	if leaf := e.cg.leaves[pid]; leaf != nil {
		r.Folder = leaf.Path()
	}
	if err := e.guarding.table.Put(r); err != nil {
		e.log.Warn("the guard does not know of a vassal", zap.Int(fieldPID, pid), zap.Error(err))
	}
	e.tendGuard()
}

// unguard tells the guard that a leader has ended: the rest is ours to end.
func (e *Emperor) unguard(pid int) {
	if g := &e.guarding; g.table != nil {
		_ = g.table.End(pid)
		g.restAt = time.Now().Add(guardRest)
	}
}

// leaderMercy is how long a vassal's process may take when this emperor was killed; 0: as long as all.
func (e *Emperor) leaderMercy(a *attempt) time.Duration {
	switch {
	case a.foreign || a.answer == nil:
		return 0
	case a.answer.Emperor: // it ends its vassals, who are not ours
		return max(time.Second, e.c.Mercy) + lastResort
	case e.store.register != nil: // another emperor is to come, and serves while it finishes its requests
		return mercyOf(a.answer) + lastResort
	}
	return 0
}
