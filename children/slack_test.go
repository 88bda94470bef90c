package children

import (
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func slack(t *testing.T) int {
	t.Helper()
	n, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestWhoIsStartedLazilyIsPunctualToItsOwn: what is started between is lazy, and has it in writing how its children shall be.
func TestWhoIsStartedLazilyIsPunctualToItsOwn(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := slack(t)
	const others = 70_001
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, others, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(before), 0, 0, 0) }()
	mine := []string{"A=1"}
	env, restore := Lazily(mine)
	if slack(t) != lazySlack || strings.Join(env, " ") != "A=1 "+SlackVariable+"=70001" {
		t.Errorf("slack %d, environment %q", slack(t), env)
	}
	if again, nothing := Lazily(env); len(again) != len(env) {
		t.Errorf("who is lazy already is told twice: %q", again)
	} else if nothing(); slack(t) != lazySlack {
		t.Errorf("slack %d", slack(t))
	}
	for _, wrong := range []string{"", "x", "-1", "0", "99999999999"} {
		if Punctually([]string{SlackVariable + "=" + wrong}); slack(t) != lazySlack {
			t.Errorf("%q was taken: %d", wrong, slack(t))
		}
	}
	if Punctually(env); slack(t) != others {
		t.Errorf("slack %d, want %d", slack(t), others)
	}
	if restore(); slack(t) != others || len(mine) != 1 {
		t.Errorf("slack %d, environment %q", slack(t), mine)
	}
}
