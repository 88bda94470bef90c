package emperor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/guard"
	"github.com/emperord/emperord/protocol/pipe"
	"github.com/emperord/emperord/rights"
	"github.com/emperord/emperord/shell"
	"github.com/emperord/emperord/sockets"
)

// runAs decides who the vassal's processes are, from the file's owner and from what the file says.
func (e *Emperor) runAs(owner sockets.Identity, trusted bool, r *configs.Resolution) (sockets.Identity, []string, error) {
	if e.tyrant {
		var notices []string
		if r.UID != "" {
			if uid, _, err := e.directory.userID(r.UID); err != nil || uid != owner.UID {
				notices = append(notices, fmt.Sprintf("uid = %s has no effect: in tyrant mode the application runs as the file's owner, %s", r.UID, owner.Name))
			}
		}
		if r.GID != "" {
			if gid, err := e.directory.groupID(r.GID); err != nil || gid != owner.GID {
				notices = append(notices, fmt.Sprintf("gid = %s has no effect: in tyrant mode the application runs with the file's group, gid %d", r.GID, owner.GID))
			}
		}
		return owner, notices, nil
	}
	as := e.directory.identify(os.Geteuid(), os.Getegid(), true)
	if !e.powers.changeUsers() {
		return as, nil, nil
	}
	if r.UID != "" {
		uid, gid, err := e.directory.userID(r.UID)
		if err != nil {
			return as, nil, fmt.Errorf("uid = %s: %w", r.UID, err)
		}
		as.UID, as.GID = uid, gid
	}
	if r.GID != "" {
		gid, err := e.directory.groupID(r.GID)
		if err != nil {
			return as, nil, fmt.Errorf("gid = %s: %w", r.GID, err)
		}
		as.GID = gid
	}
	as = e.directory.identify(as.UID, as.GID, true)
	switch {
	case as.UID == 0 && os.Geteuid() != 0:
		return as, nil, refuse("cannot run the vassal as root: emperord has given up root itself; write uid and gid of an own user into the file")
	case trusted && as.UID == 0:
		return as, []string{"THE APPLICATION RUNS AS ROOT: whoever finds a hole in it owns this machine; write uid = USER and gid = GROUP into its file"}, nil
	case trusted || as.UID == owner.UID:
		return as, nil, nil
	case as.UID == 0:
		return as, nil, refuse("cannot run the vassal as root: others than root may write its file (owner %s); write uid = %s into it, or start emperord with --emperor-tyrant", owner.Name, owner.Name)
	}
	return as, nil, refuse("cannot run the vassal as %s: its file belongs to %s, or others may write it; start emperord with --emperor-tyrant, or let only root write the file", as.Name, owner.Name)
}

func (e *Emperor) vassalEnv(v *vassal, a *attempt, extra ...string) []string {
	var as *sockets.Identity
	if a.change {
		as = &a.who
	}
	return environment(e.directory, e.kept(), as, append(extra, pipe.VassalVariable+"="+filepath.Base(v.name))...)
}

// start runs a program of the vassal in a session of its own, with the rights of a.who. Standard input is /dev/null,
// standard output and error are as given, and files stand from descriptor 3 on.
func (e *Emperor) start(v *vassal, a *attempt, program string, args, env []string, death syscall.Signal, stdout, stderr *os.File, files ...*os.File) (int, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, fmt.Errorf("cannot open %s: %w", os.DevNull, err)
	}
	defer null.Close()
	fds := []uintptr{null.Fd(), stdout.Fd(), stderr.Fd()}
	if i := slices.IndexFunc(a.listeners, func(l *sockets.Listener) bool { return l.Address.String() == a.demand.address }); a.foreign && i >= 0 {
		fds[0] = a.listeners[i].File.Fd() // where a real uwsgi expects the socket that its file does not name
	}
	for _, f := range files {
		fds = append(fds, f.Fd())
	}
	a.mark = newMark()
	env = append(slices.Clip(env), guard.Variable+"="+guard.MarkText(a.mark))
	leaf, err := e.lodge(v, a)
	if err != nil {
		return 0, err
	}
	restore := func() {}
	if program == e.vassald {
		env, restore = children.Lazily(env)
	}
	pid, later, err := rights.Start(rights.Spec{
		Path: program, Args: args, Env: env, Dir: a.folder(v), Files: fds, Rights: e.rightsOf(a),
		Setsid: true, Death: death, Namespaces: e.c.Namespaces,
		Cgroup: leaf.Folder(), // born in its group: no moment without limits
	})
	restore()
	err = e.lodged(v, leaf, pid, err)
	why := func(err error) error {
		if errors.Is(err, syscall.EACCES) {
			if a.wrapper != "" || a.chdir != "" { // a tenant's path may hang
				return fmt.Errorf("%w as %s", err, a.who.Name)
			}
			return fmt.Errorf("%w as %s%s", err, a.who.Name, blame(a.who, program, a.folder(v)))
		}
		return err
	}
	if err != nil {
		return 0, why(err)
	}
	e.guardLeader(pid, a, 0)
	if later != nil {
		e.await(a, pid, func() error { return why(later.Wait()) })
	}
	return pid, nil
}

// await ends a process that does not come to run its program. A tenant may have a hand in that, so the loop does not wait.
func (e *Emperor) await(a *attempt, pid int, wait func() error) {
	e.async(func() func() {
		err := wait()
		if err == nil {
			return nil
		}
		return func() {
			if p, runs := e.processes[pid]; runs && p.a == a { // not reaped yet
				a.late = err
				_ = e.signal(pid, a.who.UID, syscall.SIGKILL)
				e.killGroup(pid)
			}
		}
	})
}

// blame finds the folder that who may not enter on the way to one of the paths.
func blame(who sockets.Identity, paths ...string) string {
	for _, path := range paths {
		at := "/"
		for _, part := range strings.Split(filepath.Clean(path), "/") {
			at = filepath.Join(at, part)
			var st unix.Stat_t
			if err := unix.Stat(at, &st); err != nil {
				return fmt.Sprintf("; %s: %v", at, err)
			}
			if !mayExecute(who, &st) {
				return fmt.Sprintf("; %s may not enter or run %s (mode %04o, uid %d, gid %d): chmod o+x %s, or move what is needed elsewhere", who.Name, at, st.Mode&0o7777, st.Uid, st.Gid, shell.Word(at))
			}
		}
	}
	return ""
}

func mayExecute(who sockets.Identity, st *unix.Stat_t) bool {
	if who.UID == 0 {
		return st.Mode&0o111 != 0
	}
	if int(st.Uid) == who.UID {
		return st.Mode&0o100 != 0
	}
	for _, g := range append([]int{who.GID}, who.Groups...) {
		if int(st.Gid) == g {
			return st.Mode&0o010 != 0
		}
	}
	return st.Mode&0o001 != 0
}

// spawn starts the vassal itself.
func (e *Emperor) spawn(v *vassal, a *attempt) error {
	if a.output == nil { // a reader has read its file
		var err error
		if a.output, err = newOutput(v.name, a.who.UID, e.sink, &v.tail, &v.may, a.id); err != nil {
			return fmt.Errorf("cannot make a pipe for the vassal's output: %w", err)
		}
	}
	settings, err := settingsFile(a.document)
	if err != nil {
		return err
	}
	defer settings.Close()
	if a.board, err = boardFile(); err != nil {
		return err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot make the emperor pipe: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "vassal's end")
	defer theirs.Close()
	if err := unix.SetNonblock(pair[0], true); err != nil {
		unix.Close(pair[0])
		return fmt.Errorf("cannot use the emperor pipe: %w", err)
	}
	a.pipe = os.NewFile(uintptr(pair[0]), "emperor pipe")

	var files []*os.File
	for _, l := range a.listeners {
		files = append(files, l.File)
	}
	next := pipe.FirstListener + len(files)
	number := func(variable string, fd int) string { return variable + "=" + strconv.Itoa(fd) }
	env := e.vassalEnv(v, a,
		number(pipe.ListenersVariable, len(files)), number(pipe.SettingsVariable, next),
		number(pipe.BoardVariable, next+1), number(pipe.FDVariable, next+2))
	files = append(files, settings, a.board, theirs)
	if e.store.register != nil {
		env = append(env, pipe.KeptVariable+"=1")
	}

	a.since = time.Now()
	if err := e.startProgram(v, a, env, files); err != nil {
		return err
	}
	a.output.closeWrite()
	e.processes[a.pid] = process{v: v, a: a}
	v.dates.ran(a.since)
	e.listen(v, a)
	return nil
}

// leastBeat is how often a heartbeat counts.
const leastBeat = 500 * time.Millisecond

// listen takes the vassal's words. Each counts once, and those that may be repeated seldom: a vassal that shouts gets no more of the
// loop's time.
func (e *Emperor) listen(v *vassal, a *attempt) {
	f, ended := a.pipe, make(chan struct{})
	a.hearing = ended
	e.beside(func() func() {
		defer close(ended)
		buf := make([]byte, 512)
		heard, last := map[pipe.Word]bool{}, map[pipe.Word]time.Time{}
		for {
			n, err := f.Read(buf)
			for _, b := range buf[:n] {
				w := pipe.Word(b)
				switch w {
				case pipe.Spawned, pipe.Accepting, pipe.Loyal:
					if heard[w] {
						continue
					}
					heard[w] = true
				case pipe.Heartbeat, pipe.LetMeGo:
					if time.Since(last[w]) < leastBeat {
						continue
					}
					last[w] = time.Now()
				case pipe.Reinforcement:
					if time.Since(last[w]) < reinforceAgain/2 {
						continue
					}
					last[w] = time.Now()
				default:
					continue
				}
				e.tell(func() { e.heard(v, a, w) })
			}
			if err != nil {
				return nil
			}
			time.Sleep(gather) // one that shouts waits for us, not we for it
		}
	})
}

func (e *Emperor) heard(v *vassal, a *attempt, w pipe.Word) {
	if v.attempts[a.id] != a {
		return
	}
	now := time.Now()
	switch w {
	case pipe.Spawned:
		a.ready, v.dates.LastReady = true, now
	case pipe.Accepting:
		a.accepting, v.dates.LastAccepting = true, now
		e.step(v, Accepted{a.id, a.good()})
	case pipe.Loyal:
		a.loyal, v.dates.LastLoyal = true, now
		if v.life.Coming == a.id { // all that an emperor as a vassal, a real uwsgi, ever says
			e.step(v, Accepted{a.id, a.good()})
		}
	case pipe.LetMeGo:
		if v.leader != "" { // help that is not needed any more
			e.step(v, Gone{})
			return
		}
		e.step(v, LetGo{a.id})
	case pipe.Heartbeat:
		v.dates.LastHeartbeat = now
		e.step(v, Beat{a.id})
	case pipe.Reinforcement:
		e.reinforce(v, a)
	}
}
