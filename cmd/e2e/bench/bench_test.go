package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emperord/emperord/protocol/uwsgi"
)

func TestMedianSpreadRatioAndVerdict(t *testing.T) {
	var r results
	for _, x := range []float64{3, 1, 2} {
		r.add("g", measure{"ratio", "s", ratioAtMost(0.8)}, ours, x)
		r.add("g", measure{"every", "", everyAtMost(2)}, ours, x)
		r.add("g", measure{"median", "", atMost(2)}, ours, x)
	}
	r.add("g", measure{"ratio", "s", ratioAtMost(0.8)}, theirs, 2)
	r.add("g", measure{"ratio", "s", ratioAtMost(0.8)}, theirs, 3.01)
	r.add("g", measure{"alone", "", ratioAtLeast(1)}, ours, 5)
	r.add("g", measure{"none", "", goal{}}, ours, 5)
	want := "ratio 2.00 (1.00–3.00) yes, every 2.00 (1.00–3.00) no, median 2.00 (1.00–3.00) yes, alone 5.00 –, none 5.00 "
	var got []string
	for _, f := range r.figures {
		got = append(got, strings.Join([]string{f.Name, f.Ours.String(), f.verdict()}, " "))
	}
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
	if x, known := r.figures[0].ratio(); !known || x < 0.79 || x > 0.80 {
		t.Errorf("ratio %v %v", x, known)
	}
}

func TestTheTableShowsBothSidesAndTheGoal(t *testing.T) {
	var r results
	r.add("life, 50 vassals", newFile, ours, 0.0421)
	r.add("life, 50 vassals", newFile, theirs, 2.1)
	r.add("life, 50 vassals", refused, ours, 1)
	r.add("life, 50 vassals", refused, theirs, 0)
	r.note("a note")
	var b strings.Builder
	if err := (report{Machine: "a machine", Began: time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC), Seconds: 5, Figures: r.figures, Notes: r.notes}).print(&b); err != nil {
		t.Fatal(err)
	}
	want := `a machine
2026-01-02 03:04, 5 s; median (min–max); ratio: emperord ÷ uWSGI

life, 50 vassals                         emperord  uWSGI  ratio  goal    met
  a new file answers after, s            0.042     2.10   0.02×  ≤ 0.15  yes
  requests refused meanwhile, per round  1.00      0      –      ≤ 0     no

a note
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

const wrkSays = `Running 3s test @ http://127.0.0.1:8080/
  1 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   422.99us  164.62us   5.22ms   93.97%
    Req/Sec    18.99k     1.16k   20.26k    80.65%
  Latency Distribution
     50%  392.00us
     75%  441.00us
     90%  528.00us
     99%    1.07ms
  58587 requests in 3.10s, 9.61MB read
  Socket errors: connect 0, read 2, write 0, timeout 1
  Non-2xx or 3xx responses: 40
Requests/sec:  18899.90
Transfer/sec:      3.10MB
`

func TestReadsWhatWrkSays(t *testing.T) {
	u, err := parseWrk(wrkSays)
	if want := (burst{58587, 18899.90, 1070 * time.Microsecond, 43}); err != nil || u != want {
		t.Errorf("got %+v %v, want %+v", u, err, want)
	}
	if _, err := parseWrk("unable to connect to 127.0.0.1:1 Connection refused\n"); err == nil {
		t.Error("an error of wrk is read as a result")
	}
}

func FuzzWrk(f *testing.F) {
	f.Add(wrkSays)
	f.Fuzz(func(t *testing.T, text string) {
		if u, err := parseWrk(text); err == nil && (u.requests < 0 || u.perSecond < 0) {
			t.Errorf("%+v", u)
		}
	})
}

func TestReadsTheProcessTable(t *testing.T) {
	p, err := parseStat("42 (a) R (b c) S 7 42 42 0 -1 4194560 100 0 0 0 12 34 0 0 20 0 1 0 100")
	if want := (process{42, 7, "a) R (b c", false, 460 * time.Millisecond}); err != nil || p != want {
		t.Errorf("got %+v %v, want %+v", p, err, want)
	}
	if p, err := parseStat("42 (x) Z 7 42 42 0 -1 4194560 100 0 0 0 12 34 0"); err != nil || !p.dead {
		t.Errorf("a zombie: %+v %v", p, err)
	}
}

func FuzzStat(f *testing.F) {
	f.Add("42 (a) R (b c) S 7 42 42 0 -1 4194560 100 0 0 0 12 34 0")
	f.Add(")(")
	f.Fuzz(func(t *testing.T, text string) { _, _ = parseStat(text) })
}

func TestTreeLeavesCPUAndMemory(t *testing.T) {
	c := exec.Command("/bin/sh", "-c", "sleep 100 & sleep 100 & wait")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Wait()
	defer func() { kill(tree(c.Process.Pid)) }()
	if _, err := await(t.Context(), 5*time.Second, time.Millisecond, func() error {
		if all := tree(c.Process.Pid); len(all) != 3 || len(leaves(all)) != 2 || all[0].pid != c.Process.Pid {
			return fmt.Errorf("%v", all)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	all := tree(c.Process.Pid)
	if top, err := below(os.Getpid(), all[2].pid); err != nil || top != c.Process.Pid {
		t.Errorf("below: %d %v", top, err)
	}
	if x := pss(all); x < 50 || x > 50e3 {
		t.Errorf("three small processes have %.0f kB", x)
	}
	if x := cpu(all); x <= 0 || x > time.Second {
		t.Errorf("three small processes used %s", x)
	}
	if n := alive(all); n != 3 {
		t.Errorf("%d are alive", n)
	}
}

// TestLoadTellsRefusedFromCut has a server that answers, one that closes without a word, and none.
func TestLoadTellsRefusedFromCut(t *testing.T) {
	dir := t.TempDir()
	listen := func(name string) net.Listener {
		l, err := net.Listen("unix", filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	good, bad := listen("good"), listen("bad")
	go uwsgi.Serve(good, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "r1 4711") }))
	go func() {
		for {
			c, err := bad.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	if a, err := ask(good.Addr().String(), time.Second); err != nil || a != (answer{"r1", 4711}) {
		t.Fatalf("%+v %v", a, err)
	}
	if _, err := ask(filepath.Join(dir, "none"), time.Second); !errors.Is(err, errRefused) {
		t.Errorf("no socket: %v", err)
	}
	for name, good := range map[string]func(*load) bool{
		"good": func(l *load) bool { return l.ok > 0 && l.refused == 0 && l.cut == 0 && l.longest > 0 },
		"bad":  func(l *load) bool { return l.ok == 0 && l.refused == 0 && l.cut > 0 },
		"none": func(l *load) bool { return l.ok == 0 && l.refused > 0 && l.cut == 0 },
	} {
		l := startLoad(filepath.Join(dir, name))
		time.Sleep(50 * time.Millisecond)
		l.end()
		if !good(l) {
			t.Errorf("%s: %d answered, %d refused, %d cut (%v)", name, l.ok, l.refused, l.cut, l.firstCut)
		}
	}
}

func TestAwaitEndsWithTheRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := await(ctx, time.Minute, time.Minute, func() error { return errors.New("no") }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestWrongCallsSayWhatToDo(t *testing.T) {
	for call, want := range map[string]string{
		"-only lief":       `there is no part "lief"; the parts are life, serve, start`,
		"-n 2":             "part life needs 3 vassals",
		"-burst 10ms":      "-burst at least 1s",
		"-rounds -1":       "at least 1",
		"quick":            `"quick" is no flag`,
		"-bin /none/there": "run: make build",
	} {
		err := run(t.Context(), strings.Fields(call), &strings.Builder{}, &strings.Builder{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", call, err, want)
		}
	}
}
