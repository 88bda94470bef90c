package vassal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/configs/sources"
	"github.com/emperord/emperord/protocol/pipe"
)

// resolveTime is how long the sources of a configuration may take where the emperor waits for it: the emperor ends the
// resolver after 10 s, and then nobody would end what it has started.
const resolveTime = 8 * time.Second

// open takes note of what a configuration may read. What an emperor has handed over is marked close-on-exec first: it
// is not for programs that the configuration runs, nor for fd://.
func (o *Options) open() error {
	for _, name := range []string{pipe.FileVariable, pipe.SettingsVariable, pipe.BoardVariable, pipe.FDVariable} {
		if text, ok := lookup(o.Env, name); ok {
			var fd int
			if _, err := fmt.Sscan(text, &fd); err == nil && fd > 2 {
				_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC) // what is not open is said where it is needed
			}
		}
	}
	var err error
	if o.config, err = descriptor(o.Env, pipe.ConfigVariable); err != nil {
		return err
	}
	o.inherited = sources.Inherited()
	return nil
}

// reading is how the configuration is read: with the rights of this process, before or between the turns of its loop, so
// that nobody else waits for the programs that exec:// starts.
func (o Options) reading(ctx context.Context, short bool, ask func() error) configs.Reading {
	from := &sources.Opener{Context: ctx, Dir: o.Dir, Env: without(o.Env, private...), Stdin: os.Stdin, Stderr: os.Stderr, Inherited: o.inherited}
	if short {
		from.Patience = resolveTime
	}
	if o.config != nil {
		from.Emperor = &sources.Emperor{FD: int(o.config.Fd()), Ask: ask}
	}
	return configs.Reading{Args: o.Args, Env: from.Env, Dir: o.Dir, Source: from.Open, Setenv: from.Setenv}
}

// readTime is how long a configuration may take to be read again: its sources have 10 s, and what a file system or a FIFO
// takes comes on top.
const readTime = 12 * time.Second

// giveUpTime is how long a reading that was given up may take to end its programs. What hangs in the kernel is left behind.
const giveUpTime = time.Second

var (
	errGivenUp = errors.New("the reading was given up")
	errStuck   = fmt.Errorf("takes longer than %s to be read: a file, FIFO or file system that it names does not answer", readTime)
)

// again reads the configuration again, beside the loop: what it names may never answer. Meanwhile the loop only
// listens, so that nobody else waits for the children of the reading; what it hears is done afterwards, in order. Who tells
// us to stop does not have to wait for that.
func (s *supervisor) again(asking bool) (*application, error) {
	ctx, giveUp := context.WithCancel(context.Background())
	defer giveUp()
	var ask func() error
	if asking {
		ask = s.askAgain
	}
	type answer struct {
		app *application
		err error
	}
	done := make(chan answer, 1)
	go func() {
		runtime.LockOSThread() // a program is ended with the thread that has started it
		defer runtime.UnlockOSThread()
		children.Punctually(s.env)
		app, err := s.reread(ctx, ask)
		if err == nil && app.emperor {
			err = &Refusal{"the file names vassals of its own now, so it is for emperord, and an application cannot become one; stop it and start it again"}
		}
		done <- answer{app, err}
	}()
	slow := time.NewTimer(readTime)
	defer slow.Stop()
	words, asked, fault := s.words, s.asked, errStuck
	stop := func() {
		if fault == errStuck {
			fault = errGivenUp
			giveUp()
			slow.Reset(giveUpTime)
		}
	}
	for {
		select {
		case a := <-done:
			if fault == errGivenUp {
				return nil, fault
			}
			return a.app, a.err
		case <-slow.C:
			return nil, fault
		case sig := <-s.signals:
			s.aside = append(s.aside, func() { s.signalled(sig) })
			if ends(sig) {
				stop()
			}
		case word, ok := <-words:
			s.aside = append(s.aside, func() { s.told(word, ok) })
			if !ok || word == pipe.Stop || word == pipe.StopGraceful {
				stop()
			}
			if !ok || len(s.aside) > 100 {
				words = nil
			}
		case <-asked: // the loop hears it again
			asked = nil
			stop()
		}
	}
}

// askAgain tells a uWSGI emperor to send emperor://NAME again, where the reload was not its own idea.
func (s *supervisor) askAgain() error {
	if s.in.pipe == nil {
		return nil
	}
	_, err := s.in.pipe.Write([]byte{byte(pipe.WantConfig)})
	return err
}

// took prints the settings where the file says show-config, as uWSGI does before it goes on; only once, and not
// under an emperor, whose log is no place for it.
func (s *supervisor) took() func(configs.Settings) {
	if s.shown || hasEmperor(s.env) {
		return nil
	}
	s.shown = true
	return func(settings configs.Settings) {
		if configs.Shows(settings) {
			_, _ = os.Stdout.Write(configs.Block(settings)) // for people; a closed terminal is no reason not to serve
		}
	}
}

// hasEmperor reports whether an emperor has started this process.
func hasEmperor(env []string) bool {
	_, pipes := lookup(env, pipe.FDVariable)
	_, settings := lookup(env, pipe.SettingsVariable)
	return pipes || settings
}

// show prints the settings as `uwsgi --show-config` does. What keeps vassald from running them is only said.
func show(ctx context.Context, o Options) error {
	settings, said, err := configs.Show(o.reading(ctx, false, nil))
	if err != nil {
		return &Refusal{err.Error()}
	}
	for _, n := range said {
		fmt.Fprintln(os.Stderr, "vassald:", n)
	}
	if _, err := os.Stdout.Write(configs.Block(settings)); err != nil {
		return fmt.Errorf("cannot print the settings: %w", err)
	}
	if _, _, err := configs.ParseVassal(settings); err != nil {
		fmt.Fprintln(os.Stderr, "vassald: would not run this:", err)
	}
	return nil
}

// takeResolve removes our own --resolve, the one without a value. uWSGI's --resolve NAME=HOST stays.
func takeResolve(args []string) ([]string, bool) {
	for i, arg := range args {
		if arg == "--resolve" && (i+1 == len(args) || strings.HasPrefix(args[i+1], "-") || strings.IndexByte(args[i+1], '=') < 0) {
			return append(append([]string(nil), args[:i]...), args[i+1:]...), true
		}
	}
	return args, false
}
