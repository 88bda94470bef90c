package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emperord/emperord/protocol/api"
)

// How large the soak is. EMPERORD_SOAK is how long it lasts; `make soak` sets it.
const (
	soakVassals = 100 // that are there whenever the soak rests
	soakNames   = 110 // that come and go
	soakClients = 8
	soakLength  = 60 * time.Second
	soakPause   = 100 * time.Millisecond // between two things that happen, on average
)

// A soak is a town of vassals in which everything happens at once.
type soak struct {
	*site
	e       *emperor
	control *api.Client
	town    []*citizen
	crowd   *crowd
	killed  []kill
	done    map[string]int // what has happened, and how often
}

// A citizen is a vassal of the soak.
type citizen struct {
	name    string
	owner   string
	gen     int
	present bool // its file is there; only the soak's own goroutine asks
	spoilt  bool // its file names an application that is not there
	door    door // what the clients ask
}

// TestSoak lets a hundred vassals live through everything: files that are touched, changed, spoilt, added and removed,
// workers that crash, and kill -9 of any process but the emperor, while clients ask through nginx. Nobody may be refused, every
// request that fails must have been in a worker that was killed, and the emperor must not grow.
func TestSoak(t *testing.T) {
	length := soakLength
	if text := os.Getenv("EMPERORD_SOAK"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatalf("EMPERORD_SOAK: %v; write for example 30m", err)
		}
	}
	s := newSoak(t)
	s.rest()
	s.live(length / 4) // tables and pools have found their size
	before := s.measure()
	s.live(length - length/4)
	after := s.measure()
	s.crowd.end()
	t.Logf("%s: %d requests answered, the slowest after %s; %d failed; happened: %v; the emperor before: %+v, after: %+v",
		length, s.crowd.answered(), s.crowd.slowest().Round(time.Millisecond), len(s.crowd.failed), s.done, before, after)
	s.judge(before, after, length)
}

func newSoak(t *testing.T) *soak {
	s := &soak{site: newSite(t), done: map[string]int{}}
	for i, owner := range []string{shop, blog} {
		uid, gid := ids(t, owner)
		s.app("plain", fmt.Sprintf("app%d", i), owner)
		s.mkdir(fmt.Sprintf("notes%d", i), uid, gid)
	}
	for i := range soakNames {
		c := &citizen{name: fmt.Sprintf("v%03d", i), owner: [...]string{shop, blog}[i%2]}
		s.town = append(s.town, c)
		if i < soakVassals {
			s.publish(c)
			c.present = true
		}
	}
	s.e = s.emperor("--emperor-tyrant")
	s.control = api.NewClient(s.dir + "/control.sock")
	s.nginxServing("server { listen 127.0.0.1:PORT; server_name ~^(?<app>.+)\\.test$; location / { include DIR/uwsgi_params; uwsgi_pass unix:DIR/run/$app.sock; uwsgi_read_timeout 20s; } }\n")
	for _, c := range s.town[:soakVassals] {
		s.answers(c)
	}
	s.crowd = newCrowd(s.site, s.town, soakClients)
	return s
}

// publish writes a citizen's file.
func (s *soak) publish(c *citizen) {
	i, module := 0, "plain"
	if c.owner == blog {
		i = 1
	}
	if c.spoilt {
		module = "nothing_of_that_name"
	}
	s.vassal(c.name+".ini", c.owner, fmt.Sprintf(`plugin = python3
chdir = DIR/srv/app%d
module = %s
processes = 1
socket = DIR/run/%s.sock
chmod-socket = 666
disable-logging = true
env = NOTES=DIR/notes%d/log
env = GEN=%d
env = SLOW=0.002
`, i, module, c.name, i, c.gen))
}

// answers waits until a citizen accepts, and lets the clients in.
func (s *soak) answers(c *citizen) {
	s.t.Helper()
	s.eventually(30*time.Second, c.name+" accepts", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		v, err := s.control.Vassal(ctx, c.name+".ini")
		if err == nil && v.State != api.Accepting {
			err = fmt.Errorf("it is %s: %s", v.State, v.Reason)
		}
		return err
	})
	c.door.open()
}

// live makes things happen for a while, and then rests.
func (s *soak) live(d time.Duration) {
	s.crowd.resume()
	for end := time.Now().Add(d); time.Now().Before(end); {
		s.happen(s.town[rand.IntN(len(s.town))])
		time.Sleep(rand.N(2 * soakPause))
	}
	s.rest()
}

// happen does one thing to a citizen, or to a process of anybody.
func (s *soak) happen(c *citizen) {
	what := [...]string{"touch", "change", "spoil", "come or go", "crash", "kill vassald", "kill host", "kill worker", "kill worker", "kill any"}[rand.IntN(10)]
	if what == "come or go" && s.absent() > soakNames-soakVassals {
		for c.present {
			c = s.town[rand.IntN(len(s.town))]
		}
	}
	switch {
	case what == "come or go" && c.present:
		what = "remove"
		c.door.close() // and those who are inside have left
		c.present, c.spoilt = false, false
		if err := os.Remove(s.dir + "/vassals/" + c.name + ".ini"); err != nil {
			s.t.Fatal(err)
		}
	case what == "come or go":
		what = "add"
		c.gen++
		s.publish(c)
		c.present = true
		s.answers(c)
	case strings.HasPrefix(what, "kill"):
		s.kill(strings.TrimPrefix(what, "kill "))
	case !c.present:
		return
	case what == "touch":
		now := time.Now()
		if err := os.Chtimes(s.dir+"/vassals/"+c.name+".ini", now, now); err != nil {
			s.t.Fatal(err)
		}
	case what == "change", what == "spoil":
		c.gen++
		c.spoilt = what == "spoil" && !c.spoilt
		if !c.spoilt {
			what = "change"
		}
		s.publish(c)
	case what == "crash":
		if a, err := s.request(c.name, "GET", "/die?die", nil); err == nil && a.status == 200 {
			s.t.Errorf("%s does not crash: %q", c.name, a.body)
		}
	}
	s.done[what]++
}

// absent counts the citizens whose file is not there.
func (s *soak) absent() int {
	n := 0
	for _, c := range s.town {
		if !c.present {
			n++
		}
	}
	return n
}

// kill ends a process of any vassal, by its part.
func (s *soak) kill(part string) {
	var fit []process
	for _, p := range processesIn(s.dir) {
		if part == "any" || part == s.part(p) {
			fit = append(fit, p)
		}
	}
	if len(fit) == 0 {
		return
	}
	p := fit[rand.IntN(len(fit))]
	at := time.Now()
	if syscall.Kill(p.pid, syscall.SIGKILL) == nil {
		s.killed = append(s.killed, kill{p.pid, at})
	}
}

// part tells what a process is: vassald, host or worker.
func (s *soak) part(p process) string {
	if p.comm == "vassald" {
		return "vassald"
	}
	if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.ppid)); err == nil && strings.TrimSpace(string(text)) == "vassald" {
		return "host"
	}
	return "worker"
}

// rest mends what was spoilt, brings the town back to its size, and waits until nothing happens any more.
func (s *soak) rest() {
	s.t.Helper()
	s.crowd.pause()
	for i, c := range s.town {
		switch wanted := i < soakVassals; {
		case wanted && (!c.present || c.spoilt):
			c.spoilt = false
			s.publish(c)
			c.present = true
			s.answers(c)
		case !wanted && c.present:
			c.door.close()
			c.present, c.spoilt = false, false
			if err := os.Remove(s.dir + "/vassals/" + c.name + ".ini"); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	s.eventually(2*time.Minute, "the town rests", s.atRest)
}

// atRest wants every vassal to serve with one vassald, one host and one worker, and nobody else to be there.
func (s *soak) atRest() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	status, err := s.control.Status(ctx)
	if err != nil {
		return err
	}
	if len(status.Vassals) != soakVassals {
		return fmt.Errorf("%d vassals", len(status.Vassals))
	}
	for _, v := range status.Vassals {
		if v.State != api.Accepting || len(v.Generations) != 1 {
			return fmt.Errorf("%s is %s with %d generations: %s", v.Name, v.State, len(v.Generations), v.Reason)
		}
	}
	parts := map[string]int{}
	for _, p := range processesIn(s.dir) {
		parts[s.part(p)]++
	}
	for _, part := range []string{"vassald", "host", "worker"} {
		if parts[part] != soakVassals {
			return fmt.Errorf("processes: %v", parts)
		}
	}
	if left := zombies(s.e.cmd.Process.Pid); len(left) > 0 {
		return fmt.Errorf("zombies: %v", left)
	}
	return nil
}

// A size is what an emperor takes while it rests.
type size struct{ descriptors, goroutines, threads, kB int }

// measure waits until the emperor's size does not change any more.
func (s *soak) measure() size {
	s.t.Helper()
	var last size
	s.eventually(time.Minute, "the emperor's size settles", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		status, err := s.control.Status(ctx)
		if err != nil {
			return err
		}
		pid := s.e.cmd.Process.Pid
		now := size{descriptors: countFDs(pid), goroutines: status.Goroutines, threads: number(pid, "Threads"), kB: number(pid, "VmRSS")}
		same := now.descriptors == last.descriptors && now.goroutines == last.goroutines
		last = now
		if same {
			return nil
		}
		time.Sleep(time.Second)
		return errors.New("it still changes")
	})
	return last
}

// number reads a field of /proc/PID/status.
func number(pid int, field string) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			n := 0
			_, _ = fmt.Sscan(rest, &n)
			return n
		}
	}
	return -1
}

// judge says what must not have happened.
func (s *soak) judge(before, after size, length time.Duration) {
	s.t.Helper()
	refusals, err := os.ReadFile(s.dir + "/nginx/error.log")
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(refusals)) {
		if strings.Contains(line, "connect() to") {
			s.t.Errorf("nginx was refused: %s", strings.TrimSpace(line))
		}
	}
	notes := map[string]int{}
	for i := range 2 {
		readNotes(s.t, fmt.Sprintf("%s/notes%d/log", s.dir, i), notes)
	}
	explainFailures(s.t, s.crowd.failed, notes, s.killed)
	if s.crowd.answered() < int64(length/time.Second)*50 {
		s.t.Errorf("only %d requests were answered", s.crowd.answered())
	}
	for _, what := range []string{"touch", "change", "spoil", "add", "remove", "crash", "kill vassald", "kill host", "kill worker"} {
		if s.done[what] == 0 {
			s.t.Errorf("it never came to: %s", what)
		}
	}
	if after.descriptors > before.descriptors+4 || after.goroutines > before.goroutines+4 {
		s.t.Errorf("the emperor grows: %+v, then %+v", before, after)
	}
	if most := before.kB + before.kB/4 + 8<<10; after.kB > most {
		s.t.Errorf("the emperor's memory grows: %d kB, then %d kB", before.kB, after.kB)
	}
}
