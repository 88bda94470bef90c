package emperor

import (
	"io"
	"os"
	"strconv"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/sockets"
)

// getent is the program that asks the C library for users and groups (getent(1), of glibc and musl).
const getent = "/usr/bin/getent"

// How long getent may take, a directory server behind it included, and how much it may say.
const (
	getentTime = 4 * time.Second
	maxGetent  = 64 << 10
)

// New questions come up from answers: first who it is, then its groups. A tenant chooses how many names its file holds, so
// one attempt asks few at a time, and no more than rounds times as many. What is not asked is not known.
const (
	rounds  = 8
	abreast = 4
)

// known goes on with then, in the loop, when the directory knows what missing says it lacks, or cannot know it. missing runs
// beside the loop. Nothing happens any more if a is abandoned meanwhile.
func (e *Emperor) known(v *vassal, a *attempt, missing func() []question, then func()) {
	if !e.directory.remote {
		then()
		return
	}
	e.round(v, a, rounds, missing, then)
}

func (e *Emperor) round(v *vassal, a *attempt, left int, missing func() []question, then func()) {
	e.async(func() func() {
		open := e.directory.open(missing()...)
		return func() {
			switch {
			case v.attempts[a.id] != a:
			case len(open) == 0 || left == 0:
				then()
			default:
				open = open[:min(len(open), abreast)]
				waiting := len(open)
				for _, q := range open {
					e.ask(q, func() {
						if waiting--; waiting == 0 && !e.leaving {
							e.round(v, a, left-1, missing, then)
						}
					})
				}
			}
		}
	})
}

// ask asks getent, once for all who want to know the same. done is called in the loop.
func (e *Emperor) ask(q question, done func()) {
	waiting, under := e.asking[q]
	e.asking[q] = append(waiting, done)
	if under {
		return
	}
	pid, answer, err := startGetent(e.directory.getent, q)
	if err != nil {
		e.answered(q, nil, err)
		return
	}
	e.processes[pid] = process{getent: true}
	e.async(func() func() {
		defer answer.Close()
		_ = answer.SetReadDeadline(time.Now().Add(getentTime))
		text, err := io.ReadAll(io.LimitReader(answer, maxGetent))
		return func() {
			if p, runs := e.processes[pid]; runs && p.getent {
				_ = syscall.Kill(pid, syscall.SIGKILL) // not reaped yet; it has said all, or takes too long
			}
			e.answered(q, text, err)
		}
	})
}

// answered tells all who wait. A directory that does not answer leaves its users without names and groups.
func (e *Emperor) answered(q question, text []byte, err error) {
	if err != nil {
		e.silence.times++
		if time.Since(e.silence.said) >= sayAgain { // of four hundred users each would say the same
			e.log.Warn("the directory of users does not answer; going on with what /etc/passwd and /etc/group say",
				zap.String("asked", "getent "+q.database+" "+q.key), zap.Int("times", e.silence.times), zap.Error(err))
			e.silence = silence{said: time.Now()}
		}
		e.directory.forget(q, time.Now())
	} else {
		e.directory.learn(q, text, time.Now())
	}
	waiting := e.asking[q]
	delete(e.asking, q)
	for _, done := range waiting {
		done()
	}
}

// silence is how often the directory has not answered since that was said last.
type silence struct {
	times int
	said  time.Time
}

func startGetent(program string, q question) (int, *os.File, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, nil, err
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return 0, nil, err
	}
	defer w.Close()
	pid, err := children.Start(children.Spec{
		Path: program, Args: []string{"getent", "--", q.database, q.key}, Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}, Dir: "/",
		Files: []uintptr{null.Fd(), w.Fd(), null.Fd()}, Attr: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		r.Close()
		return 0, nil, err
	}
	return pid, r, nil
}

// ofOwner are the questions about the owner of a vassal file.
func (d *directory) ofOwner(uid int) []question {
	p, known := d.user(strconv.Itoa(uid))
	if !known {
		return []question{{"passwd", strconv.Itoa(uid)}}
	}
	return []question{{"initgroups", p.name}}
}

// ofWishes are the questions about the names that a vassal file holds.
func (d *directory) ofWishes(r *configs.Resolution) []question {
	var all []question
	if r.UID != "" {
		all = append(all, question{"passwd", r.UID})
		if p, known := d.user(r.UID); known {
			all = append(all, question{"initgroups", p.name})
		}
	}
	if r.GID != "" {
		all = append(all, question{"group", r.GID})
	}
	for _, w := range r.Sockets {
		if w.Owner != "" {
			all = append(all, question{"passwd", w.Owner})
		}
		if w.Group != "" {
			all = append(all, question{"group", w.Group})
		}
	}
	return all
}

// identify returns the identity of uid with gid as its group: its name and its supplementary groups, as initgroups(3)
// would set them. A uid that no user has is its own name and has no groups but gid.
func (d *directory) identify(uid, gid int, groups bool) sockets.Identity {
	id := sockets.Identity{Name: strconv.Itoa(uid), UID: uid, GID: gid, Groups: []int{gid}}
	p, known := d.user(id.Name)
	if !known {
		return id
	}
	id.Name = p.name
	if !groups {
		return id
	}
	for _, g := range append([]int{p.gid}, d.groups(p)...) {
		if g != gid {
			id.Groups = append(id.Groups, g)
		}
	}
	return id
}
