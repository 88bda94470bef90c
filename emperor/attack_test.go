package emperor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emperord/emperord/cmd/e2e/witness"
	"github.com/emperord/emperord/configs"
)

// The attacker, its victim, and a third tenant: numbers that no real system has.
const (
	evilID      = 61401
	neighbourID = 61402
	otherID     = 61403
)

// secret stands in files of root's that no log and no process of a tenant's may ever hold.
const secret = "root:$6$SECRET"

// A siege is an empire under attack, with a neighbour that must never notice.
type siege struct {
	*empire
	own  string // a folder of the attacker's
	name string // of the attacker's vassal in it

	stopAsking context.CancelFunc
	asked      sync.WaitGroup
	mu         sync.Mutex
	answers    int
	pid        int // of the neighbour
	noticed    error
}

// besiege founds an empire with a neighbour that is asked without a pause, and audits everything when the test is over.
// It watches a folder of root's and, as a glob, the folders of the tenants.
func besiege(t *testing.T, tune func(*configs.Emperor)) *siege {
	t.Helper()
	warm := make(chan os.Signal, 1)
	signal.Notify(warm, syscall.SIGURG) // os/signal keeps a goroutine from the first call on
	signal.Stop(warm)
	goroutines := runtime.NumGoroutine()
	t.Cleanup(func() { // after the end of the emperor
		for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > goroutines; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				buf := make([]byte, 1<<16)
				t.Errorf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), goroutines, buf[:runtime.Stack(buf, true)])
				break
			}
		}
	})
	m := found(t, func(c *configs.Emperor) {
		dir := filepath.Dir(c.ControlSocket)
		for _, f := range []struct {
			name string
			uid  int
		}{{"srv", 0}, {"srv/evil", evilID}, {"srv/neighbour", neighbourID}, {"root", 0}} {
			mustDo(t, os.Mkdir(dir+"/"+f.name, 0o755), os.Chown(dir+"/"+f.name, f.uid, f.uid))
		}
		mustDo(t, os.WriteFile(dir+"/root/shadow", []byte(secret+"\n"), 0o600), os.WriteFile(dir+"/root/root.ini", []byte("[uwsgi]\nmodule = "+secret+"\n"), 0o600))
		c.Sources = append(c.Sources, dir+"/srv/*/*.ini")
		if tune != nil {
			tune(c)
		}
	})
	s := &siege{empire: m, own: m.dir + "/srv/evil"}
	s.name = s.own + "/evil.ini"
	m.app("neighbour.ini", neighbourID, "ok")
	s.pid = m.await("neighbour.ini", Accepting, "").PID
	before := witness.Look(t, m.dir)
	ctx, cancel := context.WithCancel(context.Background())
	s.stopAsking = cancel
	s.asked.Go(func() { s.keepAsking(ctx) })
	t.Cleanup(func() { // before the end of the emperor
		s.audit(t, before)
		cancel()
		s.asked.Wait()
	})
	return s
}

func mustDo(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// keepAsking wants an answer from the same process each time.
func (s *siege) keepAsking(ctx context.Context) {
	for ctx.Err() == nil {
		pid, err := askAt(s.socket("neighbour.ini"))
		s.mu.Lock()
		s.answers++
		if err == nil && pid != s.pid {
			err = fmt.Errorf("pid %d answers, %d did before", pid, s.pid)
		}
		if err != nil && s.noticed == nil {
			s.noticed = err
		}
		s.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
}

// asks tells how many answers the neighbour has given.
func (s *siege) asks() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answers
}

// askAt connects to a vassal's socket and returns the pid that answers.
func askAt(path string) (int, error) {
	c, err := net.DialTimeout("unix", path, 5*time.Second)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	text, err := io.ReadAll(c)
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), " ")
	return strconv.Atoi(first)
}

// audit is the same after every attack.
func (s *siege) audit(t *testing.T, before witness.Snapshot) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); s.asks() == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	s.mu.Lock()
	if s.noticed != nil || s.answers == 0 {
		t.Errorf("the neighbour has noticed, after %d answers: %v", s.answers, s.noticed)
	}
	s.mu.Unlock()
	before.Unchanged(t, func(path string) bool {
		return strings.HasPrefix(path, s.own) || strings.HasPrefix(path, s.dir+"/vassals/evil") || strings.HasPrefix(path, s.dir+"/run/evil") || strings.HasPrefix(path, s.dir+"/team")
	})
	s.noForeignDescriptors(t)
	log := s.log.String()
	if strings.Contains(log, "SECRET") {
		t.Error("a secret of root's stands in the log")
	}
	if strings.ContainsAny(log, "\x1b\a\r\x00") {
		t.Error("the log holds control characters")
	}
	for _, line := range strings.Split(log, "\n") {
		if strings.HasPrefix(line, "FORGED") || strings.Contains(line, " INFO FORGED") && !strings.Contains(line, "reason") {
			t.Errorf("a forged line: %q", line)
		}
	}
	if strings.Contains(log, "SEAL BROKEN") {
		t.Error("a memory file could be changed")
	}
}

// noForeignDescriptors looks at what the attacker's processes have open: nothing of root's, no listener of others.
func (s *siege) noForeignDescriptors(t *testing.T) {
	t.Helper()
	listeners := map[string]string{}
	text, _ := os.ReadFile("/proc/net/unix")
	for _, line := range strings.Split(string(text), "\n") {
		if f := strings.Fields(line); len(f) == 8 && f[3] == "00010000" { // __SO_ACCEPTCON
			listeners["socket:["+f[6]+"]"] = f[7]
		}
	}
	for _, pid := range processesOf(evilID) {
		names, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		for _, n := range names {
			to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, n.Name()))
			if err != nil {
				continue
			}
			path, listening := listeners[to]
			switch {
			case listening && !strings.Contains(path, "/evil"):
				t.Errorf("a process of the attacker's has the listener %s", path)
			case to == "/dev/null", strings.HasPrefix(to, "pipe:"), strings.HasPrefix(to, "socket:"), strings.HasPrefix(to, "/memfd:emperord-"), strings.HasPrefix(to, "anon_inode:"):
			case strings.HasPrefix(to, s.own), strings.Contains(to, "/evil"), strings.HasPrefix(to, "/proc/"), strings.HasPrefix(to, "/sys/"):
			default:
				t.Errorf("process %d of the attacker's has %s", pid, to)
			}
		}
	}
}

// processesOf lists the living processes of a user, by their real uid: the owner of /proc/PID is root while a process is
// between taking a uid and exec.
func processesOf(uid int) []int {
	var pids []int
	names, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, name := range names {
		status, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(status, fmt.Appendf(nil, "\nUid:\t%d\t", uid)) || bytes.Contains(status, []byte("\nState:\tZ")) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		pids = append(pids, pid)
	}
	return pids
}

// evil writes the attacker's vassal file, in its own folder, as the attacker would.
func (s *siege) evil(module string, more ...string) {
	s.t.Helper()
	s.evilAs(s.name, module, more...)
}

func (s *siege) evilAs(path, module string, more ...string) {
	s.t.Helper()
	text := "[uwsgi]\n" + strings.Join(append([]string{"module = " + module, "socket = " + s.evilSocket(), "chmod-socket = 666"}, more...), "\n") + "\n"
	mustDo(s.t, os.WriteFile(path+"~", []byte(text), 0o644), os.Chown(path+"~", evilID, evilID), os.Rename(path+"~", path))
}

// evilSocket is in a folder of the attacker's.
func (s *siege) evilSocket() string { return s.own + "/evil.sock" }

// unleash runs a program of the attacker's and returns what waits for its end.
func (s *siege) unleash(mode string, seconds float64, args ...string) (wait func() int) {
	s.t.Helper()
	r, w, err := os.Pipe()
	mustDo(s.t, err)
	p, err := os.StartProcess(s.dir+"/bin/vassald", append([]string{"vassald"}, args...), &os.ProcAttr{
		Env: []string{"ATTACK=" + mode, fmt.Sprint("SECONDS=", seconds), "GORACE=atexit_sleep_ms=0"}, Files: []*os.File{nil, w, nil},
		Sys: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: evilID, Gid: evilID}},
	})
	w.Close()
	mustDo(s.t, err)
	_ = p.Release() // the emperor's loop reaps it
	return func() int {
		defer r.Close()
		text, _ := io.ReadAll(r)
		n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
		if n == 0 {
			s.t.Errorf("the attack %q did nothing: %q", mode, text)
		}
		return n
	}
}

// logged wants a line of the log that holds all of the words.
func (s *siege) logged(words ...string) {
	s.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		for _, line := range strings.Split(s.log.String(), "\n") {
			has := true
			for _, w := range words {
				has = has && strings.Contains(line, w)
			}
			if has {
				return
			}
		}
		if time.Now().After(end) {
			s.t.Errorf("no line of the log holds all of %q", words)
			return
		}
	}
}

// stillGoverns shows that the emperor sees and does what others want: a new vassal of somebody else comes up and goes.
func (s *siege) stillGoverns() {
	s.t.Helper()
	path := s.dir + "/srv/neighbour/later.ini"
	text := "[uwsgi]\nmodule = ok\nsocket = " + s.dir + "/run/later.sock\nchmod-socket = 666\n"
	mustDo(s.t, os.WriteFile(path+"~", []byte(text), 0o644), os.Chown(path+"~", neighbourID, neighbourID), os.Rename(path+"~", path))
	s.await(path, Accepting, "")
	mustDo(s.t, os.Remove(path))
	s.await(path, Absent, "")
}

const evilUID = `"uid": 61401`
