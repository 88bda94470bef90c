package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/protocol/api"
	"github.com/emperord/emperord/shell"
	"github.com/emperord/emperord/sockets"
	"github.com/emperord/emperord/sockets/access"
)

// socket goes from the outside in: the way, the file, the listener, the answer.
func (x *Examiner) socket(ctx context.Context, s Socket, web access.User) []Finding {
	a, err := sockets.ParseAddress(s.Address)
	if err == nil && a.Kind == sockets.Unix && !filepath.IsAbs(a.Path) {
		err = fmt.Errorf("%s is a relative path: nginx needs the whole one", a.Path)
	}
	if err != nil {
		return []Finding{s.finding(BadAddress, "", "%v", err)}
	}
	if a.Kind != sockets.Unix {
		return x.listener(ctx, s, a)
	}
	list, there := x.way(s, a.Path, web)
	if other := elsewhere(s, a.Path, web); other != nil {
		list = append(list, *other)
	}
	if !there {
		return list
	}
	return append(list, x.listener(ctx, s, a)...)
}

// way examines the folders, and what is at the end of them. there is false if a connection makes no sense.
func (x *Examiner) way(s Socket, path string, web access.User) (list []Finding, there bool) {
	obstacles, err := access.Walk(web, path, access.Write)
	if err != nil {
		return []Finding{s.finding(BadAddress, "", "%v", err)}, false
	}
	there = true
	for _, o := range obstacles {
		f := Finding{Code: NoWay, Subject: s.subject(), Place: o.Path, Cause: o.Cause, Why: denied, Commands: o.Commands, Note: o.Note}
		switch {
		case o.Unseen:
			f.Code, f.Why, there = CannotLook, "", false
		case o.Missing:
			f, there = x.missing(s, path, o), false
		case o.Lacks == 0: // a circle, a file on the way
			f.Code, f.Why, there = MissingLink, "nginx answers 502: connect() to the socket failed", false
			f.Note = "correct the link, or the path in the application's file and in nginx's configuration"
		case o.Lacks == access.Write:
			continue // the socket itself, below
		default:
			if n, err := access.Look(o.Path); err == nil && n.UID == 0 && n.Kept(web, o.Path) {
				f.Commands, f.Note = nil, "no web server should get in there: put the socket below /run, in the application's file and in nginx's configuration"
			}
		}
		list = append(list, f)
	}
	if !there {
		return list, false
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return append(list, Finding{Code: CannotLook, Subject: s.subject(), Place: path, Cause: err.Error(), Note: "run it as root"}), false
	}
	n, err := access.Look(real)
	switch {
	case err != nil:
		return append(list, Finding{Code: CannotLook, Subject: s.subject(), Place: real, Cause: err.Error(), Note: "run it as root"}), false
	case n.Mode.Type() != fs.ModeSocket:
		return append(list, s.notSocket(real, n)), false
	}
	for _, o := range obstacles {
		if o.Lacks == access.Write && !o.Missing {
			list = append(list, x.closed(s, o, n, web))
		}
	}
	return list, true
}

// missing is a finding about a socket that nobody has made, or whose folder is not there.
func (x *Examiner) missing(s Socket, path string, o access.Obstacle) Finding {
	f := s.finding(SocketMissing, gone, "%s", o.Cause)
	f.Place = o.Path
	if strings.HasPrefix(o.Cause, "the link ") {
		f.Code = MissingLink
		f.Note = "let the link lead to the socket, or remove it"
		if v := x.vassal(s.Vassal); v != nil {
			f.Note += ": the emperor says of " + v.Name + " that it is " + string(v.State)
		}
		return f
	}
	if o.Path != filepath.Clean(path) {
		f.Code = FolderMissing
		f.Cause = fmt.Sprintf("the socket's folder is not there: %s is missing", o.Path)
	}
	v := x.vassal(s.Vassal)
	switch {
	case v != nil && (v.State == api.Accepting || v.State == api.Waiting):
		f.Note = "its vassal is " + inWords(v.State) + ": somebody has removed the socket file"
		f.Commands = []string{"emperorctl reload " + shell.Quote(v.Name)}
	case v != nil && v.State == api.Suspended:
		f.Cause += "; its vassal was stopped"
		f.Commands = []string{"emperorctl start " + shell.Quote(v.Name)}
	case v != nil:
		f.Cause += "; its vassal is " + inWords(v.State)
		if f.Note = v.Reason; f.Note == "" {
			f.Note = "see: emperorctl status"
		}
	case f.Code == FolderMissing:
		if f.Commands = s.makeFolder(filepath.Dir(path)); f.Commands == nil {
			f.Note = "put the socket below /run/uwsgi, in the application's file and in nginx's configuration: that folder is the system's"
			break
		}
		f.Note = "then start the application again; below /run a folder is gone after the next boot, unless a tmpfiles.d(5) file or emperord makes it"
	case s.File != "":
		f.Note = "nobody has made it: start the application, or look into its log why it ended"
	default:
		f.Note = "nobody has made it: start the application that nginx expects there, or correct the path in nginx's configuration"
	}
	return f
}

// makeFolder are the commands for a socket's folder.
func (s Socket) makeFolder(dir string) []string {
	if (access.Inode{}).Kept(access.User{UID: -1}, dir) {
		return nil
	}
	if s.Owner.Name == "" || s.Owner.UID == 0 {
		return []string{"install -d -m 755 " + shell.Quote(dir)}
	}
	return []string{fmt.Sprintf("install -d -o %d -g %d -m 755 %s", s.Owner.UID, s.Owner.GID, shell.Quote(dir))}
}

// notSocket is a finding about a file of another kind at the socket's path.
func (s Socket) notSocket(path string, n access.Inode) Finding {
	kind := "a regular file"
	switch {
	case n.Mode.IsDir():
		kind = "a folder"
	case n.Mode.Type() == fs.ModeNamedPipe:
		kind = "a FIFO"
	case n.Mode.Type()&fs.ModeDevice != 0:
		kind = "a device"
	}
	f := s.finding(NotASocket, refused, "%s is %s, no socket (%s)", path, kind, n)
	f.Place = path
	if n.Mode.IsDir() {
		f.Note = "name the socket in it, or another path, in the application's file and in nginx's configuration"
		return f
	}
	f.Commands = []string{fmt.Sprintf("mv -T -n %s %s", shell.Quote(path), shell.Quote(path+".not-a-socket"))}
	f.Note = "emperord does not remove what is no socket; once it is out of the way, start the application again"
	if s.File != "" {
		f.Commands = append(f.Commands, "touch "+shell.Quote(s.File))
		f.Note = "emperord does not remove what is no socket; the touch starts the application again"
	}
	return f
}

// elsewhere looks through the eyes of a running web server, which may have file systems of its own (mount_namespaces(7)).
func elsewhere(s Socket, path string, web access.User) *Finding {
	if web.PID == 0 {
		return nil
	}
	link := func(pid string) string { name, _ := os.Readlink("/proc/" + pid + "/ns/mnt"); return name }
	its := link(fmt.Sprint(web.PID))
	if its == "" || its == link("self") {
		return nil
	}
	// A link on the way begins at our "/", so what it leads to is looked up here, and then there.
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil
	}
	var here, there unix.Stat_t
	if unix.Stat(real, &here) != nil {
		return nil
	}
	err = unix.Stat(fmt.Sprintf("/proc/%d/root%s", web.PID, real), &there)
	if err == nil && here.Dev == there.Dev && here.Ino == there.Ino || errors.Is(err, unix.EACCES) {
		return nil
	}
	f := s.finding(MountOther, gone, "the web server (process %d) sees another %s than this shell: it has file systems of its own", web.PID, filepath.Dir(path))
	f.Place = path
	f.Note = "PrivateTmp=yes or ProtectHome=yes in its systemd unit do that: put the socket below /run, in the application's file and in nginx's configuration"
	return &f
}

// listener examines who listens and whether it answers.
func (x *Examiner) listener(ctx context.Context, s Socket, a sockets.Address) []Finding {
	v := x.vassal(s.Vassal)
	if !x.serving(s) {
		if f := x.leftOver(ctx, s, a, v); f != nil {
			return []Finding{*f}
		}
		if v.State == api.Waiting && v.Reason == "" { // on demand: our connection would start it, and so will the web server's
			return nil
		}
		return []Finding{notReady(s, v)}
	}
	p := x.probe(ctx, a)
	if p.err != nil {
		return x.noConnection(ctx, s, a, p.err)
	}
	var list []Finding
	who := listens(p.peer)
	if p.peer != nil && slices.Contains(x.PIDs, int(p.peer.Pid)) { // the emperor listens for its vassals, and answers for none
		who = s.subject()
	}
	if f := x.otherListener(s, v, p.peer); f != nil {
		list = append(list, *f)
	}
	switch p.answer {
	case pong:
	case closed:
		if p.peer != nil && strings.HasPrefix(command(int(p.peer.Pid)), "uwsgi") || s.Owner.Name == "" && p.peer == nil {
			break // a uWSGI without its plugin ping
		}
		f := s.finding(SpeaksOther, cut, "%s closes a uwsgi connection without an answer: it speaks another protocol, such as FastCGI", who)
		f.Note = "let nginx speak its protocol (fastcgi_pass, proxy_pass), or let it speak uwsgi"
		list = append(list, f)
	case spokeHTTP, lines:
		f := s.finding(SpeaksHTTP, "nginx answers 502 or 504: the server waits for the rest of a line, or answers 400, and no page comes", "%s does not answer uwsgi, and waits for more like an HTTP server", who)
		if p.answer == spokeHTTP {
			f.Cause = who + " answers uwsgi in HTTP"
		}
		f.Note = fmt.Sprintf("in nginx: proxy_pass http://%s; or let it speak uwsgi: socket = %s instead of http-socket", nginxName(a), a)
		list = append(list, f)
	case garbage:
		list = append(list, s.finding(SpeaksOther, cut, "%s answers a uwsgi ping with something else", who))
	case silence:
		if ctx.Err() != nil {
			return list
		}
		list = append(list, x.noAnswer(s, v, p.peer))
	}
	return list
}

// noAnswer is a finding about a listener that takes connections and says nothing.
func (x *Examiner) noAnswer(s Socket, v *api.Vassal, peer *unix.Ucred) Finding {
	who, first := listens(peer), 0
	switch {
	case peer != nil && !slices.Contains(x.PIDs, int(peer.Pid)):
		first = int(peer.Pid)
	case v != nil:
		who, first = s.subject(), v.PID
	}
	f := s.finding(NoAnswer, slow, "%s did not answer within %s", who, x.patience())
	if pids := stopped(first); len(pids) > 0 {
		f.Cause += ": its processes are stopped (SIGSTOP, SIGTSTP)"
		f.Commands = []string{"kill -CONT " + strings.Join(pids, " ")}
		f.Note = "somebody has stopped them: a debugger, Ctrl-Z, kill -STOP"
		return f
	}
	f.Note = "all its workers are busy or hang: see what they do (its log, top), and set harakiri = SECONDS and more processes in the application's file"
	return f
}

// nginxName is how nginx's proxy_pass writes an address.
func nginxName(a sockets.Address) string {
	if a.Kind == sockets.TCP {
		return a.String()
	}
	return "unix:" + a.String()
}

// notReady is a finding about a vassal that does not serve.
func notReady(s Socket, v *api.Vassal) Finding {
	f := s.finding(VassalNotReady, slow, "the socket waits for its vassal, which is %s", inWords(v.State))
	f.Note = v.Reason
	switch v.State {
	case api.Suspended:
		f.Commands = []string{"emperorctl start " + shell.Quote(v.Name)}
	case api.Starting, api.Resolving:
		if f.Note == "" {
			f.Note = "it has just been started: ask again"
			if age := time.Since(v.Since); age > slowStart {
				f.Note = fmt.Sprintf("it has been loading for %s: see what it does; emperorctl why %s", age.Round(time.Second), shell.Quote(v.Name))
			}
		}
	}
	return f
}

// slowStart is longer than most applications take to load.
const slowStart = 10 * time.Second

// inWords says a state as a sentence has it.
func inWords(s api.State) string {
	if s == api.Backoff {
		return "in backoff: it has failed, and is started again later"
	}
	return string(s)
}

// noConnection says why there is none.
func (x *Examiner) noConnection(ctx context.Context, s Socket, a sockets.Address, err error) []Finding {
	var timeout net.Error
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.Is(err, errNoTime):
		f := s.finding(CannotLook, "", "%s was not asked: others took all the time by not answering", a)
		f.Note = "ask for it alone: emperorctl doctor " + shell.Quote(a.String())
		return []Finding{f}
	case errors.Is(err, unix.EAGAIN):
		return []Finding{x.queueFull(s, a)}
	case errors.Is(err, unix.ECONNREFUSED):
		f := s.finding(NobodyListens, refused, "nobody listens on %s: who did has ended", a)
		if a.Kind == sockets.Unix {
			f.Cause = fmt.Sprintf("%s is there, and nobody listens on it: who made it has ended", a)
		}
		f.Note = "start the application again: it replaces the socket"
		if v := x.vassal(s.Vassal); v != nil && a.Kind == sockets.Unix {
			f.Commands = []string{"emperorctl reload " + shell.Quote(v.Name)}
		} else if s.File != "" && x.Asked {
			f.Commands = []string{"touch " + shell.Quote(s.File)}
		}
		return []Finding{f}
	case errors.Is(err, unix.EPROTOTYPE):
		return []Finding{s.finding(SpeaksOther, "nginx answers 502: connect() to the socket failed (91: Protocol wrong type for socket)", "%s is a datagram socket, such as a logger's", a)}
	case errors.Is(err, fs.ErrPermission):
		f := s.finding(CannotLook, "", "uid %d may not connect to %s, so nothing can be said of who listens", os.Geteuid(), a)
		f.Note = "run it as root"
		return []Finding{f}
	case errors.As(err, &timeout) && timeout.Timeout():
		f := s.finding(Unreachable, slow, "no connection to %s within %s", a, x.patience())
		f.Note = "a firewall drops the packets, or so many connections wait that the kernel takes no more: nft list ruleset; ss -ltn"
		return []Finding{f}
	}
	cause := err
	if op := new(net.OpError); errors.As(err, &op) {
		cause = op.Err
	}
	if sys := new(os.SyscallError); errors.As(cause, &sys) {
		cause = sys.Err
	}
	return []Finding{s.finding(Unreachable, "nginx answers 502", "no connection to %s: %v", a, cause)}
}

// queueFull says that the kernel takes no more connections (listen(2)).
func (x *Examiner) queueFull(s Socket, a sockets.Address) Finding {
	f := s.finding(QueueFull, full, "the listen queue of %s is full: connections wait, and nobody takes them", a)
	f.Note = "a longer queue helps against bursts only: if the workers hang, see what they do (log, top)"
	want := 4096
	if most := somaxconn(); most < want {
		f.Commands = append(f.Commands, fmt.Sprintf("sysctl -w net.core.somaxconn=%d", want))
		f.Note += fmt.Sprintf("; the kernel allows %d (net.core.somaxconn), and forgets a sysctl at the next boot: a file in /etc/sysctl.d keeps it", most)
	}
	command, note := s.edit(option{"listen", fmt.Sprint(want)})
	if command != "" {
		f.Commands = append(f.Commands, command)
	}
	if note != "" {
		f.Note += "; " + note
	}
	return f
}

// otherListener is a finding if somebody else listens than should.
func (x *Examiner) otherListener(s Socket, v *api.Vassal, peer *unix.Ucred) *Finding {
	if peer == nil || s.Owner.Name == "" && v == nil {
		return nil
	}
	owner := s.Owner.UID
	if v != nil && v.UID >= 0 {
		owner = v.UID
	}
	if int(peer.Uid) == owner || peer.Uid == 0 || slices.Contains(x.PIDs, int(peer.Pid)) {
		return nil
	}
	f := s.finding(ListenerOther, "the pages come from another application, or not at all", "%s listens there, not %s", listens(peer), s.subject())
	f.Note = "two applications ask for one socket, or an old process was left over: stop the one that is not wanted"
	if alive(int(peer.Pid)) {
		f.Note += fmt.Sprintf(" (see: ps -fp %d)", peer.Pid)
	}
	return &f
}

// vassal is what the emperor says of one; nil if it says nothing.
func (x *Examiner) vassal(name string) *api.Vassal {
	if i := slices.IndexFunc(x.Vassals, func(v api.Vassal) bool { return v.Name == name }); name != "" && i >= 0 {
		return &x.Vassals[i]
	}
	return nil
}
