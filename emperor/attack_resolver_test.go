package emperor

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestAttacksWithTheResolver has what reads the attacker's file do and answer anything: it runs as the attacker, who may
// trace it, and whose programs may write over its answer.
func TestAttacksWithTheResolver(t *testing.T) {
	for _, c := range []struct {
		attack string // a mode of the resolver
		state  State
		reason string
	}{
		{"floods", Refused, "longer than 1048576 bytes"},
		{"floods the log", Backoff, "exit code 7"},
		{"answers over its dead body", Backoff, "killed by SIGKILL"},
		{"answers twice", Refused, "after top-level value"},
		{"a million sockets", Backoff, "longer than 1048576 bytes"},
		{"many sockets", Refused, "more than 64 items"},
		{"nested", Refused, "not understood"},
		{"brackets", Refused, "not understood"},
		{"doubled", Refused, "a list was expected"},
		{"huge numbers", Refused, "not understood"},
		{"negative", Refused, "the backlog is out of range"},
		{"setuid", Refused, "the mode is not within 0777"},
		{"no text", Refused, "not understood"},
		{"up and away", Refused, "is not the clean path"},
		{"a name with a line", Refused, "control character"},
		{"escapes", Refused, `\x1b[2Jowned\n2026`},
		{"gives it to root", Refused, "chown-socket asks for the owner with uid 0"},
		{"takes the neighbour", Backoff, "the vassal neighbour.ini has this address"},
		{"is root", Accepting, ""},
		{"talks", Accepting, ""},
		{"hoards", Accepting, ""},
		{"forks", Refused, "answered nothing"},
	} {
		t.Run(c.attack, func(t *testing.T) {
			s := besiege(t, nil)
			socket := s.evilSocket()
			if c.attack == "takes the neighbour" {
				socket = s.dir + "/run/evil.sock"
			}
			mustDo(t, os.WriteFile(s.name+"~", []byte("[uwsgi]\nmodule = "+c.attack+"\nsocket = "+socket+"\nchmod-socket = 666\n"), 0o644), os.Chown(s.name+"~", evilID, evilID), os.Rename(s.name+"~", s.name))
			s.await(s.name, c.state, c.reason)
			switch c.attack {
			case "is root":
				if v, err := s.status(s.name); err != nil || v.UID != evilID || v.RunsAsRoot {
					t.Errorf("%+v, %v", v, err)
				}
				for _, pid := range vassalsOf(0, "evil.ini") {
					t.Errorf("process %d runs as root", pid)
				}
				s.logged("uid = 0 has no effect", s.name)
			case "talks":
				if v, err := s.status(s.name); err != nil || len(v.Notices) > maxNotices+3 {
					t.Errorf("%d notices are kept, %v", len(v.Notices), err)
				}
				if n := strings.Count(s.log.String(), "notice "); n > 2*maxNotices {
					t.Errorf("%d lines in the log", n)
				}
			}
			if c.state != Accepting {
				s.logged(s.name, evilUID, strings.ReplaceAll(c.reason, `\`, `\\`))
			}
			s.stillGoverns()
			s.removeEvil()
			s.noEscapees(t)
		})
	}
	t.Run("hangs, stops itself, or leaves its pipe to a child in another session", func(t *testing.T) {
		s := besiege(t, nil)
		for i, mode := range []string{"hangs and is deaf", "stops itself", "leaves a child with the pipe"} {
			s.evilAs(fmt.Sprintf("%s/evil%d.ini", s.own, i), mode)
		}
		s.stillGoverns() // meanwhile
		// The child in another session is found and ended, and with it the pipe.
		for i, reason := range []string{"took longer than 10s", "took longer than 10s", "answered nothing"} {
			path := fmt.Sprintf("%s/evil%d.ini", s.own, i)
			for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) { // the emperor's patience is 10 s
				if v, err := s.status(path); err == nil && strings.Contains(v.Reason, reason) {
					break
				} else if time.Now().After(end) {
					t.Fatalf("%d: %+v, %v", i, v, err)
				}
			}
			s.logged(path, evilUID, reason)
			mustDo(t, os.Remove(path))
			s.await(path, Absent, "")
		}
		s.noEscapees(t)
	})
	t.Run("hangs in more files than have their turn, touched without end", func(t *testing.T) {
		s := besiege(t, nil)
		var paths []string
		for i := range 3 * (parallel() + reserve()) {
			paths = append(paths, fmt.Sprintf("%s/evil%d.ini", s.own, i))
			s.evilAs(paths[i], "hangs and is deaf")
		}
		wait := s.unleash("touch", 4, paths...)
		for range 3 {
			begin := time.Now()
			s.stillGoverns()
			if took := time.Since(begin); took > 3*time.Second {
				t.Errorf("a neighbour's new vassal took %s", took)
			}
		}
		wait()
		if n := len(processesOf(evilID)); n > 200 {
			t.Errorf("%d resolvers at a time", n)
		}
		for _, p := range paths {
			mustDo(t, os.Remove(p))
		}
		s.noEscapees(t)
	})
	t.Run("is killed a thousand times a second", func(t *testing.T) {
		s := besiege(t, nil)
		s.evil("ok")
		s.await(s.name, Accepting, "")
		s.unleash("kill", 2, "x")()
		if v, err := s.status(s.name); err != nil || v.Restarts > 30 {
			t.Errorf("restarted %d times in two seconds, %v", v.Restarts, err)
		}
		s.await(s.name, Accepting, "")
		s.logged(s.name, evilUID, "SIGKILL")
		s.stillGoverns()
		s.removeEvil()
	})
}

// noEscapees ends the attacker's processes that have left their sessions, as the emperor does when it ends, and shows that
// it did not keep them from its own stop.
func (s *siege) noEscapees(t *testing.T) {
	t.Helper()
	for _, pid := range processesOf(evilID) {
		if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); err == nil && strings.Contains(string(env), "ESCAPED=") {
			_ = syscall.Kill(pid, syscall.SIGTERM)
		}
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		left := processesOf(evilID)
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Errorf("processes of the attacker's are left: %v", left)
			return
		}
	}
}
