package emperor

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/configs/sources"
	"github.com/emperord/emperord/protocol/api"
	"github.com/emperord/emperord/protocol/pipe"
)

// Two strangers that no real system has.
const (
	shopID = 61001
	blogID = 61002
)

// TestMain makes the test binary its own vassald: it resolves files like the real one, and acts as the module says.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "vassald" {
		os.Exit(actAsVassald())
	}
	os.Exit(m.Run())
}

func actAsVassald() int {
	if mode := os.Getenv("ATTACK"); mode != "" {
		return attackAs(mode, os.Args[1:])
	}
	if file := os.Getenv("STOPPER"); file != "" {
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
			now := time.Now()
			_ = os.Chtimes(file, now, now)
			for range 200 {
				_ = syscall.Kill(-1, syscall.SIGSTOP) // everything of this user but itself
			}
		}
		return 0
	}
	if len(os.Args) > 1 && os.Args[1] == "--resolve-many" {
		return actAsReader()
	}
	if len(os.Args) > 1 && os.Args[1] == "--resolve" {
		dir, _ := os.Getwd()
		if filepath.Base(dir) == "crowd" {
			fmt.Fprintln(os.Stderr, "a resolver reads")
		}
		from := &sources.Opener{Dir: dir, Env: slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "EMPERORD_") }), Stderr: os.Stderr, Patience: 2 * time.Second}
		r := configs.Resolve(configs.Reading{Args: os.Args[2:], Env: os.Environ(), Dir: dir, Source: from.Open, Open: func(name string) (io.ReadCloser, error) {
			if filepath.IsAbs(name) {
				return os.Open(name)
			}
			return io.NopCloser(io.NewSectionReader(os.NewFile(3, "vassal file"), 0, 1<<20)), nil
		}})
		if r.Error == "" && r.Settings != nil {
			for _, s := range r.Settings {
				if lie, known := resolverModes[s.Value]; s.Key == "module" && known {
					return lie(r)
				}
				if s.Key == "module" && s.Value == "lies" {
					fmt.Println(`{"version":1,"sockets":"many"}`)
					return 0
				}
				if s.Key == "module" && s.Value == "hangs" {
					time.Sleep(time.Hour)
				}
				if s.Key == "module" && s.Value == "dies" {
					return 7
				}
			}
		}
		if r.Encode(os.Stdout) != nil {
			return 1
		}
		return 0
	}
	if os.Getenv("ORPHAN") != "" {
		signal.Ignore(syscall.SIGTERM)
		time.Sleep(time.Hour)
	}
	fd := func(variable string) *os.File {
		n, err := strconv.Atoi(os.Getenv(variable))
		if err != nil {
			fmt.Fprintln(os.Stderr, "no", variable)
			os.Exit(1)
		}
		return os.NewFile(uintptr(n), variable)
	}
	r, err := configs.DecodeResolution(fd(pipe.SettingsVariable))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	module := ""
	for _, s := range r.Settings {
		if s.Key == "module" {
			module = s.Value
		}
	}
	words, board := fd(pipe.FDVariable), fd(pipe.BoardVariable)
	say := func(w pipe.Word) { words.Write([]byte{byte(w)}) }
	if misbehave, known := vassalModes[module]; known {
		misbehave(r, words, board)
	}
	switch module {
	case "fails":
		pipe.WriteNotice(board, pipe.Notice{Failed: "cannot import shop\x1b[31m"})
		return 1
	case "exile":
		return pipe.Exile
	case "beats once":
		say(pipe.Heartbeat)
	case "loads until enough": // and hears nothing meanwhile
		for {
			if _, err := os.Stat("enough"); err == nil {
				return 1
			}
			time.Sleep(20 * time.Millisecond)
		}
	case "slow":
		time.Sleep(200 * time.Millisecond)
	case "silent":
		fmt.Fprintln(os.Stderr, "these are my last words")
		time.Sleep(100 * time.Millisecond)
		return 3
	case "fails with a talker": // its output stays open
		exe, _ := os.Executable()
		_, _ = children.Start(children.Spec{Path: exe, Args: []string{"vassald"}, Env: append(os.Environ(), "ORPHAN=1"), Files: []uintptr{0, 1, 2}, Attr: &syscall.SysProcAttr{Setsid: true}})
		return 3
	case "writes a log of its own", "writes a log of its own and dies":
		var own pipe.Tail
		own.Add(time.Unix(0, 0), []byte("from my own log"))
		own.Add(time.Now().Add(1000*time.Hour), []byte("from the future"))
		if err := own.Write(board); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		if strings.HasSuffix(module, "dies") {
			return 3
		}
	case "fills its board":
		board.WriteAt(bytes.Repeat([]byte("\xffjunk\x00"), 6<<10), 0)
	case "never accepts":
		_, _ = words.Read(make([]byte, 1))
		return 0
	case "shouts":
		say(pipe.Accepting)
		go func() {
			for junk := bytes.Repeat([]byte{99}, 1<<16); ; {
				if _, err := words.Write(junk); err != nil {
					os.Exit(0)
				}
			}
		}()
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		say(pipe.Accepting)
		time.Sleep(time.Hour)
	case "leaves an orphan", "leaves a daemon": // in its session, or in a session of its own
		attr := &syscall.SysProcAttr{Setsid: module == "leaves a daemon"}
		exe, _ := os.Executable()
		if _, err := children.Start(children.Spec{Path: exe, Args: []string{"vassald", "--sleep"}, Env: append(os.Environ(), "ORPHAN=1"), Files: []uintptr{0, 1, 2}, Attr: attr}); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	if module == "leaves at once" {
		for say(pipe.Accepting); ; say(pipe.LetMeGo) {
			told := []unix.PollFd{{Fd: int32(words.Fd()), Events: unix.POLLIN}}
			if n, _ := unix.Poll(told, 50); n == 1 {
				return 0
			}
		}
	}
	l, err := net.FileListener(os.NewFile(pipe.FirstListener, "listener"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var under sync.WaitGroup
	under.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if module == "takes its time" {
				under.Go(func() {
					_, _ = c.Read(make([]byte, 1)) // until the client lets it go on
					fmt.Fprintf(c, "%d %s", os.Getpid(), module)
					c.Close()
				})
				continue
			}
			fmt.Fprintf(c, "%d %s", os.Getpid(), module)
			c.Close()
		}
	})
	say(pipe.Spawned)
	say(pipe.Accepting)
	if module == "idles" {
		go func() {
			for {
				time.Sleep(200 * time.Millisecond)
				say(pipe.LetMeGo)
			}
		}()
	}
	if module == "beats once" { // only what serves is missed
		time.Sleep(leastBeat)
		say(pipe.Heartbeat)
	}
	buf := make([]byte, 1)
	for {
		n, err := words.Read(buf)
		if n == 1 && (pipe.Word(buf[0]) == pipe.Stop || pipe.Word(buf[0]) == pipe.StopGraceful) || err != nil {
			l.Close()
			under.Wait()
			return 0
		}
	}
}

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
