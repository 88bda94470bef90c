package guard

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// pace is how long looks are apart while anything has to be ended soon, slow while leaders have time.
	pace = 20 * time.Millisecond
	slow = 100 * time.Millisecond
	// hopeless is how long after its kill a process that hangs in the kernel is waited for. The kernel ends it when it returns.
	hopeless = 5 * time.Second
)

// Watch waits until the process emperor, our parent, has ended. Then it waits until the leaders of the table's sessions have
// ended, for mercy or as long as their record says, kills them, tells what they have left behind to end, and kills that after mercy. It
// returns when nothing is left, and says in one line what it has killed.
func Watch(emperor int, table *os.File, mercy time.Duration, said io.Writer) error {
	if _, err := read(table); err != nil { // now, while somebody may see it
		return err
	}
	if err := await(emperor); err != nil {
		return err
	}
	w, err := begin(table, mercy, boottime())
	if err != nil {
		return err
	}
	for {
		next, err := w.look(boottime())
		if err != nil {
			return err
		}
		if next == 0 {
			break
		}
		time.Sleep(next)
	}
	if len(w.killed) > 0 {
		fmt.Fprintf(said, "emperord guard: the emperor (pid %d) has gone; killed %d processes that its vassals had left\n", emperor, len(w.killed))
	}
	return nil
}

// await waits for our parent's end.
func await(parent int) error {
	fd, err := unix.PidfdOpen(parent, 0)
	if err != nil { // a kernel before 5.3, or it has gone
		for os.Getppid() == parent {
			time.Sleep(2 * pace)
		}
		return nil
	}
	defer unix.Close(fd)
	for os.Getppid() == parent { // else the number may be another's by now
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("cannot wait for the emperor's end: %w", err)
		}
	}
	return nil
}

// A watch is what the guard knows after the emperor's end.
type watch struct {
	at       time.Duration // when it began
	mercy    time.Duration
	sessions []*session
	members  map[member]*session
	killed   map[member]bool
}

// A member is a process that belongs to a session of the table, or comes from one that does. The start tells it from another one
// with its number.
type member struct {
	pid   int
	start time.Duration
}

type session struct {
	known
	due    time.Duration   // when it is killed
	led    bool            // its leader lives
	void   bool            // its number is nobody's any more
	asked  map[member]bool // who was told to end
	empty  int             // looks in a row that found nobody
	people []process
}

func begin(table io.ReaderAt, mercy, now time.Duration) (*watch, error) {
	all, err := read(table)
	if err != nil {
		return nil, err
	}
	w := &watch{at: now, mercy: mercy, members: map[member]*session{}, killed: map[member]bool{}}
	for _, k := range all {
		if k.ended != 0 && now-k.ended > Lingering {
			continue
		}
		s := &session{known: k, led: k.ended == 0, due: now + max(k.Mercy, mercy), asked: map[member]bool{}}
		if k.ended != 0 {
			s.due = now + mercy
		}
		w.sessions = append(w.sessions, s)
	}
	return w, nil
}

// look ends what has to be ended now, and returns when to look again; 0: nothing is left.
func (w *watch) look(now time.Duration) (next time.Duration, err error) {
	all, err := processes()
	if err != nil {
		return 0, err
	}
	w.gather(all)
	for _, s := range w.sessions {
		if s.empty > 1 || now > s.due+hopeless {
			continue
		}
		wait := pace
		if leader, lives := all[s.Session]; s.led && lives && !leader.dead && s.isLeader(leader) {
			if now < s.due {
				wait = slow
			}
		} else if s.led { // nobody looks after the rest any more
			s.led, s.due = false, min(s.due, now+w.mercy)
		}
		w.end(s, now)
		if s.empty > 1 {
			continue
		}
		if s.empty == 0 && s.due > now {
			wait = min(wait, max(s.due-now, time.Millisecond))
		}
		if next == 0 || wait < next {
			next = wait
		}
	}
	return next, nil
}

// isLeader tells whether the process with a session's number is its leader. The number of one that the emperor has reaped is another's: the
// kernel gives it to nobody as long as anybody is in the session. So it is where the guard comes late, and the number was given again.
func (s *session) isLeader(p process) bool { return s.ended == 0 && p.start <= s.written }

// holds tells whether a process in the session of that number is in this one. Where its leader has gone, a stranger may have had the number, and
// have gone too, as who daemonizes does.
func (s *session) holds(p process, all map[int]process) bool {
	if _, there := all[s.Session]; there || p.start <= max(s.written, s.ended) {
		return true
	}
	uid, _ := userOf(p.pid)
	return uid == s.UID || s.Mark != 0 && markOf(p.pid) == s.Mark
}

// end tells who is left of a session to end, and kills them when its time has come. Who has a leader is the leader's to tell.
func (w *watch) end(s *session, now time.Duration) {
	if len(s.people) == 0 {
		s.empty++
		s.void = s.empty > 1
		return
	}
	s.empty = 0
	if now < s.due && s.led {
		return
	}
	if now >= s.due && s.ino != 0 {
		killHoused(s.Folder, s.ino)
	}
	for _, p := range s.people {
		m := member{p.pid, p.start}
		switch {
		case now >= s.due:
			p.signal(syscall.SIGKILL)
			w.killed[m] = true
		case !s.asked[m]:
			p.signal(syscall.SIGTERM)
			s.asked[m] = true
		}
	}
}

// gather finds out who belongs to which session.
func (w *watch) gather(all map[int]process) {
	led, marked, users := map[int]*session{}, map[uint64]*session{}, map[int]bool{}
	belongs := map[member]*session{}
	for _, s := range w.sessions {
		s.people = nil
		if s.void {
			continue
		}
		if leader, there := all[s.Session]; !there || s.isLeader(leader) {
			led[s.Session] = s // else the number is another's by now
		}
		if s.Mark != 0 {
			marked[s.Mark], users[s.UID] = s, true
		}
		if s.ino != 0 {
			for _, pid := range housed(s.Folder, s.ino) {
				if p, there := all[pid]; there {
					belongs[member{pid, p.start}] = s
				}
			}
		}
	}
	own := os.Getpid()
	for pid, p := range all {
		m := member{pid, p.start}
		if pid == own || pid <= 1 || p.dead {
			continue
		}
		if s := led[p.session]; s != nil && s.holds(p, all) {
			belongs[m] = s
		} else if s := w.members[m]; s != nil && !s.void && belongs[m] == nil {
			belongs[m] = s // it has left the session since
		} else if belongs[m] == nil && len(marked) > 0 {
			if uid, _ := userOf(pid); users[uid] {
				if s := marked[markOf(pid)]; s != nil && s.UID == uid {
					belongs[m] = s
				}
			}
		}
	}
	for found := true; found; { // what they have started
		found = false
		for pid, p := range all {
			m := member{pid, p.start}
			if parent, there := all[p.parent]; there && pid != own && !p.dead && belongs[m] == nil {
				if s := belongs[member{parent.pid, parent.start}]; s != nil {
					belongs[m], found = s, true
				}
			}
		}
	}
	w.members = belongs
	for m, s := range belongs {
		s.people = append(s.people, all[m.pid])
	}
}
