package emperor

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/configs"
)

// Users of no real system, for vassals on demand.
const (
	lazyID = 61201
	nextID = 61202
)

func TestFirstConnectionStartsAVassalAndIsServed(t *testing.T) {
	m := found(t, func(c *configs.Emperor) { c.OnDemand = true })
	m.app("lazy.ini", lazyID, "ok")
	v := m.await("lazy.ini", Waiting, "")
	if len(v.Sockets) != 1 || v.Sockets[0].Mode != "0666" || v.Sockets[0].Owner != "61201" || v.Starts != 0 || v.PID != 0 || len(v.Generations) != 0 {
		t.Errorf("status says %+v", v)
	}
	if kids, err := children.Kids(); err != nil || len(kids) > 0 {
		t.Errorf("processes before anybody asks: %v, %v", kids, err)
	}
	pid, module := m.ask("lazy.ini")
	if v = m.await("lazy.ini", Accepting, ""); v.PID != pid || module != "ok" || v.Starts != 1 {
		t.Errorf("%d %q answers; %+v", pid, module, v)
	}
	m.touch("lazy.ini") // what serves is reloaded with two generations, as ever
	for end := time.Now().Add(10 * time.Second); ; {
		if now, _ := m.ask("lazy.ini"); now != pid {
			break
		}
		if time.Now().After(end) {
			t.Fatal("touch did not reload")
		}
	}
}

// TestWhoWaitsIsKnown: to hooks, each time it begins to wait, and to statistics.
func TestWhoWaitsIsKnown(t *testing.T) {
	book, note := notebook(t)
	link := strings.ReplaceAll(note, " ", "-")
	if err := os.Symlink(note, link); err != nil {
		t.Fatal(err)
	}
	address := t.TempDir() + "/statistics"
	m := found(t, func(c *configs.Emperor) {
		c.OnDemand, c.StatsServer = true, address
		hooked(t, c, "hook-as-on-demand-vassal = exec:"+link+" waits")
	})
	m.app("lazy.ini", lazyID, "idles")
	m.await("lazy.ini", Waiting, "")
	all := lines(t, book, 1)
	if !strings.HasPrefix(all[0], "<waits> uid=0 ") || !strings.Contains(all[0], " pid= ") {
		t.Errorf("%q", all)
	}
	conn, err := net.Dial("unix", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	text, err := io.ReadAll(conn)
	if want := `"on_demand":"` + m.socket("lazy.ini"); err != nil || !strings.Contains(strings.ReplaceAll(string(text), " ", ""), want) {
		t.Errorf("%s, %v; not %s", text, err, want)
	}
	m.ask("lazy.ini")
	lines(t, book, 2) // it idles, and waits again
}

func TestTheFilesOwnWordOnDemand(t *testing.T) {
	t.Run("false", func(t *testing.T) {
		m := found(t, func(c *configs.Emperor) { c.OnDemand = true })
		m.app("eager.ini", lazyID, "ok", "emperor-on-demand = false")
		m.await("eager.ini", Accepting, "")
	})
	t.Run("true", func(t *testing.T) {
		m := found(t, nil)
		m.app("lazy.ini", lazyID, "ok", "emperor-on-demand = true")
		m.await("lazy.ini", Waiting, "")
		m.app("lazy.ini", lazyID, "ok") // the new file does not want to wait
		m.await("lazy.ini", Accepting, "")
	})
}

// TestManyClientsAtOnce: all of them are served by one process.
func TestManyClientsAtOnce(t *testing.T) {
	m := found(t, func(c *configs.Emperor) { c.OnDemand = true })
	m.app("lazy.ini", lazyID, "ok")
	m.await("lazy.ini", Waiting, "")
	var all sync.WaitGroup
	var mu sync.Mutex
	pids := map[string]int{}
	for range 200 {
		all.Go(func() {
			text, err := askSocket(m.socket("lazy.ini"))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			pids[text]++
		})
	}
	all.Wait()
	if len(pids) != 1 {
		t.Errorf("served by %v", pids)
	}
	if v := m.await("lazy.ini", Accepting, ""); v.Starts != 1 {
		t.Errorf("%d starts", v.Starts)
	}
}

func askSocket(path string) (string, error) {
	c, err := net.DialTimeout("unix", path, 5*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	text, err := io.ReadAll(c)
	return string(text), err
}

// TestIdleVassalGoesBackToWaiting: word 22 ends the process, the socket stays, and no client is refused or cut meanwhile.
func TestIdleVassalGoesBackToWaiting(t *testing.T) {
	for _, onDemand := range []bool{true, false} { // whoever wants to be let go is, also if it was not on demand
		t.Run(fmt.Sprint(onDemand), func(t *testing.T) {
			m := found(t, func(c *configs.Emperor) { c.OnDemand = onDemand })
			m.app("lazy.ini", lazyID, "idles")
			var before unix.Stat_t
			if onDemand {
				m.await("lazy.ini", Waiting, "")
			} else {
				m.await("lazy.ini", Accepting, "")
			}
			if err := unix.Lstat(m.socket("lazy.ini"), &before); err != nil {
				t.Fatal(err)
			}
			pids := map[int]bool{}
			for end := time.Now().Add(20 * time.Second); len(pids) < 4; time.Sleep(120 * time.Millisecond) {
				pid, module := m.ask("lazy.ini")
				if module != "idles" {
					t.Fatalf("%d says %q", pid, module)
				}
				pids[pid] = true
				if time.Now().After(end) {
					t.Fatalf("served by %v only", pids)
				}
				if len(pids) == 3 {
					m.await("lazy.ini", Waiting, "") // nobody asks
					m.eventually(func() bool { kids, _ := children.Kids(); return len(kids) == 0 })
				}
			}
			var after unix.Stat_t
			if err := unix.Lstat(m.socket("lazy.ini"), &after); err != nil || after.Ino != before.Ino {
				t.Errorf("the socket was made again: %v", err)
			}
			if v, _ := m.status("lazy.ini"); v.Restarts != 0 || v.Starts < 4 {
				t.Errorf("%d restarts, %d starts", v.Restarts, v.Starts)
			}
		})
	}
}

// TestWhoWantsToLeaveAtOnceIsNotStartedWithoutEnd: a vassal that serves nobody and asks to be let go as soon as it accepts.
func TestWhoWantsToLeaveAtOnceIsNotStartedWithoutEnd(t *testing.T) {
	m := found(t, func(c *configs.Emperor) { c.OnDemand = true })
	m.app("lazy.ini", lazyID, "leaves at once")
	m.await("lazy.ini", Waiting, "")
	c, err := net.Dial("unix", m.socket("lazy.ini"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	m.await("lazy.ini", Accepting, "")
	begin := time.Now()
	m.eventually(func() bool { v, _ := m.status("lazy.ini"); return v.Starts >= 4 })
	if took := time.Since(begin); took < 3*tooSoon-50*time.Millisecond {
		t.Errorf("3 further starts within %s", took)
	}
}

// TestWhoCannotStartWaitsLongerAndLonger: a client's connection neither spins nor is forgotten.
func TestWhoCannotStartWaitsLongerAndLonger(t *testing.T) {
	m := found(t, func(c *configs.Emperor) { c.OnDemand = true })
	m.app("lazy.ini", lazyID, "fails")
	m.await("lazy.ini", Waiting, "")
	if text, err := askSocket(m.socket("lazy.ini")); err == nil && text != "" { // it has never served: nobody waits for it
		t.Errorf("answered %q", text)
	}
	m.await("lazy.ini", Waiting, "cannot import shop")
	if v, _ := m.status("lazy.ini"); v.Starts != 1 {
		t.Errorf("%d starts without anybody who asks", v.Starts)
	}
	m.eventually(func() bool { // each failure in a row makes the next delay longer: see TestDelaysDoubleAndGoodServiceForgives
		_, _ = askSocket(m.socket("lazy.ini"))
		return strings.Contains(m.log.String(), `"failures": 3`)
	})
	if v, _ := m.status("lazy.ini"); v.Starts > 4 {
		t.Errorf("%d starts for 3 failures", v.Starts)
	}
	m.app("lazy.ini", lazyID, "ok") // mended: the next one is served
	m.eventually(func() bool {
		text, err := askSocket(m.socket("lazy.ini"))
		return err == nil && strings.HasSuffix(text, "ok")
	})
}

// TestACrashedVassalOnDemandWaits: clients wait through the delay, and nothing runs while nobody does.
func TestACrashedVassalOnDemandWaits(t *testing.T) {
	m := found(t, func(c *configs.Emperor) { c.OnDemand = true })
	m.app("lazy.ini", lazyID, "ok")
	for range 3 {
		m.await("lazy.ini", Waiting, "")
		pid, _ := m.ask("lazy.ini")
		m.await("lazy.ini", Accepting, "")
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		m.eventually(func() bool { return !slices.Contains(pidsNow(), pid) })
	}
	if pid, module := m.ask("lazy.ini"); pid == 0 || module != "ok" { // in the delay
		t.Errorf("%d %q", pid, module)
	}
}

// TestAWaitingVassalWhoseFileIsBrokenWaitsOn with its last good sockets, and nothing is started for it: read alone or, with
// others, by a reader. Who connects is served.
func TestAWaitingVassalWhoseFileIsBrokenWaitsOn(t *testing.T) {
	for _, others := range []int{0, 40} {
		t.Run(fmt.Sprintf("with %d others", others), func(t *testing.T) {
			m := found(t, func(c *configs.Emperor) { c.OnDemand = true })
			for i := range others {
				m.app(fmt.Sprintf("app%02d.ini", i), lazyID, "idles")
			}
			m.app("zz.ini", lazyID, "idles")
			m.await("zz.ini", Waiting, "")
			m.ask("zz.ini")
			m.await("zz.ini", Accepting, "")
			m.await("zz.ini", Waiting, "")
			m.app("zz.ini", lazyID, "idles", "processes = fuor")
			m.await("zz.ini", Waiting, `it waits with the sockets of its last good settings, because its file as it is now was refused: `)
			mustDo(t, unix.Kill(os.Getpid(), unix.SIGHUP))
			m.awaitLog("reloading all vassals")
			m.eventually(func() bool {
				return strings.Count(m.log.String(), "vassal comes back with its last good settings") == 2
			})
			v := m.await("zz.ini", Waiting, "was refused: ")
			if v.Starts != 1 || !strings.Contains(v.Reason, "fuor") {
				t.Errorf("%+v", v)
			}
			if _, module := m.ask("zz.ini"); module != "idles" {
				t.Errorf("%q answers", module)
			}
			m.await("zz.ini", Waiting, "")
			m.app("zz.ini", lazyID, "ok")
			m.eventually(func() bool { _, module := m.ask("zz.ini"); return module == "ok" })
		})
	}
}

func pidsNow() []int {
	kids, _ := children.Kids()
	return kids
}

// TestOperatorsAndFilesOfAWaitingVassal: reload reads it again and starts nothing, stop and remove take its sockets, start starts it.
func TestOperatorsAndFilesOfAWaitingVassal(t *testing.T) {
	m := found(t, func(c *configs.Emperor) { c.OnDemand = true })
	m.app("lazy.ini", lazyID, "ok")
	m.await("lazy.ini", Waiting, "")
	m.put("lazy.ini", lazyID, "module = ok", "socket = "+m.dir+"/run/second.sock", "chmod-socket = 600")
	m.eventually(func() bool { _, err := os.Lstat(m.dir + "/run/second.sock"); return err == nil })
	v := m.await("lazy.ini", Waiting, "")
	m.eventually(func() bool { _, err := os.Lstat(m.socket("lazy.ini")); return os.IsNotExist(err) })
	m.put("lazy.ini", lazyID, "module = ok", "socket = "+m.dir+"/run/second.sock", "chmod-socket = 660")
	m.eventually(func() bool {
		st, err := os.Lstat(m.dir + "/run/second.sock")
		return err == nil && st.Mode().Perm() == 0o660
	})
	m.order("lazy.ini", "reload")
	if v = m.await("lazy.ini", Waiting, ""); v.Starts != 0 {
		t.Errorf("a reload has started it %d times", v.Starts)
	}
	m.order("lazy.ini", "stop")
	m.await("lazy.ini", Suspended, "")
	if _, err := os.Lstat(m.dir + "/run/second.sock"); err == nil {
		t.Error("a stopped vassal has its socket still")
	}
	m.order("lazy.ini", "start")
	m.await("lazy.ini", Accepting, "")
	m.put("lazy.ini", lazyID, "module = ok", "socket = "+m.dir+"/run/second.sock", "socket = nonsense:x")
	m.await("lazy.ini", Accepting, "nonsense") // the old one serves on
	m.app("lazy.ini", nextID, "ok")
	v = m.await("lazy.ini", Waiting, "")
	if st, err := os.Lstat(m.socket("lazy.ini")); err != nil || st.Sys().(*syscall.Stat_t).Uid != nextID {
		t.Errorf("after another owner: %v, %+v", err, v)
	}
	if err := os.Remove(m.socket("lazy.ini")); err != nil { // somebody cleans up
		t.Fatal(err)
	}
	m.eventually(func() bool { _, err := os.Lstat(m.socket("lazy.ini")); return err == nil })
	m.await("lazy.ini", Waiting, "")
	if _, module := m.ask("lazy.ini"); module != "ok" {
		t.Error(module)
	}
	m.app("gone.ini", nextID, "ok")
	m.await("gone.ini", Waiting, "")
	if err := os.Remove(m.dir + "/vassals/gone.ini"); err != nil {
		t.Fatal(err)
	}
	m.await("gone.ini", Absent, "")
	if _, err := os.Lstat(m.socket("gone.ini")); err == nil {
		t.Error("a vassal that has gone has left its socket")
	}
}

// TestThousandWaitingVassals: one descriptor each, and no process.
func TestThousandWaitingVassals(t *testing.T) {
	const n = 1000
	m := found(t, func(c *configs.Emperor) { c.OnDemandDirectory = filepath.Dir(c.ControlSocket) + "/demand" })
	before := len(descriptors())
	for i := range n {
		m.put(fmt.Sprintf("app%04d.ini", i), lazyID, "module = ok")
	}
	for i := range n {
		m.await(fmt.Sprintf("app%04d.ini", i), Waiting, "")
	}
	m.eventually(func() bool { return len(descriptors())-before < n+30 })
	if kids := pidsNow(); len(kids) > 0 {
		t.Errorf("processes: %v", kids)
	}
	for _, i := range []int{0, 499, 999} {
		text, err := askSocket(fmt.Sprintf("%s/demand/app%04d.socket", m.dir, i))
		if err != nil || !strings.HasSuffix(text, " ok") {
			t.Errorf("%q, %v", text, err)
		}
	}
	if kids := pidsNow(); len(kids) != 3 {
		t.Errorf("processes: %v", kids)
	}
}
