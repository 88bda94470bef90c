package emperor

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/cgroups"
	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/sockets"
)

// fenced is a tenant of these tests.
const fenced = 61201

var fences atomic.Int32

// fence starts an emperor with a control group of its own, and returns the group's folder.
func fence(t *testing.T, tune func(*configs.Emperor)) (*empire, string) {
	t.Helper()
	needRoot(t)
	view, err := cgroups.Look()
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("the tests need control groups of version 2: %v", err)
		}
		t.Skip(err)
	}
	name := "/emperord-t-e" + strconv.Itoa(os.Getpid()) + "-" + strconv.Itoa(int(fences.Add(1)))
	base := view.Mount + name
	t.Cleanup(func() { // after the emperor's end
		if _, err := os.Stat(base); err == nil {
			t.Errorf("%s is left", base)
			_ = os.WriteFile(base+"/cgroup.kill", []byte("1"), 0)
		}
	})
	return found(t, func(c *configs.Emperor) {
		c.Cgroup = name
		if tune != nil {
			tune(c)
		}
	}), base
}

// groupOf returns the control group of a process.
func groupOf(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	_, group, _ := strings.Cut("\n"+string(text), "\n0::")
	group, _, _ = strings.Cut(group, "\n")
	return group
}

// awaitTrue waits for something that must become so.
func awaitTrue(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

func TestEveryGenerationIsBornInItsGroup(t *testing.T) {
	m, base := fence(t, nil)
	odd := "a\n..b;$(x).ini"
	sockets := []string{"a.ini", "odd.ini"}
	for i, name := range []string{"a.ini", odd} {
		m.put(name, fenced, "module = good", "socket = "+m.socket(sockets[i]), "chmod-socket = 666")
		m.await(name, Accepting, "")
	}
	first, _ := m.ask("a.ini")
	group := groupOf(t, first)
	if !strings.HasPrefix(group, "/"+filepath.Base(base)+"/vassal-a.ini/g") {
		t.Errorf("the group is %q", group)
	}
	strange, err := m.status(odd)
	if err != nil {
		t.Fatal(err)
	}
	if other := groupOf(t, strange.PID); !strings.HasPrefix(other, "/"+filepath.Base(base)+"/vassal~") || strings.Contains(other, "..b;") {
		t.Errorf("the group of an odd name is %q", other)
	}
	m.app("a.ini", fenced, "better") // the next generation: the same limits, a group of its own
	second := 0
	awaitTrue(t, "no reload", func() (done bool) {
		pid, module := m.ask("a.ini") // the first generation may still answer, now and then
		second = pid
		return module == "better"
	})
	if again := groupOf(t, second); again == group || filepath.Dir(again) != filepath.Dir(group) {
		t.Errorf("first %q, then %q", group, again)
	}
	awaitTrue(t, "the first generation's group is left", func() bool {
		leaves, _ := filepath.Glob(base + "/vassal-a.ini/g*")
		return len(leaves) == 1
	})
	if st, err := os.Stat(base + "/vassal-a.ini/cgroup.procs"); err != nil || st.Sys().(*syscall.Stat_t).Uid != 0 || st.Mode()&0o022 != 0 {
		t.Errorf("a tenant may move itself: %v, %v", st.Mode(), err)
	}
	os.Remove(m.dir + "/vassals/a.ini")
	m.await("a.ini", Absent, "")
	awaitTrue(t, "the group of a removed vassal is left", func() bool { _, err := os.Stat(base + "/vassal-a.ini"); return err != nil })
}

// TestResolverIsFencedToo: the tenant's exec:// runs before its application does.
func TestResolverIsFencedToo(t *testing.T) {
	m, base := fence(t, nil)
	m.app("a.ini", fenced, "hangs")
	awaitTrue(t, "no process in the group", func() bool {
		files, _ := filepath.Glob(base + "/vassal-a.ini/g*/cgroup.procs")
		for _, f := range files {
			if text, _ := os.ReadFile(f); len(text) > 0 {
				return true
			}
		}
		return false
	})
}

// TestDaemonsDoNotOutliveTheirVassal: not even in a session of their own.
func TestDaemonsDoNotOutliveTheirVassal(t *testing.T) {
	m, base := fence(t, nil)
	m.app("a.ini", fenced, "leaves a daemon")
	m.app("b.ini", fenced, "good")
	m.await("a.ini", Accepting, "")
	m.await("b.ini", Accepting, "")
	neighbour, _ := m.ask("b.ini")
	leaves, _ := filepath.Glob(base + "/vassal-a.ini/g*/cgroup.procs")
	if len(leaves) != 1 {
		t.Fatal(leaves)
	}
	text, err := os.ReadFile(leaves[0])
	pids := strings.Fields(string(text))
	if err != nil || len(pids) != 2 {
		t.Fatalf("%q, %v", text, err)
	}
	os.Remove(m.dir + "/vassals/a.ini")
	for _, pid := range pids {
		awaitTrue(t, "process "+pid+" outlives its vassal", func() bool { _, err := os.Stat("/proc/" + pid); return err != nil })
	}
	if text := m.log.String(); !strings.Contains(text, "killed what was left of a vassal") && !strings.Contains(text, "told what is left of a vassal to end") {
		t.Error("nothing was said")
	}
	if again, _ := m.ask("b.ini"); again != neighbour {
		t.Error("the neighbour was restarted")
	}
}

// TestOneWarningForAllThatDoesNotApply, and the vassals run.
func TestOneWarningForAllThatDoesNotApply(t *testing.T) {
	m, base := fence(t, func(c *configs.Emperor) {
		c.MemoryMax = []configs.Limit{{Value: 256 << 20}}
		c.PIDsMax = []configs.Limit{{Value: 200}, {For: "61201", Value: 100}, {For: "nobody-of-this-name", Value: 50}}
		c.CPUMax = []configs.Limit{{Value: 500}}
	})
	m.app("a.ini", fenced, "good")
	m.await("a.ini", Accepting, "")
	text := m.log.String()
	lost := 0
	for _, o := range []struct{ controller, option, file, want string }{
		{"memory", "emperor-memory-max", "memory.max", "268435456\n"}, {"pids", "emperor-pids-max", "pids.max", "100\n"}, {"cpu", "emperor-cpu-max", "cpu.max", "50000 100000\n"},
	} {
		controllers, _ := os.ReadFile(base + "/cgroup.subtree_control")
		if there := strings.Contains(" "+strings.TrimSpace(string(controllers))+" ", " "+o.controller+" "); there {
			t.Logf("this machine has %s", o.controller)
			if got, err := os.ReadFile(base + "/vassal-a.ini/" + o.file); string(got) != o.want {
				t.Errorf("%s: %q, %v", o.file, got, err)
			}
			continue
		}
		t.Logf("this machine has no %s", o.controller)
		lost++
		if strings.Count(text, o.option) != 1 {
			t.Errorf("%s is named %d times", o.option, strings.Count(text, o.option))
		}
	}
	if n := strings.Count(text, "without effect: "); lost > 0 && n != 1 || lost == 0 && n != 0 {
		t.Errorf("%d warnings for %d limits", n, lost)
	}
	if strings.Count(text, "nobody-of-this-name") != 1 {
		t.Error("a limit for a user who does not exist is not said once")
	}
}

// TestNoGroupNoLimitButVassals: what cannot be had is said with a reason and a remedy, and nothing else changes.
func TestNoGroupNoLimitButVassals(t *testing.T) {
	m := found(t, func(c *configs.Emperor) {
		c.Cgroup, c.MemoryMax = "/emperord-t-no/such/parent", []configs.Limit{{Value: 256 << 20}}
	})
	m.app("a.ini", fenced, "good")
	m.await("a.ini", Accepting, "")
	text := m.log.String()
	if strings.Count(text, "without effect: emperor-memory-max, emperor-cgroup;") != 1 || !strings.Contains(text, "make the groups above it") {
		t.Error("the warning is missing")
	}
}

// TestGroupThatGoesWithWhatAnotherEmperorHasLeftIsMadeAgain: an emperor was killed and left a process in the group of a
// vassal. The next one uses the group, the process ends while the vassal has none, and the group goes with it.
func TestGroupThatGoesWithWhatAnotherEmperorHasLeftIsMadeAgain(t *testing.T) {
	var sleeper *os.Process
	m, base := fence(t, func(c *configs.Emperor) {
		c.MemoryMax = []configs.Limit{{Value: 1 << 30}} // it is not started without its group
		c.Mercy = time.Minute
		view, err := cgroups.Look()
		if err != nil {
			t.Fatal(err)
		}
		at := view.Mount + c.Cgroup
		for _, dir := range []string{at, at + "/vassal-a.ini", at + "/vassal-a.ini/g9"} {
			if err = os.Mkdir(dir, 0o755); err == nil {
				err = unix.Setxattr(dir, "user.emperord", []byte("1"), 0)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if sleeper, err = os.StartProcess("/bin/sleep", []string{"sleep", "600"}, &os.ProcAttr{}); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at+"/vassal-a.ini/g9/cgroup.procs", []byte(strconv.Itoa(sleeper.Pid)), 0); err != nil {
			t.Fatal(err)
		}
	})
	defer sleeper.Kill()
	m.app("a.ini", fenced, "lies") // its resolver comes and goes
	m.await("a.ini", Refused, "")
	if _, err := os.Stat(base + "/vassal-a.ini/g9"); err != nil {
		t.Fatal(err)
	}
	if err := sleeper.Kill(); err != nil {
		t.Fatal(err)
	}
	awaitTrue(t, "the group of the killed emperor's process is left", func() bool { _, err := os.Stat(base + "/vassal-a.ini"); return err != nil })
	m.app("a.ini", fenced, "good")
	m.await("a.ini", Accepting, "")
	pid, _ := m.ask("a.ini")
	if group := groupOf(t, pid); !strings.HasPrefix(group, "/"+filepath.Base(base)+"/vassal-a.ini/g") {
		t.Errorf("the group is %q", group)
	}
}

// measured is an emperor of which only what counts limits is there, and the counters of a vassal.
func measured(b *bounds) (*Emperor, *vassal, *cgroups.Events, *bytes.Buffer) {
	var log bytes.Buffer
	events := &cgroups.Events{}
	b.read = func() cgroups.Events { return *events }
	sink := newSink(&log, style{})
	e := &Emperor{log: style{}.logger(sink).WithOptions(zap.AddStacktrace(zap.FatalLevel)), sink: sink, cg: groups{bounds: map[string]*bounds{"a.ini": b}}}
	return e, &vassal{name: "a.ini"}, events, &log
}

func exit(status int) children.Exit { return children.Exit{PID: 1, Status: syscall.WaitStatus(status)} }

func TestOutOfMemoryIsNamed(t *testing.T) {
	megabytes := uint64(64 << 20)
	own := ": out of memory (memory.max 64M was reached; emperor-memory-max raises it)"
	other := ": out of memory (not by a limit of this vassal: that of a group above, or the machine's memory; journalctl -k says which)"
	for _, c := range []struct {
		name      string
		status    int
		reason    string
		told      bool
		oom, kill uint64 // that are counted
		earlier   time.Duration
		want      string
	}{
		{"the leader", 9, "killed by SIGKILL", false, 1, 1, 0, own},
		{"the leader, at somebody else's limit", 9, "killed by SIGKILL", false, 0, 1, 0, other},
		{"kill -9", 9, "killed by SIGKILL", false, 0, 0, 0, ""},
		{"kill -9 after the limit was reached and something was freed", 9, "killed by SIGKILL", false, 7, 0, 0, ""},
		{"kill -9 an hour after a worker was out of memory", 9, "killed by SIGKILL", false, 1, 1, time.Hour, ""},
		{"killed by the emperor", 9, "killed by SIGKILL", true, 1, 1, 0, ""},
		{"a crash while a worker is out of memory", 11, "killed by SIGSEGV", false, 1, 1, 0, ""},
		{"a host that was killed while it loaded", 1 << 8, "the Python host ended while it loaded the application: killed by SIGKILL (exit code 1)", false, 1, 1, 0, own},
		{"an import error while the other generation is out of memory", 1 << 8, "ModuleNotFoundError (exit code 1)", false, 1, 1, 0, ""},
	} {
		b := &bounds{limits: cgroups.Limits{Memory: &megabytes}}
		e, v, events, log := measured(b)
		events.OOM, events.OOMKill = c.oom, c.kill
		if c.earlier > 0 {
			e.pressure("a.ini", b)
			b.oom = b.oom.Add(-c.earlier)
		}
		got := e.outOfMemory(v, &attempt{told: c.told, since: time.Now().Add(-time.Second)}, exit(c.status), c.reason)
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		e.sink.close()
		if !c.told && c.kill > 0 && strings.Contains(c.reason, "SIGKILL") && strings.Count(log.String(), "the kernel killed processes of a vassal: out of memory") != 1 {
			t.Errorf("%s: the log says %q", c.name, log)
		}
	}
	e := &Emperor{cg: groups{}}
	if got := e.outOfMemory(&vassal{name: "a.ini"}, &attempt{}, exit(9), "killed by SIGKILL"); got != "" {
		t.Errorf("without groups: %q", got)
	}
}

// TestLimitThatIsCountedBeforeTheKill looks between the two, as a file's watch does: the kernel writes a page of report to
// the console in that time. A kill without a limit of its own afterwards is somebody else's again.
func TestLimitThatIsCountedBeforeTheKill(t *testing.T) {
	megabytes := uint64(64 << 20)
	b := &bounds{limits: cgroups.Limits{Memory: &megabytes}}
	e, _, events, _ := measured(b)
	defer e.sink.close()
	for i, step := range []struct {
		oom, kill uint64
		own       bool // whose limit the last kill is put down to
	}{{1, 0, false}, {1, 1, true}, {1, 2, false}, {2, 2, false}, {2, 3, true}, {3, 4, true}, {3, 5, false}} {
		events.OOM, events.OOMKill = step.oom, step.kill
		e.pressure("a.ini", b)
		if b.own != step.own {
			t.Errorf("step %d: the vassal's own limit: %t", i, b.own)
		}
	}
}

// TestDyingDoesNotFillTheLog: the first kill is said at once, those of the next minute are counted.
func TestDyingDoesNotFillTheLog(t *testing.T) {
	most := uint64(20)
	b := &bounds{limits: cgroups.Limits{PIDs: &most}}
	e, _, events, log := measured(b)
	for range 50 {
		events.PIDsFull += 2
		events.OOMKill++
		e.pressure("a.ini", b)
	}
	b.said = map[string]time.Time{} // a minute later
	events.PIDsFull++
	e.pressure("a.ini", b)
	e.pressure("a.ini", b)
	e.sink.close()
	text := log.String()
	if strings.Count(text, "\n") != 3 || !strings.Contains(text, `pids.max 20 was reached; emperor-pids-max raises it	{"vassal": "a.ini", "times": 2}`) && !strings.Contains(text, `"times": 2}`) || !strings.Contains(text, `"times": 99}`) {
		t.Errorf("the log says\n%s", text)
	}
}

// TestOnlyTheEmperorsWordCounts for limits; the narrowest line of it.
func TestOnlyTheEmperorsWordCounts(t *testing.T) {
	e := &Emperor{c: &configs.Emperor{
		MemoryMax: []configs.Limit{{Value: 1 << 30}, {For: "shop", Value: 2 << 30}, {For: "61202", None: true}, {For: "a.ini", Value: 3 << 30}},
		CPUWeight: []configs.Limit{{For: "shop", Value: 10}},
	}, cg: groups{users: map[string]int{"shop": 61201}}}
	for _, c := range []struct {
		vassal string
		uid    int
		memory string
		weight bool
		any    bool
	}{
		{"b.ini", 61200, "1G", false, true},
		{"b.ini", 61201, "2G", true, true},
		{"b.ini", 61202, "", false, false},
		{"a.ini", 61202, "3G", false, true},
	} {
		l, any := e.limitsFor(&vassal{name: c.vassal}, sockets.Identity{UID: c.uid, Name: "shop"}) // a name proves nothing
		memory := ""
		if l.Memory != nil {
			memory = sizeText(*l.Memory)
		}
		if memory != c.memory || (l.CPUWeight != nil) != c.weight || any != c.any || l.PIDs != nil || l.CPU != nil {
			t.Errorf("%+v: %+v, %t", c, l, any)
		}
	}
	for n, want := range map[uint64]string{0: "0", 1000: "1000", 1 << 20: "1M", 1536 << 20: "1536M", 1 << 40: "1T", 1 << 50: "1024T"} {
		if got := sizeText(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}

// TestLimitThatIsTooLittleIsNamed: vassald cannot say why it does not begin, so the reason names what may be to blame.
func TestLimitThatIsTooLittleIsNamed(t *testing.T) {
	needRoot(t)
	m := found(t, func(c *configs.Emperor) {
		c.Limits = []configs.ResourceLimit{{Name: "core", Soft: 0, Hard: 0}, {Name: "as", Soft: 1 << 20, Hard: 1 << 20}}
	})
	m.app("a.ini", fenced, "good")
	m.await("a.ini", Backoff, "emperor-limit = as=1048576 may be too little for vassald: raise it")
}

// TestStartThatDoesNotComeToItsEndHoldsUpNobody: a tenant has ways to leave a new process of its own no processor until it
// runs vassald. Here its control group is frozen, which is the same for the emperor. Meanwhile others must start, and the
// reason must be known in the end.
func TestStartThatDoesNotComeToItsEndHoldsUpNobody(t *testing.T) {
	m, base := fence(t, func(c *configs.Emperor) { c.MaxThrottle = time.Minute })
	m.app("a.ini", fenced, "good")
	m.await("a.ini", Accepting, "")
	if err := os.WriteFile(base+"/vassal-a.ini/cgroup.freeze", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	thawed := false
	thaw := func() { _ = os.WriteFile(base+"/vassal-a.ini/cgroup.freeze", []byte("0"), 0); thawed = true }
	defer func() {
		if !thawed {
			thaw()
		}
	}()
	m.app("a.ini", fenced, "better") // its resolver is born frozen
	held := func() bool {
		files, _ := filepath.Glob(base + "/vassal-a.ini/g*/cgroup.procs")
		n := 0
		for _, f := range files {
			if text, _ := os.ReadFile(f); len(text) > 0 {
				n++
			}
		}
		return n == 2
	}
	awaitTrue(t, "no resolver was started", held)
	for _, name := range []string{"b.ini", "c.ini"} {
		m.app(name, fenced+1, "good")
		m.await(name, Accepting, "")
	}
	if strings.Contains(m.log.String(), "had not run its program") || !held() {
		t.Error("the others started only after the frozen process had been given up")
	}
	awaitTrue(t, "nobody says why the reload failed", func() bool {
		return strings.Contains(m.log.String(), "reload refused") && strings.Contains(m.log.String(), "had not run its program after 5s")
	})
	thaw()
	m.app("a.ini", fenced, "good")
	awaitTrue(t, "no reload after the thaw", func() bool { s, err := m.status("a.ini"); return err == nil && string(s.State) == Accepting.String() })
}
