package rights

import (
	"errors"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// TestEveryExpectationIsCompared changes, one at a time, everything that the child is to find: each must be refused.
func TestEveryExpectationIsCompared(t *testing.T) {
	needRoot(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	spec := Spec{Path: "/bin/true", Args: []string{"true"}, Files: []uintptr{0, 1, 2}, Rights: stranger(), Death: syscall.SIGKILL}
	prepare := func() *plan {
		p, err := newPlan(spec)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	refused := map[string]bool{}
	attempt := func(p *plan) {
		t.Helper()
		pid, err := p.began()
		if err == nil {
			t.Errorf("started as %d though an expectation was wrong", pid)
			await(t, pid)
			return
		}
		if !errors.Is(err, ErrRefused) || !strings.HasPrefix(err.Error(), "after ") || !strings.Contains(err.Error(), "; not started") {
			t.Errorf("got %v", err)
		}
		what, _, _ := strings.Cut(err.Error(), " the kernel says ")
		refused[what] = true
	}
	first := prepare()
	first.close()
	for i, s := range first.steps {
		for bit := range s.count {
			if s.judged {
				p := prepare()
				p.steps[i].bits ^= 1 << bit
				attempt(p)
			}
		}
		if s.judged && s.count == 0 {
			p := prepare()
			p.steps[i].want++
			attempt(p)
		}
		for j := range s.want32 {
			p := prepare()
			p.steps[i].want32[j]++
			attempt(p)
		}
		for j := range s.want64 {
			p := prepare()
			p.steps[i].want64[j]++
			attempt(p)
		}
	}
	for _, what := range []string{"after taking uid 61101", "after taking gid 61102", "after taking its groups", "after giving up all capabilities", "after keeping its memory from other processes",
		"after setting the bounding set", "after setting no_new_privs", "after setting the umask", "after setting the limit nofile", "after setting the limit core", "after setting the limit nproc",
		"after asking for a signal when its parent ends", "after moving the descriptors"} {
		if !refused[what] {
			t.Errorf("nothing was compared %s; there was %v", what, refused)
		}
	}
	if _, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); !errors.Is(err, syscall.ECHILD) {
		t.Errorf("a child is left: %v", err)
	}
}

// TestStepThatIsLeftOutIsNoticed removes, one at a time, the steps that take a right: reading back must notice.
func TestStepThatIsLeftOutIsNoticed(t *testing.T) {
	needRoot(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	spec := Spec{Path: "/bin/true", Args: []string{"true"}, Files: []uintptr{0, 1, 2}, Rights: stranger()}
	first, err := newPlan(spec)
	if err != nil {
		t.Fatal(err)
	}
	first.close()
	tried := 0
	for i, s := range first.steps {
		for _, right := range []string{"take ", "drop capabilities", "set no_new_privs", "set the umask", "set the limit"} {
			if !strings.HasPrefix(s.does, right) {
				continue
			}
			tried++
			p, err := newPlan(spec)
			if err != nil {
				t.Fatal(err)
			}
			p.steps[i].count, p.steps[i].number, p.steps[i].args = 0, syscall.SYS_GETPID, [6]uintptr{}
			if pid, err := p.began(); !errors.Is(err, ErrRefused) {
				t.Errorf("without %q: %d, %v", s.does, pid, err)
			}
		}
	}
	if tried < 3+1+2+4 {
		t.Errorf("only %d steps take a right", tried)
	}
}
