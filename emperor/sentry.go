package emperor

import (
	"context"
	"encoding/binary"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/sockets"
)

// A sentry sees at once that the file of a socket was removed, replaced or given other rights: its own inotify instance
// watches the sockets themselves, not their folders, where a tenant could do anything any number of times. Each watch
// gives one event and is set again by the slow look, every emperor-freq. So a tenant who changes its sockets without end
// costs no more than one event of each in that time; and where inotify fails or sees nothing (a folder that was moved, a
// network mount) the slow look finds out.
type sentry struct {
	inotify *os.File // nil: only the slow look
	fd      int
	tell    func(watches []int)
}

// sentryPace is how long events may gather before they are read.
const sentryPace = 20 * time.Millisecond

func newSentry(tell func(watches []int)) (*sentry, error) {
	s := &sentry{fd: -1, tell: tell}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return s, err
	}
	s.fd, s.inotify = fd, os.NewFile(uintptr(fd), "inotify")
	return s, nil
}

// run reads events until ctx ends.
func (s *sentry) run(ctx context.Context) {
	if s.inotify == nil {
		return
	}
	defer context.AfterFunc(ctx, func() { _ = s.inotify.SetReadDeadline(time.Now()) })()
	buf := make([]byte, 16<<10)
	for {
		n, err := s.inotify.Read(buf)
		if err != nil {
			return
		}
		var watches []int
		for rest := buf[:n]; len(rest) >= unix.SizeofInotifyEvent; {
			wd, mask := int32(binary.NativeEndian.Uint32(rest)), binary.NativeEndian.Uint32(rest[4:])
			if mask&unix.IN_IGNORED == 0 { // an overflow has the number -1, which is nobody's; the slow look follows
				watches = append(watches, int(wd))
			}
			size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(rest[12:]))
			rest = rest[min(size, len(rest)):]
		}
		if len(watches) > 0 {
			s.tell(watches)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(sentryPace):
		}
	}
}

// startSentry begins to look after the files of the sockets.
func (e *Emperor) startSentry(ctx context.Context) {
	s, err := newSentry(func(watches []int) {
		e.tell(func() { e.alarmed(watches) })
	})
	if err != nil {
		e.log.Warn("cannot watch sockets; whether they are still there is looked at every "+e.c.Freq.String(), zap.Error(err))
	}
	e.sentry = s
	e.helpers.Go(func() {
		s.run(ctx)
		if s.inotify != nil {
			<-e.closing // until then the loop may set watches
			s.inotify.Close()
		}
	})
	e.helpers.Go(func() {
		tick := time.NewTicker(max(e.c.Freq, 100*time.Millisecond))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				e.tell(e.inspectAll)
			}
		}
	})
}

// alarmed looks at the sockets whose watches gave an event.
func (e *Emperor) alarmed(watches []int) {
	for _, wd := range watches {
		if v := e.watches[wd]; v != nil {
			delete(e.watches, wd)
			v.watched = slices.DeleteFunc(v.watched, func(w watched) bool { return w.number == wd })
			e.inspect(v)
		}
	}
}

// inspectAll is the slow look at every socket's file: those in folders of root's all at once, each of the others for
// itself, because its folder may hang.
func (e *Emperor) inspectAll() {
	var quick []inspection
	for _, v := range e.vassals {
		i, ok := e.inspection(v)
		switch {
		case !ok:
		case slices.ContainsFunc(i.files, func(f file) bool { return f.listener.InTenantsFolder() }):
			e.carryOut(i)
		default:
			quick = append(quick, i)
		}
	}
	if len(quick) > 0 {
		e.carryOut(quick...)
	}
}

// inspect looks at the files of what a vassal listens on.
func (e *Emperor) inspect(v *vassal) {
	if i, ok := e.inspection(v); ok {
		e.carryOut(i)
	}
}

// A watched listener has a watch that has given no event yet.
type watched struct {
	listener *sockets.Listener
	number   int
}

// An inspection is one look at the files of a vassal's sockets.
type inspection struct {
	v     *vassal
	files []file
}

// A file is that of one socket, and what was found out about it.
type file struct {
	listener    *sockets.Listener
	arm         bool // it wants a watch
	watch       int  // its number; 0: none
	lost, drift string
}

// inspection says what to look at; false: nothing, or it is being looked at already.
func (e *Emperor) inspection(v *vassal) (inspection, bool) {
	e.unwatch(v)
	if v.leader != "" || v.inspecting || v.life.State != Accepting && v.life.State != Waiting || len(v.listeners) == 0 {
		return inspection{}, false
	}
	v.inspecting = true
	arm := e.sentry.fd >= 0 && time.Since(v.armed) >= e.c.Freq
	if arm {
		v.armed = time.Now()
	}
	i := inspection{v: v}
	for _, l := range v.listeners {
		has := slices.ContainsFunc(v.watched, func(w watched) bool { return w.listener == l })
		i.files = append(i.files, file{listener: l, arm: arm && !has})
	}
	return i, true
}

// carryOut looks, beside the loop.
func (e *Emperor) carryOut(list ...inspection) {
	inotify := e.sentry.fd
	e.async(func() func() {
		for _, i := range list {
			for n := range i.files {
				f := &i.files[n]
				if f.arm {
					f.watch, _ = f.listener.Watch(inotify) // where it fails, the slow look is what is left
				}
				f.lost, f.drift = f.listener.Condition() // after the watch: nothing is missed in between
			}
		}
		return func() {
			for _, i := range list {
				e.inspected(i.v, i.files)
			}
		}
	})
}

// inspected takes what was found out about a vassal's sockets.
func (e *Emperor) inspected(v *vassal, files []file) {
	v.inspecting = false
	for _, f := range files {
		if f.watch > 0 {
			e.watches[f.watch] = v
			v.watched = append(v.watched, watched{f.listener, f.watch})
		}
	}
	e.unwatch(v)
	if e.vassals[v.name] != v || v.life.State != Accepting && v.life.State != Waiting {
		return
	}
	drift := ""
	for _, f := range files {
		switch {
		case !slices.Contains(v.listeners, f.listener):
		case f.lost != "":
			v.lost = f.listener.Address.String() + ": " + f.lost
			e.step(v, SocketLost{})
			return
		case f.drift != "":
			drift = f.listener.Address.String() + " has " + f.drift
		}
	}
	if drift != "" && drift != v.drift {
		e.about(v).Warn("a socket's owner has changed its rights; they stay until the next reload", zap.String(fieldVassal, v.name), zap.Uint32(fieldUID, v.uid), zap.String(fieldReason, drift))
	}
	v.drift = drift
}

// unwatch forgets the watches of listeners that the vassal has no more, or all when it is gone.
func (e *Emperor) unwatch(v *vassal) {
	v.watched = slices.DeleteFunc(v.watched, func(w watched) bool {
		if e.vassals[v.name] == v && slices.Contains(v.listeners, w.listener) {
			return false
		}
		if e.watches[w.number] == v {
			delete(e.watches, w.number)
			_, _ = unix.InotifyRmWatch(e.sentry.fd, uint32(w.number)) // it may have gone with its file
		}
		return true
	})
}
