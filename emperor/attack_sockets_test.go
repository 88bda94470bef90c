package emperor

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/configs"
)

// TestAttacksOnItsOwnSocket has a tenant, or a careless operator, do to the socket of a running vassal what its owner may.
func TestAttacksOnItsOwnSocket(t *testing.T) {
	// Only the watch can see it in time, not the slow look.
	rarely := func(c *configs.Emperor) { c.Freq = time.Hour }
	t.Run("deletes it", func(t *testing.T) {
		s := besiege(t, rarely)
		s.evil("ok")
		old := s.await(s.name, Accepting, "").PID
		s.backAfter(t, old, func() error { return os.Remove(s.evilSocket()) })
		s.logged("a socket is lost", s.name, evilUID, "its file was removed")
	})
	t.Run("replaces it by a socket of its own", func(t *testing.T) {
		s := besiege(t, rarely)
		s.evil("ok")
		old := s.await(s.name, Accepting, "").PID
		s.backAfter(t, old, func() error { // a dead one, over the living one
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			mustDo(t, err, unix.Bind(fd, &unix.SockaddrUnix{Name: s.own + "/own"}), unix.Close(fd), os.Chown(s.own+"/own", evilID, evilID))
			return os.Rename(s.own+"/own", s.evilSocket())
		})
		s.logged("a socket is lost", s.name, evilUID, "another socket of uid 61401 stands in its place")
	})
	for kind, put := range map[string]func(s *siege, path string) error{
		"a link to a file of root's": func(s *siege, path string) error { return os.Symlink(s.dir+"/root/shadow", path) },
		"a link to its neighbour's socket": func(s *siege, path string) error {
			return os.Symlink(s.socket("neighbour.ini"), path)
		},
		"a file":   func(_ *siege, path string) error { return os.WriteFile(path, []byte("mine"), 0o600) },
		"a folder": func(_ *siege, path string) error { return os.Mkdir(path, 0o755) },
		"a FIFO":   func(_ *siege, path string) error { return unix.Mkfifo(path, 0o666) },
	} {
		t.Run("replaces it by "+kind, func(t *testing.T) {
			s := besiege(t, func(c *configs.Emperor) { c.Freq = 100 * time.Millisecond })
			s.evil("ok")
			old := s.await(s.name, Accepting, "").PID
			mustDo(t, os.Remove(s.evilSocket()), put(s, s.evilSocket()), os.Lchown(s.evilSocket(), evilID, evilID))
			var before, after unix.Stat_t
			mustDo(t, unix.Lstat(s.evilSocket(), &before))
			if v := s.await(s.name, Accepting, "is in the way"); v.PID != old {
				t.Errorf("pid %d, then %d", old, v.PID)
			}
			s.logged("reload refused", s.name, evilUID, "not a socket, is in the way")
			mustDo(t, unix.Lstat(s.evilSocket(), &after))
			if before.Ino != after.Ino || before.Mode != after.Mode || before.Uid != after.Uid {
				t.Errorf("what the tenant put there was touched: %+v, %+v", before, after)
			}
			// What is not ours is left alone; once it has gone, the socket is back by itself.
			s.backAfter(t, old, func() error { return os.Remove(s.evilSocket()) })
		})
	}
	t.Run("deletes it without end", func(t *testing.T) {
		s := besiege(t, nil)
		s.evil("ok")
		s.await(s.name, Accepting, "")
		begin := time.Now()
		s.unleash("remove", 4, s.evilSocket())()
		took := time.Since(begin)
		// 100 ms doubling to a second, and one at once: seven in four seconds; machines stall, so some more.
		if n := strings.Count(s.log.String(), "a socket is lost"); n < 3 || float64(n) > 8+took.Seconds() {
			t.Errorf("it was made again %d times in %s", n, took)
		}
		s.stillGoverns()
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			if _, err := askAt(s.evilSocket()); err == nil {
				break
			} else if time.Now().After(end) {
				t.Fatalf("it does not come back: %v", err)
			}
		}
	})
	t.Run("gives it other rights", func(t *testing.T) {
		s := besiege(t, rarely)
		s.evil("ok")
		old := s.await(s.name, Accepting, "").PID
		mode := func() uint32 {
			var st unix.Stat_t
			mustDo(t, unix.Lstat(s.evilSocket(), &st))
			return st.Mode & 0o7777
		}
		mustDo(t, os.Chmod(s.evilSocket(), 0))
		s.logged("changed its rights", s.name, evilUID, "mode 0000", "instead of mode 0666")
		if mode() != 0 {
			t.Errorf("mode %o: the owner's choice stays until the next reload", mode())
		}
		if v, err := s.status(s.name); err != nil || v.PID != old {
			t.Errorf("%+v, %v", v, err)
		}
		now := time.Now()
		mustDo(t, os.Chtimes(s.name, now, now))
		for end := time.Now().Add(10 * time.Second); mode() != 0o666; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("after a reload it has mode %o", mode())
			}
		}
	})
	t.Run("changes its rights without end", func(t *testing.T) {
		s := besiege(t, nil)
		s.evil("ok")
		old := s.await(s.name, Accepting, "").PID
		var before, after unix.Rusage
		mustDo(t, unix.Getrusage(unix.RUSAGE_SELF, &before))
		n := s.unleash("chmod", 2, s.evilSocket())()
		mustDo(t, unix.Getrusage(unix.RUSAGE_SELF, &after))
		if lines := strings.Count(s.log.String(), "changed its rights"); lines > 30 {
			t.Errorf("%d changes made %d lines", n, lines)
		}
		if v := s.await(s.name, Accepting, ""); v.PID != old {
			t.Error("it was started again")
		}
		t.Logf("%d changes cost %s", n, time.Duration(after.Utime.Nano()+after.Stime.Nano()-before.Utime.Nano()-before.Stime.Nano()))
	})
	t.Run("replaces the folder of its socket", func(t *testing.T) {
		s := besiege(t, func(c *configs.Emperor) { c.Freq = 100 * time.Millisecond })
		folder := s.own + "/evilrun"
		mustDo(t, os.Mkdir(folder, 0o755), os.Chown(folder, evilID, evilID))
		s.evilAs(s.name, "ok", "socket = "+folder+"/evil2.sock")
		s.await(s.name, Accepting, "")
		mustDo(t, os.Rename(folder, folder+"-away"), os.Symlink(s.dir+"/root", folder)) // only the slow look sees it
		s.logged("a socket is lost", s.name, evilUID)
		s.logged("reload refused", s.name, "evil2.sock")
		mustDo(t, os.Remove(folder), os.Rename(folder+"-away", folder))
		s.await(s.name, Accepting, "")
	})
}

// TestAttacksByRunningVassals has the vassal itself misuse what it was given.
func TestAttacksByRunningVassals(t *testing.T) {
	t.Run("scribbles on its memory files", func(t *testing.T) {
		s := besiege(t, nil)
		s.evil("scribbles")
		v := s.await(s.name, Accepting, "")
		mustDo(t, syscall.Kill(v.PID, syscall.SIGKILL))
		s.logged("vassal ended", s.name, evilUID, "SIGKILL")
		s.await(s.name, Accepting, "")
	})
	t.Run("floods its output and its emperor", func(t *testing.T) {
		s := besiege(t, nil)
		s.evil("floods its output")
		s.await(s.name, Accepting, "")
		s.evilAs(s.own+"/evil2.ini", "shouts", "socket = "+s.own+"/evil2.sock")
		time.Sleep(time.Second)
		s.stillGoverns()
	})
	t.Run("holds the control socket", func(t *testing.T) {
		s := besiege(t, nil)
		s.evil("ok")
		wait := s.unleash("connect", 2, s.dir+"/control.sock")
		s.stillGoverns() // by the control socket itself
		wait()
		s.stillGoverns()
	})
	t.Run("reloads, renames and changes its files without end", func(t *testing.T) {
		s := besiege(t, nil)
		s.evil("ok")
		s.await(s.name, Accepting, "")
		for mode, args := range map[string][]string{"touch": {s.name}, "chmod": {s.name}, "rename": {s.name, s.own + "/evil2.ini"}, "names": {s.own}} {
			wait := s.unleash(mode, 1.5, args...)
			begin := time.Now()
			s.stillGoverns()
			if took := time.Since(begin); took > 4*time.Second {
				t.Errorf("%s: a neighbour's new vassal took %s", mode, took)
			}
			t.Logf("%s: %d times", mode, wait())
		}
		_ = os.Chmod(s.name, 0o644)
		s.await(s.name, Accepting, "") // in the end the picture is right
		if v, err := s.status(s.name); err != nil || len(v.Generations) > maxLeaving+3 {
			t.Errorf("%d generations, %v", len(v.Generations), err)
		}
		s.removeEvil()
	})
}

// TestAttacksWithManyFiles has one tenant fill its folder.
func TestAttacksWithManyFiles(t *testing.T) {
	t.Run("has ten thousand files", func(t *testing.T) {
		const most = 200
		s := besiege(t, func(c *configs.Emperor) { c.MaxPerUser = most })
		away := s.dir + "/team-away" // where nobody looks
		mustDo(t, os.Mkdir(away, 0o755), os.Chown(away, evilID, evilID))
		for i := range 10_000 {
			path := fmt.Sprintf("%s/evil%05d.ini", away, i)
			mustDo(t, os.WriteFile(path, []byte("garbage\n"), 0o644), os.Chown(path, evilID, evilID))
		}
		mustDo(t, os.Remove(s.own), os.Rename(away, s.own)) // all at once
		var slowest time.Duration
		for range 5 {
			begin := time.Now()
			s.stillGoverns()
			slowest = max(slowest, time.Since(begin))
		}
		s.logged("cannot take all vassals of 61401 (uid 61401): there are 10000 files, and emperor-max-vassals-per-user is 200", "evil00200.ini")
		s.logged("vassal refused", "evil00199.ini", evilUID)
		if n := strings.Count(s.log.String(), "emperor-max-vassals-per-user"); n != 1 {
			t.Errorf("said %d times", n)
		}
		if _, err := s.status(s.own + "/evil00200.ini"); err == nil {
			t.Error("more vassals than may be")
		}
		if slowest > 30*time.Second {
			t.Errorf("a neighbour's new vassal took %s", slowest)
		}
		t.Logf("a neighbour's new vassal came and went in %s at most", slowest)
		mustDo(t, os.Remove(s.own+"/evil00000.ini")) // one less: one that waited comes in
		s.logged("vassal refused", "evil00200.ini")
	})
	t.Run("comes before its neighbour in the alphabet, and has more than a look takes", func(t *testing.T) {
		w := newWatch(t, never, false)
		for i := range maxNames + 50 {
			w.write(fmt.Sprintf("a%06d.ini", i), "")
		}
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			w.mu.Lock()
			seen, said := len(w.seen), strings.Join(w.said, "\n")
			w.mu.Unlock()
			if strings.Contains(said, "holds more than 20000 vassal files") && seen >= maxNames {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%d seen; said %q", seen, said)
			}
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, line := range w.seen { // who was seen once is not pushed out by who comes later
			if strings.HasPrefix(line, "Gone") {
				t.Fatal(line)
			}
		}
	})
}

// backAfter does something to the attacker's socket and waits until a new generation answers on a new one.
func (s *siege) backAfter(t *testing.T, old int, do func() error) {
	t.Helper()
	mustDo(t, do())
	begin := time.Now()
	for {
		pid, err := askAt(s.evilSocket())
		if err == nil && pid != old {
			t.Logf("it was back after %s", time.Since(begin).Round(time.Millisecond))
			return
		}
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("pid %d answers, %v; it was %d before", pid, err, old)
		}
		time.Sleep(time.Millisecond)
	}
}
