package emperor

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/protocol/stats"
)

const (
	controlID = 61700 // tenants of these tests
	rivalID   = 61701
)

func readAll(t *testing.T, network, address, request string) string {
	t.Helper()
	c, err := net.DialTimeout(network, address, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if request != "" {
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
	}
	text, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (m *empire) statistics() stats.Emperor {
	m.t.Helper()
	var s stats.Emperor
	text := readAll(m.t, "unix", m.dir+"/stats.sock", "")
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		m.t.Fatalf("%v: %q", err, text)
	}
	return s
}

func TestStatisticsTellWhatVassalsDo(t *testing.T) {
	m := found(t, func(c *configs.Emperor) {
		c.StatsServer, c.Throttle, c.MaxThrottle = "stats.sock", time.Minute, time.Hour
	})
	before := time.Now().Unix()
	m.app("shop.ini", controlID, "a")
	m.app("sick.ini", rivalID, "fails")
	m.put("wrong.ini", 0, "module = a")
	m.await("shop.ini", Accepting, "")
	m.await("sick.ini", Backoff, "cannot import")
	m.await("wrong.ini", Refused, "")
	s := m.statistics()
	if s.Version != "test" || s.PID != os.Getpid() || s.UID != 0 || s.CWD != m.dir || s.EmperorTyrant != 1 || !slices.Equal(s.Emperor, []string{m.dir + "/vassals"}) {
		t.Errorf("the emperor: %+v", s)
	}
	if len(s.Vassals) != 1 || len(s.Blacklist) != 2 {
		t.Fatalf("got %+v", s)
	}
	v := s.Vassals[0]
	if pid, _ := m.ask("shop.ini"); v.PID != pid || v.ID != "shop.ini" || v.UID != controlID || v.GID != controlID || v.Accepting != 1 || v.Respawns != 0 || v.Cursed != 0 || v.OnDemand != "" || v.Monitor != m.dir+"/vassals" {
		t.Errorf("the vassal: %+v, pid %d", v, pid)
	}
	now := time.Now().Unix()
	for what, at := range map[string]int64{"born": v.Born, "last_mod": v.LastMod, "first_run": v.FirstRun, "last_run": v.LastRun, "last_accepting": v.LastAccepting, "first_attempt": s.Blacklist[0].FirstAttempt, "last_attempt": s.Blacklist[0].LastAttempt} {
		if at < before-1 || at > now {
			t.Errorf("%s is %d, and now is %d", what, at, now)
		}
	}
	if b := s.Blacklist[0]; b.ID != "sick.ini" || b.Attempt != 1 || b.ThrottleLevel < 59_000 || b.ThrottleLevel > 60_000 {
		t.Errorf("the sick one: %+v", b)
	}
	if b := s.Blacklist[1]; b.ID != "wrong.ini" || b.Attempt != 1 || b.ThrottleLevel != 0 {
		t.Errorf("the refused one: %+v", b)
	}
	m.touch("shop.ini")
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if v := m.statistics().Vassals[0]; v.Respawns == 1 && v.Accepting == 1 {
			break
		} else if time.Now().After(end) {
			t.Fatalf("after a reload: %+v", v)
		}
	}
	var st syscall.Stat_t
	if err := syscall.Stat(m.dir+"/stats.sock", &st); err != nil || st.Mode&0o777 != 0o600 || st.Uid != 0 {
		t.Errorf("the socket has mode %o, uid %d, %v", st.Mode, st.Uid, err)
	}
	m.end()
	if _, err := os.Lstat(m.dir + "/stats.sock"); err == nil {
		t.Error("the socket is left")
	}
}

// The addresses that uWSGI takes, and both answers.
func TestStatisticsAddresses(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp := free.Addr().String()
	free.Close()
	abstract := fmt.Sprintf("emperord-test-%d", os.Getpid())
	mode := os.FileMode(0o622)
	m := found(t, func(c *configs.Emperor) {
		c.StatsServer, c.Stats, c.SocketMode = tcp, "@"+abstract, &mode
	})
	m.app("shop.ini", controlID, "a")
	m.await("shop.ini", Accepting, "")
	for _, text := range []string{readAll(t, "tcp", tcp, ""), readAll(t, "unix", "@"+abstract+"\x00", "")} {
		if !json.Valid([]byte(text)) || !strings.Contains(text, `"id": "shop.ini"`) {
			t.Errorf("got %q", text)
		}
	}
	m.end()
	h := found(t, func(c *configs.Emperor) { c.StatsServer, c.StatsHTTP = tcp, true })
	h.app("shop.ini", controlID, "a")
	h.await("shop.ini", Accepting, "")
	r, err := http.Get("http://" + tcp + "/anything?x=y")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r.Body)
	r.Body.Close()
	if err != nil || r.StatusCode != 200 || r.Header.Get("Content-Type") != "application/json" || !json.Valid(text) {
		t.Errorf("%s %v %q %v", r.Status, r.Header, text, err)
	}
	for _, request := range []string{"GET / HTTP/1.0\r\n\r\n", "HEAD / HTTP/1.1\nHost: x\n\n", "POST / HTTP/1.1\r\nX: " + strings.Repeat("x", 9000) + "\r\n\r\n"} {
		if text := readAll(t, "tcp", tcp, request); !strings.HasPrefix(text, "HTTP/1.0 200 OK\r\n") {
			t.Errorf("%.20q: got %q", request, text)
		}
	}
	c, err := net.Dial("tcp", tcp)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(c, "GET /"+strings.Repeat("x", statisticsRequest)+" HTTP/1.0\r\n\r\n")
	if text, _ := io.ReadAll(c); len(text) > 0 {
		t.Errorf("a request without end is answered: %q", text)
	}
	if text := readAll(t, "tcp", tcp, "GET / HTTP/1.0\r\n\r\n"); !strings.HasPrefix(text, "HTTP/1.0 200 OK\r\n") {
		t.Errorf("and then: %q", text)
	}
}

// Readers that connect and read nothing hold up neither the loop nor the end, and other readers only until their time is over.
func TestSlowReadersHoldUpNobody(t *testing.T) {
	m := found(t, func(c *configs.Emperor) { c.StatsServer, c.StatsHTTP = "stats.sock", true })
	m.app("shop.ini", controlID, "a")
	m.await("shop.ini", Accepting, "")
	for range statisticsReaders + 10 {
		c, err := net.Dial("unix", m.dir+"/stats.sock")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	m.touch("shop.ini") // the loop is free
	m.await("shop.ini", Accepting, "")
	if text := readAll(t, "unix", m.dir+"/stats.sock", "GET / HTTP/1.0\r\n\r\n"); !strings.Contains(text, "shop.ini") { // when the time of the others is over
		t.Errorf("got %q", text)
	}
	for range statisticsReaders {
		c, err := net.Dial("unix", m.dir+"/stats.sock")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	m.end()
}

// One snapshot answers all who wait for it, and a snapshot is never older than the question.
func TestSnapshotsAreSharedAndFresh(t *testing.T) {
	asked := 0
	s := &statisticsServer{asks: make(chan chan []byte), done: make(chan struct{})}
	release := make(chan struct{})
	s.take = func() []byte {
		<-release
		asked++
		return []byte{byte(asked)}
	}
	s.wg.Go(s.snapshots)
	ask := func() chan []byte {
		c := make(chan []byte, 1)
		s.asks <- c
		return c
	}
	first := ask()
	late := make(chan []byte, 1)
	go func() { late <- <-ask() }() // while the first snapshot is taken: it needs a second one
	release <- struct{}{}
	if got := <-first; got[0] != 1 {
		t.Errorf("the first one got %v", got)
	}
	release <- struct{}{}
	if got := <-late; got[0] != 2 {
		t.Errorf("who asked during the first snapshot got %v", got)
	}
	close(s.done)
	s.wg.Wait()
}

func TestAnAddressThatIsTakenLeavesTheEmperorGoverning(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	m := found(t, func(c *configs.Emperor) { c.StatsServer = l.Addr().String() })
	m.app("shop.ini", controlID, "a")
	m.await("shop.ini", Accepting, "")
	if log := m.log.String(); !strings.Contains(log, "no statistics are served") || !strings.Contains(log, "ss -lntp") {
		t.Error("nothing is said")
	}
}
