package emperor

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/protocol/api"
	"github.com/emperord/emperord/sockets"
)

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

func TestWhoDoesNotAcceptInTimeIsGivenUp(t *testing.T) {
	m := found(t, func(c *configs.Emperor) { c.StartTimeout = 400 * time.Millisecond })
	m.app("shop.ini", shopID, "ok")
	before := m.await("shop.ini", Accepting, "").PID
	m.app("shop.ini", shopID, "never accepts")
	v := m.await("shop.ini", Accepting, "it did not accept requests within 400ms and was stopped; if it needs longer to load, write emperor-start-timeout = SECONDS")
	if pid, module := m.ask("shop.ini"); pid != before || module != "ok" || v.PID != before {
		t.Errorf("%d %s answers, before %d", pid, module, before)
	}
	m.app("blog.ini", blogID, "never accepts") // with nothing that could serve on
	m.await("blog.ini", Backoff, "emperor-start-timeout")
}

func TestExileIsLeftAloneUntilItsFileChangesOrSomebodyAsks(t *testing.T) {
	m := found(t, nil)
	m.app("shop.ini", shopID, "exile")
	v := m.await("shop.ini", Refused, "it asked not to be started again (exit code 26)")
	m.urgent <- struct{}{} // not by SIGURG
	if _, err := m.client().ReloadAll(context.Background()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * m.config.Throttle)
	if now := m.await("shop.ini", Refused, ""); !now.Since.Equal(v.Since) || len(m.known("shop.ini").Exits) != 1 {
		t.Errorf("it was started again: %+v", now)
	}
	if _, err := m.client().Start(context.Background(), "shop.ini"); err != nil {
		t.Fatal(err)
	}
	exits := func(n int) {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); len(m.known("shop.ini").Exits) != n; time.Sleep(2 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("exits: %+v", m.known("shop.ini").Exits)
			}
		}
	}
	exits(2)
	m.await("shop.ini", Refused, "exit code 26")
	m.touch("shop.ini")
	exits(3)
	m.app("shop.ini", shopID, "ok")
	m.await("shop.ini", Accepting, "")
}

func TestMissingHeartbeatKillsAndRestarts(t *testing.T) {
	m := found(t, func(c *configs.Emperor) { c.Heartbeat = time.Second })
	m.app("quiet.ini", shopID, "ok") // who never sends one is not missed
	quiet := m.await("quiet.ini", Accepting, "").PID
	m.app("shop.ini", shopID, "beats once")
	before := m.await("shop.ini", Accepting, "").PID
	m.awaitLog("it sent no heartbeat for 1s and was killed (emperor-required-heartbeat)")
	v := m.await("shop.ini", Accepting, "")
	if v.PID == before || v.Restarts == 0 {
		t.Errorf("%+v, before %d", v, before)
	}
	if w := m.known("shop.ini"); len(w.Exits) == 0 || w.Exits[0].Signal != "SIGKILL" {
		t.Errorf("%+v", w.Exits)
	}
	if v.Signs.Heartbeat == nil || v.Signs.Ready == nil || v.Signs.Loyal != nil || len(v.Generations) != 1 || !v.Generations[0].Ready || !v.Generations[0].Accepting || v.Generations[0].Loyal {
		t.Errorf("the status shows %+v %+v", v.Signs, v.Generations)
	}
	if now := m.await("quiet.ini", Accepting, "").PID; now != quiet {
		t.Error("who never sent a heartbeat was missed")
	}
}

// TestLastGoodSettingsComeBack is about a crash while the edited file is refused: by what it says, or because what it
// names does not load.
func TestLastGoodSettingsComeBack(t *testing.T) {
	for _, broken := range []struct{ module, reason string }{{"lies", "cannot use what vassald --resolve said"}, {"fails", "cannot import shop"}} {
		t.Run(broken.module, func(t *testing.T) {
			m := found(t, nil)
			m.app("shop.ini", shopID, "ok")
			before := m.await("shop.ini", Accepting, "").PID
			m.app("shop.ini", shopID, broken.module)
			m.await("shop.ini", Accepting, broken.reason)
			_ = syscall.Kill(before, syscall.SIGKILL)
			v := m.await("shop.ini", Accepting, "it runs with its last good settings, because its file as it is now was refused: ")
			if !strings.Contains(v.Reason, broken.reason) || v.UID != shopID {
				t.Errorf("%+v", v)
			}
			if pid, module := m.ask("shop.ini"); module != "ok" || pid == before {
				t.Errorf("%d %s answers", pid, module)
			}
			if w := m.known("shop.ini"); w.Refused == nil || !strings.Contains(w.Refused.Reason, broken.reason) {
				t.Errorf("why says %+v", w.Refused)
			}
			m.awaitLog("vassal accepts, with its last good settings")
			m.app("shop.ini", shopID, broken.module, "# still broken") // and it is said still
			m.await("shop.ini", Accepting, "it runs with its last good settings")
			m.app("shop.ini", shopID, "slow")
			for end := time.Now().Add(5 * time.Second); ; time.Sleep(2 * time.Millisecond) {
				if v := m.await("shop.ini", Accepting, ""); v.Reason == "" {
					break
				} else if time.Now().After(end) {
					t.Fatalf("a mended file is not taken: %+v", v)
				}
			}
			if _, module := m.ask("shop.ini"); module != "slow" {
				t.Errorf("%s answers", module)
			}
		})
	}
}

// TestLastGoodSettingsGoWithRightsAndFile: nobody keeps an application by breaking its file.
func TestLastGoodSettingsGoWithRightsAndFile(t *testing.T) {
	m := found(t, nil)
	path := m.dir + "/vassals/shop.ini"
	m.app("shop.ini", shopID, "ok")
	before := m.await("shop.ini", Accepting, "").PID
	mustDo(t, os.Chmod(path, 0o666)) // not what it says, but who may write it
	m.await("shop.ini", Accepting, "everybody may write it")
	_ = syscall.Kill(before, syscall.SIGKILL)
	m.await("shop.ini", Refused, "everybody may write it")
	mustDo(t, os.Chmod(path, 0o644))
	m.await("shop.ini", Accepting, "")
	m.app("shop.ini", shopID, "fails")
	m.await("shop.ini", Accepting, "cannot import")
	mustDo(t, os.Remove(path))
	m.await("shop.ini", Absent, "")
	m.app("shop.ini", shopID, "fails") // another vassal of the same name
	m.await("shop.ini", Backoff, "cannot import")
}

func TestGoodSettingsBelongToTheFilesOwner(t *testing.T) {
	needRoot(t)
	path := t.TempDir() + "/shop.ini"
	mustDo(t, os.WriteFile(path, nil, 0o644), os.Chown(path, shopID, shopID), os.Symlink(path, path+".link"), os.Lchown(path+".link", blogID, blogID))
	g := &Good{UID: shopID, GID: shopID, RanUID: shopID, RanGID: shopID}
	for _, c := range []struct {
		path  string
		links bool
		good  *Good
		want  string
	}{
		{path, false, g, ""},
		{path, true, g, ""},
		{path + ".link", false, g, ""},
		{path + ".link", true, g, "was given to another owner: from uid 61001, gid 61001 to uid 61002, gid 61002"},
		{path, false, &Good{UID: blogID, GID: shopID}, "was given to another owner"},
		{path, false, &Good{UID: shopID, GID: blogID}, "was given to another owner"},
		{path + ".gone", false, g, "no such file"},
		{path, false, nil, "nothing is kept"},
	} {
		err := c.good.owns(c.path, c.links)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s, %v: %v, want %q", c.path, c.links, err, c.want)
		}
	}
	if !g.ranAs(sockets.Identity{UID: shopID, GID: shopID}) || g.ranAs(sockets.Identity{UID: shopID, GID: 0}) || g.ranAs(sockets.Identity{UID: 0, GID: shopID}) {
		t.Error("ranAs takes other rights for the same")
	}
	big := &attempt{document: make([]byte, maxGood+1)}
	if big.good() || !(&attempt{document: make([]byte, maxGood)}).good() || (&attempt{document: []byte{1}, foreign: true}).good() {
		t.Error("what is kept is too much, or of a program that reads the file itself")
	}
}

func TestSIGURGAndOperatorEndTheWait(t *testing.T) {
	m := found(t, func(c *configs.Emperor) { c.Throttle, c.MaxThrottle = time.Hour, time.Hour })
	m.app("shop.ini", shopID, "fails")
	m.await("shop.ini", Backoff, "cannot import")
	tried := func(n int) {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); len(m.known("shop.ini").Exits) != n; time.Sleep(2 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("tried %d times, want %d", len(m.known("shop.ini").Exits), n)
			}
		}
		m.await("shop.ini", Backoff, "cannot import")
	}
	tried(1)
	m.urgent <- struct{}{}
	tried(2)
	_, _ = m.client().Start(context.Background(), "shop.ini")
	tried(3)
	m.touch("shop.ini")
	tried(4)
	if f := m.known("shop.ini").Failures; f != 1 {
		t.Errorf("%d failures count, want 1", f)
	}
}

func TestNewVassalsWaitForACommand(t *testing.T) {
	m := found(t, func(c *configs.Emperor) { c.WaitCommand, c.WaitCommandNo = true, []string{"blog.ini"} })
	m.app("shop.ini", shopID, "ok")
	m.app("blog.ini", blogID, "ok")
	m.await("blog.ini", Accepting, "")
	m.await("shop.ini", Suspended, "waits for a command, as emperor-wait-for-command says; run: emperorctl start NAME")
	m.touch("shop.ini")
	if _, err := m.client().ReloadAll(context.Background()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * m.config.Freq)
	m.await("shop.ini", Suspended, "")
	if _, err := m.client().Start(context.Background(), "shop.ini"); err != nil {
		t.Fatal(err)
	}
	before := m.await("shop.ini", Accepting, "").PID
	_ = syscall.Kill(before, syscall.SIGKILL) // a crash is no reason to wait again
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if v := m.await("shop.ini", Accepting, ""); v.PID != before {
			break
		} else if time.Now().After(end) {
			t.Fatal("it does not come back")
		}
	}
}

// TestWhoServedWhenTheEmperorWasKilledNeedsNoCommand: an operator has started it, and nobody knows that it has to be done again.
func TestWhoServedWhenTheEmperorWasKilledNeedsNoCommand(t *testing.T) {
	e := &Emperor{c: &configs.Emperor{WaitCommand: true}}
	e.store.left = []*leftListener{{vassal: "shop.ini"}}
	for name, waits := range map[string]bool{"shop.ini": false, "blog.ini": true} {
		if e.waitsForCommand(&vassal{name: name}) != waits {
			t.Errorf("%s waits for a command: %v", name, !waits)
		}
	}
}

func TestCurseEndsWhoDoesNotStop(t *testing.T) {
	m := found(t, func(c *configs.Emperor) { c.Curse = 500 * time.Millisecond })
	m.app("shop.ini", shopID, "stubborn", "reload-mercy = 600")
	m.await("shop.ini", Accepting, "")
	begin := time.Now()
	mustDo(t, os.Remove(m.dir+"/vassals/shop.ini"))
	m.await("shop.ini", Absent, "") // its own mercy is ten minutes
	if took := time.Since(begin); took < m.config.Curse {
		t.Errorf("it was killed after %s", took)
	}
	m.awaitLog("vassal did not stop in time; killed")
}

func TestNoBlacklistDoesNotLetTheWaitGrow(t *testing.T) {
	m := found(t, func(c *configs.Emperor) {
		c.NoBlacklist, c.Throttle, c.MaxThrottle = true, time.Millisecond, time.Hour
	})
	begin := time.Now()
	m.app("shop.ini", shopID, "fails")
	for end := time.Now().Add(20 * time.Second); m.known("shop.ini").Failures < 12; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%+v", m.known("shop.ini"))
		}
	}
	if took := time.Since(begin); took < 11*leastDelay {
		t.Errorf("twelve failures in %s: that keeps a processor busy", took)
	}
}

func TestWhatAnOperatorAsksForGoesFirst(t *testing.T) {
	e := &Emperor{turns: map[*attempt]time.Time{}}
	add := func(user uint32, id Generation, by caller) {
		v := &vassal{name: fmt.Sprint(user, id), attempts: map[Generation]*attempt{}, caller: by}
		v.maker = user
		a := &attempt{id: id}
		v.attempts[id] = a
		e.enqueue(v, a)
	}
	for id := Generation(1); id <= 3; id++ {
		add(1, id, nobody)
	}
	add(2, 11, nobody)
	add(1, 4, tenant)
	add(1, 5, tenant)
	add(1, 21, operator)
	add(2, 22, operator)
	add(3, 23, operator)
	e.requested[1].v.attempts = nil // abandoned
	var order []Generation
	for e.waiting() {
		next, found := e.nextTurn()
		if !found {
			break
		}
		order = append(order, next.a.id)
	}
	// The operator's, the last first; then users in rotation, and of each what it has asked for first.
	if want := []Generation{23, 21, 5, 11, 4, 1, 2, 3}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
	for range 10 * parallel() {
		add(9, 1, operator)
	}
	n := 0
	for next, found := e.nextAsked(); found; next, found = e.nextAsked() {
		e.turns[next.a] = start
		n++
	}
	if n != parallel()+reserve() {
		t.Errorf("an operator who asks for all gets %d at a time", n)
	}
}

// TestWhoIsWaitedForGoesAhead of a thousand that are only new, also when these have all turns, and one user's thousand that
// have died do not keep another's new one from starting.
func TestWhoIsWaitedForGoesAhead(t *testing.T) {
	e := &Emperor{turns: map[*attempt]time.Time{}}
	add := func(user uint32, name string, life Life) *vassal {
		v := &vassal{name: name, life: life, attempts: map[Generation]*attempt{}}
		v.maker = user
		a := &attempt{id: 1}
		v.attempts[1] = a
		e.enqueue(v, a)
		return v
	}
	begin := func() string {
		next, found := e.nextTurn()
		if !found {
			return "nobody"
		}
		e.turns[next.a] = start
		return next.v.name
	}
	fresh := Life{State: Resolving, Coming: 1}
	for range 1000 {
		add(1, "new", fresh)
	}
	for range parallel() {
		if got := begin(); got != "new" {
			t.Fatalf("%s begins", got)
		}
	}
	for name, life := range map[string]Life{
		"died":      {State: Resolving, Coming: 1, Served: start, Spent: true},
		"connected": {State: Resolving, Coming: 1, Wanted: true},
		"cut off":   {State: Reloading, Coming: 1, Serving: 2, Losses: 1, Remade: start, Since: start},
	} {
		clear(e.turns)
		for range parallel() {
			e.turns[&attempt{user: 1}] = start
		}
		add(1, name, life)
		if got := begin(); got != name {
			t.Errorf("%s begins, and somebody waits for the one that %s", got, name)
		}
	}
	for name, life := range map[string]Life{
		"died again":      {State: Resolving, Coming: 1, Served: start, Spent: true, Failures: 1},
		"failed, touched": {State: Resolving, Coming: 1, Served: start},
		"reloads":         {State: Reloading, Coming: 1, Serving: 2, Losses: 1, Remade: start, Since: start.Add(time.Second)},
	} {
		clear(e.turns)
		add(1, name, life)
		if got := begin(); got != "new" {
			t.Errorf("%s begins before the others", got)
		}
	}
	clear(e.turns)
	for range 1000 {
		add(1, "died", Life{State: Resolving, Coming: 1, Served: start, Spent: true})
	}
	add(2, "of another user", fresh)
	all := map[string]int{}
	for range parallel() {
		all[begin()]++
	}
	if all["died"] != parallel()/4 || all["of another user"] != 1 {
		t.Errorf("began %v", all)
	}
}

// TestReloadOfAllIsRolling counts the second generations that exist at a time.
func TestReloadOfAllIsRolling(t *testing.T) {
	m := found(t, nil)
	n := 3 * (parallel() + reserve())
	for i := range n {
		m.app(fmt.Sprintf("shop%d.ini", i), shopID, "slow")
	}
	for i := range n {
		m.await(fmt.Sprintf("shop%d.ini", i), Accepting, "")
	}
	before := map[string]int{}
	s, err := m.client().Status(context.Background())
	mustDo(t, err)
	for _, v := range s.Vassals {
		before[v.Name] = v.PID
	}
	mustDo(t, unix.Kill(os.Getpid(), unix.SIGHUP))
	most := 0
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		s, err := m.client().Status(context.Background())
		mustDo(t, err)
		second, left := 0, 0
		for _, v := range s.Vassals {
			if len(v.Generations) > 1 || v.State == "reloading" {
				second++
			}
			if v.State == "accepting" && v.PID == before[v.Name] {
				left++
			}
			if v.State != "accepting" && v.State != "reloading" {
				t.Errorf("%s is %s during a reload", v.Name, v.State)
			}
		}
		most = max(most, second)
		if left == 0 && second == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d of %d have not been reloaded", left, n)
		}
	}
	if most > parallel() {
		t.Errorf("%d vassals had two generations at a time, want at most %d", most, parallel())
	}
	if most < 2 {
		t.Errorf("they were reloaded one by one: %d at a time", most)
	}
}

// TestSilenceOfForeignPrograms: what is not ours may say little. An emperor as a vassal says only that it is loyal; other
// programs nothing at all.
func TestSilenceOfForeignPrograms(t *testing.T) {
	needRoot(t)
	script, err := os.CreateTemp("/tmp", "emperord-test-wrapper-")
	mustDo(t, err)
	t.Cleanup(func() { os.Remove(script.Name()) })
	_, err = script.WriteString(`#!/bin/sh
case "$2" in
loyal*) printf '\021' >&"$UWSGI_EMPEROR_FD" ;;
ready*) printf '\001' >&"$UWSGI_EMPEROR_FD" ;;
esac
exec sleep 1000 <&"$UWSGI_EMPEROR_FD"
`)
	mustDo(t, err, script.Chmod(0o755), script.Close())
	m := found(t, func(c *configs.Emperor) {
		c.Wrapper, c.StartTimeout, c.Curse = script.Name(), 500*time.Millisecond, 100*time.Millisecond
	})
	begin := time.Now()
	m.app("loyal.ini", shopID, "x")
	m.await("loyal.ini", Accepting, "")
	m.app("ready.ini", shopID, "x")
	m.app("mute.ini", shopID, "x")
	before := m.await("mute.ini", Accepting, "").PID // nothing better is there
	if took := time.Since(begin); took < m.config.StartTimeout {
		t.Errorf("one that says nothing was taken for well after %s", took)
	}
	m.await("ready.ini", Accepting, "")
	m.touch("mute.ini")
	if v := m.await("mute.ini", Accepting, "did not accept requests within 500ms"); v.PID != before {
		t.Errorf("one that says nothing has replaced one that may be well: %+v", v)
	}
	m.app("mute.ini", shopID, "x", "cheap = true")
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if v := m.await("mute.ini", Accepting, ""); v.PID != before && v.Reason == "" {
			break
		} else if time.Now().After(end) {
			t.Fatalf("one that cannot say anything yet is not taken: %+v", v)
		}
	}
}
