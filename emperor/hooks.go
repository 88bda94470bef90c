package emperor

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/protocol/pipe"
	"github.com/emperord/emperord/rights"
)

// A hook is a command of the operator's that runs, or waits until it may. It is a child of the loop like any other, in a session
// of its own, and nothing waits for it but the preparation of the generation that it is a part of.
type hook struct {
	configs.Hook
	name   string   // of the vassal; empty: the emperor's own
	v      *vassal  // nil: the emperor's own
	a      *attempt // whose preparation waits for it, or that it tells of; nil: neither
	before bool     // the preparation of a waits
	tenant bool     // it runs with the vassal's rights, else with the emperor's
	pid    int      // of the process it tells of; 0: there is none
	user   uint32   // who answers for the vassal

	killAt time.Time
	killed bool
	output *output
}

// Limits of hooks. What a tenant does can make a hook slow, or have it run often; it must not keep those of others from running.
const (
	hooksAtOnce    = 32 // of all vassals; a user who has none running may have one more, up to twice as many
	hooksOfOne     = 4  // of one user
	hooksOfAVassal = 64 // that wait; what comes then is dropped, and said
)

// hooks are those that wait, in their order, and those that run. Those of one vassal run one after the other.
type hooks struct {
	waiting []*hook
	running map[int]*hook // by pid
	fault   error         // why the emperor may not begin: a hook-emperor-start
}

// before runs the next hook of a preparation, or says that it is complete.
func (e *Emperor) before(v *vassal, a *attempt) {
	if a.hooks == nil {
		a.hooks = slices.Concat(e.c.Hooks.Before, e.c.Hooks.AsVassal)
	}
	for {
		if up := e.c.Hooks.StartsUp; up != nil && !v.up && !a.starts && a.hooked >= len(e.c.Hooks.Before) { // in uWSGI too the first that has the vassal's rights
			a.starts, v.up = true, true
			e.enqueueHook(&hook{Hook: *up, v: v, a: a, before: true, tenant: true})
			return
		}
		if a.hooked == len(a.hooks) {
			break
		}
		h := a.hooks[a.hooked]
		a.hooked++
		if text, says := h.Says(); says {
			e.about(v).Info(text, zap.String(fieldVassal, v.name), zap.String("hook", h.Option))
			continue
		}
		if dir, enters := h.Enters(a.folder(v)); enters {
			a.dir = dir
			continue
		}
		e.enqueueHook(&hook{Hook: h, v: v, a: a, before: true, tenant: a.hooked > len(e.c.Hooks.Before)})
		return
	}
	if a.chdir != "" {
		a.dir = a.chdir
	}
	e.ready(v, a)
}

// any tells whether hooks run or wait.
func (h *hooks) any() bool { return len(h.running)+len(h.waiting) > 0 }

// names tells which hooks run or wait, for people who wait for them.
func (h *hooks) names(limit time.Duration) string {
	var all []string
	for _, one := range h.running {
		all = append(all, one.title())
	}
	slices.Sort(all)
	if len(all) == 0 { // their turn comes
		for _, one := range h.waiting {
			all = append(all, one.title())
		}
	}
	n, more := len(all), ""
	if all = all[:min(n, 3)]; n > len(all) {
		more = fmt.Sprintf(" and %d more", n-len(all))
	}
	return fmt.Sprintf("hooks run: %s%s (each is ended after %s, emperor-hook-timeout)", strings.Join(all, ", "), more, limit)
}

// title names a hook in a sentence.
func (h *hook) title() string {
	if h.name == "" {
		return fmt.Sprintf("%s (%s)", h.Option, h.Place)
	}
	return fmt.Sprintf("%s (%s) of %s", h.Option, h.Place, pipe.Clean(h.name, 255))
}

// folder is where the processes of an attempt start.
func (a *attempt) folder(v *vassal) string {
	if a.dir != "" {
		return a.dir
	}
	return v.dir
}

// after runs the hooks of a process that has been started. Nothing waits for them.
func (e *Emperor) after(v *vassal, a *attempt) {
	v.up = true
	for _, h := range e.c.Hooks.AsEmperor {
		if text, says := h.Says(); says {
			e.about(v).Info(text, zap.String(fieldVassal, v.name), zap.String("hook", h.Option))
			continue
		}
		e.enqueueHook(&hook{Hook: h, v: v, a: a, pid: a.pid})
	}
}

// waits runs the hooks of a vassal that waits for its first connection.
func (e *Emperor) waits(v *vassal) {
	for _, h := range e.c.Hooks.OnDemand {
		if text, says := h.Says(); says {
			e.about(v).Info(text, zap.String(fieldVassal, v.name), zap.String("hook", h.Option))
			continue
		}
		e.enqueueHook(&hook{Hook: h, v: v})
	}
}

// down runs the hook of a vassal that has no process any more. A reload is no end: one generation takes over from the other.
func (e *Emperor) down(v *vassal) {
	if !v.up {
		return
	}
	for _, a := range v.attempts {
		if a.pid != 0 || a.starts {
			return
		}
	}
	v.up = false
	if h := e.c.Hooks.ShutsDown; h != nil {
		e.enqueueHook(&hook{Hook: *h, v: v})
	}
}

func (e *Emperor) enqueueHook(h *hook) {
	if h.v != nil {
		h.name, h.user = h.v.name, h.v.maker
		waiting := 0
		for _, other := range e.hooks.waiting {
			if other.name == h.name {
				waiting++
			}
		}
		if waiting >= hooksOfAVassal {
			e.about(h.v).Error("a hook is left out: too many of this vassal wait", h.fields()...)
			e.hookDone(h, fmt.Errorf("%s (%s) was left out: %d hooks of this vassal wait already", h.Option, h.Place, waiting))
			return
		}
	}
	if h.before {
		e.step(h.v, Delayed{h.a.id, hooksPatience})
	}
	e.hooks.waiting = append(e.hooks.waiting, h) // the loop's next turn starts it: here a life may be in the middle of a step
}

// hooksPatience is how long a preparation may wait for the turn of its hook. It is no deadline for a hook that runs.
const hooksPatience = time.Hour

// scheduleHooks starts those whose turn it is. One that tells of a process is left out when that has ended: its number may be
// somebody else's by now.
func (e *Emperor) scheduleHooks() {
	for i := 0; i < len(e.hooks.waiting); {
		h := e.hooks.waiting[i]
		if !e.mayHook(h, e.hooks.waiting[:i]) {
			i++
			continue
		}
		e.hooks.waiting = slices.Delete(e.hooks.waiting, i, i+1)
		if h.pid != 0 && h.a.pid != h.pid {
			e.hookLog(h, zapcore.WarnLevel, "a hook is left out: the process that it would tell of has ended", zap.Int(fieldPID, h.pid))
			continue
		}
		if err := e.startHook(h); err != nil {
			e.hookLog(h, zapcore.ErrorLevel, "a hook could not be started", zap.Error(err))
			e.hookDone(h, fmt.Errorf("%s (%s) could not be started: %w", h.Option, h.Place, err))
			i = 0 // its end may have changed what waits
		}
	}
}

// mayHook tells whether a hook may start: none of the same vassal runs or came first, and there is room.
func (e *Emperor) mayHook(h *hook, first []*hook) bool {
	same, ofUser := func(o *hook) bool { return o.name == h.name }, 0
	for _, o := range e.hooks.running {
		if same(o) {
			return false
		}
		if o.user == h.user {
			ofUser++
		}
	}
	if slices.ContainsFunc(first, same) {
		return false
	}
	n := len(e.hooks.running)
	if h.user == 0 { // root's own
		return n < 2*hooksAtOnce
	}
	return n < hooksAtOnce && ofUser < hooksOfOne || n < 2*hooksAtOnce && ofUser == 0
}

func (h *hook) fields(more ...zap.Field) []zap.Field {
	fields := []zap.Field{zap.String("hook", h.Option), zap.String("at", h.Place.String())}
	if h.name != "" {
		fields = append([]zap.Field{zap.String(fieldVassal, h.name)}, fields...)
	}
	return append(fields, more...)
}

func (e *Emperor) hookLog(h *hook, level zapcore.Level, text string, more ...zap.Field) {
	log := e.log
	if h.v != nil {
		log = e.about(h.v)
	}
	log.Log(level, text, h.fields(more...)...)
}

// startHook starts a hook's process.
func (e *Emperor) startHook(h *hook) error {
	program, args := h.Command(h.name, func(path string) bool {
		_, err := os.Stat(path)
		return err == nil
	})
	name, uid, dir := "emperor", os.Geteuid(), e.o.Dir
	var may *measure
	var remembers *tail
	var id Generation
	if h.v != nil {
		name, dir, may = h.name, h.v.dir, &h.v.may
	}
	if h.a != nil {
		id = h.a.id
	}
	if h.tenant { // its owner may read what it says; of the others only the operator
		uid, remembers = h.a.who.UID, &h.v.tail
	}
	var err error
	if h.output, err = newOutput(name, uid, e.sink, remembers, may, id); err != nil {
		return fmt.Errorf("cannot make a pipe for its output: %w", err)
	}
	defer h.output.closeWrite()
	var pid int
	if h.tenant {
		pid, err = e.start(h.v, h.a, program, args, e.vassalEnv(h.v, h.a, e.hookEnv(h)...), syscall.SIGKILL, h.output.write, h.output.write)
	} else {
		pid, err = e.startOwn(h, dir, program, args)
	}
	if err != nil {
		h.output.abandon(0)
		return err
	}
	h.killAt = time.Now().Add(e.c.HookTimeout)
	if h.before {
		e.step(h.v, Delayed{h.a.id, e.c.HookTimeout + e.policy.Patience})
	}
	e.hooks.running[pid] = h
	e.processes[pid] = process{v: h.v, a: h.a, hook: h}
	return nil
}

// startOwn starts a hook with the emperor's rights. Of its descriptors it gets none.
func (e *Emperor) startOwn(h *hook, dir, program string, args []string) (int, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, fmt.Errorf("cannot open %s: %w", os.DevNull, err)
	}
	defer null.Close()
	pid, later, err := rights.Start(rights.Spec{
		Path: program, Args: args, Env: append(environment(e.directory, e.o.Env, nil), e.hookEnv(h)...), Dir: dir,
		Files:  []uintptr{null.Fd(), h.output.write.Fd(), h.output.write.Fd()},
		Rights: rights.Rights{Limits: e.limits}, Setsid: true, Death: syscall.SIGKILL,
	})
	if err == nil && later != nil {
		e.async(func() func() {
			err := later.Wait()
			if err == nil {
				return nil
			}
			return func() {
				if e.hooks.running[pid] == h { // not reaped yet
					e.hookLog(h, zapcore.ErrorLevel, "a hook does not come to run", zap.Error(err))
					e.killHook(pid, h)
				}
			}
		})
	}
	return pid, err
}

// hookEnv are the variables that tell a hook what it is about, with uWSGI's names.
func (e *Emperor) hookEnv(h *hook) []string {
	if h.v == nil {
		return nil
	}
	env := []string{"UWSGI_VASSALS_DIR=" + h.v.dir, "UWSGI_VASSAL_CONFIG=" + h.name}
	if h.pid != 0 {
		env = append(env, "UWSGI_VASSAL_PID="+strconv.Itoa(h.pid))
	}
	if h.a != nil {
		env = append(env, "UWSGI_VASSAL_UID="+strconv.Itoa(h.a.who.UID), "UWSGI_VASSAL_GID="+strconv.Itoa(h.a.who.GID))
	}
	return env
}

func (e *Emperor) killHook(pid int, h *hook) {
	h.killed = true
	_ = e.signal(-pid, h.uid(), syscall.SIGKILL) // it leads its session and is not reaped yet
	e.killGroup(pid)
}

func (h *hook) uid() int {
	if h.tenant {
		return h.a.who.UID
	}
	return os.Geteuid()
}

// hookEnded takes the end of a hook's process.
func (e *Emperor) hookEnded(h *hook, x children.Exit) {
	delete(e.hooks.running, x.PID)
	h.output.abandon(remnantMercy + time.Second)
	ending := x.String()
	if h.killed {
		ending += fmt.Sprintf(", after %s (emperor-hook-timeout)", e.c.HookTimeout)
	}
	if h.tenant && h.a.late != nil {
		ending, h.a.late = h.a.late.Error(), nil
	}
	var err error
	if !x.Clean() {
		err = fmt.Errorf("%s (%s) ended with %s", h.Option, h.Place, ending)
		e.hookLog(h, zapcore.ErrorLevel, "a hook failed", zap.String(fieldReason, ending))
	} else {
		e.hookLog(h, zapcore.InfoLevel, "a hook has run")
	}
	e.hookDone(h, err)
}

// hookDone goes on where somebody waits. As in uWSGI a failure of vassals-start-hook, or of what is said to be safe, keeps nothing from
// starting.
func (e *Emperor) hookDone(h *hook, err error) {
	if h.Kind == "program" || h.Kind == "safeexec" {
		err = nil
	}
	switch {
	case h.v == nil && err != nil && e.hooks.fault == nil:
		e.hooks.fault = err
	case !h.before || h.v.attempts[h.a.id] != h.a:
	case err != nil:
		e.prepared(h.v, h.a, err)
	default:
		e.before(h.v, h.a)
	}
}

// dropHooks ends what is run for an attempt that is not prepared any more, and forgets what waits for it. What a process that has run
// is followed by goes on.
func (e *Emperor) dropHooks(a *attempt) {
	e.hooks.waiting = slices.DeleteFunc(e.hooks.waiting, func(h *hook) bool { return h.before && h.a == a })
	for pid, h := range e.hooks.running {
		if h.before && h.a == a {
			e.killHook(pid, h)
		}
	}
}

// ringHooks kills those that take too long.
func (e *Emperor) ringHooks(now time.Time) {
	for pid, h := range e.hooks.running {
		if h.killAt.After(now) {
			continue
		}
		e.killHook(pid, h)
		h.killAt = now.Add(time.Hour)
	}
}

// hurryHooks is for an emperor that leaves: who runs has as long as vassals have.
func (e *Emperor) hurryHooks(now time.Time) {
	for _, h := range e.hooks.running {
		if limit := now.Add(e.policy.Mercy); h.killAt.After(limit) {
			h.killAt = limit
		}
	}
}

// startUp runs the hooks of the emperor's own start, one after the other.
func (e *Emperor) startUp() {
	for _, h := range e.c.Hooks.Start {
		if text, says := h.Says(); says {
			e.log.Info(text, zap.String("hook", h.Option))
			continue
		}
		e.enqueueHook(&hook{Hook: h})
	}
}
