package emperor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/notify"
	"github.com/emperord/emperord/protocol/api"
	"github.com/emperord/emperord/sockets"
)

// TestTimesCountInTheClockThatNobodySets: an hour that the wall clock was set back by between two programs counts for nothing.
func TestTimesCountInTheClockThatNobodySets(t *testing.T) {
	c := newClock()
	due := c.now.Add(time.Minute)
	m := c.moment(due)
	m.Wall = m.Wall.Add(-time.Hour)
	if d := newClock().time(m).Sub(due); d.Abs() > 100*time.Millisecond {
		t.Errorf("it is due %s later", d)
	}
	if !newClock().time(c.moment(time.Time{})).IsZero() {
		t.Error("never has become a time")
	}
}

// household is an emperor in whom nothing is zero that an upgrade has to keep.
func household(t *testing.T) *Emperor {
	t.Helper()
	dir := t.TempDir()
	listener, err := sockets.Bind(sockets.Request{Address: sockets.Address{Kind: sockets.Unix, Path: dir + "/s"}, UID: sockets.Anyone, GID: sockets.Anyone, Backlog: 7}, sockets.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Remove() })
	pipeR, pipeW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	board, err := boardFile()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pipeR.Close(); pipeW.Close(); board.Close(); pair[0].Close(); pair[1].Close() })
	now := wholeSecond()
	code := 3
	v := &vassal{name: "shop.ini", called: map[*sockets.Listener]string{listener: dir + "/s"}, attempts: map[Generation]*attempt{},
		sighting: sighting{"shop.ini", "/v/shop.ini", "/v", "/v", "shop.ini", "/v", 61400, "{1 2}", stamp{1, 2, 3, 4, 5, 6, 7, 8}},
		life:     Life{State: Reloading, Since: now, Deadline: now.Add(time.Minute), Last: 9, Serving: 7, Coming: 9, Leaving: []Leaver{}, Failures: 2, Restarts: 4, Reason: "because"},
		held:     []*sockets.Listener{listener}, listeners: []*sockets.Listener{listener}, addresses: []string{dir + "/s"},
		exits: []api.Exit{{Generation: 6, PID: 600, At: now.Round(0), Text: "exit code 3", Code: &code}}, refused: &api.Refusal{At: now.Round(0), Reason: "no"}, drift: "drifted", lost: "lost it",
		up: true, failing: now, leader: "big.ini", enough: now.Add(time.Minute), dates: Dates{Born: now.Round(0), Respawns: 2}, good: &Good{Document: []byte("{}"), UID: 61400, RanGID: 3}, starts: 6, demand: "/s", notices: []string{"waits"},
	}
	v.tail.add(7, now.Round(0), [][]byte{[]byte("hello")})
	v.may.spent, v.may.at = 12, now
	mode := os.FileMode(0o640)
	a := &attempt{id: 7, who: sockets.Identity{Name: "shop", UID: 61400, GID: 61400, Groups: []int{61400, 61401}}, change: true, root: true, trusted: true, user: 61400, done: true,
		answer: &configs.Resolution{Version: 1, Mercy: 5}, wanted: []string{dir + "/s"}, notices: []string{"note"}, listeners: []*sockets.Listener{listener},
		adjust: []adjustment{{listener, sockets.Request{Address: listener.Address, Mode: &mode, UID: 1, GID: 2, Backlog: 3}, sockets.Policy{Roots: []string{"/run"}}}},
		pid:    424242, mark: 1 << 63, since: now, board: board, pipe: pair[0], foreign: true, told: true, late: refuse("late"), loyal: true,
		document: []byte("{}"), denied: true, restored: true, program: true, starts: true, dir: "/d", asked: true, demand: demand{dir + "/s", "emperor-on-demand-directory"},
		attributes: []api.Attribute{{Name: "a", Value: "b"}}, wrapper: "/w", chdir: "/c", sum: [32]byte{1, 2}, killed: true, ready: true, accepting: true}
	a.output = pausedOutput(v.name, a.who.UID, pipeR, &v.tail, &v.may, 7)
	a.output.rest, a.output.last, a.output.lost = []byte("half a li"), []byte("a line"), 3
	v.attempts[7], v.serving = a, a
	e := &Emperor{o: Options{Version: "before"}, c: &configs.Emperor{Tyrant: true}, program: "/before", started: now.Round(0), strangers: []int{5}, vassals: map[string]*vassal{v.name: v},
		processes: map[int]process{a.pid: {v: v, a: a}}, addresses: map[string]*vassal{dir + "/s": v}, turns: map[*attempt]time.Time{a: now.Add(time.Second)},
		remnants: []remnant{{77, 61400, "shop.ini", now.Add(time.Second)}}, lines: allowances{61400: {left: 3, at: now, lost: 2}}}
	e.upgrade.last, e.guarding.pid = api.Upgrade{Number: 4}, 424243
	left, err := sockets.Bind(sockets.Request{Address: sockets.Address{Kind: sockets.Unix, Path: dir + "/left"}, UID: sockets.Anyone, GID: sockets.Anyone, Backlog: 7}, sockets.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { left.Remove() })
	e.o.Env = []string{"NOTIFY_SOCKET=" + dir + "/notify"}
	if e.service.socket, err = notify.Open(e.o.Env); err == nil {
		e.store.register, err = newRegister()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.closeStore)
	e.service.phase, e.service.looked, e.service.began, e.service.progress, e.service.waiting = reloading, true, now, now, map[*vassal]Generation{v: 7}
	e.store.slots, e.store.left = map[*sockets.Listener]int{listener: 1, left: 3}, []*leftListener{{listener: left, vassal: "blog.ini", slot: 3}}
	return e
}

// TestEverythingHandedOverArrives gives, takes, and gives again: both documents say the same.
func TestEverythingHandedOverArrives(t *testing.T) {
	e := household(t)
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	first, fds, err := e.document("/next", self, e.upgrade.last)
	if err != nil || len(fds) != 7 || !slices.IsSorted(slices.Compact(slices.Sorted(slices.Values(fds)))) {
		t.Fatalf("descriptors %v, %v", fds, err)
	}
	text, err := json.Marshal(first)
	if err != nil {
		t.Fatal(err)
	}
	d, err := decodeDocument(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	in := &d.Vassals[0]
	for _, fd := range []*int{&in.Listeners[0].FD, &in.Attempts[0].Board, &in.Attempts[0].Pipe, &in.Attempts[0].Output.FD, &d.Own.Register, &d.Own.Left[0].FD} { // each os.File closes its own
		if *fd, err = unix.Dup(*fd); err != nil {
			t.Fatal(err)
		}
	}
	next := &Emperor{o: e.o, c: e.c, vassals: map[string]*vassal{}, processes: map[int]process{}, addresses: map[string]*vassal{}, lines: allowances{}, turns: map[*attempt]time.Time{}, strays: map[int]stray{}}
	if err := next.take(d); err != nil {
		t.Fatal(err)
	}
	next.program = e.program
	second, _, err := next.document("/next", self, next.upgrade.last)
	if err != nil {
		t.Fatal(err)
	}
	plain := func(d *document) string {
		text, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var all any
		_ = json.Unmarshal(text, &all)
		round(all)
		text, _ = json.MarshalIndent(all, "", " ")
		return string(text)
	}
	if plain(first) != plain(second) {
		t.Errorf("given:\n%s\ngiven again:\n%s", plain(first), plain(second))
	}
	v := next.vassals["shop.ini"]
	a := v.attempts[7]
	if v.serving != a || next.processes[424242].a != a || next.addresses[v.addresses[0]] != v || v.called[v.held[0]] == "" || a.listeners[0] != v.held[0] || a.adjust[0].listener != v.held[0] || next.turns[a].IsZero() {
		t.Errorf("what belongs together does not: %+v", v)
	}
	if s := next.service; s.phase != reloading || !s.looked || s.waiting[v] != 7 || s.checkAt.IsZero() {
		t.Errorf("systemd waits for READY, and the next program would not say it: %+v", s)
	}
	if st := next.store; st.left[0].vassal != "blog.ini" || st.slots[st.left[0].listener] != 3 || st.slots[v.held[0]] != 1 || st.next != 4 || !slices.Equal(st.free, []int{0, 2}) {
		t.Errorf("the store: %+v", st)
	}
	for _, f := range []*os.File{v.held[0].File, a.board, a.pipe, a.output.read, next.store.register, next.store.left[0].listener.File} {
		f.Close()
	}
	next.service.socket.Close()
}

// TestDocumentsThatCannotBeTrueAreRefused changes one thing at a time.
func TestDocumentsThatCannotBeTrueAreRefused(t *testing.T) {
	e := household(t)
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	d, _, err := e.document("/next", self, e.upgrade.last)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ from, to, words string }{
		{`"format":1`, `"format":2`, "format 2"},
		{`"needs":["phase","left"]`, `"needs":["phase","wings"]`, `needs "wings"`},
		{`"State":"reloading"`, `"State":"flying"`, "does not know"},
		{`"pid":424242`, `"pid":1`, "generation 7 is none"},
		{`"id":7`, `"id":70`, "generation 70 is none"},
		{`"Serving":7`, `"Serving":8`, "has no process"},
		{`"own":[0]`, `"own":[1]`, "no listener 1"},
		{`"Kind":0`, `"Kind":5`, "no address of kind"},
		{`"program":"/next"`, `"program":"next"`, "no absolute paths"},
		{`"group":77`, `"group":1`, "the group 1"},
		{`"name":"shop.ini"`, `"name":""`, "no name"},
		{`"guard":424243`, `"guard":1`, "no guard"},
		{`"vassals":`, `"vassals":7,"x":`, "cannot read"},
		{`}`, `}{`, "cannot read"},
	} {
		changed := strings.Replace(string(text), c.from, c.to, 1)
		if changed == string(text) {
			t.Errorf("there is no %s in %s", c.from, text)
		}
		if _, err := decodeDocument(strings.NewReader(changed)); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v, want %q", c.to, err, c.words)
		}
	}
	if _, err := decodeDocument(strings.NewReader(strings.Replace(string(text), `"format":1`, `"format":1,"later":{"a":1}`, 1))); err != nil {
		t.Errorf("a field that may be left out: %v", err)
	}
	for _, c := range []struct {
		change func(*document)
		words  string
	}{
		{func(d *document) { d.Vassals[0].Attempts[0].Pipe = d.Vassals[0].Attempts[0].Board }, "which it cannot have"},
		{func(d *document) { d.Vassals[0].Listeners[0].Ino = 0 }, "no file of its own"},
		{func(d *document) { d.Old = 2 }, "which it cannot have"},
		{func(d *document) { d.Own.Left[0].FD = d.Own.Register }, "which it cannot have"},
		{func(d *document) { d.Own.Left[0].Slot = 0 }, "was left in no store"},
		{func(d *document) { d.Vassals = append(d.Vassals, d.Vassals[0]) }, "no name of its own"},
	} {
		again, err := decodeDocument(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		c.change(again)
		if err := again.check(); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%v, want %q", err, c.words)
		}
	}
}

// FuzzDocument: no text makes the reader fall, and what it takes for a document can be taken over or is refused.
func FuzzDocument(f *testing.F) {
	f.Add([]byte(`{"format":1,"program":"/a","before":"/b","old":3,"vassals":[]}`))
	f.Add([]byte(`{"format":1,"program":"/a","before":"/b","old":3,"vassals":[{"name":"x","life":{"State":"accepting","Serving":1,"Last":1,"Leaving":[]},"attempts":[{"id":1,"pid":1000000,"board":4,"pipe":5,"output":{"fd":6}}]}]}`))
	f.Add([]byte(`{"format":1,"program":"/a","before":"/b","old":3,"vassals":[{"name":"x","life":{"State":"backoff","Deadline":{"wall":"2026-01-01T00:00:00Z","mono":5}},"listeners":[{"fd":4,"address":{"Kind":0,"Path":"/s"},"ino":1}],"own":[0],"held":[0],"called":{"0":"/s"}}],"groups":{"tree":{"base":"/sys/fs/cgroup/e"},"lock":9,"bounds":[{"vassal":"x","group":{"path":"/sys/fs/cgroup/e/vassal-x"}}]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := decodeDocument(bytes.NewReader(text))
		if err != nil {
			return
		}
		for i := range d.Vassals { // numbers of descriptors that no test process has
			v := &d.Vassals[i]
			for j := range v.Listeners {
				v.Listeners[j].FD += 1 << 20
			}
			for j := range v.Attempts {
				v.Attempts[j].Board, v.Attempts[j].Pipe, v.Attempts[j].Output.FD = 1<<20, 1<<20, 1<<20
			}
		}
		for i := range d.Own.Left {
			d.Own.Left[i].FD += 1 << 20
		}
		e := &Emperor{vassals: map[string]*vassal{}, processes: map[int]process{}, addresses: map[string]*vassal{}, lines: allowances{}, turns: map[*attempt]time.Time{}, strays: map[int]stray{}}
		_ = e.take(d)
	})
}

// socketPair returns a pair as the emperor pipe is one.
func socketPair() (pair [2]*os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return pair, err
	}
	return [2]*os.File{os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "other end")}, nil
}

// TestJournalStaysTheJournal: the next program tells the journal priorities as the one before did.
func TestJournalStaysTheJournal(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	env := []string{fmt.Sprintf("JOURNAL_STREAM=%d:%d", st.Dev, st.Ino)}
	var none *Handover
	for _, h := range []*Handover{none, {}} {
		if !newStyle(false, h.Stderr(f), env).journal {
			t.Errorf("with the handover %v its lines have no priorities", h)
		}
	}
}
