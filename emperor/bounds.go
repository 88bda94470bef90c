package emperor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/emperord/emperord/cgroups"
	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/sockets"
)

// bounds are what one vassal may use, and how often it has met them.
type bounds struct {
	group  *cgroups.Group
	read   func() cgroups.Events // the group's counters
	limits cgroups.Limits
	files  []string // that are watched
	seen   cgroups.Events
	met    uint64    // seen.OOM at the last kill: the kernel counts the limit first, then writes its report, then kills and counts that
	oom    time.Time // when a process was last seen to have been killed for want of memory
	own    bool      // it was the vassal's own limit
	said   map[string]time.Time
	unsaid map[string]uint64
}

// limited returns the options that are set and whose controller is lost, in the order of the table of options.
func (e *Emperor) limited(lost func(controller string) bool) []string {
	var names []string
	for _, o := range []struct {
		name, controller string
		lines            []configs.Limit
	}{
		{"emperor-cpu-max", cgroups.CPU, e.c.CPUMax}, {"emperor-cpu-weight", cgroups.CPU, e.c.CPUWeight},
		{"emperor-memory-max", cgroups.Memory, e.c.MemoryMax}, {"emperor-pids-max", cgroups.PIDs, e.c.PIDsMax},
	} {
		if len(o.lines) > 0 && lost(o.controller) {
			names = append(names, o.name)
		}
	}
	return names
}

// limitedUsers looks up the users that limits name. A word that is neither a vassal's name nor a user is probably misspelt.
func (e *Emperor) limitedUsers() map[string]int {
	users := map[string]int{}
	for _, l := range slices.Concat(e.c.MemoryMax, e.c.PIDsMax, e.c.CPUWeight, e.c.CPUMax) {
		if l.For == "" {
			continue
		}
		if uid, _, err := e.directory.userID(l.For); err == nil {
			users[l.For] = uid
		} else if !e.directory.remote && !configs.IsVassal(l.For, e.c.ExtraExtensions) {
			e.log.Warn(fmt.Sprintf("%s: a limit for %s, who is no user of this machine; it counts for a vassal of that name alone", l.Place, strconv.Quote(l.For)))
		}
	}
	return users
}

// limitsFor returns what a vassal may use, and whether anything limits it. Only the emperor's configuration counts.
func (e *Emperor) limitsFor(v *vassal, who sockets.Identity) (cgroups.Limits, bool) {
	user := func(name string) bool {
		uid, known := e.cg.users[name]
		return known && uid == who.UID || name == strconv.Itoa(who.UID) || e.directory.named(name, who)
	}
	pick := func(lines []configs.Limit) *uint64 {
		l, set := configs.LimitFor(lines, v.name, user)
		if !set || l.None {
			return nil
		}
		return &l.Value
	}
	l := cgroups.Limits{Memory: pick(e.c.MemoryMax), PIDs: pick(e.c.PIDsMax), CPU: pick(e.c.CPUMax), CPUWeight: pick(e.c.CPUWeight)}
	return l, l != cgroups.Limits{}
}

// sayAgain is how often the same is said of one vassal: a tenant must not fill the log by dying.
const sayAgain = time.Minute

// pressure finds out which limits a vassal has met since the last look, and says so.
func (e *Emperor) pressure(name string, b *bounds) {
	now := b.read()
	if n := now.OOMKill - b.seen.OOMKill; now.OOMKill > b.seen.OOMKill {
		b.oom, b.own, b.met = time.Now(), now.OOM > b.met, now.OOM
		b.say(e.log, name, "the kernel killed processes of a vassal: "+b.memoryText(), n)
	}
	if n := now.PIDsFull - b.seen.PIDsFull; now.PIDsFull > b.seen.PIDsFull {
		b.say(e.log, name, "the kernel refused a vassal new processes or threads: "+b.pidsText(), n)
	}
	b.seen = now
}

func (b *bounds) say(log *zap.Logger, vassal, text string, times uint64) {
	if b.said == nil {
		b.said, b.unsaid = map[string]time.Time{}, map[string]uint64{}
	}
	b.unsaid[text] += times
	if at, again := b.said[text]; again && time.Since(at) < sayAgain {
		return
	}
	log.Error(text, zap.String(fieldVassal, vassal), zap.Uint64("times", b.unsaid[text]))
	b.said[text], b.unsaid[text] = time.Now(), 0
}

// memoryText says whose memory was too small, and what to do.
func (b *bounds) memoryText() string {
	if b.own && b.limits.Memory != nil {
		return "out of memory (memory.max " + sizeText(*b.limits.Memory) + " was reached; emperor-memory-max raises it)"
	}
	return "out of memory (not by a limit of this vassal: that of a group above, or the machine's memory; journalctl -k says which)"
}

func (b *bounds) pidsText() string {
	if b.limits.PIDs == nil {
		return "pids.max of a group above was reached"
	}
	return "pids.max " + strconv.FormatUint(*b.limits.PIDs, 10) + " was reached; emperor-pids-max raises it"
}

// sizeText writes a size as emperor-memory-max takes it.
func sizeText(n uint64) string {
	unit := 0
	for unit < 4 && n > 0 && n%1024 == 0 {
		n, unit = n/1024, unit+1
	}
	return strconv.FormatUint(n, 10) + [...]string{"", "K", "M", "G", "T"}[unit]
}

// freshKill is how long after a kill for want of memory the end of a vassald by SIGKILL is put down to it: the kernel counts before
// it kills, and both reach us on different ways.
const freshKill = 2 * time.Second

// outOfMemory says that a generation has ended for want of memory, "" if it has not. Without control groups nobody can know: a kill by the kernel looks
// like any other.
func (e *Emperor) outOfMemory(v *vassal, a *attempt, x children.Exit, reason string) string {
	b := e.cg.bounds[v.name]
	if b == nil || a.told || !strings.Contains(reason, "SIGKILL") {
		return ""
	}
	e.pressure(v.name, b)
	since := a.since // vassald says that its host was killed before it accepted
	if x.Status.Signaled() && x.Status.Signal() == syscall.SIGKILL {
		since = time.Now().Add(-freshKill)
	}
	if b.oom.Before(since) {
		return ""
	}
	return ": " + b.memoryText()
}
