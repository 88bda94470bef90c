package vassal

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/protocol/control"
)

func TestPythonName(t *testing.T) {
	for plugin, want := range map[string]string{
		"python3": "python3", "python": "python3", "python311": "python3.11", "python3.11": "python3.11", "python39": "python3.9", "python313": "python3.13",
		"python2": "python2", "python27": "python2", "http": "", "pythonista": "", "": "",
	} {
		if got := pythonName(plugin); got != want {
			t.Errorf("pythonName(%q) = %q, want %q", plugin, got, want)
		}
	}
}

func TestInterpreterPassesOverWhatCannotRun(t *testing.T) {
	root := t.TempDir()
	put := func(folder, text string, mode os.FileMode) string {
		dir := filepath.Join(root, folder)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "python3"), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	shim := put("shim", "#!/bin/sh\n", 0o755)
	plain := put("plain", "\x7fELF", 0o644)
	good := put("good", "\x7fELF", 0o755)
	a := &application{Vassal: &configs.Vassal{Plugins: []string{"http"}}}
	got, err := interpreter(a, strings.Join([]string{"relative", "/nowhere", shim, plain, good}, ":"), "/")
	if err != nil || got != filepath.Join(good, "python3") {
		t.Errorf("got %q, %v", got, err)
	}
	_, err = interpreter(a, shim+":"+plain, "/")
	if err == nil || !strings.Contains(err.Error(), "cannot find python3 in ") || !strings.Contains(err.Error(), shim+"/python3 is a script, "+plain+"/python3 may not be executed") ||
		!strings.Contains(err.Error(), "install it (apt install python3), or name a virtual environment with home = /path") {
		t.Errorf("got %v", err)
	}
	a.Plugins = []string{"python3"} // by name it is the distribution's, whatever comes first in PATH
	if got, err := interpreter(a, good, "/"); err != nil || got != "/usr/bin/python3" {
		t.Errorf("plugin = python3: got %q, %v", got, err)
	}
}

func TestRespawnDoublesItsPausesAndForgets(t *testing.T) {
	now := time.Unix(1000, 0)
	var r respawn
	for i, want := range []time.Duration{0, 500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 30 * time.Second, 30 * time.Second} {
		r.after(now, 10*time.Millisecond)
		if got := r.due.Sub(now); got != want {
			t.Errorf("end %d: pause %s, want %s", i+1, got, want)
		}
	}
	r.after(now, time.Minute)
	if !r.due.Equal(now) {
		t.Errorf("after a minute of service: pause %s", r.due.Sub(now))
	}
	for range 1000 {
		r.after(now, 0)
	}
	if got := r.due.Sub(now); got != maxPause {
		t.Errorf("after 1000 ends: pause %s", got)
	}
}

// TestWhoRestsIsAlive: an emperor that waits for heartbeats would kill a vassal that has ended its workers for want of work.
func TestWhoRestsIsAlive(t *testing.T) {
	for name, c := range map[string]struct {
		host  host
		alive bool
	}{
		"loads":                     {host{stage: loading}, true},
		"has a worker":              {host{stage: serving, workers: []worker{{}, {pid: 7}}}, true},
		"forks one":                 {host{stage: serving, workers: []worker{{ordered: true}}}, true},
		"forks when somebody comes": {host{stage: serving, cheap: true, workers: make([]worker, 2)}, true},
		"has lost all":              {host{stage: serving, workers: make([]worker, 2)}, false},
		"leaves, and was at rest":   {host{stage: leaving, cheap: true}, false},
	} {
		s := &supervisor{hosts: []*host{&c.host}}
		if s.alive() != c.alive {
			t.Errorf("a host that %s is alive: %v", name, !c.alive)
		}
	}
}

func TestWatchRestsWhenNothingHappensAndExpiresReaders(t *testing.T) {
	memory := make([]uint64, 2*8)
	board := boardOf(t, memory)
	now, clock, limit := time.Unix(1000, 0), 100*time.Second, 4*time.Second
	var w watch
	w.start(now, false)
	if !w.due.Equal(now.Add(pace)) {
		t.Fatalf("first look at %s", w.due)
	}
	set := func(slot int, state control.WorkerState, start time.Duration, requests uint64) {
		memory[slot*8], memory[slot*8+4], memory[slot*8+2] = uint64(state), uint64(start), requests
	}
	set(0, control.Running, clock-time.Hour, 0) // an application may take its time
	set(1, control.Reading, clock-3500*time.Millisecond, 0)
	if got := w.look(board, now, clock, limit); len(got.expire) != 0 || got.served != 0 {
		t.Errorf("got %+v", got)
	}
	if !w.due.Equal(now.Add(500 * time.Millisecond)) {
		t.Errorf("the next look is after %s, want when the reader's time is up", w.due.Sub(now))
	}
	if got := w.look(board, now, clock+time.Second, limit); len(got.expire) != 1 || got.expire[0] != 1 {
		t.Errorf("got %+v", got)
	}
	set(0, control.Idle, 0, 7)
	set(1, control.Idle, 0, 3)
	memory[7], memory[15] = 1, 1
	if got := w.look(board, now, clock, limit); got.served != 10 || w.due.IsZero() || memory[7] != 1 {
		t.Errorf("got %+v, due %s: requests have been served since the last look", got, w.due)
	}
	w.look(board, now, clock, limit)
	if memory[7] != 0 || memory[15] != 0 || w.due.IsZero() {
		t.Error("after a quiet look the slots must be given back, and looked at once more")
	}
	set(1, control.Reading, clock, 3) // began in between
	w.look(board, now, clock, limit)
	if w.due.IsZero() {
		t.Error("rests though a worker is busy")
	}
	set(1, control.Idle, 0, 4)
	for i := range 3 {
		w.look(board, now, clock, limit)
		if w.due.IsZero() != (i == 2) {
			t.Errorf("quiet look %d: due %s", i+1, w.due)
		}
	}
}

func TestExitCodes(t *testing.T) {
	if ExitCode(nil) != 0 || ExitCode(&Refusal{"x"}) != 2 || ExitCode(os.ErrClosed) != 1 || ExitCode((&supervisor{}).mine(&Refusal{"x"})) != 2 {
		t.Error("want 0 for nil, 2 for a refusal, 1 for the rest")
	}
}

func TestWithoutRemovesOnlyWholeNames(t *testing.T) {
	got := without([]string{"A=1", "AB=2", "B=3", "A", "=x"}, "A", "C")
	if strings.Join(got, " ") != "AB=2 B=3 A =x" {
		t.Errorf("got %q", got)
	}
}

// boardOf makes a scoreboard of words.
func boardOf(t *testing.T, words []uint64) *control.Scoreboard {
	t.Helper()
	b, err := control.NewScoreboard(unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
