package configs

import (
	"strings"
	"testing"
)

func TestLimitsOfVassals(t *testing.T) {
	e, notices, err := emperorOf(t, `[uwsgi]
emperor = /x
emperor-cgroup = /emperord/
emperor-memory-max = 512M
emperor-memory-max = shop:1g
emperor-memory-max = 1000 : max
emperor-memory-max = blog.ini:2147483648
emperor-memory-max = /srv/a:b/uwsgi.ini:64M
emperor-pids-max = 200
emperor-cpu-weight = shop:50
emperor-cpu-max = 50
emperor-cpu-max = shop:1.5 cores
emperor-cpu-max = blog.ini:12%%
`)
	if err != nil || len(notices) != 0 || e.Cgroup != "/emperord" {
		t.Fatalf("%q, %v, %+v", notices, err, e)
	}
	for _, c := range []struct {
		lines        []Limit
		vassal, user string
		value        uint64
		none, set    bool
	}{
		{e.MemoryMax, "a.ini", "mail", 512 << 20, false, true},
		{e.MemoryMax, "a.ini", "shop", 1 << 30, false, true},
		{e.MemoryMax, "a.ini", "1000", 0, true, true},
		{e.MemoryMax, "blog.ini", "shop", 2 << 30, false, true},
		{e.MemoryMax, "/srv/a:b/uwsgi.ini", "shop", 64 << 20, false, true},
		{e.PIDsMax, "a.ini", "shop", 200, false, true},
		{e.CPUWeight, "a.ini", "mail", 0, false, false},
		{e.CPUWeight, "a.ini", "shop", 50, false, true},
		{e.CPUMax, "a.ini", "mail", 500, false, true},
		{e.CPUMax, "a.ini", "shop", 1500, false, true},
		{e.CPUMax, "blog.ini", "shop", 120, false, true},
	} {
		l, set := LimitFor(c.lines, c.vassal, func(who string) bool { return who == c.user })
		if l.Value != c.value || l.None != c.none || set != c.set {
			t.Errorf("%s of %s: %+v, %t; want %+v", c.vassal, c.user, l, set, c)
		}
	}
}

// A line for all that comes after an exception does not undo it; a second line for the same does.
func TestLastLineOfTheNarrowestKindCounts(t *testing.T) {
	lines := []Limit{{For: "shop", Value: 1}, {Value: 2}, {For: "a.ini", Value: 3}, {For: "shop", Value: 4}, {Value: 5}}
	shop := func(who string) bool { return who == "shop" }
	for vassal, want := range map[string]uint64{"a.ini": 3, "b.ini": 4} {
		if l, _ := LimitFor(lines, vassal, shop); l.Value != want {
			t.Errorf("%s: %+v, want %d", vassal, l, want)
		}
	}
}

func TestLimitFaults(t *testing.T) {
	const memory, pids, weight, cpu = "write for example emperor-memory-max = 512M (K, M, G and T are powers of 1024; at least 1M)", "write for example emperor-pids-max = 200 (from 16 to 4194304; threads count too)",
		"write for example emperor-cpu-weight = 200 (from 1 to 10000; 100 is usual)", "write for example emperor-cpu-max = 50 (percent of one processor) or 1.5 cores"
	for _, c := range []struct{ name, value, cause, remedy string }{
		{"emperor-memory-max", "512", "is out of range", memory},
		{"emperor-memory-max", "512MB", "is not a value of this option", memory},
		{"emperor-memory-max", "-1", "is not a value of this option", memory},
		{"emperor-memory-max", "99999999T", "is not a value of this option", memory},
		{"emperor-memory-max", "8388608T", "is out of range", memory},
		{"emperor-memory-max", "99999999999999999999", "is not a value of this option", memory},
		{"emperor-memory-max", "shop:", "is not a value of this option", memory},
		{"emperor-memory-max", ":512M", "names nobody before the colon", "write USER:VALUE, VASSAL:VALUE, or the value alone for all vassals"},
		{"emperor-pids-max", "3", "is out of range", pids},
		{"emperor-pids-max", "shop:3", "is out of range", pids},
		{"emperor-pids-max", "4194305", "is out of range", pids},
		{"emperor-cpu-weight", "max", "is not a weight", weight},
		{"emperor-cpu-weight", "0", "is out of range", weight},
		{"emperor-cpu-weight", "10001", "is out of range", weight},
		{"emperor-cpu-max", "0.5", "is not a value of this option", cpu},
		{"emperor-cpu-max", "1.2345 cores", "is not a value of this option", cpu},
		{"emperor-cpu-max", "1. cores", "is not a value of this option", cpu},
		{"emperor-cpu-max", "cores", "is out of range", cpu},
		{"emperor-cpu-max", "5000 cores", "is out of range", cpu},
		{"emperor-cgroup", "emperord", "is not an absolute path", "write one that begins with /"},
		{"emperor-cgroup", "/x/..", "is the root of all control groups", "write a group of its own, for example emperor-cgroup = /emperord"},
	} {
		_, _, err := emperorOf(t, "[uwsgi]\nemperor = /x\n"+c.name+" = "+c.value+"\n")
		want := `emperor.ini:3: option "` + c.name + `": value "` + c.value + `" ` + c.cause + "; " + c.remedy
		if err == nil || err.Error() != want {
			t.Errorf("%s = %s:\ngot  %v\nwant %s", c.name, c.value, err, want)
		}
	}
}

// A vassal's file cannot raise what the emperor has set: the options mean nothing there.
func TestVassalsCannotRaiseTheirLimits(t *testing.T) {
	for _, name := range []string{"emperor-memory-max", "emperor-pids-max", "emperor-cpu-weight", "emperor-cpu-max", "emperor-cgroup"} {
		_, notices, err := ParseVassal(Settings{{Key: "module", Value: "a"}, {Key: "socket", Value: "/s"}, {Key: name, Value: "4T"}})
		if err != nil || len(notices) != 1 || !strings.HasSuffix(notices[0], "has no effect in a vassal: the emperor obeys it") {
			t.Errorf("%s: %q, %v", name, notices, err)
		}
	}
}

func FuzzLimit(f *testing.F) {
	for _, seed := range []string{"512M", "shop:1.5 cores", "50%", "max", "a:b:1g", ":", "1e9", "٣"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, name := range []string{"emperor-memory-max", "emperor-pids-max", "emperor-cpu-weight", "emperor-cpu-max"} {
			p := &emperorParser{e: &Emperor{}}
			err := p.limit(name)(Setting{Key: name, Value: text})
			all := append(append(append(p.e.MemoryMax, p.e.PIDsMax...), p.e.CPUWeight...), p.e.CPUMax...)
			if (err == nil) != (len(all) == 1) {
				t.Fatalf("%q: %v, %v", text, all, err)
			}
			if err == nil && !all[0].None && (all[0].Value == 0 || all[0].Value > maxMemory) {
				t.Fatalf("%q: %+v", text, all[0])
			}
		}
	})
}

// uWSGI counts the process that forks the workers.
func TestLimitNprocLeavesOutWorkers(t *testing.T) {
	vassal := func(lines ...string) (*Vassal, []string, error) {
		s := Settings{{Key: "module", Value: "a"}, {Key: "socket", Value: "/s"}}
		for _, l := range lines {
			key, value, _ := strings.Cut(l, "=")
			s = append(s, Setting{Key: key, Value: value})
		}
		return ParseVassal(s)
	}
	for _, c := range []struct {
		lines   []string
		workers int
		said    int
	}{
		{[]string{"limit-nproc=3", "processes=4"}, 2, 1},
		{[]string{"processes=4", "limit-nproc=3"}, 2, 1},
		{[]string{"processes=4", "limit-nproc=5"}, 4, 0},
		{[]string{"processes=4", "limit-nproc=0"}, 4, 0},
		{[]string{"limit-nproc=2"}, 1, 0},
	} {
		v, notices, err := vassal(c.lines...)
		if err != nil || v.Processes != c.workers || len(notices) != c.said {
			t.Errorf("%q: %+v, %q, %v", c.lines, v, notices, err)
		}
	}
	if _, notices, _ := vassal("limit-nproc=3", "processes=4"); len(notices) != 1 || !strings.HasSuffix(notices[0], "lowers processes from 4 to 2: one process is the host that forks them, as in uWSGI") {
		t.Errorf("%q", notices)
	}
	if _, _, err := vassal("limit-nproc=1"); err == nil || !strings.Contains(err.Error(), `value "1" leaves no process for a worker; write at least limit-nproc = 2`) {
		t.Error(err)
	}
}
