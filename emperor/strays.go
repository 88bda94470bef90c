package emperor

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/guard"
	"github.com/emperord/emperord/protocol/pipe"
)

// What is left of a vassal when its vassald has been killed: its host and workers, what the application has started, and
// what has left the session. vassald is the reaper of all of them, so the kernel gives them to us when it ends, at once
// or when their own parents end: whatever is our child and was not started by us is one of them, or a stranger that
// we were given because we are PID 1.

// An ending is a leader of a session of ours that has ended.
type ending struct {
	session int
	uid     int
	vassal  string
	at      time.Time
	killAt  time.Time // whatever is left of it then is killed
	mark    uint64    // in the environment of its processes, and of no others
}

// A stray is a child of ours that is left of a vassal.
type stray struct {
	uid    int
	vassal string
	killAt time.Time
}

const (
	// lookPause is how long looks for strays are apart: what ends in between gives us its children. After a resolver that
	// has ended well there is no hurry: hardly any leaves something, and at boot there are thousands.
	lookPause   = 10 * time.Millisecond
	calmerPause = 200 * time.Millisecond
	// endingKept is how long the strays of a leader that has ended are recognized. They come within a second.
	endingKept = 10 * time.Second
	// maxEnviron bounds what is read of a process's environment.
	maxEnviron = 1 << 20
)

// leaderEnded notes that a leader has ended, and how long the rest of it may live.
func (e *Emperor) leaderEnded(session, uid int, vassal string, mark uint64, mercy time.Duration, look time.Duration) {
	now := time.Now()
	e.endings = append(e.endings, ending{session, uid, vassal, now, now.Add(mercy), mark})
	clear(e.passed)
	e.lookIn(now, look)
}

// look finds children that nobody has started here, tells those that are left of a vassal to end, and kills those whose
// time is up.
func (e *Emperor) look(now time.Time) {
	if e.lookAt.IsZero() || e.lookAt.After(now) {
		return
	}
	e.lookAt = time.Time{}
	kids, err := children.Kids()
	if err != nil {
		return // said at the start
	}
	asked := map[string][]int{}
	for _, pid := range kids {
		_, ours := e.processes[pid]
		_, known := e.strays[pid]
		if ours || known || e.passed[pid] || e.isStranger(pid) {
			continue
		}
		end, uid, is := e.leftBy(pid, now)
		if !is {
			e.passed[pid] = true
			continue
		}
		e.strays[pid] = stray{uid, end.vassal, end.killAt}
		if end.killAt.After(now) {
			_ = e.signal(pid, uid, syscall.SIGTERM) // our child and not reaped, so it is still the one we mean
			asked[end.vassal] = append(asked[end.vassal], pid)
		}
	}
	e.sayLeft(zapcore.InfoLevel, "told what is left of a vassal to end", asked)
	kept := e.endings[:0]
	for _, end := range e.endings {
		if now.Sub(end.at) < endingKept {
			kept = append(kept, end)
		}
	}
	e.endings = kept
	e.killStrays(now)
}

// killStrays kills the strays whose time is up, each with its process group.
func (e *Emperor) killStrays(now time.Time) {
	killed := map[string][]int{}
	for pid, s := range e.strays {
		if s.killAt.After(now) {
			continue
		}
		group, err := unix.Getpgid(pid)
		_, leads := e.processes[group]
		if err == nil && group > 1 && group != unix.Getpgrp() && !leads {
			_ = e.signal(-group, s.uid, syscall.SIGKILL) // its member pid is not reaped yet
		}
		_ = e.signal(pid, s.uid, syscall.SIGKILL)
		killed[s.vassal] = append(killed[s.vassal], pid)
		s.killAt = now.Add(remnantMercy) // one that hangs in the kernel is tried again
		e.strays[pid] = s
		e.lookIn(now, lookPause)
	}
	e.sayLeft(zapcore.WarnLevel, "killed what was left of a vassal", killed)
}

// sayLeft says one line for each vassal that has left something.
func (e *Emperor) sayLeft(level zapcore.Level, text string, left map[string][]int) {
	for name, pids := range left {
		log := e.log
		if v := e.vassals[name]; v != nil {
			log = e.about(v)
		}
		log.Log(level, text, zap.String(fieldVassal, name), zap.Int("processes", len(pids)), zap.Ints("pids", pids[:min(len(pids), 20)]))
	}
}

// lookIn has us look again: a process that ends gives us its children.
func (e *Emperor) lookIn(now time.Time, pause time.Duration) {
	if at := now.Add(pause); len(e.endings)+len(e.strays) > 0 && (e.lookAt.IsZero() || at.Before(e.lookAt)) {
		e.lookAt = at
	}
}

// leftBy finds out which vassal has left a child of ours behind: by its session, or by the name that all processes of a
// vassal carry in their environment. One that has left its session and taken another environment is told by its user,
// if that is the vassal's alone.
func (e *Emperor) leftBy(pid int, now time.Time) (end ending, uid int, is bool) {
	uid = userOf(pid)
	session, err := unix.Getsid(pid)
	if own, _ := unix.Getsid(0); err != nil || uid < 0 || session == own { // every vassal has left ours
		return ending{}, uid, false
	}
	if _, lives := e.processes[session]; lives {
		return ending{}, uid, false
	}
	name, mark, readable := vassalOf(pid)
	for i := len(e.endings) - 1; i >= 0; i-- {
		end := e.endings[i]
		switch {
		case end.session == session:
			return end, uid, true
		case mark != 0 && mark == end.mark && (uid == end.uid || uid == 0): // whoever else of the vassal lives, it is not theirs
			return end, uid, true
		case now.Sub(end.at) > endingKept || uid != end.uid && uid != 0 || e.foreignLives(end.vassal):
		case readable && name == filepath.Base(end.vassal):
			return end, uid, true
		case name == "" && uid == end.uid && uid != os.Geteuid() && uid != 0:
			return end, uid, true
		}
	}
	return ending{}, uid, false
}

// foreignLives tells whether another program than vassald runs the vassal: it is no reaper of its orphans, so a child of
// ours may be one that it watches in its own way.
func (e *Emperor) foreignLives(vassal string) bool {
	if v := e.vassals[vassal]; v != nil {
		for _, a := range v.attempts {
			if a.foreign && a.pid != 0 {
				return true
			}
		}
	}
	return false
}

// vassalOf returns the name of the vassal in the environment of a process, its mark, and whether the environment could be read.
func vassalOf(pid int) (name string, mark uint64, readable bool) {
	text, err := readLimited(fmt.Sprintf("/proc/%d/environ", pid), maxEnviron)
	if err != nil {
		return "", 0, false
	}
	for entry := range bytes.SplitSeq([]byte(text), []byte{0}) {
		if value, ok := bytes.CutPrefix(entry, []byte(pipe.VassalVariable+"=")); ok {
			name = cmp.Or(name, string(value))
		}
		if value, ok := bytes.CutPrefix(entry, []byte(guard.Variable+"=")); ok {
			mark, _ = strconv.ParseUint(string(value), 16, 64)
		}
	}
	return name, mark, true
}
