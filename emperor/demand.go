package emperor

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/shell"
	"github.com/emperord/emperord/sockets"
)

// A demand is how the emperor knows the socket of a vassal that is on demand without reading the vassal's file. The zero value:
// it does not.
type demand struct {
	address string
	option  string // that has named it
}

// maxDemand bounds, in bytes, what a file or a command may say where the name of a socket is wanted.
const maxDemand = 1 << 10

// demandMode is the mode of such a socket where the vassal's file names none, as in uWSGI.
const demandMode fs.FileMode = 0o666

// demanded reads the name of a socket. What is no address is not repeated: it may be a line of a file that whoever has put a
// link there must not see.
func demanded(text, option string) (demand, error) {
	line := strings.TrimRight(text, " \t\r\n")
	address, err := sockets.ParseAddress(line)
	switch {
	case line == "":
		return demand{}, refuse("%s: it is empty; write the path of a socket, such as /run/uwsgi/shop.sock", option)
	case err != nil, address.Kind == sockets.Unix && !filepath.IsAbs(address.Path), address.Kind == sockets.TCP && address.Port == 0:
		return demand{}, refuse("%s: what it says is not the address of a socket; write one line with the absolute path of a socket, host:port or @name", option)
	}
	return demand{address.String(), option}, nil
}

// demandFile reads the file beside a vassal file that holds the name of its socket. found is false where there is none. In tyrant
// mode it counts only if nobody but root, the vassal's user and the owner of the source can have put it there, and if that user
// may read it.
func (d *directory) demandFile(path, base, option string, owner sockets.Identity, tyrant bool) (found demand, err error) {
	var way trail
	var f *os.File
	if tyrant {
		way, err = follow(path)
		f = way.file
	} else {
		f, err = os.OpenFile(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return demand{}, nil
	}
	if err != nil {
		return demand{}, fmt.Errorf("cannot read the name of the socket: %w", err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return demand{}, fmt.Errorf("cannot look at %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return demand{}, refuse("%s is not a regular file", path)
	}
	if tyrant {
		trusted := []int{0, owner.UID}
		var source unix.Stat_t
		if err := unix.Stat(base, &source); err == nil {
			trusted = append(trusted, int(source.Uid))
		}
		_, moved := stranger(way.movers, trusted...)
		writable := st.Mode&0o002 != 0 || st.Mode&0o020 != 0 && st.Gid != 0 && int(st.Gid) != owner.GID
		if moved || writable || int(st.Uid) != 0 && int(st.Uid) != owner.UID {
			return demand{}, refuse("cannot use %s: others than root and %s could have written it; run: chown %s %[4]s && chmod 644 %[4]s", path, owner.Name, owner.Name, shell.Word(path))
		}
		if !mayRead(owner, &st) && way.visited > 0 { // a chmod would open what the link leads to
			return demand{}, refuse("cannot use %s: on the way is a link that leads to a file that %s may not read; put a file with the name of the socket in its place", path, owner.Name)
		}
		if !mayRead(owner, &st) {
			return demand{}, refuse("cannot use %s: %s may not read it; run: chmod o+r %[1]s", path, owner.Name)
		}
	}
	text, err := io.ReadAll(io.LimitReader(f, maxDemand))
	if err != nil {
		return demand{}, fmt.Errorf("cannot read the name of the socket: %w", err)
	}
	return demanded(string(text), option+": "+path)
}

// mayRead tells whether a user may read a file by its mode.
func mayRead(who sockets.Identity, st *unix.Stat_t) bool {
	readable := *st
	readable.Mode = st.Mode >> 2 // the bits for running stand where those for reading stood
	return mayExecute(who, &readable)
}

// name finds out the name of the socket of a vassal on demand, and goes on. beside is what the file beside the vassal's says.
func (e *Emperor) name(v *vassal, a *attempt, j judgement, beside demand) error {
	a.judged, a.demand = j, beside
	switch {
	case beside.address != "":
	case e.c.OnDemandDirectory != "":
		const option = "emperor-on-demand-directory"
		address, err := sockets.ParseAddress(filepath.Join(e.c.OnDemandDirectory, vassalStem(v.name)+".socket"))
		if err != nil {
			return refuse("%s: %w", option, err)
		}
		a.demand = demand{address.String(), option}
	case e.c.OnDemandExec != "":
		return e.askForName(v, a)
	}
	return e.named(v, a)
}

// askForName runs the operator's command with the name of the vassal as its last argument: with our own rights, because it
// is the operator's, and with no word of a tenant's for a shell to read.
func (e *Emperor) askForName(v *vassal, a *attempt) error {
	if strings.HasPrefix(v.name, "-") {
		return refuse("cannot run %q: emperor-on-demand-exec would take its name for an option of the command; rename it", v.path)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return fmt.Errorf("cannot open %s: %w", os.DevNull, err)
	}
	defer null.Close()
	if a.output, err = newOutput(v.name, os.Geteuid(), e.sink, &v.tail, &v.may, a.id); err != nil {
		return fmt.Errorf("cannot make a pipe for the output of emperor-on-demand-exec: %w", err)
	}
	answer, write, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("cannot make a pipe for the answer of emperor-on-demand-exec: %w", err)
	}
	defer write.Close()
	a.who = e.directory.identify(os.Geteuid(), os.Getegid(), false)
	pid, err := children.Start(children.Spec{
		Path: "/bin/sh", Args: []string{"/bin/sh", "-c", e.c.OnDemandExec + ` "$1"`, "emperor-on-demand-exec", v.name},
		Env: environment(e.directory, e.o.Env, nil), Dir: v.dir,
		Files: []uintptr{null.Fd(), write.Fd(), a.output.write.Fd()}, Attr: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		answer.Close()
		return fmt.Errorf("emperor-on-demand-exec: %w", err)
	}
	a.resolver, a.reply, a.naming = pid, answer, true
	e.processes[pid] = process{v: v, a: a, resolver: true}
	e.async(func() func() {
		defer answer.Close()
		text, err := io.ReadAll(io.LimitReader(answer, maxDemand)) // discard ends it
		return func() {
			a.said, a.answered, a.done = string(text), err, true
			e.nameSaid(v, a)
		}
	})
	return nil
}

// nameSaid goes on when the command has both answered and ended. One that prints nothing has no name for this vassal.
func (e *Emperor) nameSaid(v *vassal, a *attempt) {
	if v.attempts[a.id] != a || !a.done || a.ended == nil {
		return
	}
	const option = "emperor-on-demand-exec"
	ended, err := a.ended, a.answered
	a.naming, a.done, a.ended, a.answered, a.reply = false, false, nil, nil, nil
	switch {
	case err != nil:
		err = fmt.Errorf("%s: cannot read what it says: %w", option, err)
	case !ended.Clean():
		err = fmt.Errorf("%s: it ended with %s", option, ended)
		if last := a.output.lastLine(); last != "" {
			err = fmt.Errorf("%w; its last words: %q", err, last)
		}
	case strings.TrimSpace(a.said) != "":
		a.demand, err = demanded(a.said, option)
	}
	a.output.abandon(remnantMercy)
	a.output = nil
	if err == nil {
		err = e.named(v, a)
	}
	if err != nil {
		e.prepared(v, a, err)
	}
}

// named goes on when the name of the socket is known, or is not to be known without reading the file. A vassal that nobody
// wants yet needs no more than its socket.
func (e *Emperor) named(v *vassal, a *attempt) error {
	if a.demand.address == "" || a.asked {
		return e.resolve(v, a, a.judged)
	}
	a.file.Close()
	a.file = nil
	a.who, a.trusted, a.rests = a.judged.owner, a.judged.trusted, true
	mode := demandMode
	r := &configs.Resolution{Version: 1, Sockets: []configs.SocketWish{{Protocol: "uwsgi", Address: a.demand.address, Mode: &mode, Place: configs.Place{File: a.demand.option}}}}
	a.answer = r
	if err := e.claim(v, a, r.Sockets); err != nil {
		return err
	}
	e.bind(v, a, r)
	return nil
}

// arguments are what the resolver of a vassal on demand is told beside the usual: its socket, which its file does not have to name.
func (d demand) arguments() []string {
	if d.address == "" {
		return nil
	}
	return []string{"--uwsgi-socket", d.address}
}

// meet gives the socket of a vassal on demand its usual mode and says who wants it, in what the resolver has answered.
func (d demand) meet(r *configs.Resolution) error {
	if d.address == "" {
		return nil
	}
	for i := range r.Sockets {
		if w := &r.Sockets[i]; w.Address == d.address {
			if w.Mode == nil {
				mode := demandMode
				w.Mode = &mode
			}
			w.Place = configs.Place{File: d.option}
			return nil
		}
	}
	return refuse("%s: the vassal's file makes another address of %s; remove abstract-socket from it", d.option, d.address)
}
