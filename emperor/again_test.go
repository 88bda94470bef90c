package emperor

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/emperord/emperord/configs"
)

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
