package emperor

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/protocol/api"
)

// Two strangers that no real system has.
const (
	shopID = 61001
	blogID = 61002
)

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// An empire is a running emperor with its folder.
type empire struct {
	t      *testing.T
	dir    string
	log    logBuffer
	stop   context.CancelFunc
	ended  chan error
	config *configs.Emperor
	urgent chan struct{} // as if SIGURG came
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("the tests of an emperor need root")
		}
		t.Skip("the tests of an emperor need root")
	}
}

// found starts an emperor in a folder of its own; what is changed by tune.
func found(t *testing.T, tune func(*configs.Emperor)) *empire {
	t.Helper()
	return foundWith(t, tune, []string{"NOTIFY_SOCKET=/x"}, nil)
}

// foundWith starts an emperor with more variables in its environment; before is called when there is a folder for vassals.
func foundWith(t *testing.T, tune func(*configs.Emperor), env []string, before func(*empire)) *empire {
	t.Helper()
	needRoot(t)
	dir, err := os.MkdirTemp("/tmp", "emperor-test-")
	if err != nil {
		t.Fatal(err)
	}
	m := &empire{t: t, dir: dir, ended: make(chan error, 1), urgent: make(chan struct{})}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, sub := range []string{"", "/vassals", "/bin"} {
		if err := os.MkdirAll(dir+sub, 0o755); err != nil {
			t.Fatal(err)
		}
		os.Chmod(dir+sub, 0o755)
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(dir+"/bin/vassald", self, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	m.config = &configs.Emperor{
		Sources: []string{dir + "/vassals"}, Tyrant: true, TyrantInitgroups: true, Freq: 200 * time.Millisecond,
		Throttle: 100 * time.Millisecond, MaxThrottle: time.Second, Mercy: 2 * time.Second,
		ControlSocket: dir + "/control.sock", SocketRoots: []string{dir + "/run"},
	}
	if tune != nil {
		tune(m.config)
	}
	if before != nil {
		before(m)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.stop = cancel
	open := descriptors()
	go func() {
		m.ended <- Run(ctx, Options{Config: m.config, Env: append([]string{"PATH=/usr/bin:/bin", "UWSGI_VASSAL_ENV=A=1", "GORACE=atexit_sleep_ms=0"}, env...), Dir: dir, Vassald: dir + "/bin/vassald", Version: "test", Stderr: &m.log, Urgent: m.urgent})
	}()
	t.Cleanup(func() {
		m.end()
		if t.Failed() {
			t.Logf("the log:\n%s", m.log.String())
		}
		for end := time.Now().Add(3 * time.Second); ; time.Sleep(10 * time.Millisecond) { // the runtime closes late
			after := descriptors()
			if len(after) <= len(open) {
				break
			}
			if time.Now().After(end) {
				t.Errorf("descriptors before: %v\nafter: %v", open, after)
				break
			}
		}
		if kids, err := children.Kids(); err != nil || len(kids) > 0 {
			t.Errorf("children left: %v, %v", kids, err)
		}
		if names, _ := os.ReadDir(dir + "/run"); len(names) > 0 {
			t.Errorf("left in the runtime folder: %v", names)
		}
	})
	return m
}

func descriptors() []string {
	var all []string
	names, _ := os.ReadDir("/proc/self/fd")
	for _, n := range names {
		if to, err := os.Readlink("/proc/self/fd/" + n.Name()); err == nil && !strings.Contains(to, "eventpoll") && !strings.Contains(to, "eventfd") && !strings.Contains(to, "/proc/") {
			all = append(all, to)
		}
	}
	return all
}

// end stops the emperor and waits for it.
func (m *empire) end() {
	m.t.Helper()
	m.stop()
	select {
	case err := <-m.ended:
		m.ended <- err
		if err != nil {
			m.t.Errorf("Run: %v", err)
		}
	case <-time.After(15 * time.Second):
		m.t.Fatalf("the emperor does not stop; its log:\n%s", m.log.String())
	}
}

// put writes a vassal file for uid, moved into place.
func (m *empire) put(name string, uid int, lines ...string) {
	m.t.Helper()
	path := m.dir + "/vassals/" + name
	text := "[uwsgi]\n" + strings.Join(lines, "\n") + "\n"
	if err := os.WriteFile(path+".tmp", []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Chown(path+".tmp", uid, uid); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		m.t.Fatal(err)
	}
}

// app writes a vassal file with a module and a socket named like it.
func (m *empire) app(name string, uid int, module string, more ...string) {
	m.t.Helper()
	m.put(name, uid, append([]string{"module = " + module, "socket = " + m.socket(name), "chmod-socket = 666"}, more...)...)
}

func (m *empire) socket(name string) string {
	return m.dir + "/run/" + strings.TrimSuffix(name, ".ini") + ".sock"
}

func (m *empire) touch(name string) {
	m.t.Helper()
	now := time.Now()
	if err := os.Chtimes(m.dir+"/vassals/"+name, now, now); err != nil {
		m.t.Fatal(err)
	}
}

// ask connects and returns the pid and the module that answer.
func (m *empire) ask(name string) (pid int, module string) {
	m.t.Helper()
	c, err := net.DialTimeout("unix", m.socket(name), time.Second)
	if err != nil {
		m.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	text, err := io.ReadAll(c)
	if err != nil {
		m.t.Fatal(err)
	}
	first, rest, _ := strings.Cut(string(text), " ")
	pid, _ = strconv.Atoi(first)
	return pid, rest
}

// await waits until the vassal is in state and says words in its reason.
func (m *empire) await(name string, state State, words string) api.Vassal {
	m.t.Helper()
	var last api.Vassal
	var err error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		last, err = m.status(name)
		if err != nil && state == Absent && strings.Contains(err.Error(), "no vassal") {
			return last
		}
		if err == nil && string(last.State) == state.String() && strings.Contains(last.Reason, words) {
			return last
		}
	}
	m.t.Fatalf("%s is not %s with %q: %+v, %v", name, state, words, last, err)
	return last
}

func (m *empire) status(name string) (api.Vassal, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c := api.NewClient(m.config.ControlSocket)
	v, err := c.Vassal(ctx, name)
	if err != nil {
		return api.Vassal{}, err
	}
	return v, nil
}

func (m *empire) eventually(f func() bool) {
	m.t.Helper()
	for end := time.Now().Add(15 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			m.t.Fatalf("not within 15s; the log:\n%s", m.log.String())
		}
	}
}

// order tells the emperor what an operator wants.
func (m *empire) order(name, verb string) {
	m.t.Helper()
	c, err := net.Dial("unix", m.config.ControlSocket)
	if err != nil {
		m.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(c, "POST /v1/vassals/%s/%s HTTP/1.0\r\n\r\n", name, verb)
	if text, err := io.ReadAll(c); err != nil || !bytes.Contains(text, []byte(" 200 ")) {
		m.t.Fatalf("%s %s: %q, %v", verb, name, text, err)
	}
}

func (m *empire) client() *api.Client { return api.NewClient(m.config.ControlSocket) }

// known is what is remembered of a vassal now.
func (m *empire) known(name string) api.Why {
	m.t.Helper()
	return m.why(name, func(api.Why) bool { return true })
}

// awaitLog waits until the log says words.
func (m *empire) awaitLog(words string) {
	m.t.Helper()
	for end := time.Now().Add(10 * time.Second); !strings.Contains(m.log.String(), words); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			m.t.Fatalf("the log does not say %q", words)
		}
	}
}
