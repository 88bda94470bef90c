package vassal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/protocol/control"
	"github.com/emperord/emperord/protocol/pipe"
	"github.com/emperord/emperord/vassal/hosts"
)

// A launcher knows everything that starting a host takes.
type launcher struct {
	app       *application
	name      string   // the vassal's name
	env       []string // vassald's environment
	dir       string   // vassald's working folder
	listeners []*os.File
	reports   chan<- report
	output    *logFile // where standard output and error of the application go; nil: where ours go
}

// start starts a host and orders it to load the application.
func (l *launcher) start() (*host, error) {
	dir := l.folder()
	path, _ := lookup(l.env, "PATH")
	program, err := interpreter(l.app, path, dir)
	if err != nil {
		return nil, err
	}
	load, err := control.Encode(l.load(dir))
	if err != nil {
		return nil, err
	}

	var opened []int // to be closed when the host has its own copies, or when something has failed
	defer func() {
		for _, fd := range opened {
			_ = unix.Close(fd)
		}
	}()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot make the control socket: %w", err)
	}
	ours := os.NewFile(uintptr(pair[0]), "control socket")
	opened = append(opened, pair[1])
	files := []uintptr{0, 1, 2}
	if l.output != nil {
		files[1], files[2] = uintptr(l.output.write), uintptr(l.output.write)
	}
	for _, f := range l.listeners {
		files = append(files, f.Fd())
	}
	files = append(files, uintptr(pair[1]))

	h := &host{names: l.app.names(), control: ours, workers: make([]worker, l.app.Processes), born: time.Now()}
	boardFD, err := memfd("scoreboard", nil, l.app.Processes*control.SlotSize)
	if err == nil {
		opened = append(opened, boardFD)
		h.memory, err = unix.Mmap(boardFD, 0, l.app.Processes*control.SlotSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err == nil {
		h.board, err = control.NewScoreboard(h.memory)
	}
	if err != nil {
		h.release()
		return nil, fmt.Errorf("cannot make the scoreboard: %w", err)
	}
	files = append(files, uintptr(boardFD))
	for _, text := range [][]byte{hosts.PythonModules(versionOf(program)), hosts.PythonBoot()} {
		fd, err := memfd("python-host", text, len(text))
		if err != nil {
			h.release()
			return nil, fmt.Errorf("cannot hand over the host program: %w", err)
		}
		opened = append(opened, fd)
		files = append(files, uintptr(fd))
	}

	h.pid, err = children.Start(children.Spec{
		Path:  program,
		Args:  nameRoom(l.app.names(), l.app.Processes, []string{program, "/proc/self/fd/" + strconv.Itoa(len(files)-1), l.name}),
		Env:   l.environment(),
		Dir:   dir,
		Files: files,
		// SIGIO ends an interpreter that begins, has a host that loads end what the application has started, and one that
		// serves finish what is under way.
		Attr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGIO},
	})
	if err != nil {
		h.release()
		return nil, l.explain(err, program, dir)
	}
	if _, err := ours.Write(load); err != nil {
		_ = syscall.Kill(h.pid, syscall.SIGKILL) // our own child, not reaped yet
		h.release()
		return nil, fmt.Errorf("cannot send the host its orders: %w", err)
	}
	h.listen(l.reports)
	return h, nil
}

// folder is where the host starts: chdir, seen from the folder where vassald was started.
func (l *launcher) folder() string {
	if l.app.Chdir == "" || filepath.IsAbs(l.app.Chdir) {
		return first(l.app.Chdir, l.dir)
	}
	return filepath.Join(l.dir, l.app.Chdir)
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// load is the first order for the host.
func (l *launcher) load(dir string) control.Load {
	a := l.app
	o := control.Load{
		Processes: a.Processes, Module: a.Module, File: a.File, Callable: a.Callable, Path: []string{}, Chdir2: a.Chdir2,
		Timeout: a.SockTimeout.Milliseconds(), Lazy: a.LazyApps, Log: !a.DisableLogging, Buffer: a.BufferSize, Listeners: []int{}, Options: []control.Option{},
		LimitAS: int64(min(a.LimitAS, 1<<42)) << 20, LimitNproc: a.LimitNproc, Name: shownName(a.names().OfOther("uWSGI host")),
	}
	for i := range l.listeners {
		o.Listeners = append(o.Listeners, pipe.FirstListener+i)
	}
	for _, pattern := range a.Path {
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(dir, pattern)
		}
		if matches, _ := filepath.Glob(pattern); len(matches) > 0 {
			o.Path = append(o.Path, matches...)
		} else {
			o.Path = append(o.Path, pattern)
		}
	}
	for _, s := range l.app.settings {
		if s.Unlisted {
			continue
		}
		o.Options = append(o.Options, control.Option{Key: s.Key, Value: s.Value, Bare: s.Bare})
	}
	return o
}

// environment is the host's: vassald's own without what is between vassald and the emperor, changed by env and unenv.
func (l *launcher) environment() []string {
	env := without(l.env, append([]string{pipe.VassalVariable, hosts.VassaldVariable}, private...)...)
	env = append(env, pipe.VassalVariable+"="+l.name, hosts.VassaldVariable+"="+strconv.Itoa(os.Getpid()))
	for _, c := range l.app.EnvChanges {
		env = without(env, c.Name)
		if !c.Remove {
			env = append(env, c.Name+"="+c.Value)
		}
	}
	return env
}

// explain finds out which step of a failed start was at fault; the kernel does not say.
func (l *launcher) explain(err error, program, dir string) error {
	info, failure := os.Stat(dir)
	if failure == nil && !info.IsDir() {
		failure = syscall.ENOTDIR
	}
	if failure == nil && unix.Access(dir, unix.X_OK) != nil {
		failure = syscall.EACCES
	}
	if failure == nil {
		return explainProgram(err, program)
	}
	var pe *fs.PathError
	if errors.As(failure, &pe) {
		failure = pe.Err
	}
	where := l.app.place("chdir")
	if where != "" {
		where += ": "
	}
	remedy := "make the folder, or correct chdir"
	if errors.Is(failure, syscall.EACCES) {
		remedy = fmt.Sprintf("let uid %d enter it (namei -l %s shows which folder is in the way)", os.Geteuid(), dir)
	}
	return fmt.Errorf("%scannot enter the folder %s: %w; %s", where, dir, failure, remedy)
}

// explainProgram says what to do when the kernel does not fork, or does not run a program.
func explainProgram(err error, program string) error {
	switch none := make([]byte, 0); {
	case errors.Is(err, syscall.EAGAIN):
		return fmt.Errorf("%w; uid %d has as many processes and threads as a limit allows: see them with ps -L -U %[2]d; the limits are emperor-pids-max and emperor-limit = nproc=NUMBER of the emperor", err, os.Geteuid())
	case errors.Is(err, syscall.EPERM):
		if size, no := unix.Getxattr(program, "security.capability", none); no == nil && size > 0 {
			return fmt.Errorf("%w; it has file capabilities (getcap %s) and the kernel does not run it without them: setcap -r %[2]s, or name them in the emperor's emperor-cap", err, program)
		}
	}
	return err
}

// versionOf guesses an interpreter's version from the name of its file: python3 is a link to python3.11.
func versionOf(program string) string {
	if target, err := filepath.EvalSymlinks(program); err == nil {
		program = target
	}
	return strings.TrimPrefix(filepath.Base(program), "python")
}

// memfd makes an anonymous file with a text, or with zeros where there is none.
func memfd(name string, text []byte, size int) (int, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, err
	}
	if text == nil {
		err = unix.Ftruncate(fd, int64(size))
		if err == nil { // an application that cut it short would have us read where nothing is: SIGBUS
			_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
		}
	} else {
		_, err = unix.Write(fd, text)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// oneLine makes a cause from several lines fit for one.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
