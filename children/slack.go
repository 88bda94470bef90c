package children

import (
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Whenever a Go program has something to do again, a thread of its runtime (sysmon) sleeps for 20 µs fifty times and more, to see
// whether others are stuck. Where many programs start, or one has many short pauses, a fifth of all processor time goes into that. The
// kernel may wake a thread that sleeps late, by its timer slack, 50 µs as a rule (prctl(2), PR_SET_TIMERSLACK; it is inherited by threads
// and children). With 1 ms of it that thread sleeps for a millisecond, and everything else in our programs may be as late.
const lazySlack = 1_000_000 // nanoseconds

// SlackVariable tells a program that was started lazily which slack the programs that it starts shall have, in nanoseconds.
const SlackVariable = "EMPERORD_SLACK"

// Lazily has the programs that this thread starts, or executes, sleep lazily until restore. They get the environment that it returns.
// Whoever calls it holds its thread. Nothing changes where the kernel does not allow it, or where the slack is as large already.
func Lazily(env []string) (theirs []string, restore func()) {
	before, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil || before <= 0 || before >= lazySlack || unix.Prctl(unix.PR_SET_TIMERSLACK, lazySlack, 0, 0, 0) != nil {
		return env, func() {}
	}
	return append(slices.Clip(env), SlackVariable+"="+strconv.Itoa(before)), func() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(before), 0, 0, 0) }
}

// Punctually gives this thread, and so what it starts, the slack that SlackVariable says. Whoever calls it holds its thread.
func Punctually(env []string) {
	for _, kv := range env {
		if text, found := strings.CutPrefix(kv, SlackVariable+"="); found {
			if slack, err := strconv.ParseUint(text, 10, 31); err == nil && slack > 0 {
				_ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0)
			}
		}
	}
}
