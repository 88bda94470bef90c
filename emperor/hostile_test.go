package emperor

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/protocol/api"
)

// TestAnythingMayHappenWhileLastWordsAreWaitedFor keeps the output of a failed vassal open and meanwhile does what
// operators do.
func TestAnythingMayHappenWhileLastWordsAreWaitedFor(t *testing.T) {
	m := found(t, nil)
	ctx := context.Background()
	c := api.NewClient(m.config.ControlSocket)
	for i, what := range []func(){
		func() { _, _ = c.Stop(ctx, "shop.ini") },
		func() { _, _ = c.Reload(ctx, "shop.ini") },
		func() { m.touch("shop.ini") },
		func() { os.Remove(m.dir + "/vassals/shop.ini") },
		func() { os.Chown(m.dir+"/vassals/shop.ini", blogID, blogID) },
	} {
		m.app("shop.ini", shopID, "fails with a talker")
		_, _ = c.Start(ctx, "shop.ini")
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
			if v, err := m.status("shop.ini"); err == nil && v.State == "backoff" {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("case %d: the vassal does not fail", i)
			}
		}
		what()
	}
	m.app("shop.ini", shopID, "fails with a talker")
	time.Sleep(30 * time.Millisecond)
	m.end()
}

func TestVassalThatIsReloadedFasterThanItStops(t *testing.T) {
	m := found(t, nil)
	m.app("shop.ini", shopID, "stubborn")
	m.await("shop.ini", Accepting, "")
	for range 40 {
		m.touch("shop.ini")
		time.Sleep(25 * time.Millisecond)
		if v, err := m.status("shop.ini"); err == nil && len(v.Generations) > maxLeaving+3 {
			t.Fatalf("%d generations", len(v.Generations))
		}
	}
}

// TestQuickReloadsCostNoRequest: generations that have never accepted make room for one that has a request to finish.
func TestQuickReloadsCostNoRequest(t *testing.T) {
	m := found(t, func(c *configs.Emperor) { c.Mercy = 20 * time.Second })
	m.app("shop.ini", shopID, "takes its time")
	first := m.await("shop.ini", Accepting, "").PID
	c, err := net.Dial("unix", m.socket("shop.ini"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	m.touch("shop.ini")
	m.eventually(func() bool { v, _ := m.status("shop.ini"); return v.State == "accepting" && v.PID != first })
	t.Cleanup(func() {
		if err := os.WriteFile(m.dir+"/vassals/enough", nil, 0o644); err != nil {
			t.Error(err)
		}
	})
	m.put("shop.ini", shopID, "module = loads until enough", "socket = "+m.socket("shop.ini"), "chmod-socket = 666")
	m.eventually(func() bool { // each one while those before are still loading
		m.touch("shop.ini")
		time.Sleep(100 * time.Millisecond)
		return strings.Contains(m.log.String(), "killed one of the generations that are leaving") // there were too many
	})
	if _, err := c.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if text, err := io.ReadAll(c); err != nil || string(text) != fmt.Sprintf("%d takes its time", first) {
		t.Errorf("%q, %v: the request was lost", text, err)
	}
}

func TestVassalThatShoutsCostsUsLittle(t *testing.T) {
	m := found(t, nil)
	m.app("shop.ini", shopID, "shouts")
	m.await("shop.ini", Accepting, "")
	var before, after unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &before)
	time.Sleep(time.Second)
	unix.Getrusage(unix.RUSAGE_SELF, &after)
	used := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
	if used > 400*time.Millisecond {
		t.Errorf("it cost %s of a second", used)
	}
}

func TestRefusedReloadLeavesTheSocketAsItIs(t *testing.T) {
	m := found(t, nil)
	m.app("shop.ini", shopID, "ok")
	m.await("shop.ini", Accepting, "")
	mode := func() uint32 {
		var st unix.Stat_t
		if err := unix.Lstat(m.socket("shop.ini"), &st); err != nil {
			t.Fatal(err)
		}
		return st.Mode & 0o777
	}
	m.put("shop.ini", shopID, "module = fails", "socket = "+m.socket("shop.ini"), "chmod-socket = 600")
	m.await("shop.ini", Accepting, "cannot import shop")
	if got := mode(); got != 0o666 {
		t.Errorf("after a refused reload the mode is %o", got)
	}
	m.put("shop.ini", shopID, "module = ok", "socket = "+m.socket("shop.ini"), "chmod-socket = 600")
	for end := time.Now().Add(5 * time.Second); mode() != 0o600; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after a good one it is %o", mode())
		}
	}
}

func TestNewOwnerNeverGetsTheOldOnesSocket(t *testing.T) {
	m := found(t, nil)
	m.app("shop.ini", shopID, "ok")
	m.await("shop.ini", Accepting, "")
	var after unix.Stat_t
	m.app("shop.ini", shopID, "fails") // the next generation will not come up
	m.await("shop.ini", Accepting, "cannot import")
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		v, err := m.status("shop.ini")
		if err == nil && v.State == "backoff" {
			break
		}
		if v.PID > 0 { // it comes back with its last good settings, and is killed again
			_ = syscall.Kill(v.PID, syscall.SIGKILL)
		}
		if time.Now().After(end) {
			t.Fatal("no backoff")
		}
	}
	m.app("shop.ini", blogID, "ok") // a new file of somebody else, while the listener waits for the next try
	m.await("shop.ini", Accepting, "")
	if err := unix.Lstat(m.socket("shop.ini"), &after); err != nil || after.Uid != blogID {
		t.Fatalf("%+v, %v", after, err)
	}
	if n := strings.Count(m.log.String(), "socket made"); n != 2 { // inode numbers are used again
		t.Errorf("%d sockets were made, want another one for the new owner", n)
	}
}

func TestFloodOfTheControlSocketLeavesRoomForOthers(t *testing.T) {
	g := &gate{peers: map[uint32]int{}}
	for range guestsOfOne {
		if !g.enter(shopID) {
			t.Fatal("refused within the limit")
		}
	}
	if g.enter(shopID) {
		t.Error("one user has more than its share")
	}
	if !g.enter(blogID) {
		t.Error("another user is refused")
	}
	g.leave(shopID)
	if !g.enter(shopID) {
		t.Error("a place that became free is not given again")
	}
	for uid := uint32(70000); g.enter(uid); uid++ {
	}
	if g.all != guestsOfAll {
		t.Errorf("%d connections of all", g.all)
	}
}

func TestTwoNamesOfOnePathAreOneAddress(t *testing.T) {
	m := found(t, func(c *configs.Emperor) {
		c.SocketRoots = []string{filepath.Dir(c.ControlSocket) + "/run", filepath.Dir(c.ControlSocket) + "/var/run"}
	})
	if err := os.Symlink(m.dir, m.dir+"/var"); err != nil {
		t.Fatal(err)
	}
	m.app("shop.ini", shopID, "ok")
	m.await("shop.ini", Accepting, "")
	m.put("twin.ini", blogID, "module = ok", "socket = "+m.dir+"/var/run/shop.sock")
	m.await("twin.ini", Backoff, "the vassal shop.ini has this address")
}

// TestTenantWhoStopsEverythingOfHisHoldsUpNobody has one tenant send SIGSTOP to all its processes, at all times, and
// reload without end: a child between fork and exec belongs to it already.
func TestTenantWhoStopsEverythingOfHisHoldsUpNobody(t *testing.T) {
	m := found(t, nil)
	m.app("shop.ini", shopID, "ok")
	m.app("blog.ini", blogID, "ok")
	m.await("shop.ini", Accepting, "")
	old := m.await("blog.ini", Accepting, "").PID
	attacker, err := os.StartProcess(m.dir+"/bin/vassald", []string{"vassald"}, &os.ProcAttr{
		Env: []string{"STOPPER=" + m.dir + "/vassals/shop.ini", "GORACE=atexit_sleep_ms=0"},
		Sys: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: shopID, Gid: shopID}, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 8 {
		time.Sleep(400 * time.Millisecond)
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		pid, _ := m.ask("blog.ini")
		for ; pid == old; pid, _ = m.ask("blog.ini") {
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Fatalf("the neighbour was back after %s", took)
		}
		old = pid
	}
	_ = attacker.Kill()
	_ = attacker.Release()
}

func TestReloadBeforeTheFirstAcceptKeepsTheSocket(t *testing.T) {
	m := found(t, nil)
	m.app("shop.ini", shopID, "never accepts")
	m.await("shop.ini", Starting, "")
	c, err := net.Dial("unix", m.socket("shop.ini"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	m.app("shop.ini", shopID, "ok")
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if text, err := io.ReadAll(c); err != nil || !strings.HasSuffix(string(text), " ok") {
		t.Errorf("who waited got %q, %v", text, err)
	}
	m.app("new.ini", shopID, "fails")
	m.await("new.ini", Backoff, "cannot import")
	if _, err := net.Dial("unix", m.socket("new.ini")); err == nil {
		t.Error("a vassal that has never served lets its clients wait")
	}
}
