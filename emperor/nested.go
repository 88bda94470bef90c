package emperor

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/protocol/pipe"
)

// maxDepth bounds emperors inside each other: one whose folder holds its own file would start itself without end.
const maxDepth = 5

// hasteTime is how much earlier than its superior an emperor gives up waiting for its vassals: so that it can still end them
// in order before it is ended itself.
const hasteTime = 2 * time.Second

// A Superior is the emperor that has started this one as one of its vassals.
type Superior struct {
	Settings configs.Settings // what it has read for us; nil: nothing, as a uWSGI emperor does

	mercy time.Duration // how long it lets us stop; 0: it does not say
	depth int           // emperors above us
	pipe  *os.File
	board *os.File // nil: none
}

// FromSuperior takes over what a superior has left in the environment; nil without one.
func FromSuperior(env []string) (*Superior, error) {
	s := &Superior{depth: 1}
	take := func(variable string) (*os.File, error) {
		text, there := variableOf(env, variable)
		if !there {
			return nil, nil
		}
		fd, err := strconv.Atoi(text)
		if err != nil || fd < 3 {
			return nil, fmt.Errorf("the environment variable %s is %q, not the number of a descriptor", variable, text)
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return nil, fmt.Errorf("the environment variable %s names descriptor %d, which is not open", variable, fd)
		}
		if variable == pipe.FDVariable {
			if err := unix.SetNonblock(fd, true); err != nil {
				return nil, fmt.Errorf("cannot use the emperor pipe: %w", err)
			}
		}
		return os.NewFile(uintptr(fd), variable), nil
	}
	var err error
	if s.pipe, err = take(pipe.FDVariable); err != nil || s.pipe == nil {
		return nil, err
	}
	if s.board, err = take(pipe.BoardVariable); err != nil {
		return nil, err
	}
	settings, err := take(pipe.SettingsVariable)
	if err != nil {
		return nil, err
	}
	if settings != nil {
		defer settings.Close()
		r, err := configs.DecodeResolution(settings)
		if err != nil {
			return nil, err
		}
		s.Settings = r.Settings
	}
	if text, there := variableOf(env, pipe.DepthVariable); there {
		if s.depth, err = strconv.Atoi(text); err != nil || s.depth < 1 {
			return nil, fmt.Errorf("the environment variable %s is %q, not a number from 1", pipe.DepthVariable, text)
		}
	}
	if text, there := variableOf(env, pipe.MercyVariable); there {
		seconds, err := strconv.Atoi(text)
		if err != nil || seconds < 1 {
			return nil, fmt.Errorf("the environment variable %s is %q, not a number of seconds", pipe.MercyVariable, text)
		}
		s.mercy = time.Duration(seconds) * time.Second
	}
	return s, nil
}

// Failed tells the superior why this emperor ends.
func (s *Superior) Failed(reason error) {
	if s.board != nil {
		_ = pipe.WriteNotice(s.board, pipe.Notice{Failed: reason.Error()}) // it is in the log too
	}
}

func (s *Superior) say(words ...pipe.Word) {
	for _, w := range words {
		_, _ = s.pipe.Write([]byte{byte(w)}) // one that has gone is seen by reading
	}
}

// hear hands the superior's words over, and closes the channel when it has gone, or when the pipe is closed.
func (s *Superior) hear(words chan<- pipe.Word, over <-chan struct{}) {
	defer close(words)
	buf := make([]byte, 1)
	for {
		n, err := s.pipe.Read(buf)
		if n == 0 || err != nil {
			return
		}
		select {
		case words <- pipe.Word(buf[0]):
		case <-over:
			return
		}
	}
}

// serve adapts an emperor to its superior, before anything is made.
func (e *Emperor) serve(s *Superior) error {
	if s == nil {
		return nil
	}
	if s.depth > maxDepth {
		return mistake("there are %d emperors above this one, and at most %d are allowed; does a folder of vassals hold the file of its own emperor?", s.depth, maxDepth)
	}
	c := *e.c
	e.c = &c
	if !named(s.Settings, "emperor-control-socket") {
		c.ControlSocket = "" // the usual one is the superior's
	}
	if s.mercy > 0 && c.Mercy > s.mercy-hasteTime {
		c.Mercy = max(s.mercy-hasteTime, s.mercy/2)
		e.policy.Mercy = c.Mercy
	}
	return nil
}

// heed does what the superior says. It tells whether the emperor leaves.
func (e *Emperor) heed(w pipe.Word, open bool) (leaves bool) {
	switch {
	case !open:
		e.shutdown("the emperor above has gone")
		return true
	case w == pipe.Stop, w == pipe.StopGraceful:
		e.shutdown("the emperor above says so")
		return true
	case w == pipe.Reload:
		e.log.Info("reloading all vassals: the emperor above says so")
		e.all(AskReload{})
	}
	return false
}

func named(settings configs.Settings, option string) bool {
	for _, s := range settings {
		if opt, known := configs.Lookup(s.Key); known && opt.First() == option {
			return true
		}
	}
	return false
}

func variableOf(env []string, name string) (value string, there bool) {
	for _, kv := range env {
		if len(kv) > len(name) && kv[len(name)] == '=' && kv[:len(name)] == name {
			value, there = kv[len(name)+1:], true
		}
	}
	return value, there
}

// What follows is the superior's side.

// sumOf tells two configurations apart by what they say, not by where.
func sumOf(settings configs.Settings) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, s := range settings {
		for _, text := range []string{s.Key, s.Value} {
			_ = binary.Write(h, binary.LittleEndian, uint64(len(text)))
			h.Write([]byte(text))
		}
	}
	h.Sum(sum[:0])
	return sum
}

// nests tells whether an attempt's process is an emperor.
func (e *Emperor) nests(a *attempt) bool {
	return a != nil && a.answer != nil && a.answer.Emperor && !e.wrapped(a)
}

// succeed decides what becomes of a preparation whose vassal is served by an emperor: two of them would fight for the sockets of
// the same vassals. Where its configuration says the same as before, the one that runs reloads its vassals; otherwise
// it leaves first, and the preparation begins again. It returns false where there is none.
func (e *Emperor) succeed(v *vassal, a *attempt, r *configs.Resolution) bool {
	a.sum = sumOf(r.Settings)
	old := v.attempts[v.life.Serving]
	if !e.nests(old) {
		return false
	}
	if r.Emperor && a.sum == old.sum {
		e.log.Info("the vassal is an emperor, and reloads its own vassals", zap.String(fieldVassal, v.name))
		if err := send(old, pipe.Reload); err != nil {
			e.prepared(v, a, fmt.Errorf("cannot tell it to reload its vassals: %w", err))
			return true
		}
		e.prepared(v, a, errNeedless)
		return true
	}
	e.log.Info("the vassal is an emperor, and its configuration has changed: it leaves before the next one comes", zap.String(fieldVassal, v.name))
	e.step(v, Reowned{})
	return true
}

// errNeedless ends a preparation that is not needed: nothing is wrong.
var errNeedless = errors.New("")

// nestedProgram is the program of a vassal that is an emperor, and what its environment has beside.
func (e *Emperor) nestedProgram() (program string, env []string) {
	depth, mercy := 1, max(time.Second, e.c.Mercy)
	if e.o.Superior != nil {
		depth = e.o.Superior.depth + 1
	}
	return filepath.Join(filepath.Dir(e.vassald), "emperord"), []string{
		pipe.DepthVariable + "=" + strconv.Itoa(depth), pipe.MercyVariable + "=" + strconv.Itoa(int(mercy/time.Second)),
	}
}
