package e2e

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// packet encodes a GET as nginx sends it.
func packet(path, query string) []byte {
	var block []byte
	put := func(s string) {
		block = binary.LittleEndian.AppendUint16(block, uint16(len(s)))
		block = append(block, s...)
	}
	for _, kv := range [][2]string{{"QUERY_STRING", query}, {"REQUEST_METHOD", "GET"}, {"CONTENT_TYPE", ""}, {"CONTENT_LENGTH", ""}, {"REQUEST_URI", path + "?" + query}, {"PATH_INFO", path}, {"SERVER_PROTOCOL", "HTTP/1.1"}, {"SERVER_NAME", "t"}, {"SERVER_PORT", "80"}, {"HTTP_HOST", "t"}} {
		put(kv[0])
		put(kv[1])
	}
	return append([]byte{0, byte(len(block)), byte(len(block) >> 8), 0}, block...)
}

// A failure is a request that got no answer.
type failure struct {
	name        string
	begin, end  time.Time
	refused     bool
	description string
}

// A load is a number of clients that ask as fast as they are answered.
type load struct {
	socket string
	ok     atomic.Int64
	worst  atomic.Int64
	stop   chan struct{}
	wg     sync.WaitGroup
	mu     sync.Mutex
	failed []failure
}

func (s *site) load(socket string, clients int) *load {
	l := &load{socket: socket, stop: make(chan struct{})}
	for c := range clients {
		l.wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-l.stop:
					return
				default:
				}
				l.one(fmt.Sprintf("c%d-%d", c, i))
			}
		})
	}
	return l
}

func (l *load) one(name string) {
	begin := time.Now()
	refused := false
	err := func() error {
		c, err := net.Dial("unix", l.socket)
		if err != nil {
			refused = true
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Write(packet("/slow", name)); err != nil {
			return err
		}
		text, err := io.ReadAll(c)
		if err == nil && !strings.HasPrefix(string(text), "HTTP/1.1 200 OK\r\n") {
			err = fmt.Errorf("answer %.60q", text)
		}
		return err
	}()
	if err == nil {
		l.ok.Add(1)
		if took := int64(time.Since(begin)); took > l.worst.Load() {
			l.worst.Store(took)
		}
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = append(l.failed, failure{name, begin, time.Now(), refused, err.Error()})
}

func (l *load) end() {
	close(l.stop)
	l.wg.Wait()
}

// A kill is one process that was killed -9, and when.
type kill struct {
	pid int
	at  time.Time
}

// cast returns the processes of the only vassal by their part: vassald, host, workers.
func (e *emperor) cast() (vassald, host process, workers []process) {
	for _, v := range kids(e.cmd.Process.Pid) {
		for _, h := range kids(v.pid) {
			if w := kids(h.pid); len(w) > 0 {
				return v, h, w
			}
		}
	}
	return
}

func TestKillingAnythingUnderLoadRefusesNobody(t *testing.T) {
	s := newSite(t)
	uid, gid := ids(t, shop)
	s.app("plain", "plain", shop)
	s.mkdir("notes", uid, gid)
	s.vassal("plain.ini", shop, `plugin = python3
chdir = DIR/srv/plain
module = plain
processes = 3
socket = DIR/run/plain.sock
chmod-socket = 666
disable-logging = true
env = NOTES=DIR/notes/log
env = SLOW=0.002
`)
	e := s.emperor("--emperor-tyrant")
	s.eventually(10*time.Second, "the socket", func() error { // its file is there a moment before it listens
		c, err := net.Dial("unix", s.dir+"/run/plain.sock")
		if err == nil {
			c.Close()
		}
		return err
	})
	l := s.load(s.dir+"/run/plain.sock", 8)
	var killed []kill
	parts := map[string]int{}
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end); {
		time.Sleep(time.Duration(150+rand.IntN(250)) * time.Millisecond)
		v, h, workers := e.cast()
		var victim process
		part := [...]string{"vassald", "host", "worker"}[rand.IntN(3)]
		switch {
		case len(workers) == 0:
			continue
		case part == "vassald":
			victim = v
		case part == "host":
			victim = h
		default:
			victim = workers[rand.IntN(len(workers))]
		}
		if syscall.Kill(victim.pid, syscall.SIGKILL) == nil {
			parts[part]++
			if part == "worker" {
				killed = append(killed, kill{victim.pid, time.Now()})
			}
		}
	}
	time.Sleep(500 * time.Millisecond)
	l.end()
	t.Logf("%d answered, the slowest after %s; %d failed; killed: %v", l.ok.Load(), time.Duration(l.worst.Load()).Round(time.Millisecond), len(l.failed), parts)
	if l.ok.Load() < 500 {
		t.Errorf("only %d requests were answered", l.ok.Load())
	}
	s.explain(l, killed)
}

// explain wants every failed request to have been in flight in a killed worker.
func (s *site) explain(l *load, killed []kill) {
	s.t.Helper()
	holder := map[string]int{}
	readNotes(s.t, s.dir+"/notes/log", holder)
	explainFailures(s.t, l.failed, holder, killed)
}

func TestReloadsUnderLoadLoseNothing(t *testing.T) {
	s := newSite(t)
	uid, gid := ids(t, shop)
	s.app("plain", "plain", shop)
	s.mkdir("notes", uid, gid)
	vassal := func(gen int) string {
		return fmt.Sprintf(`plugin = python3
chdir = DIR/srv/plain
module = plain
processes = 2
socket = DIR/run/plain.sock
chmod-socket = 666
disable-logging = true
env = NOTES=DIR/notes/log
env = GEN=%d
`, gen)
	}
	s.vassal("plain.ini", shop, vassal(0))
	e := s.emperor("--emperor-tyrant")
	s.nginx(map[string]string{"plain": s.dir + "/run/plain.sock"})
	s.get("plain", "/")
	l := s.load(s.dir+"/run/plain.sock", 8)
	var worst time.Duration
	for gen := 1; gen <= 10; gen++ {
		s.vassal("plain.ini", shop, vassal(gen))
		took := s.eventually(10*time.Second, "reload", func() error {
			if body := s.get("plain", "/"); body != fmt.Sprintf("hello from %d\n", gen) {
				return fmt.Errorf("%q", body)
			}
			return nil
		})
		worst = max(worst, took)
	}
	s.write("srv/plain/plain.py", "import nothing_of_that_name\n", shop) // a bad release
	s.vassal("plain.ini", shop, vassal(99))
	s.eventually(10*time.Second, "the refused reload is in the log", func() error {
		if !strings.Contains(e.log.String(), "reload refused; the old generation serves on") {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	if !strings.Contains(e.log.String(), "nothing_of_that_name") {
		t.Error("the log does not say why")
	}
	if body := s.get("plain", "/"); body != "hello from 10\n" {
		t.Errorf("after a bad release: %q", body)
	}
	l.end()
	t.Logf("%d answered, the slowest after %s; a change was live after at most %s", l.ok.Load(), time.Duration(l.worst.Load()).Round(time.Millisecond), worst.Round(time.Millisecond))
	s.explain(l, nil)
}

func TestKilledEmperorLeavesNobodyAndTheNextOneTakesOver(t *testing.T) {
	s := newSite(t)
	s.app("plain", "plain", shop)
	s.vassal("plain.ini", shop, plainVassal)
	first := s.start(bin+"/emperord", "--emperor", s.dir+"/vassals", "--emperor-tyrant", "--emperor-control-socket", s.dir+"/control.sock", "--emperor-socket-root", s.dir+"/run")
	s.nginx(map[string]string{"plain": s.dir + "/run/plain.sock"})
	s.get("plain", "/")
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-first.done
	s.emperor("--emperor-tyrant") // at once, as systemd would
	took := s.eventually(10*time.Second, "the old processes are gone", func() error {
		for _, p := range processesIn(s.dir) {
			if p.comm == "vassald" && p.ppid == 1 {
				return fmt.Errorf("%+v is left", p)
			}
		}
		return nil
	})
	t.Logf("the last process of the old emperor was gone after %s", took.Round(time.Millisecond))
	s.get("plain", "/")
	s.eventually(5*time.Second, "one emperor's processes", func() error {
		if n := len(processesIn(s.dir)); n != 4 { // vassald, host, two workers
			return fmt.Errorf("%d processes: %v", n, processesIn(s.dir))
		}
		return nil
	})
}
