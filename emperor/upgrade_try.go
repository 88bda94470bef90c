package emperor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/protocol/pipe"
	"github.com/emperord/emperord/rights"
)

// newProgram tells whether another file stands by now where this program was found at the start.
func (e *Emperor) newProgram() bool {
	if e.o.Superior != nil || e.program == "" {
		return false
	}
	same, err := ourselves(e.program)
	return err == nil && !same
}

// ourselves tells whether the regular file at a path is the program that runs.
func ourselves(path string) (bool, error) {
	var self, there unix.Stat_t
	if err := errors.Join(unix.Stat("/proc/self/exe", &self), unix.Stat(path, &there)); err != nil {
		return false, err
	}
	if there.Mode&unix.S_IFMT != unix.S_IFREG {
		return false, unix.EINVAL
	}
	return self.Dev == there.Dev && self.Ino == there.Ino, nil
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
		e.upgrade.last.To, e.upgrade.keeps = pipe.Clean(a.Version, 200), a.Keeps
		e.upgrade.stage, e.upgrade.until = settling, time.Now().Add(settleTime)
		e.log.Info("upgrade: the program is ready to take over", zap.String("program", program), zap.String("version", e.upgrade.last.To))
		for _, name := range e.names() { // what has no process yet begins anew in the next program
			if v := e.vassals[name]; v.life.Coming != 0 && !v.life.Process {
				e.again(v)
			}
		}
	}
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
