package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emperord/emperord/cmd/e2e/shape"
	"github.com/emperord/emperord/protocol/stats"
)

// oneDocument reads what a connection to a statistics socket gives.
func oneDocument(path, request string) (string, error) {
	c, err := net.Dial("unix", path)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if request != "" {
		if _, err := io.WriteString(c, request); err != nil {
			return "", err
		}
	}
	text, err := io.ReadAll(c)
	return string(text), err
}

// seen is what one emperor's statistics say when its vassals have come to rest.
type seen struct {
	text string
	doc  stats.Emperor
	http string
	mode os.FileMode
}

func (s *site) statistics(path string) seen {
	s.t.Helper()
	var got seen
	s.eventually(30*time.Second, "vassals in the statistics of "+path, func() error {
		text, err := oneDocument(path, "")
		if err != nil {
			return err
		}
		got.text, got.doc = text, stats.Emperor{}
		if err := json.Unmarshal([]byte(text), &got.doc); err != nil {
			return fmt.Errorf("%w: %s", err, text)
		}
		i := slices.IndexFunc(got.doc.Vassals, func(v stats.Vassal) bool { return v.ID == "plain.ini" })
		if i < 0 || len(got.doc.Vassals) != 1 || got.doc.Vassals[i].Loyal != 1 || got.doc.Vassals[i].Accepting != 1 || got.doc.Vassals[i].Respawns != 1 || len(got.doc.Blacklist) == 0 {
			return errors.New(text)
		}
		return nil
	})
	st, err := os.Stat(path)
	if err != nil {
		s.t.Fatal(err)
	}
	got.mode = st.Mode().Perm()
	return got
}

// The real emperor and ours govern the same folder, one after the other, and say the same of it, the order of keys included.
func TestStatisticsAreThoseOfUWSGI(t *testing.T) {
	s := newSite(t)
	uid, gid := ids(t, shop)
	s.app("plain", "plain", shop)
	s.mkdir("srv/plain/run", uid, gid) // a real uWSGI tyrant makes its sockets as the tenant
	text := `plugin = python3
chdir = DIR/srv/plain
module = plain:application
master = true
need-app = true
socket = DIR/srv/plain/run/plain.sock
chmod-socket = 666
vacuum = true
`
	s.nginx(map[string]string{"plain": s.dir + "/srv/plain/run/plain.sock"})
	one := func(http string, start func(args ...string) *program, args ...string) seen {
		s.vassal("plain.ini", shop, text)
		s.vassal("sick.ini", shop, strings.NewReplacer("plain:application", "no_such_module", "plain.sock", "sick.sock").Replace(text))
		path := s.dir + "/" + http + "stats.sock"
		p := start(append(args, "--emperor-stats", path, "--emperor-throttle", "200", "--chmod-socket=640")...)
		ask := func() error {
			a, err := s.request("plain", "GET", "/", nil)
			if err != nil || a.status != 200 {
				return fmt.Errorf("%v %v", a.status, err)
			}
			return nil
		}
		s.eventually(30*time.Second, "an answer", ask)
		time.Sleep(1100 * time.Millisecond) // uWSGI looks at whole seconds
		s.vassal("plain.ini", shop, text+"# changed\n")
		if http == "" {
			for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) { // loyalty is for who serves
				if d, err := oneDocument(path, ""); err == nil && strings.Contains(strings.ReplaceAll(d, " ", ""), `"respawns":1`) {
					break
				}
			}
			s.eventually(30*time.Second, "an answer of the new generation", func() error { // the one before may still take some
				if err := ask(); err != nil {
					return err
				}
				d, err := oneDocument(path, "")
				if err == nil && !strings.Contains(strings.ReplaceAll(d, " ", ""), `"loyal":1`) {
					err = errors.New(d)
				}
				return err
			})
			got := s.statistics(path)
			_ = p.cmd.Process.Signal(sigint)
			<-p.done
			return got
		}
		var got seen
		s.eventually(30*time.Second, "an answer over HTTP", func() (err error) {
			got.http, err = oneDocument(path, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			return err
		})
		_ = p.cmd.Process.Signal(sigint)
		<-p.done
		return got
	}
	uwsgi := func(args ...string) *program {
		return s.start("/usr/bin/uwsgi", append([]string{"--emperor", s.dir + "/vassals", "--emperor-tyrant"}, args...)...)
	}
	ours := func(args ...string) *program {
		return s.emperor(append([]string{"--emperor-tyrant"}, args...)...).program
	}
	want, got := one("", uwsgi), one("", ours)
	a, err := shape.Of([]byte(want.text))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := shape.Of([]byte(got.text)); err != nil || !slices.Equal(a, b) {
		t.Errorf("%v\nours  %q\nuWSGI %q", err, b, a)
	}
	// What does not depend on the moment is the same.
	same := func(e stats.Emperor) string {
		v := e.Vassals[0]
		return fmt.Sprint(e.UID, e.GID, e.Emperor, e.EmperorTyrant, e.ThrottleLevel, v.ID, v.LastHeartbeat, v.Loyal, v.Accepting, v.Cursed, v.Zerg, v.OnDemand, v.UID, v.GID, v.Monitor, v.Respawns,
			v.PID > 1, v.Born > 0, v.LastMod >= v.Born, v.LastRun >= v.FirstRun, v.LastAccepting >= v.FirstRun, v.LastReady > 0, v.LastLoyal > 0, e.Blacklist[0].ID, e.Blacklist[0].Attempt > 0, e.Blacklist[0].ThrottleLevel > 0)
	}
	if a, b := same(want.doc), same(got.doc); a != b {
		t.Errorf("\nours  %s\nuWSGI %s", b, a)
	}
	if got.mode != want.mode || got.mode != 0o640 {
		t.Errorf("the socket has mode %o, uWSGI's %o", got.mode, want.mode)
	}
	wantHTTP, gotHTTP := one("http-", uwsgi, "--stats-http"), one("http-", ours, "--stats-http")
	head := func(text string) string { h, _, _ := strings.Cut(text, "\r\n\r\n"); return h }
	if a, b := head(wantHTTP.http), head(gotHTTP.http); a != b || !strings.HasPrefix(b, "HTTP/1.0 200 OK") {
		t.Errorf("\nours  %q\nuWSGI %q", b, a)
	}
}

func (s *site) document(path string) (doc stats.Emperor) {
	s.t.Helper()
	text, err := oneDocument(path, "")
	if err == nil {
		err = json.Unmarshal([]byte(text), &doc)
	}
	if err != nil {
		s.t.Fatalf("%v: %s", err, text)
	}
	return doc
}
