package emperor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/protocol/pipe"
	"github.com/emperord/emperord/shell"
)

// apart runs f, which touches a tenant's files, beside the loop, because a file system may be slow or hang. One call at
// a time for each vassal: where the file system never answers, one thread is lost and not one with every try. Of those
// that wait meanwhile only the last attempt counts; the others have been abandoned for it.
func (e *Emperor) apart(v *vassal, a *attempt, f func() func()) {
	name := v.name
	if _, under := e.away[name]; under {
		e.away[name] = func() {
			if v.attempts[a.id] == a {
				e.apart(v, a, f)
			}
		}
		return
	}
	e.away[name] = nil
	e.async(func() func() {
		work := f()
		return func() {
			next := e.away[name]
			delete(e.away, name)
			work()
			if next != nil {
				next()
			}
		}
	})
}

// begin judges the file and goes on to resolve it.
func (e *Emperor) begin(v *vassal, a *attempt) {
	if a.restored {
		e.restore(v, a)
		return
	}
	path, base, file, uid := v.path, v.base, v.file, int(v.uid)
	e.known(v, a, func() []question { return e.directory.ofOwner(uid) }, func() { e.judge(v, a, path, base, file) })
}

func (e *Emperor) judge(v *vassal, a *attempt, path, base, file string) {
	extension := e.c.OnDemandExtension
	e.apart(v, a, func() func() {
		j, err := e.directory.judge(path, base, law{tyrant: e.tyrant, linkOwners: e.c.NoFollow || e.c.TyrantNoFollow, rootsLinks: e.c.TyrantNoFollow, initgroups: e.c.TyrantInitgroups, exec: e.c.MagicExec})
		if err == nil {
			err = nameable(path, file)
		}
		written := false
		if err == nil {
			written = awaitWriters(j.file, e.closing, func() {
				e.tell(func() { e.sayWritten(v, a, "vassal file is open for writing; waiting until it is closed") })
			})
		}
		var beside demand
		if err == nil && extension != "" {
			beside, err = e.directory.demandFile(path+extension, base, "emperor-on-demand-extension", j.owner, e.tyrant)
		}
		return func() {
			if v.attempts[a.id] != a {
				if j.file != nil {
					j.file.Close()
				}
				return
			}
			a.file = j.file
			if written {
				e.sayWritten(v, a, "vassal file is read although it is still open for writing; see who writes it: fuser -v "+shell.Word(path))
			}
			a.denied = errors.As(err, new(refusal))
			if err == nil {
				err = v.sameOwner(j)
			}
			if err == nil {
				err = e.name(v, a, j, beside)
			}
			if err != nil {
				e.prepared(v, a, err)
			}
		}
	})
}

// sayWritten says something about a file that somebody has open for writing.
func (e *Emperor) sayWritten(v *vassal, a *attempt, text string) {
	if v.attempts[a.id] == a {
		e.about(v).Warn(text, zap.String(fieldVassal, v.name), zap.Uint32(fieldUID, v.uid))
	}
}

// resolve has the file read with the rights of its owner.
func (e *Emperor) resolve(v *vassal, a *attempt, j judgement) error {
	a.who, a.change = j.owner, e.powers.changeUsers() && (e.tyrant || j.owner.UID != 0)
	a.trusted, a.program = j.trusted, j.program
	if !a.change && !a.trusted && os.Geteuid() == 0 {
		return refuse("cannot read %s as root: others than root may write it, and reading it may run programs; run: chmod go-w %s (with an ACL: setfacl -b), or start emperord with --emperor-tyrant", v.path, shell.Word(v.path))
	}
	if e.read(v, a) {
		return nil
	}
	return e.resolveAlone(v, a)
}

// resolveAlone starts a resolver for this file alone.
func (e *Emperor) resolveAlone(v *vassal, a *attempt) error {
	var err error
	if a.output, err = newOutput(v.name, a.who.UID, e.sink, &v.tail, &v.may, a.id); err != nil {
		return fmt.Errorf("cannot make a pipe for the vassal's output: %w", err)
	}
	answer, write, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("cannot make a pipe for the resolved settings: %w", err)
	}
	defer write.Close()
	env := e.vassalEnv(v, a, pipe.FileVariable+"=3")
	args := append(append([]string{"vassald", "--resolve"}, a.demand.arguments()...), e.arguments(v, a)...)
	pid, err := e.start(v, a, e.vassald, args, env, syscall.SIGTERM, write, a.output.write, a.file) // TERM: it ends what the file has it run
	if err != nil {
		answer.Close()
		return err
	}
	a.resolver, a.reply = pid, answer
	e.processes[pid] = process{v: v, a: a, resolver: true}
	e.beside(func() func() {
		r, err := readAnswer(answer)
		return func() {
			a.answer, a.answered, a.done = r, err, true
			e.resolved(v, a)
		}
	})
	return nil
}

// arguments is the vassal's command line.
func (e *Emperor) arguments(v *vassal, a *attempt) []string {
	file := v.file
	if a.dir != "" && a.dir != v.dir {
		file = filepath.Join(v.dir, file)
	}
	if a.program {
		return e.c.ExecArguments(file)
	}
	return e.c.Arguments(file, v.section())
}

// readAnswer reads the resolver's document to its end, but never more than it may have, and not for longer than a
// preparation may take.
func readAnswer(f *os.File) (*configs.Resolution, error) {
	defer f.Close()
	_ = f.SetReadDeadline(time.Now().Add(30 * time.Second)) // the life's own deadline comes first
	text, err := io.ReadAll(io.LimitReader(f, configs.MaxResolution+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the resolved settings: %w", err)
	}
	if len(text) == 0 {
		return nil, errors.New("it answered nothing")
	}
	return configs.DecodeResolution(bytes.NewReader(text))
}

func (e *Emperor) resolverEnded(v *vassal, a *attempt, x children.Exit) {
	a.resolver, a.ended = 0, &x
	if a.naming {
		e.nameSaid(v, a)
		return
	}
	e.resolved(v, a)
}

// resolved goes on when the resolver has both answered and ended.
func (e *Emperor) resolved(v *vassal, a *attempt) {
	if v.attempts[a.id] != a || !a.done || a.ended == nil {
		return
	}
	a.file.Close()
	a.file = nil
	r, err := a.answer, a.answered
	switch {
	case a.late != nil:
		e.prepared(v, a, a.late)
		return
	case err != nil && a.ended.Clean():
		e.prepared(v, a, refuse("cannot use what vassald --resolve said of %s: %w", v.path, err))
		return
	case err != nil:
		e.prepared(v, a, fmt.Errorf("cannot read %s: vassald --resolve ended with %s: %w%s; %s", v.path, a.ended, err, e.tight(), a.output.lastLine()))
		return
	case !a.ended.Clean(): // a child of it may have written the answer over its dead body
		e.prepared(v, a, fmt.Errorf("cannot use what vassald --resolve said of %s: it ended with %s%s; %s", v.path, a.ended, e.tight(), a.output.lastLine()))
		return
	case r.Passing: // a file that is not mounted yet, a host that does not answer: it is tried again
		e.prepared(v, a, errors.New(pipe.Clean(r.Error, 2<<10)))
		return
	case r.Error != "":
		e.prepared(v, a, refusal{errors.New(pipe.Clean(r.Error, 2<<10))})
		return
	}
	a.notices = kept(r.Notices)
	if err := a.demand.meet(r); err != nil {
		e.prepared(v, a, err)
		return
	}
	demanded := v.leader == "" && e.onDemand(r)
	if a.rests = demanded && !a.asked; !demanded && a.demand.address == "" {
		v.demand = "" // it was, perhaps
	}
	if err := e.collect(a, r.Attributes); err != nil {
		e.prepared(v, a, err)
		return
	}
	if len(r.Sockets) == 0 && !r.Emperor && len(e.leadersListeners(v)) == 0 {
		e.prepared(v, a, refuse("%s names no socket: zerg is for the section zerg of an overloaded vassal's file, which emperor-broodlord starts; write socket = /run/uwsgi/%s.sock", v.path, vassalStem(v.name)))
		return
	}
	if e.succeed(v, a, r) {
		return
	}
	if !a.rests {
		if err := a.encode(); err != nil {
			e.prepared(v, a, err)
			return
		}
	}
	if err := e.claim(v, a, r.Sockets); err != nil {
		e.prepared(v, a, err)
		return
	}
	e.known(v, a, func() []question { return e.directory.ofWishes(r) }, func() { e.bind(v, a, r) })
}

// onDemand tells whether a vassal waits for its first connection: its file's own word goes before the emperor's.
func (e *Emperor) onDemand(r *configs.Resolution) bool {
	if r.OnDemand != nil {
		return *r.OnDemand
	}
	return e.c.OnDemand
}

// What is kept of a vassal's notices: they are shown in the status and said in the log at each start.
const (
	maxNotices = 50
	maxNotice  = 600 // bytes
)

func kept(notices []string) []string {
	var some []string
	for i, n := range notices {
		if i == maxNotices {
			return append(some, fmt.Sprintf("and %d more notices; see all: emperorctl check", len(notices)-i))
		}
		some = append(some, pipe.Clean(n, maxNotice))
	}
	return some
}

// prepared tells the life how the preparation went.
func (e *Emperor) prepared(v *vassal, a *attempt, err error) {
	if err == nil && a.rests {
		e.step(v, Bound{a.id})
		return
	}
	if err == nil {
		e.before(v, a)
		return
	}
	var no refusal
	e.discard(v, a)
	e.step(v, Failed{ID: a.id, Reason: pipe.Clean(scarce(err).Error(), 4<<10), Passing: !errors.As(err, &no), Rights: a.denied, Same: a.sameAs(v.good)})
}

// ready tells the life that everything is prepared for the process.
func (e *Emperor) ready(v *vassal, a *attempt) {
	a.foreign = e.wrapped(a) // as far as can be told before it runs
	e.step(v, Prepared{a.id, a.silence(), a.sameAs(v.good)})
}
