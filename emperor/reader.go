package emperor

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/protocol/pipe"
	"github.com/emperord/emperord/sockets"
)

// A reader is a resolver that reads many vassal files of one user, one after the other, with that user's rights. To start a
// resolver costs 6 ms of processor time and to read a file a fraction of one: with a resolver for each, ten thousand vassals on
// demand would wait for a minute until they have their sockets, and fifty that start at boot would come a quarter later. Whoever controls a reader controls no more than the vassals of the
// same user. Whatever goes wrong with it, the files that it has not answered for are read by a resolver each.
type reader struct {
	of        string // who: the key in Emperor.readers
	pid       int
	questions *os.File
	answers   *os.File
	line      []reading // the first one is with the process
	due       time.Time // then the others in the line are read by resolvers of their own; if there is no line, then it ends
	over      bool      // no answer counts any more
}

// slowReading is how long one file may keep the others of its user waiting: what its exec:// runs may take seconds.
const slowReading = 500 * time.Millisecond

// readerRest is how long a reader that has nothing to do waits for more.
const readerRest = 500 * time.Millisecond

// A reading is a file that a reader shall read.
type reading struct {
	v *vassal
	a *attempt
}

// crowd is how many further vassals of the same user have to wait for a reader to be worth its start.
const crowd = 3

// readerPatience is how long a reader may take for one file. One that asks slow sources gets a resolver, and more time, of its own;
// those behind it do not have to wait for it.
const readerPatience = time.Second

// rightsKey names what two resolvers must have in common to be one.
func rightsKey(who sockets.Identity, change bool) string {
	return fmt.Sprint(who.UID, who.GID, who.Groups, change)
}

// read has a file read by the reader of its owner, if that is worth it.
func (e *Emperor) read(v *vassal, a *attempt) bool {
	if a.program || v.alone || v.leader != "" || a.demand.address != "" {
		return false
	}
	key := rightsKey(a.who, a.change)
	r := e.readers[key]
	if r == nil {
		if len(e.urgent.lines[a.user]) < crowd {
			return false
		}
		var err error
		if r, err = e.startReader(v, a, key); err != nil {
			return false // a resolver of its own finds out what is wrong
		}
	}
	a.reader = r
	r.line = append(r.line, reading{v, a})
	if len(r.line) == 1 {
		e.readNext(r)
	}
	return true
}

// startReader starts a reader with the rights, and in the control group, of the first vassal that it reads for.
func (e *Emperor) startReader(v *vassal, a *attempt, key string) (*reader, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	r := &reader{of: key, questions: os.NewFile(uintptr(pair[0]), "questions")}
	theirs := os.NewFile(uintptr(pair[1]), "their questions")
	defer theirs.Close()
	answers, write, err := os.Pipe()
	if err != nil {
		r.questions.Close()
		return nil, err
	}
	defer write.Close()
	r.answers = answers
	b := &attempt{who: a.who, change: a.change}
	if b.output, err = newOutput(v.name, a.who.UID, e.sink, &v.tail, &v.may, a.id); err == nil {
		r.pid, err = e.start(v, b, e.vassald, []string{"vassald", "--resolve-many"}, e.vassalEnv(v, b), syscall.SIGKILL, b.output.write, b.output.write, theirs, write)
		b.output.closeWrite()
	}
	if err != nil {
		r.close()
		return nil, err
	}
	e.readers[key] = r
	e.processes[r.pid] = process{v: v, a: b, reader: r}
	return r, nil
}

func (r *reader) close() {
	r.questions.Close()
	_ = r.answers.SetReadDeadline(time.Now())
	r.answers.Close()
}

// readNext asks for the next file, if there is one.
func (e *Emperor) readNext(r *reader) {
	if len(r.line) == 0 {
		return
	}
	v, a := r.line[0].v, r.line[0].a
	r.due = time.Now().Add(slowReading)
	packet, err := pipe.Question{Args: e.arguments(v, a), Dir: v.dir, Name: v.name}.Encode()
	if err == nil {
		err = unix.Sendmsg(int(r.questions.Fd()), packet, unix.UnixRights(int(a.file.Fd())), nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	}
	if err != nil {
		e.forsake(r)
		return
	}
	answers := r.answers
	_ = answers.SetReadDeadline(time.Now().Add(readerPatience))
	e.async(func() func() {
		text, err := pipe.ReadAnswer(answers, configs.MaxResolution+1)
		var answer *configs.Resolution
		var wrong error
		if err == nil {
			answer, wrong = configs.DecodeResolution(bytes.NewReader(text))
		}
		return func() {
			switch {
			case r.over:
			case err != nil:
				e.forsake(r)
			default:
				e.hasRead(r, answer, wrong)
			}
		}
	})
}

// hasRead takes the answer about the first file of the line.
func (e *Emperor) hasRead(r *reader, answer *configs.Resolution, wrong error) {
	v, a := r.line[0].v, r.line[0].a
	r.line = r.line[1:]
	a.reader = nil
	e.readNext(r)
	if len(r.line) == 0 && !r.over {
		if r.due = time.Now().Add(readerRest); e.readers[r.of] != r {
			e.endReader(r)
		}
	}
	if wrong != nil || answer.Error != "" { // what its programs say of it went into the log of the reader's first vassal
		v.alone = true
		e.readAlone([]reading{{v, a}})
		return
	}
	a.answer, a.done, a.ended = answer, true, new(children.Exit) // as if it had ended well
	e.resolved(v, a)
}

// hasten has the files that wait behind a slow one read by resolvers of their own. The slow one goes on, and is not given to
// a reader again.
func (e *Emperor) hasten(r *reader) {
	r.line[0].v.alone = true
	others := r.line[1:]
	r.line = r.line[:1:1]
	delete(e.readers, r.of) // it gets no more files
	e.readAlone(others)
}

// readAlone has files read by resolvers of their own, for which they have all the time that a file has.
func (e *Emperor) readAlone(line []reading) {
	for _, next := range line {
		next.a.reader = nil
	}
	for _, next := range line {
		if next.a.file != nil {
			_, _ = next.a.file.Seek(0, io.SeekStart) // the reader has the same open file
		}
		if e.leaving || next.v.attempts[next.a.id] != next.a {
			continue
		}
		e.step(next.v, Begun{next.a.id})
		if err := e.resolveAlone(next.v, next.a); err != nil {
			e.prepared(next.v, next.a, err)
		}
	}
}

// ringReaders looks for slow files, and for readers that nobody needs.
func (e *Emperor) ringReaders(now time.Time) {
	for _, r := range e.readers {
		switch {
		case r.due.After(now):
		case len(r.line) == 0:
			e.endReader(r)
		case len(r.line) > 1:
			e.hasten(r)
		}
	}
}

// endReader has no more for a reader: its process ends by itself.
func (e *Emperor) endReader(r *reader) {
	r.over = true
	if e.readers[r.of] == r {
		delete(e.readers, r.of)
	}
	r.close()
}

// forsake ends a reader that does not do its work. Its files are read one by one.
func (e *Emperor) forsake(r *reader) {
	if r.over {
		return
	}
	e.endReader(r)
	if p, runs := e.processes[r.pid]; runs && p.reader == r { // not reaped yet
		_ = e.signal(-r.pid, p.a.who.UID, syscall.SIGKILL)
		e.killGroup(r.pid)
	}
	e.readAlone(r.line)
}

// unread takes an attempt that is abandoned out of its reader's line.
func (e *Emperor) unread(a *attempt) {
	r := a.reader
	i := slices.IndexFunc(r.line, func(n reading) bool { return n.a == a })
	a.reader = nil
	switch {
	case i < 0:
	case i == 0: // the process is at it
		r.line[0].v.alone = true
		r.line = r.line[1:]
		e.forsake(r)
	default:
		r.line = slices.Delete(r.line, i, i+1)
	}
}
