package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What is killed -9 in one trial, one after the other.
var victims = [][]string{
	{"emperor"}, {"vassald"}, {"host"}, {"worker"}, {"resolver"},
	{"emperor", "vassald"}, {"vassald", "host"}, {"emperor", "resolver"}, {"emperor", "host"}, {"vassald", "vassald"},
	{"vassald", "emperor"}, {"host", "emperor"}, {"host", "vassald"}, {"emperor", "vassald", "host"}, {"host", "vassald", "emperor"}, {"emperor", "guard"},
}

// How far kills are apart: at once, as far as a process needs to take note of the first one and to leave, and in the middle of what is
// done about it. It is drawn by lot up to that.
var gaps = []time.Duration{0, 40 * time.Millisecond, 400 * time.Millisecond}

// In which part of its life the vassal is then. The delay is counted from the beginning of the part.
var parts = []string{"start", "deaf start", "lazy start", "exec", "serve", "hold", "reload", "remove"}

// A lane is a place for one trial at a time, with a user of its own: what is left is told by the user, whatever it calls itself.
type lane struct {
	*site
	uid    int
	socket string
}

func newLane(t *testing.T, n int) *lane {
	l := &lane{site: newSite(t), uid: 61600 + n}
	l.mkdir("srv/litter", l.uid, l.uid)
	text, err := os.ReadFile("apps/litter/litter.py")
	if err != nil {
		t.Fatal(err)
	}
	l.own("srv/litter/litter.py", string(text))
	l.socket = l.dir + "/run/litter.sock"
	return l
}

// own writes a file of the lane's user.
func (l *lane) own(name, text string) {
	path := filepath.Join(l.dir, name)
	if err := errors.Join(os.WriteFile(path+"~", []byte(text), 0o644), os.Chown(path+"~", l.uid, l.uid), os.Rename(path+"~", path)); err != nil {
		l.t.Error(err)
	}
}

// litter is nameless where a process that carries nothing of its vassal, and has left its session, is to be found as well. Nobody
// can find that one when the emperor was killed too; a control group, a unit of systemd or a container has it.
func (l *lane) vassalFile(part, litter string) {
	text := "[uwsgi]\nplugin = python3\nchdir = " + l.dir + "/srv/litter\nmodule = litter\nprocesses = 2\nsocket = " + l.socket + "\nchmod-socket = 666\ndisable-logging = true\nworker-reload-mercy = 60\n"
	if part != "hold" && part != "exec" {
		text += "env = LITTER=" + litter + "\n"
	}
	switch part {
	case "deaf start":
		text += "env = DEAF=0.3\n"
	case "lazy start":
		text += "lazy-apps = true\n"
	case "exec":
		if litter == "nameless" {
			litter = "(setsid sleep 1000 >/dev/null 2>&1 &) ; "
		} else {
			litter = ""
		}
		text += "x = @(exec://" + litter + "sleep 0.1; sleep 0.1; echo)\n"
	}
	l.own("vassals/litter.ini", text)
}

// get asks the vassal.
func (l *lane) get(path string) error {
	c, err := net.Dial("unix", l.socket)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write(packet(path, "")); err != nil {
		return err
	}
	text, err := io.ReadAll(c)
	if err == nil && !strings.HasSuffix(string(text), "ok\n") {
		err = fmt.Errorf("answer %.60q", text)
	}
	return err
}

// hold leaves a request under way; nobody waits for its answer.
func (l *lane) hold(path string) io.Closer {
	c, err := net.Dial("unix", l.socket)
	if err != nil {
		return io.NopCloser(nil)
	}
	_, _ = c.Write(packet(path, ""))
	return c
}

// child is a child of a process, by what its command line says.
type child struct {
	pid  int
	args string
}

// childrenOf lists the children of all threads of a process.
func childrenOf(pid int) []child {
	var all []child
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for _, field := range strings.Fields(string(text)) {
			kid, _ := strconv.Atoi(field)
			args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", kid))
			all = append(all, child{kid, string(bytes.ReplaceAll(args, []byte{0}, []byte{' '}))})
		}
	}
	return all
}

// find returns the processes of an emperor that play a part.
func find(emperor int, part string) (found []int) {
	for _, k := range childrenOf(emperor) {
		resolving := strings.HasPrefix(k.args, "vassald --resolve")
		switch {
		case part == "guard" && strings.HasPrefix(k.args, "emperord --emperord-guard"), part == "resolver" && resolving, part == "vassald" && strings.HasPrefix(k.args, "vassald --ini"):
			found = append(found, k.pid)
		case part == "host" || part == "worker":
			for _, h := range childrenOf(k.pid) {
				if !strings.Contains(h.args, "/proc/self/fd/") {
					continue
				}
				if part == "host" {
					found = append(found, h.pid)
					continue
				}
				for _, w := range childrenOf(h.pid) {
					if strings.Contains(w.args, "/proc/self/fd/") {
						found = append(found, w.pid)
					}
				}
			}
		}
	}
	return found
}

// A being is a process of the lane's user.
type being struct {
	pid, ppid int
	state     string
	args      string
}

func (b being) String() string {
	return fmt.Sprintf("%d (of %d, %s) %s", b.pid, b.ppid, b.state, b.args)
}

// beings lists all processes of a user.
func beings(uid int) map[int]being {
	all := map[int]being{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		var st syscall.Stat_t
		if syscall.Stat("/proc/"+e.Name(), &st) != nil || int(st.Uid) != uid {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		args, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		ppid, _ := strconv.Atoi(fields[1])
		all[pid] = being{pid, ppid, fields[0], string(bytes.ReplaceAll(args, []byte{0}, []byte{' '}))}
	}
	return all
}

// unwatched returns those that are not below a live vassald (or resolver) of a live emperor, and dead children of the emperor.
// An emperor of 0 is none: then everybody is unwatched.
func unwatched(uid, emperor int) (left []being) {
	all := beings(uid)
	for _, b := range all {
		if _, ours := all[b.ppid]; b.state == "Z" && b.ppid != emperor && !ours {
			continue // dead, and left to who reaps for the machine
		}
		watched := false
		for at := b; emperor != 0; {
			if at.ppid == emperor {
				watched = at.state != "Z" && strings.HasPrefix(at.args, "vassald ")
				break
			}
			next, ok := all[at.ppid]
			if !ok {
				break
			}
			at = next
		}
		if !watched {
			left = append(left, b)
		}
	}
	return left
}

// limit is when the test gives up; the promise is a second, and the longest time is printed.
const limit = 8 * time.Second

// TestNothingIsLeftWhateverIsKilled kills -9 what the trial says, at the moment that it says, and looks for what is left.
// EMPERORD_KILLS is how many trials there are, all if it is more than there are.
func TestNothingIsLeftWhateverIsKilled(t *testing.T) {
	type trial struct {
		part    string
		victims []string
		step    int
	}
	const steps = 12
	var trials []trial
	for _, part := range parts {
		for _, v := range victims {
			if (part == "exec") != slices.Contains(v, "resolver") && part != "start" {
				continue // nobody to kill
			}
			for step := range steps {
				trials = append(trials, trial{part, v, step})
			}
		}
	}
	rand.Shuffle(len(trials), func(i, j int) { trials[i], trials[j] = trials[j], trials[i] })
	count := 200
	if n, err := strconv.Atoi(os.Getenv("EMPERORD_KILLS")); err == nil {
		count = n
	}
	trials = trials[:min(count, len(trials))]
	work := make(chan trial, len(trials))
	for _, tr := range trials {
		work <- tr
	}
	close(work)
	var mu sync.Mutex
	longest, killed := map[string]time.Duration{}, map[string]int{}
	var lanes sync.WaitGroup
	for n := range 8 {
		l := newLane(t, n)
		lanes.Go(func() {
			for tr := range work {
				took, hit := l.trial(tr.part, tr.victims, float64(tr.step)/steps)
				mu.Lock()
				name := strings.Join(tr.victims, "+")
				longest[name] = max(longest[name], took)
				if hit {
					killed[name]++
				}
				mu.Unlock()
				if t.Failed() {
					return
				}
			}
		})
	}
	lanes.Wait()
	t.Logf("kills: %v; the last process had gone after at most: %v", killed, longest)
	if sum := func() (n int) {
		for _, k := range killed {
			n += k
		}
		return
	}(); sum < len(trials)/4 && !t.Failed() {
		t.Errorf("only %d of %d trials killed anybody", sum, len(trials))
	}
}

// trial does one and returns how long it took until all was well again, and whether anybody was killed.
func (l *lane) trial(part string, who []string, where float64) (took time.Duration, hit bool) {
	what := fmt.Sprintf("%s, %v killed at %.2f", part, who, where)
	litter := "nameless"
	if slices.Contains(who, "emperor") && len(who) > 1 {
		litter = "named"
	}
	l.vassalFile(part, litter)
	var out log
	e := l.program(&out, "--emperor", l.dir+"/vassals", "--emperor-tyrant", "--emperor-control-socket", l.dir+"/control.sock", "--emperor-socket-root", l.dir+"/run", "--emperor-throttle", "10", "--emperor-max-throttle", "1")
	emperor := e.Pid
	ended := make(chan error, 1)
	go func() {
		state, err := e.Wait()
		if err == nil && !state.Success() {
			err = errors.New(state.String())
		}
		ended <- err
	}()
	defer func() {
		if l.t.Failed() {
			text := out.String()
			l.t.Logf("%s: emperord said:\n%s", what, text[max(0, len(text)-4000):])
		}
	}()
	span := 350 * time.Millisecond
	if part == "exec" {
		span = 250 * time.Millisecond
	}
	if part == "deaf start" {
		span = 650 * time.Millisecond
	}
	if part != "start" && part != "deaf start" && part != "lazy start" && part != "exec" {
		if !l.until(limit, func() bool { return l.get("/") == nil }) {
			l.t.Errorf("%s: no answer", what)
		}
		for _, path := range map[string][]string{"hold": {"/deaf", "/sleep"}, "serve": {"/litter"}, "reload": {"/sleep"}, "remove": {"/sleep"}}[part] {
			c := l.hold(path)
			defer c.Close()
		}
		if part == "serve" || part == "hold" {
			span = 60 * time.Millisecond
		}
		if part == "reload" {
			l.vassalFile(part, litter)
		}
		if part == "remove" {
			os.Remove(l.dir + "/vassals/litter.ini")
			span = 1200 * time.Millisecond
		}
	}
	time.Sleep(time.Duration(where * float64(span)))
	var fds []int // each means its process for ever, whoever has its number by then
	for _, w := range who {
		found := []int{emperor}
		if w != "emperor" {
			found = find(emperor, w)
		}
		if len(found) == 0 {
			continue
		}
		if fd, err := unix.PidfdOpen(found[rand.IntN(len(found))], 0); err == nil {
			defer unix.Close(fd)
			fds = append(fds, fd)
		}
	}
	gap := gaps[rand.IntN(len(gaps))]
	what += fmt.Sprintf(", up to %s apart", gap)
	begun := time.Now()
	for i, fd := range fds {
		if i > 0 && gap > 0 {
			time.Sleep(rand.N(gap))
		}
		_ = unix.PidfdSendSignal(fd, syscall.SIGKILL, nil, 0)
		begun = time.Now()
	}
	alive := !slices.Contains(who, "emperor")
	if !alive {
		<-ended
		emperor = 0
	}
	var left []being
	if !l.until(limit, func() bool { left = unwatched(l.uid, emperor); return len(left) == 0 }) {
		l.t.Errorf("%s: left after %s: %v", what, limit, left)
	}
	took = time.Since(begun)
	if alive {
		if part != "remove" && !l.until(2*limit, func() bool { return l.get("/") == nil }) {
			l.t.Errorf("%s: does not serve again", what)
		}
		_ = e.Signal(syscall.SIGTERM)
		time.Sleep(600 * time.Millisecond) // a second TERM is for those who do not want to wait for held requests
		_ = e.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil {
				l.t.Errorf("%s: emperord ended: %v", what, err)
			}
		case <-time.After(2 * limit):
			l.t.Errorf("%s: emperord does not end", what)
			_ = e.Kill()
		}
	}
	if !l.until(limit, func() bool { left = unwatched(l.uid, 0); return len(left) == 0 }) {
		l.t.Errorf("%s: left at the end: %v", what, left)
	}
	for pid := range beings(l.uid) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	return took, len(fds) > 0
}

// program starts emperord, with its output in out.
func (l *lane) program(out io.Writer, args ...string) *os.Process {
	read, write, err := os.Pipe()
	if err != nil {
		l.t.Fatal(err)
	}
	null, _ := os.Open(os.DevNull)
	defer null.Close()
	p, err := os.StartProcess(bin+"/emperord", append([]string{"emperord"}, args...), &os.ProcAttr{Dir: l.dir, Env: []string{"PATH=/usr/bin:/bin"}, Files: []*os.File{null, write, write}})
	write.Close()
	if err != nil {
		l.t.Fatal(err)
	}
	go func() {
		defer read.Close()
		_, _ = io.Copy(out, read)
	}()
	return p
}

func (l *lane) until(limit time.Duration, f func() bool) bool {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if f() {
			return true
		}
	}
	return f()
}

// TestTheNextEmperorServesAlone starts an emperor right after another one was killed, on the same addresses. The first answer
// of the new copy is the end of the old one: a request that was under way may finish, nothing new is accepted.
func TestTheNextEmperorServesAlone(t *testing.T) {
	s := newSite(t)
	s.app("plain", "plain", shop)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	s.vassal("plain.ini", shop, plainVassal+"socket = "+address+"\nenv = SLOW=0.3\nenv = NOTES=/dev/null\n")
	args := []string{"--emperor", s.dir + "/vassals", "--emperor-tyrant", "--emperor-control-socket", s.dir + "/control.sock", "--emperor-socket-root", s.dir + "/run", "--emperor-throttle", "20"}
	ask := func(network, address, path string) (string, error) {
		c, err := net.Dial(network, address)
		if err != nil {
			return "", err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Write(packet(path, "")); err != nil {
			return "", err
		}
		text, err := io.ReadAll(c)
		_, body, ok := strings.Cut(string(text), "\r\n\r\n")
		if err == nil && !ok {
			err = fmt.Errorf("answer %q", text)
		}
		return strings.TrimSpace(body), err
	}
	places := [][2]string{{"unix", s.dir + "/run/plain.sock"}, {"tcp", address}}
	e := s.start(bin+"/emperord", args...)
	for round := range 4 {
		for _, p := range places {
			s.eventually(20*time.Second, p[0]+" answers", func() error { _, err := ask(p[0], p[1], "/slow"); return err })
		}
		old := map[string]bool{}
		for _, pid := range find(e.cmd.Process.Pid, "worker") {
			old[strconv.Itoa(pid)] = true
		}
		held := make(chan error, 1)
		go func() {
			_, err := ask("unix", s.dir+"/run/plain.sock", "/slow")
			held <- err
		}()
		time.Sleep(100 * time.Millisecond) // it is under way
		if err := e.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		<-e.done
		if round < 3 {
			e = s.start(bin+"/emperord", args...)
		} else {
			e = s.emperor(args[2:]...).program
		}
		for _, p := range places {
			pid := ""
			s.eventually(20*time.Second, p[0]+" answers again", func() (err error) { pid, err = ask(p[0], p[1], "/slow"); return err })
			took := time.Since(begun)
			for range 3 {
				if old[pid] {
					t.Errorf("%s: an old worker, %s, has taken a new request after %s", p[0], pid, took)
				}
				if pid, err = ask(p[0], p[1], "/slow"); err != nil {
					t.Errorf("%s: refused after the first answer: %v", p[0], err)
				}
			}
			t.Logf("%s answered %s after the kill", p[0], took.Round(time.Millisecond))
		}
		if err := <-held; err != nil {
			t.Errorf("the request under way failed: %v", err)
		}
	}
}
