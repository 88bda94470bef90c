package emperor

import (
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/protocol/api"
)

// overloaded writes a vassal that cries for help, and what its reinforcements are.
func (m *empire) overloaded(name string, uid int, zerg ...string) {
	m.t.Helper()
	m.app(name, uid, "cries for help", append([]string{"[zerg]", "zerg = /run/somewhere/zerg.sock"}, zerg...)...)
}

func (m *empire) awaitNames(limit time.Duration, want ...string) []api.Vassal {
	m.t.Helper()
	var all []api.Vassal
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		s, err := api.NewClient(m.config.ControlSocket).Status(m.t.Context())
		if err != nil { // it is not there yet
			continue
		}
		var names []string
		for all = s.Vassals; len(names) < len(all); {
			v := all[len(names)]
			names = append(names, v.Name+" "+string(v.State))
		}
		if strings.Join(names, ", ") == strings.Join(want, ", ") {
			return all
		}
	}
	m.t.Fatalf("want %q, have %+v", want, all)
	return nil
}

func TestReinforcementsServeTheirLeadersSocket(t *testing.T) {
	m := found(t, func(c *configs.Emperor) { c.Broodlord, c.StatsServer = 2, "stats.sock" })
	m.overloaded("shop.ini", controlID, "module = helper")
	all := m.awaitNames(20*time.Second, "shop.ini accepting", "shop.ini:zerg accepting", "shop.ini:zerg-2 accepting") // and no third one
	m.says("as many reinforcements as emperor-broodlord allows")
	for _, v := range all {
		if v.UID != controlID || v.PID == 0 || v.File != m.dir+"/vassals/shop.ini" {
			t.Errorf("got %+v", v)
		}
	}
	for answered := map[int]bool{}; len(answered) < 3; {
		pid, _ := m.ask("shop.ini")
		answered[pid] = true
	}
	s := m.statistics()
	if len(s.Vassals) != 3 || s.Vassals[0].Zerg != 0 || s.Vassals[1].Zerg != 1 || s.Vassals[1].ID != "shop.ini:zerg" || s.Vassals[2].ID != "shop.ini:zerg" || s.Vassals[2].PID == s.Vassals[1].PID {
		t.Errorf("statistics: %+v", s.Vassals)
	}
	// The leader dies: they serve on, and it comes back beside them.
	if err := m.killed(all[0].PID); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if v := m.await("shop.ini", Accepting, ""); v.PID != all[0].PID {
			break
		} else if time.Now().After(end) {
			t.Fatal("the leader is not started again")
		}
	}
	m.awaitNames(20*time.Second, "shop.ini accepting", "shop.ini:zerg accepting", "shop.ini:zerg-2 accepting")
	if v := m.await("shop.ini:zerg", Accepting, ""); v.PID != all[1].PID {
		t.Errorf("pid %d became %d", all[1].PID, v.PID)
	}
	// Changed, it sends them away; and so does its end.
	m.app("shop.ini", controlID, "calm")
	m.awaitNames(20*time.Second, "shop.ini accepting")
	m.overloaded("shop.ini", controlID, "module = helper")
	m.awaitNames(20*time.Second, "shop.ini accepting", "shop.ini:zerg accepting", "shop.ini:zerg-2 accepting")
	if err := os.Remove(m.dir + "/vassals/shop.ini"); err != nil {
		t.Fatal(err)
	}
	m.awaitNames(20 * time.Second)
}

func TestAReinforcementLivesAsLongAsItsProcess(t *testing.T) {
	m := found(t, func(c *configs.Emperor) { c.Broodlord = 1 })
	m.overloaded("shop.ini", controlID, "module = leaves when idle")
	m.awaitNames(20*time.Second, "shop.ini accepting", "shop.ini:zerg accepting")
	if err := os.WriteFile(m.dir+"/vassals/leave", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	m.says("reinforcement leaves")
	if strings.Contains(m.log.String(), "starting it again") {
		t.Error("it is started again")
	}
	if pid, module := m.ask("shop.ini"); pid == 0 || module != "cries for help" && module != "leaves when idle" {
		t.Errorf("%d %q", pid, module)
	}
}

// TestAReinforcementThatLeavesLeavesThePortOpen: what serves a port that its leader goes on serving shuts nobody out of it.
func TestAReinforcementThatLeavesLeavesThePortOpen(t *testing.T) {
	m := found(t, func(c *configs.Emperor) { c.Broodlord = 1 })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().String()
	l.Close()
	m.put("shop.ini", controlID, "module = cries for help", "socket = "+port, "[zerg]", "zerg = /run/somewhere/zerg.sock", "module = helper")
	m.awaitNames(20*time.Second, "shop.ini accepting", "shop.ini:zerg accepting")
	m.put("shop.ini", controlID, "module = calm", "socket = "+port)
	m.awaitNames(20*time.Second, "shop.ini accepting")
	c, err := net.DialTimeout("tcp", port, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if text, err := io.ReadAll(c); err != nil || !strings.HasSuffix(string(text), " calm") {
		t.Errorf("answered %q, %v", text, err)
	}
}

// A reinforcement that cannot be had is no burden, and nothing is tried again and again.
func TestReinforcementsThatFail(t *testing.T) {
	for name, c := range map[string]struct{ zerg, said string }{
		"cannot be read": {"module = dies", "it answered nothing"},
		"does not load":  {"module = fails", "reinforcement failed"},
		"has no module":  {"processes = 2", "names no application"},
	} {
		t.Run(name, func(t *testing.T) {
			m := found(t, func(c *configs.Emperor) { c.Broodlord = 5 })
			m.overloaded("shop.ini", controlID, c.zerg)
			m.says(c.said)
			m.awaitNames(20*time.Second, "shop.ini accepting")
			time.Sleep(1500 * time.Millisecond) // longer than the pause after one that has come
			if n := strings.Count(m.log.String(), "reinforcing it"); n != 1 {
				t.Errorf("it was tried %d times", n)
			}
		})
	}
}

// TestReinforcementsAreShared has one user who was overloaded first and has all of them, and then another one.
func TestReinforcementsAreShared(t *testing.T) {
	m := found(t, func(c *configs.Emperor) { c.Broodlord = 3 })
	m.overloaded("shop.ini", shopID, "module = helper")
	m.awaitNames(30*time.Second, "shop.ini accepting", "shop.ini:zerg accepting", "shop.ini:zerg-2 accepting", "shop.ini:zerg-3 accepting")
	m.overloaded("blog.ini", blogID, "module = helper")
	shared := []string{"blog.ini accepting", "blog.ini:zerg accepting", "shop.ini accepting", "shop.ini:zerg accepting", "shop.ini:zerg-2 accepting"}
	m.awaitNames(30*time.Second, shared...)
	m.says("the reinforcement of another one leaves for it")
	m.overloaded("more.ini", shopID, "module = helper") // it is of the first one's user, and none of another user leaves for it
	m.awaitNames(30*time.Second, "blog.ini accepting", "blog.ini:zerg accepting", "more.ini accepting", "more.ini:zerg accepting", "shop.ini accepting", "shop.ini:zerg accepting")
	if n := strings.Count(m.log.String(), "leaves for it"); n != 2 {
		t.Errorf("%d have left", n)
	}
}

// TestSharesOfUsersAndVassals holds who gives up a place for whom.
func TestSharesOfUsersAndVassals(t *testing.T) {
	for _, c := range []struct {
		has  string // user of each leader, and how many it has
		asks string
		from string // whose last one leaves; empty: nobody's
	}{
		{"a1:3 b2:0", "b2", "a1:zerg-3"},
		{"a1:2 b2:0", "b2", "a1:zerg-2"},
		{"a1:1 b2:0", "b2", ""},
		{"a1:2 b2:1", "b2", ""},
		{"a1:1 b1:1 c2:0", "c2", "a1:zerg"}, // the user has two
		{"a1:12 b2:3", "b2", "a1:zerg-12"},
		{"a1:3 b1:1", "b1", "a1:zerg-3"}, // within one user
		{"a1:2 b1:1", "b1", ""},
		{"a1:2 b1:0 c2:2", "b1", "a1:zerg-2"}, // not of another user, who has no more
		{"a1:5 b1:0 c2:2", "c2", "a1:zerg-5"},
		{"a1:3", "a1", ""},
	} {
		e := &Emperor{log: zap.NewNop(), lines: allowances{}, vassals: map[string]*vassal{}, c: &configs.Emperor{Broodlord: 9}}
		for _, word := range strings.Fields(c.has) {
			name, n, _ := strings.Cut(word, ":")
			count, _ := strconv.Atoi(n)
			user := uint32(name[1] - '0')
			e.vassals[name] = &vassal{name: name, sighting: sighting{maker: user}}
			for slot := range count {
				z := &vassal{name: zergName(name, slot+1), leader: name, sighting: sighting{maker: user}, life: Life{State: Suspended}}
				e.vassals[z.name] = z
			}
		}
		before := slices.Collect(maps.Keys(e.vassals))
		room := e.share(e.vassals[c.asks], time.Now())
		gone := ""
		for _, name := range before {
			if e.vassals[name] == nil || e.vassals[name].life.State == Absent && e.vassals[name].leader != "" {
				gone += name
			}
		}
		if gone != c.from || room != (c.from != "") {
			t.Errorf("%s, %s asks: %q leaves, not %q (%v)", c.has, c.asks, gone, c.from, room)
		}
	}
}

func TestZergIsNoVassalOfItsOwn(t *testing.T) {
	m := found(t, nil)
	m.put("lonely.ini", controlID, "module = a", "zerg = /run/x.sock")
	m.await("lonely.ini", Refused, "names no socket: zerg is for the section zerg")
	m.overloaded("shop.ini", controlID, "module = helper") // without emperor-broodlord a cry is not heard
	m.await("shop.ini", Accepting, "")
	time.Sleep(200 * time.Millisecond)
	m.awaitNames(20*time.Second, "lonely.ini refused", "shop.ini accepting")
}

func (m *empire) killed(pid int) error { return syscall.Kill(pid, syscall.SIGKILL) }
