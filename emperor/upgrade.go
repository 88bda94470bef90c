package emperor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/protocol/api"
)

// How long the parts of an upgrade may take. What takes longer ends the upgrade, and nothing has happened.
const (
	checkTime  = 15 * time.Second      // the dry run: sources of the configuration may take ten
	settleTime = 8 * time.Second       // what is under way beside the loop, in file systems above all
	closeTime  = 2 * time.Second       // the answers on the control socket
	pauseTime  = 2 * time.Second       // what the last words of all vassals bring about
	calm       = 10 * time.Millisecond // how often it is looked whether all is quiet
	maxAnswer  = 16 << 10              // bytes that a dry run may answer or say
)

// An upgrade is the exec of another program in place of this one, on its way. The loop goes on meanwhile, until the last
// step: a new program that hangs holds nobody up.
type upgrade struct {
	stage stage
	last  api.Upgrade // the one under way, or the last one
	found stamp       // of the program that was tried
	old   *os.File    // this program, to go back to
	until time.Time   // settling: patience ends

	keeps bool // the program that was tried knows of keepers

	reload bool // when it is over, whatever has become of it, all vassals are reloaded
}

// A stage is a part of an upgrade.
type stage int

const (
	idle     stage = iota
	trying         // the dry run
	settling       // nothing new begins; what is under way ends
	closing        // the control socket gives its last answers
)

// quiet tells whether no preparation may begin.
func (u *upgrade) quiet() bool { return u.stage == settling || u.stage == closing }

// beginUpgrade starts the dry run of a program; an empty path means the one that runs now, as it was found at the start.
func (e *Emperor) beginUpgrade(program string) (api.Upgrade, error) {
	u := &e.upgrade
	if program == "" {
		program = e.program
	}
	switch {
	case len(e.o.Args) == 0:
		return u.last, errNotProgram
	case e.o.Superior != nil:
		return u.last, errors.New("this emperor is a vassal of another one, which starts it; reload it there: emperorctl reload NAME")
	case e.leaving:
		return u.last, errors.New("the emperor is stopping")
	case u.stage != idle:
		return u.last, fmt.Errorf("an upgrade to %s is under way; wait for its end: emperorctl status", u.last.Program)
	case !filepath.IsAbs(program):
		return u.last, fmt.Errorf("%q is no absolute path of a program", program)
	}
	found, err := e.examine(program)
	if err != nil {
		return u.last, err
	}
	old, err := os.OpenFile("/proc/self/exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return u.last, fmt.Errorf("cannot keep the own program to go back to: %w", err)
	}
	begun := api.Upgrade{Number: u.last.Number + 1, State: api.Upgrading, At: time.Now(), From: e.o.Version, Program: program}
	*u = upgrade{stage: trying, last: begun, found: found, old: old, reload: u.reload}
	e.log.Info("upgrade: trying the program", zap.String("program", program))
	if err := e.tryOut(program); err != nil {
		e.refuseUpgrade(err)
		return u.last, nil
	}
	return begun, nil
}

// refuseUpgrade ends an upgrade; everything goes on as before.
func (e *Emperor) refuseUpgrade(why error) {
	u := &e.upgrade
	u.stage = idle
	u.last.State, u.last.Reason = api.NotUpgraded, why.Error()
	if u.old != nil {
		u.old.Close()
		u.old = nil
	}
	e.log.Error("upgrade refused; this program goes on", zap.String("program", u.last.Program), zap.String(fieldReason, why.Error()))
}

// goOn takes an upgrade a step further, once nothing is under way beside the loop any more. A thread that hangs in
// a tenant's file system would hold up the exec, and with it everything, so it is not begun then.
func (e *Emperor) goOn() {
	u := &e.upgrade
	if u.stage == idle && u.reload {
		u.reload = false
		e.reloadEverything()
	}
	if u.stage != settling {
		return
	}
	busy := e.busy()
	switch {
	case e.leaving:
		e.refuseUpgrade(errors.New("the emperor is stopping"))
	case busy == "":
		u.stage = closing
		c := e.control
		e.beside(func() func() {
			ctx, cancel := context.WithTimeout(context.Background(), closeTime)
			defer cancel()
			c.pause(ctx)
			return e.handOver
		})
	case time.Now().After(u.until):
		e.refuseUpgrade(fmt.Errorf("something does not end within %s: %s; try again", settleTime, busy))
	}
}

// busy says what is under way beside the loop; empty: nothing.
func (e *Emperor) busy() string {
	var names []string
	for name, v := range e.vassals {
		if _, away := e.away[name]; away || v.binders > 0 || v.inspecting {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	switch n, example := e.monitor.scout.asked(); {
	case len(names) > 0:
		return "the folders or sockets of " + strings.Join(names[:min(len(names), 5)], ", ") + " are looked at, and their file systems do not answer (what ends the waiting where it cannot be mended: umount -f MOUNTPOINT)"
	case n > 0:
		return fmt.Sprintf("%d files or folders of the sources do not answer, for example %s (what ends the waiting where it cannot be mended: umount -f MOUNTPOINT)", n, example)
	case len(e.asking) > 0:
		return "users and groups are asked for (getent)"
	case e.hooks.any():
		return e.hooks.names(e.c.HookTimeout)
	case e.afoot.Load() > 0:
		return "sockets are made or removed, and the file system of their folders does not answer"
	}
	return ""
}

// handOver is the last step: it does not return where the next program takes over.
func (e *Emperor) handOver() {
	why := e.pauseAll()
	if why == nil {
		why = e.replace()
	}
	var end stopped
	if errors.As(why, &end) {
		why = errors.New("the emperor is stopping")
	}
	e.refuseUpgrade(why)
	if e.control.http != nil {
		if err := e.openHTTP(e.control); err != nil {
			e.log.Error("emperorctl will not reach this emperor any more", zap.Error(err))
		} else {
			e.helpers.Go(e.control.serve)
		}
	}
	e.proceed()
	if end.signal != nil {
		e.signals <- end.signal // the loop reads it next; there is room, because it was just emptied
	}
}

// stopped means that a signal to stop has come before the next program.
type stopped struct{ signal os.Signal }

func (s stopped) Error() string { return "signal " + s.signal.String() }

// pauseAll stops all who read from vassals, and takes what they have brought.
func (e *Emperor) pauseAll() error {
	if e.leaving {
		return errors.New("the emperor is stopping")
	}
	until := time.Now().Add(pauseTime)
	timer := time.NewTimer(pauseTime)
	defer timer.Stop()
	for _, name := range e.names() {
		for _, a := range e.vassals[name].attempts {
			if a.pid == 0 {
				continue
			}
			_ = a.pipe.SetReadDeadline(time.Unix(1, 0))
			a.output.pause()
		}
	}
	for _, o := range e.fading {
		_ = o.read.SetReadDeadline(time.Unix(1, 0)) // it takes what is there, and ends
	}
	for !e.paused() {
		select {
		case work := <-e.events:
			work()
		case <-time.After(time.Millisecond):
		}
		if time.Now().After(until) {
			return fmt.Errorf("not everything came to rest within %s; try again", pauseTime)
		}
	}
	return nil
}

// paused tells whether nobody brings anything any more, and all that was brought has been dealt with.
func (e *Emperor) paused() bool {
	for _, v := range e.vassals {
		for _, a := range v.attempts {
			if a.pid != 0 && (!isClosed(a.hearing) || !a.output.ended()) {
				return false
			}
		}
	}
	return e.afoot.Load() == 0 && len(e.events) == 0 && !slices.ContainsFunc(e.fading, func(o *output) bool { return !o.ended() })
}

// replace executes the program that was tried.
func (e *Emperor) replace() error {
	u := &e.upgrade
	program := u.last.Program
	if found, err := e.examine(program); err != nil || found != u.found {
		return errors.Join(fmt.Errorf("%s has changed since it was tried; try again", program), err)
	}
	d, fds, err := e.document(program, u.old, u.last)
	if err != nil {
		return err
	}
	doc, _, err := d.file()
	if err != nil {
		return err
	}
	defer doc.Close()
	e.log.Info("upgrade: handing over", zap.String("program", program), zap.String("version", u.last.To), zap.Int("vassals", len(d.Vassals)))
	var keeper *os.File
	if u.keeps {
		if keeper, err = e.startKeeper(); err != nil {
			e.log.Info("signals are not kept during the upgrade: one to stop that comes in the next milliseconds ends emperord at once, and a HUP is lost", zap.Error(err))
		}
	}
	e.sink.flush()
	err = e.takePlace(program, append(fds, int(doc.Fd())), keeper, fmt.Sprintf("%s=%d:%d", handoverVariable, doc.Fd(), d.Old))
	if keeper != nil {
		keeper.Close() // we listen
	}
	return err
}

// takePlace executes a program with the last signals that have arrived. It returns only with an error.
func (e *Emperor) takePlace(program string, fds []int, keeper *os.File, over string) error {
	err := holdBack(unix.SIG_BLOCK)
	signals, end := lastSignals(e.signals)
	switch {
	case end != nil:
		err = stopped{end}
	case err == nil:
		next := image{path: program, args: e.o.Args, fds: fds, powers: e.powers, env: append(e.ownEnv(), over, written(signals))}
		if keeper != nil {
			next.kept, next.fds, next.env = true, append(fds, int(keeper.Fd())), append(next.env, fmt.Sprintf("%s=%d", keeperVariable, keeper.Fd()))
		}
		err = next.execute()
		signal.Notify(e.signals, heard...) // HUP was ignored
	}
	_ = holdBack(unix.SIG_UNBLOCK)
	for _, s := range signals { // there is room: it was just emptied
		select {
		case e.signals <- s:
		default: // what was blocked has filled it
		}
	}
	return err
}

// file returns the document as a sealed memory file, and its SHA-256.
func (d *document) file() (*os.File, string, error) {
	text, err := json.Marshal(withStrings(reflect.ValueOf(d), intoText).Interface())
	if err != nil {
		return nil, "", fmt.Errorf("cannot write what is to be handed over: %w", err)
	}
	if len(text) > maxDocument {
		return nil, "", fmt.Errorf("what is to be handed over has more than %d bytes; restart emperord instead", maxDocument)
	}
	f, err := memfd("handover", unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE|unix.F_SEAL_SEAL, func(f *os.File) error {
		_, err := f.WriteAt(text, 0)
		return err
	})
	return f, digest(text), err
}

// ownEnv is the environment of the program that takes our place.
func (e *Emperor) ownEnv() []string {
	if e.o.OwnEnv == nil {
		return withoutPassed(e.o.Env)
	}
	return withoutPassed(e.o.OwnEnv)
}
