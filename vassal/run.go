package vassal

import (
	"context"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/protocol/pipe"
)

// Run does what the command line says. It returns when the application and everything of it has ended: nil if that was
// asked for, a *Refusal where command line or configuration are at fault.
func Run(ctx context.Context, o Options) error {
	args, help := take(o.Args, "--help", "-h")
	if len(args) == 1 && args[0] == "--resolve-many" {
		return resolveMany(ctx, o)
	}
	args, version := take(args, "--version")
	args, resolving := takeResolve(args)
	o.Args = args
	switch {
	case help:
		text, err := configs.Help(usage, configs.ByVassal|configs.ByLanguage|configs.ByReader, args)
		if err != nil {
			return &Refusal{err.Error()}
		}
		fmt.Print(text)
		return nil
	case version:
		fmt.Println("vassald", Version)
		return nil
	}
	if err := o.open(); err != nil {
		return err
	}
	switch {
	case !resolving && !hasEmperor(o.Env) && configs.AsksToShow(o.Args, o.Env):
		return show(ctx, o)
	case len(o.Args) == 0:
		return &Refusal{"vassald needs a configuration: vassald --ini FILE (see vassald --help)"}
	case resolving:
		r, err := resolveSwept(ctx, o)
		if err != nil {
			return err
		}
		return r.Encode(os.Stdout)
	}
	in, err := inherit(o.Env)
	if err != nil {
		return err
	}
	if o, err = in.standard(o); err != nil {
		return err
	}
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) // what our parent left open is not the application's; kernels before 5.9 cannot
	if err := children.BecomeSubreaper(); err != nil {
		return err
	}
	return serve(ctx, o, in)
}

// lastResort is how much longer than its requests may take a vassald whose emperor has gone may live, whatever holds it up.
const lastResort = 3 * time.Second

// serve runs the application.
func serve(ctx context.Context, o Options, in inheritance) error {
	s := &supervisor{in: in, mail: make(chan report)}
	s.name = first(in.name, fileName(o.Args))
	s.journal = journal{os.Stderr, s.name}
	if in.settings != nil {
		s.journal.vassal = ""
	}
	s.env, s.dir, s.reports = o.Env, o.Dir, s.mail
	if err := s.prepare(ctx, o); err != nil {
		s.notice(err.Error())
		return s.mine(err)
	}
	o.Title.Set(s.app.names().Of("uWSGI master"))
	if s.app.Umask != nil {
		syscall.Umask(int(s.app.Umask.Perm()))
	}
	s.openLog()
	defer s.closeLogs()
	var reading sync.WaitGroup
	if in.pipe != nil {
		s.words = make(chan pipe.Word)
		limit := lastResort
		if in.kept {
			limit += s.app.Mercy
		}
		ended := make(chan struct{})
		reading.Add(1)
		go func() {
			defer reading.Done()
			attend(in.pipe, s.words, ended)
			select {
			case <-ended:
			case <-time.After(limit): // the loop hangs, in a file system perhaps; our host sees that we are gone
				os.Exit(1)
			}
		}()
		defer reading.Wait()
		defer in.pipe.Close()
		defer close(ended)
	}
	defer s.removePidfiles()
	return s.mine(s.run(ctx))
}

// mine puts the vassal's name before an error that does not begin with it.
func (s *supervisor) mine(err error) error {
	if err == nil || strings.HasPrefix(err.Error(), s.name+":") {
		return err
	}
	return fmt.Errorf("%s: %w", s.name, err)
}

// prepare finds out what to run, and on which listeners.
func (s *supervisor) prepare(ctx context.Context, o Options) error {
	if s.in.settings != nil {
		defer s.in.settings.Close()
		r, err := configs.DecodeResolution(s.in.settings)
		if err != nil {
			return err
		}
		if s.app, err = understand(r); err != nil {
			return err
		}
		if s.app.emperor {
			return s.becomeEmperor(o)
		}
		if reinforces := s.app.Reinforcement && len(s.app.Sockets) == 0 && len(s.in.listeners) > 0; !reinforces && len(s.app.Sockets) != len(s.in.listeners) {
			return &Refusal{fmt.Sprintf("the configuration names %d sockets, and %d listeners were handed over", len(s.app.Sockets), len(s.in.listeners))}
		}
		s.listeners = s.in.listeners
		return nil
	}
	s.reread = func(ctx context.Context, ask func() error) (*application, error) {
		r, err := resolve(ctx, o, false, s.took(), ask)
		if err != nil {
			return nil, err
		}
		return understand(r)
	}
	var err error
	if s.app, err = s.reread(ctx, nil); err != nil {
		return err
	}
	if s.app.emperor {
		return s.becomeEmperor(o)
	}
	for _, n := range s.app.notices {
		s.say("%s", n)
	}
	if os.Geteuid() == 0 && (s.app.UID != "" || s.app.GID != "") {
		return &Refusal{fmt.Sprintf("%svassald keeps the rights it was started with and cannot become uid %s, gid %s; run: emperord --emperor %s",
			prefix(s.app.place("uid", "gid")), first(s.app.UID, "(not set)"), first(s.app.GID, "(not set)"), absolute(o))}
	}
	if len(s.app.Sockets) == 0 { // nobody hands it any
		return &Refusal{prefix(s.app.place("zerg")) + "zerg: it has no sockets of its own, and reinforces a vassal of emperord only; write vassal-sos and a section zerg into the vassal's file, and emperor-broodlord into the emperor's"}
	}
	if s.bound, err = bind(s.app, s.in.socket, s.journal); err != nil {
		return err
	}
	if s.in.activated != nil {
		s.listeners = append(s.listeners, s.in.activated)
	}
	for _, l := range s.bound {
		s.listeners = append(s.listeners, l.File)
	}
	return nil
}

// attend hands the emperor's words over, and closes words when the emperor has gone.
func attend(from *os.File, words chan<- pipe.Word, ended <-chan struct{}) {
	defer close(words)
	var buffer [64]byte
	for {
		n, err := from.Read(buffer[:])
		if err != nil || n == 0 {
			return
		}
		for _, b := range buffer[:n] {
			select {
			case words <- pipe.Word(b):
			case <-ended:
				return
			}
		}
	}
}
