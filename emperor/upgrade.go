package emperor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/protocol/api"
	"github.com/emperord/emperord/protocol/pipe"
	"github.com/emperord/emperord/rights"
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

// reloads obeys SIGHUP: where the program's file is another one by now, that program takes over first, and its vassald runs
// the new generations. So a new version is in use after what everybody does anyway: install it, systemctl reload.
func (e *Emperor) reloads() {
	if e.upgrade.stage == idle && e.newProgram() {
		e.upgrade.reload = true
		if _, err := e.beginUpgrade(""); err != nil {
			e.log.Error("the program that was installed meanwhile does not take over", zap.String(fieldReason, err.Error()))
		}
		return // goOn reloads
	}
	e.reloadEverything()
}

func (e *Emperor) reloadEverything() {
	e.announceReload()
	e.log.Info("reloading all vassals, a few at a time", zap.Int("vassals", e.reloadAll()))
}

// newProgram tells whether another file stands by now where this program was found at the start.
func (e *Emperor) newProgram() bool {
	var self, now unix.Stat_t
	return e.o.Superior == nil && e.program != "" && unix.Stat("/proc/self/exe", &self) == nil && unix.Stat(e.program, &now) == nil &&
		(self.Dev != now.Dev || self.Ino != now.Ino) && now.Mode&unix.S_IFMT == unix.S_IFREG
}

// examine looks at the program's file.
func (e *Emperor) examine(program string) (stamp, error) {
	var st unix.Stat_t
	if err := unix.Stat(program, &st); err != nil {
		return stamp{}, fmt.Errorf("cannot upgrade to %s: %w", program, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0 {
		return stamp{}, fmt.Errorf("cannot upgrade to %s: it is no program (mode %06o); make it executable: chmod +x %[1]s", program, st.Mode)
	}
	if n, err := unix.Getxattr(program, "security.capability", nil); err == nil && n > 0 && os.Geteuid() != 0 {
		return stamp{}, fmt.Errorf("cannot upgrade to %s: it has capabilities of its own (getcap), and would lose those of this emperor; restart emperord instead", program)
	}
	return stamp{dev: st.Dev, ino: st.Ino, size: st.Size, sec: st.Mtim.Sec, nsec: st.Mtim.Nsec, mode: st.Mode, uid: st.Uid, gid: st.Gid}, nil
}

// tryOut runs a program beside the loop. It gets the command line, the environment and what is to be handed over,
// but no descriptor of it, and answers whether it could go on from there.
func (e *Emperor) tryOut(program string) error {
	d, _, err := e.document(program, e.upgrade.old, e.upgrade.last)
	if err != nil {
		return err
	}
	doc, sum, err := d.file()
	if err != nil {
		return err
	}
	defer doc.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	says, saysTo, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("cannot make a pipe: %w", err)
	}
	defer saysTo.Close()
	answers, answersTo, err := os.Pipe()
	if err != nil {
		says.Close()
		return fmt.Errorf("cannot make a pipe: %w", err)
	}
	defer answersTo.Close()
	args := append([]string{e.o.Args[0], checkFlag}, e.o.Args[1:]...)
	pid, later, err := rights.Start(rights.Spec{Path: program, Args: args, Env: withoutPassed(e.o.Env), Dir: e.o.Dir,
		Files: []uintptr{null.Fd(), saysTo.Fd(), saysTo.Fd(), doc.Fd(), answersTo.Fd()}, Setsid: true, Death: syscall.SIGKILL})
	if err != nil {
		says.Close()
		answers.Close()
		return err
	}
	number := e.upgrade.last.Number
	var ended *children.Exit
	var all *tried
	finish := func() {
		if ended != nil && all != nil && e.upgrade.stage == trying && e.upgrade.last.Number == number {
			e.triedProgram(program, sum, *ended, *all)
		}
	}
	e.processes[pid] = process{then: func(x children.Exit) { ended = &x; finish() }}
	e.beside(func() func() {
		if later != nil {
			_ = later.Wait() // why it did not come to run its program it has not said then
		}
		end := time.Now().Add(checkTime)
		t := tried{answer: readSome(answers, end), in: time.Now().Before(end)}
		t.said = readSome(says, time.Now().Add(lastWordsWait)) // another process may keep it open
		return func() {
			if p, runs := e.processes[pid]; runs && p.then != nil {
				_ = syscall.Kill(-pid, syscall.SIGKILL) // not reaped yet, so its group is its own
			}
			all = &t
			finish()
		}
	})
	return nil
}

// A tried is what a dry run has answered and said.
type tried struct {
	answer, said []byte
	in           bool // in time
}

func readSome(f *os.File, until time.Time) []byte {
	defer f.Close()
	_ = f.SetReadDeadline(until)
	text, _ := io.ReadAll(io.LimitReader(f, maxAnswer)) // what came before an error counts
	return text
}

// triedProgram judges a dry run.
func (e *Emperor) triedProgram(program, sum string, x children.Exit, t tried) {
	var a answered
	err := json.Unmarshal(t.answer, &a)
	said := pipe.Clean(string(bytes.TrimSpace(t.said)), maxSaid)
	if said != "" {
		said = "; it said: " + said
	}
	switch {
	case !t.in:
		e.refuseUpgrade(fmt.Errorf("%s did not answer within %s%s", program, checkTime, said))
	case err != nil || a.Sum == "" && a.Error == "":
		e.refuseUpgrade(fmt.Errorf("%s does not know how to take over from emperord %s: it ended with %s%s; if it is another emperord, restart instead", program, e.o.Version, x, said))
	case a.Error != "":
		e.refuseUpgrade(fmt.Errorf("%s refuses: %s", program, pipe.Clean(a.Error, maxSaid)))
	case a.Handover != documentFormat || a.Sum != sum:
		e.refuseUpgrade(fmt.Errorf("%s has not read what would be handed over to it", program))
	default:
		e.upgrade.last.To = pipe.Clean(a.Version, 200)
		e.upgrade.stage, e.upgrade.until = settling, time.Now().Add(settleTime)
		e.log.Info("upgrade: the program is ready to take over", zap.String("program", program), zap.String("version", e.upgrade.last.To))
		for _, name := range e.names() { // what has no process yet begins anew in the next program
			if v := e.vassals[name]; v.life.Coming != 0 && !v.life.Process {
				e.again(v)
			}
		}
	}
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
		return "the folders or sockets of " + strings.Join(names[:min(len(names), 5)], ", ") + " are looked at, and their file systems do not answer (see: stat -f FOLDER)"
	case n > 0:
		return fmt.Sprintf("%d files or folders of the sources do not answer, for example %s (see: stat -f)", n, example)
	case len(e.asking) > 0:
		return "users and groups are asked for (getent)"
	case e.hooks.any():
		return "hooks run"
	case len(e.store.left) > 0:
		return "sockets that a killed emperor has left wait for their vassals"
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
	e.sink.flush()
	signals, end := lastSignals(e.signals)
	if end == nil {
		next := image{path: program, args: e.o.Args, fds: append(fds, int(doc.Fd())), powers: e.powers,
			env: append(withoutPassed(e.o.Env), fmt.Sprintf("%s=%d:%d", handoverVariable, doc.Fd(), d.Old), written(signals))}
		err = next.execute()
		signal.Notify(e.signals, heard...) // HUP was ignored
	} else {
		err = stopped{end}
	}
	for _, s := range signals { // there is room: it was just emptied
		e.signals <- s
	}
	return err
}

// file returns the document as a sealed memory file, and its SHA-256.
func (d *document) file() (*os.File, string, error) {
	text, err := json.Marshal(d)
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

// ownProgram finds the path of the program that runs, as its user named it: a link stays one, so that an upgrade follows
// it to where it leads by then.
func (e *Emperor) ownProgram() string {
	if len(e.o.Args) == 0 {
		return ""
	}
	var self, st unix.Stat_t
	if err := unix.Stat("/proc/self/exe", &self); err == nil {
		name := e.o.Args[0]
		var candidates []string
		switch {
		case filepath.IsAbs(name):
			candidates = append(candidates, name)
		case strings.Contains(name, "/"):
			candidates = append(candidates, filepath.Join(e.o.Dir, name))
		default:
			for _, kv := range e.o.Env {
				if path, is := strings.CutPrefix(kv, "PATH="); is {
					for _, dir := range filepath.SplitList(path) {
						candidates = append(candidates, filepath.Join(dir, name))
					}
				}
			}
		}
		for _, c := range candidates {
			if filepath.IsAbs(c) && unix.Stat(c, &st) == nil && st.Dev == self.Dev && st.Ino == self.Ino {
				return filepath.Clean(c)
			}
		}
	}
	path, _ := os.Executable() // beginUpgrade says what is wrong with an empty one
	return path
}

// mayUpgrade: whoever names a program for a process that may become any user, must be root. The emperor's own user, who is
// a tenant's perhaps, may only where the emperor has nothing that this user has not.
func (e *Emperor) mayUpgrade(peer *unix.Ucred) bool {
	return peer != nil && (peer.Uid == 0 || e.powers == 0 && int(peer.Uid) == os.Geteuid())
}

func (e *Emperor) serveUpgrade(w http.ResponseWriter, r *http.Request) {
	if !e.mayUpgrade(peer(r)) {
		fail(w, http.StatusForbidden, "an upgrade is for root")
		return
	}
	var begun api.Upgrade
	var err error
	if !e.inLoop(r, func() { begun, err = e.beginUpgrade(r.URL.Query().Get("program")) }) {
		fail(w, http.StatusServiceUnavailable, "the emperor is stopping")
		return
	}
	if err != nil {
		fail(w, http.StatusConflict, "%s", err)
		return
	}
	reply(w, http.StatusOK, begun)
}

func (e *Emperor) serveUpgraded(w http.ResponseWriter, r *http.Request) {
	if !mayAll(peer(r)) {
		fail(w, http.StatusForbidden, "an upgrade is for root")
		return
	}
	var last api.Upgrade
	if !e.inLoop(r, func() { last = e.upgrade.last }) {
		fail(w, http.StatusServiceUnavailable, "the emperor is stopping")
		return
	}
	reply(w, http.StatusOK, last)
}
