package cgroups

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fake makes a tree in a plain folder that has the files of a real one, for controllers that the machine's version 2 has not got.
func fake(t *testing.T, have ...string) *Tree {
	t.Helper()
	tree := &Tree{base: folder{t.TempDir()}, have: map[string]bool{}}
	for _, c := range have {
		tree.have[c] = true
	}
	return tree
}

// files of a group as the kernel makes them, with what is in them at first (Linux 6.18).
var fresh = map[string]string{
	"memory.max": "max\n", "memory.swap.max": "max\n", "memory.oom.group": "0\n", "pids.max": "max\n", "cpu.weight": "100\n", "cpu.max": "max 100000\n",
	"memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\nsock_throttled 0\n",
	"pids.events":   "max 0\n", "cgroup.events": "populated 0\nfrozen 0\n", "cgroup.procs": "",
}

func fill(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func number(n uint64) *uint64 { return &n }

func TestLimitsAreWritten(t *testing.T) {
	tree := fake(t, Memory, PIDs, CPU)
	g, err := tree.Group("shop.ini")
	if err != nil {
		t.Fatal(err)
	}
	fill(t, g.folder.path, fresh)
	expect := func(want map[string]string) {
		t.Helper()
		for name, text := range want {
			got, err := os.ReadFile(filepath.Join(g.folder.path, name))
			if err != nil || string(got) != text {
				t.Errorf("%s: %q, %v; want %q", name, got, err, text)
			}
		}
	}
	limit := func(l Limits) {
		t.Helper()
		for name := range fresh { // a write of the kernel's files replaces all; one of a plain file does not
			if _, again := g.written[name]; !again {
				os.Truncate(filepath.Join(g.folder.path, name), 0)
			}
		}
		if err := g.Limit(l); err != nil {
			t.Fatal(err)
		}
	}
	limit(Limits{Memory: number(64 << 20), PIDs: number(200), CPU: number(1500), CPUWeight: number(50)})
	expect(map[string]string{"memory.max": "67108864", "memory.swap.max": "67108864", "memory.oom.group": "0", "pids.max": "200", "cpu.weight": "50", "cpu.max": "150000 100000"})
	fill(t, g.folder.path, map[string]string{"pids.max": "as it was", "memory.max": "", "memory.swap.max": "", "cpu.max": "", "cpu.weight": ""})
	if err := g.Limit(Limits{PIDs: number(200), CPU: number(10)}); err != nil {
		t.Fatal(err)
	}
	expect(map[string]string{"memory.max": "max", "memory.swap.max": "max", "pids.max": "as it was", "cpu.weight": "100", "cpu.max": "1000 100000"})
}

// A kernel without swap accounting has no memory.swap.max; nothing is made in its place.
func TestMissingFilesAreNotMade(t *testing.T) {
	tree := fake(t, Memory, PIDs)
	g, err := tree.Group("shop.ini")
	if err != nil {
		t.Fatal(err)
	}
	fill(t, g.folder.path, map[string]string{"memory.max": ""})
	err = g.Limit(Limits{Memory: number(1 << 20), PIDs: number(200)})
	if err == nil || !strings.Contains(err.Error(), "pids.max") || strings.Contains(err.Error(), "memory") {
		t.Errorf("got %v", err)
	}
	if names, _ := os.ReadDir(g.folder.path); len(names) != 1 {
		t.Errorf("made files: %v", names)
	}
}

func TestEventsAreRead(t *testing.T) {
	tree := fake(t, Memory, PIDs)
	g, err := tree.Group("shop.ini")
	if err != nil {
		t.Fatal(err)
	}
	if e := g.Events(); e != (Events{}) {
		t.Errorf("without files: %+v", e)
	}
	fill(t, g.folder.path, fresh)
	if e := g.Events(); e != (Events{}) {
		t.Errorf("fresh: %+v", e)
	}
	fill(t, g.folder.path, map[string]string{
		"memory.events": "low 0\nhigh 0\nmax 1873\noom 4\noom_kill 3\noom_group_kill 0\n", "pids.events": "max 12\nmax.imposed 0\n",
	})
	if e := g.Events(); e != (Events{OOM: 4, OOMKill: 3, PIDsFull: 12}) {
		t.Errorf("%+v", e)
	}
	if files := g.EventFiles(); len(files) != 2 {
		t.Error(files)
	}
	if files := (&Group{tree: fake(t), folder: g.folder}).EventFiles(); len(files) != 0 {
		t.Error(files)
	}
}

func FuzzFlat(f *testing.F) {
	f.Add([]byte("populated 1\nfrozen 0\n"))
	f.Add([]byte("oom_kill 18446744073709551616\n\n \n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for name := range flat(text) {
			if strings.ContainsAny(name, " \n") {
				t.Fatalf("%q", name)
			}
		}
	})
}
