package emperor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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

func TestVassalRunsAsTheFilesOwnerOnItsSocket(t *testing.T) {
	m := found(t, nil)
	m.app("shop.ini", shopID, "ok", "vacuum = true")
	v := m.await("shop.ini", Accepting, "")
	if v.UID != shopID || v.GID != shopID || v.RunsAsRoot || len(v.Sockets) != 1 || v.Sockets[0].Mode != "0666" {
		t.Errorf("status says %+v", v)
	}
	pid, module := m.ask("shop.ini")
	if pid != v.PID || module != "ok" {
		t.Errorf("%d %q answers, want %d", pid, module, v.PID)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Uid:\t61001\t61001\t61001\t61001", "Gid:\t61001\t61001\t61001\t61001", "Groups:\t61001 \n", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "CapInh:\t0000000000000000", "CapAmb:\t0000000000000000"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("/proc/%d/status lacks %q:\n%s", pid, want, text)
		}
	}
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		t.Fatal(err)
	}
	if s := string(env); !strings.Contains(s, "EMPERORD_VASSAL=shop.ini") || !strings.Contains(s, "UWSGI_ENV=A=1") || strings.Contains(s, "NOTIFY_SOCKET") {
		t.Errorf("the environment is %q", s)
	}
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil || cwd != m.dir+"/vassals" {
		t.Errorf("it works in %q, %v", cwd, err)
	}
}

func TestReloadHasTwoGenerations(t *testing.T) {
	m := found(t, nil)
	m.app("shop.ini", shopID, "ok")
	first := m.await("shop.ini", Accepting, "")
	m.app("shop.ini", shopID, "fails")
	v := m.await("shop.ini", Accepting, "cannot import shop")
	if v.PID != first.PID || strings.Contains(v.Reason, "\x1b") || !strings.Contains(v.Reason, "exit code 1") {
		t.Errorf("after a refused reload: %+v", v)
	}
	if pid, _ := m.ask("shop.ini"); pid != first.PID {
		t.Errorf("%d answers, want the old %d", pid, first.PID)
	}
	var st1, st2 unix.Stat_t
	if err := unix.Lstat(m.socket("shop.ini"), &st1); err != nil {
		t.Fatal(err)
	}
	m.app("shop.ini", shopID, "better")
	for end := time.Now().Add(5 * time.Second); ; {
		pid, module := m.ask("shop.ini") // never refused, whoever answers
		if module == "better" && pid != first.PID {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("still %s", module)
		}
	}
	if err := unix.Lstat(m.socket("shop.ini"), &st2); err != nil || st1.Ino != st2.Ino {
		t.Errorf("the socket was made again: %d, %d, %v", st1.Ino, st2.Ino, err)
	}
	second := m.await("shop.ini", Accepting, "")
	m.touch("shop.ini")
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if v, err := m.status("shop.ini"); err == nil && v.State == "accepting" && v.PID != second.PID && len(v.Generations) == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("touch did not reload")
		}
	}
}

func TestKilledVassalIsBackAndNobodyIsRefused(t *testing.T) {
	m := found(t, nil)
	m.app("shop.ini", shopID, "ok")
	old := m.await("shop.ini", Accepting, "").PID
	for range 3 {
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		pid, _ := m.ask("shop.ini") // waits in the backlog
		for end := time.Now().Add(5 * time.Second); pid == old && time.Now().Before(end); pid, _ = m.ask("shop.ini") {
		}
		if pid == old {
			t.Fatal("the killed one answers")
		}
		old = pid
	}
	if v := m.await("shop.ini", Accepting, ""); v.Restarts != 3 {
		t.Errorf("restarts: %d", v.Restarts)
	}
}

func TestRemovedFile(t *testing.T) {
	m := found(t, nil)
	m.app("shop.ini", shopID, "ok")
	pid := m.await("shop.ini", Accepting, "").PID
	if err := os.Remove(m.dir + "/vassals/shop.ini"); err != nil {
		t.Fatal(err)
	}
	m.await("shop.ini", Absent, "")
	if _, err := os.Lstat(m.socket("shop.ini")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d is still there: %v", pid, err)
	}
	m.app("shop.ini", shopID, "again")
	m.await("shop.ini", Accepting, "")
}

func TestRefusalsSayWhatToDoAndAreMendedWithoutARestart(t *testing.T) {
	m := found(t, nil)
	m.app("good.ini", blogID, "ok")
	good := m.await("good.ini", Accepting, "").PID
	vassals := m.dir + "/vassals"

	m.app("root.ini", 0, "ok")
	m.await("root.ini", Refused, "chown USER:GROUP "+vassals+"/root.ini")
	if err := os.Chown(vassals+"/root.ini", shopID, shopID); err != nil {
		t.Fatal(err)
	}
	m.await("root.ini", Accepting, "")

	m.app("open.ini", shopID, "ok")
	m.await("open.ini", Accepting, "")
	if err := os.Chmod(vassals+"/open.ini", 0o666); err != nil {
		t.Fatal(err)
	}
	m.await("open.ini", Accepting, "chmod o-w "+vassals+"/open.ini") // it goes on as it was

	m.app("typo.ini", shopID, "ok", "processes = fuor")
	m.await("typo.ini", Refused, `typo.ini:5: option "processes": value "fuor" is not a number`)
	m.app("typo.ini", shopID, "ok", "processes = 4")
	m.await("typo.ini", Accepting, "")

	// What a file names may come later, without the file being changed: a mount, a host that does not answer yet.
	later := m.dir + "/later.ini"
	m.app("later.ini", shopID, "ok", "include = "+later)
	m.await("later.ini", Backoff, later)
	if err := os.WriteFile(later, []byte("[uwsgi]\nprocesses = 2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	m.await("later.ini", Accepting, "")

	m.put("place.ini", shopID, "module = ok", "socket = /run/emperord-no-such-root/x.sock")
	m.await("place.ini", Backoff, "place.ini:3: cannot listen on /run/emperord-no-such-root/x.sock: the folder /run/emperord-no-such-root does not exist")
	m.put("place.ini", shopID, "module = ok", "socket = /run/x.sock")
	m.await("place.ini", Refused, "emperor-socket-root = /run")

	m.put("twin.ini", shopID, "module = ok", "socket = "+m.socket("good.ini"))
	m.await("twin.ini", Backoff, "the vassal good.ini has this address")

	for module, reason := range map[string]string{"lies": "cannot use what vassald --resolve said", "dies": "exit code 7", "silent": `"these are my last words"`, "fails": "cannot import shop"} {
		m.app(module+".ini", shopID, module)
		state := Backoff
		if module == "lies" {
			state = Refused
		}
		m.await(module+".ini", state, reason)
	}
	if pid, _ := m.ask("good.ini"); pid != good {
		t.Errorf("the neighbour was disturbed: %d, then %d", good, pid)
	}
	for _, name := range []string{"root.ini", "typo.ini", "silent.ini"} {
		if !strings.Contains(m.log.String(), `"vassal": "`+name+`"`) {
			t.Errorf("the log does not name %s", name)
		}
	}
}

func TestOwnersNeverOverlap(t *testing.T) {
	m := found(t, nil)
	m.app("shop.ini", shopID, "ok")
	first := m.await("shop.ini", Accepting, "")
	if err := os.Chown(m.dir+"/vassals/shop.ini", blogID, blogID); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		v, err := m.status("shop.ini")
		if err == nil && v.State == "accepting" && v.UID == blogID {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%+v %v", v, err)
		}
	}
	if err := syscall.Kill(first.PID, 0); !errors.Is(err, syscall.ESRCH) {
		t.Error("the old owner's process is still there")
	}
	var st unix.Stat_t
	if err := unix.Lstat(m.socket("shop.ini"), &st); err != nil || st.Uid != blogID {
		t.Errorf("the socket belongs to %d, %v", st.Uid, err)
	}
}

func TestStubbornVassalIsKilledWhenItsMercyIsOver(t *testing.T) {
	m := found(t, nil)
	m.app("shop.ini", shopID, "stubborn")
	m.await("shop.ini", Accepting, "")
	begin := time.Now()
	m.end()
	if took := time.Since(begin); took < 1900*time.Millisecond || took > 8*time.Second {
		t.Errorf("the stop took %s, the mercy is 2s", took)
	}
	if !strings.Contains(m.log.String(), "did not stop in time; killed") {
		t.Error("the log does not say so")
	}
}

func TestOrphansEndWithTheirVassal(t *testing.T) {
	m := found(t, nil)
	m.app("shop.ini", shopID, "leaves an orphan")
	m.app("blog.ini", blogID, "leaves a daemon")
	shop := m.await("shop.ini", Accepting, "").PID
	m.await("blog.ini", Accepting, "")
	orphans := func() int {
		n := 0
		names, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, name := range names {
			if env, err := os.ReadFile(name); err == nil && strings.Contains(string(env), "ORPHAN=1") {
				n++
			}
		}
		return n
	}
	if n := orphans(); n != 2 {
		t.Fatalf("%d orphans to begin with, want one of each vassal", n)
	}
	if err := os.Remove(m.dir + "/vassals/shop.ini"); err != nil {
		t.Fatal(err)
	}
	m.await("shop.ini", Absent, "")
	for end := time.Now().Add(3 * time.Second); groupAlive(shop); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the orphan lives on")
		}
	}
	if n := orphans(); n != 1 {
		t.Errorf("%d orphans, want the daemon of blog.ini", n)
	}
	m.end()
	if n := orphans(); n != 0 {
		t.Errorf("%d orphans after the end", n)
	}
}

func groupAlive(pgid int) bool { return !errors.Is(syscall.Kill(-pgid, 0), syscall.ESRCH) }

func TestHangingResolverHoldsUpNobody(t *testing.T) {
	m := found(t, nil)
	for i := range parallel() + 2 {
		m.app(fmt.Sprintf("a-hangs%d.ini", i), shopID, "hangs")
	}
	m.app("good.ini", blogID, "ok")
	begin := time.Now()
	m.await("good.ini", Accepting, "")
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestOperatorsAndTenantsOrders(t *testing.T) {
	m := found(t, nil)
	m.app("shop.ini", shopID, "ok")
	first := m.await("shop.ini", Accepting, "").PID
	ctx := context.Background()
	c := api.NewClient(m.config.ControlSocket)
	if _, err := c.Stop(ctx, "shop.ini"); err != nil {
		t.Fatal(err)
	}
	m.await("shop.ini", Suspended, "")
	if _, err := net.Dial("unix", m.socket("shop.ini")); err == nil {
		t.Error("a stopped vassal has a socket")
	}
	m.touch("shop.ini")
	time.Sleep(300 * time.Millisecond)
	m.await("shop.ini", Suspended, "")
	if _, err := c.Start(ctx, "shop.ini"); err != nil {
		t.Fatal(err)
	}
	second := m.await("shop.ini", Accepting, "").PID
	if first == second {
		t.Error("the same process after stop and start")
	}
	if _, err := c.Reload(ctx, "shop.ini"); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); m.await("shop.ini", Accepting, "").PID == second; {
		if time.Now().After(end) {
			t.Fatal("not reloaded")
		}
	}
	if _, err := c.Reload(ctx, "nobody.ini"); err == nil || !strings.Contains(err.Error(), "nobody.ini") {
		t.Errorf("an unknown vassal: %v", err)
	}
}

func TestMayVassal(t *testing.T) {
	e := &Emperor{tyrant: true}
	v := &vassal{}
	v.uid = shopID
	for _, c := range []struct {
		peer *unix.Ucred
		want bool
	}{{&unix.Ucred{Uid: 0}, true}, {&unix.Ucred{Uid: shopID}, true}, {&unix.Ucred{Uid: blogID}, false}, {nil, false}} {
		if got := e.mayVassal(c.peer, v); got != c.want {
			t.Errorf("%+v: %v", c.peer, got)
		}
	}
	e.tyrant = false
	if e.mayVassal(&unix.Ucred{Uid: shopID}, v) {
		t.Error("without tyrant the owner of a file steers it")
	}
}

func TestWithoutTyrantTheFilesUIDDecides(t *testing.T) {
	m := found(t, func(c *configs.Emperor) { c.Tyrant = false })
	m.app("shop.ini", 0, "ok", fmt.Sprintf("uid = %d", shopID), fmt.Sprintf("gid = %d", shopID))
	if v := m.await("shop.ini", Accepting, ""); v.UID != shopID || v.GID != shopID {
		t.Errorf("%+v", v)
	}
	m.app("root.ini", 0, "ok")
	v := m.await("root.ini", Accepting, "")
	if !v.RunsAsRoot || len(v.Notices) == 0 || !strings.Contains(strings.Join(v.Notices, " "), "RUNS AS ROOT") {
		t.Errorf("%+v", v)
	}
	m.app("root.ini", blogID, "ok") // somebody else's from now on: it is stopped
	if v := m.await("root.ini", Refused, "others than root may write its file"); v.RunsAsRoot {
		t.Error("what does not run any more is said to run as root")
	}
	m.app("sly.ini", blogID, "ok")
	m.await("sly.ini", Refused, "others than root may write its file")
	m.app("thief.ini", blogID, "ok", fmt.Sprintf("uid = %d", shopID))
	m.await("thief.ini", Refused, "cannot run the vassal as")
}

func TestMistakesAreToldBeforeAnythingIsDone(t *testing.T) {
	for _, c := range []struct {
		config configs.Emperor
		want   string
	}{
		{configs.Emperor{}, "nothing to watch"},
		{configs.Emperor{Sources: []string{"pg://x"}}, "pg://"},
		{configs.Emperor{Sources: []string{"/tmp"}, Tyrant: true, UID: "www-data"}, "tyrant"},
	} {
		err := Run(context.Background(), Options{Config: &c.config, Vassald: "/bin/true", Dir: "/", Stderr: &logBuffer{}})
		if !errors.As(err, new(Mistake)) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.config, err)
		}
	}
}

func TestFileThatVanishesHalfWay(t *testing.T) {
	m := found(t, nil)
	m.app("good.ini", blogID, "ok")
	good := m.await("good.ini", Accepting, "").PID
	for i := range 40 {
		m.app("shop.ini", shopID, "ok")
		time.Sleep(time.Duration(i) * time.Millisecond)
		if err := os.Remove(m.dir + "/vassals/shop.ini"); err != nil {
			t.Fatal(err)
		}
	}
	m.await("shop.ini", Absent, "")
	if _, err := os.Lstat(m.socket("shop.ini")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its socket: %v", err)
	}
	if pid, _ := m.ask("good.ini"); pid != good {
		t.Error("the neighbour was disturbed")
	}
}
