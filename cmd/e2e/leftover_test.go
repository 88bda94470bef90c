package e2e

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What is killed -9 in one trial, one after the other.
var victims = [][]string{
	{"emperor"}, {"vassald"}, {"host"}, {"worker"}, {"resolver"},
	{"emperor", "vassald"}, {"vassald", "host"}, {"emperor", "resolver"}, {"emperor", "host"}, {"vassald", "vassald"},
	{"vassald", "emperor"}, {"host", "emperor"}, {"host", "vassald"}, {"emperor", "vassald", "host"}, {"host", "vassald", "emperor"}, {"emperor", "guard"},
}

// How far kills are apart: at once, as far as a process needs to take note of the first one and to leave, and in the middle of what is
// done about it. It is drawn by lot up to that.
var gaps = []time.Duration{0, 40 * time.Millisecond, 400 * time.Millisecond}

// In which part of its life the vassal is then. The delay is counted from the beginning of the part.
var parts = []string{"start", "deaf start", "lazy start", "exec", "serve", "hold", "reload", "remove"}

// limit is when the test gives up; the promise is a second, and the longest time is printed.
const limit = 8 * time.Second

// TestNothingIsLeftWhateverIsKilled kills -9 what the trial says, at the moment that it says, and looks for what is left.
// EMPERORD_KILLS is how many trials there are, all if it is more than there are.
func TestNothingIsLeftWhateverIsKilled(t *testing.T) {
	type trial struct {
		part    string
		victims []string
		step    int
	}
	const steps = 12
	var trials []trial
	for _, part := range parts {
		for _, v := range victims {
			if (part == "exec") != slices.Contains(v, "resolver") && part != "start" {
				continue // nobody to kill
			}
			for step := range steps {
				trials = append(trials, trial{part, v, step})
			}
		}
	}
	rand.Shuffle(len(trials), func(i, j int) { trials[i], trials[j] = trials[j], trials[i] })
	count := 200
	if n, err := strconv.Atoi(os.Getenv("EMPERORD_KILLS")); err == nil {
		count = n
	}
	trials = trials[:min(count, len(trials))]
	work := make(chan trial, len(trials))
	for _, tr := range trials {
		work <- tr
	}
	close(work)
	var mu sync.Mutex
	longest, killed := map[string]time.Duration{}, map[string]int{}
	var lanes sync.WaitGroup
	for n := range 8 {
		l := newLane(t, n)
		lanes.Go(func() {
			for tr := range work {
				took, hit := l.trial(tr.part, tr.victims, float64(tr.step)/steps)
				mu.Lock()
				name := strings.Join(tr.victims, "+")
				longest[name] = max(longest[name], took)
				if hit {
					killed[name]++
				}
				mu.Unlock()
				if t.Failed() {
					return
				}
			}
		})
	}
	lanes.Wait()
	t.Logf("kills: %v; the last process had gone after at most: %v", killed, longest)
	if sum := func() (n int) {
		for _, k := range killed {
			n += k
		}
		return
	}(); sum < len(trials)/4 && !t.Failed() {
		t.Errorf("only %d of %d trials killed anybody", sum, len(trials))
	}
}

// trial does one and returns how long it took until all was well again, and whether anybody was killed.
func (l *lane) trial(part string, who []string, where float64) (took time.Duration, hit bool) {
	what := fmt.Sprintf("%s, %v killed at %.2f", part, who, where)
	litter := "nameless"
	if slices.Contains(who, "emperor") && len(who) > 1 {
		litter = "named"
	}
	l.vassalFile(part, litter)
	var out log
	e := l.program(&out, "--emperor", l.dir+"/vassals", "--emperor-tyrant", "--emperor-control-socket", l.dir+"/control.sock", "--emperor-socket-root", l.dir+"/run", "--emperor-throttle", "10", "--emperor-max-throttle", "1")
	emperor := e.Pid
	ended := make(chan error, 1)
	go func() {
		state, err := e.Wait()
		if err == nil && !state.Success() {
			err = errors.New(state.String())
		}
		ended <- err
	}()
	defer func() {
		if l.t.Failed() {
			text := out.String()
			l.t.Logf("%s: emperord said:\n%s", what, text[max(0, len(text)-4000):])
		}
	}()
	span := 350 * time.Millisecond
	if part == "exec" {
		span = 250 * time.Millisecond
	}
	if part == "deaf start" {
		span = 650 * time.Millisecond
	}
	if part != "start" && part != "deaf start" && part != "lazy start" && part != "exec" {
		if !l.until(limit, func() bool { return l.get("/") == nil }) {
			l.t.Errorf("%s: no answer", what)
		}
		for _, path := range map[string][]string{"hold": {"/deaf", "/sleep"}, "serve": {"/litter"}, "reload": {"/sleep"}, "remove": {"/sleep"}}[part] {
			c := l.hold(path)
			defer c.Close()
		}
		if part == "serve" || part == "hold" {
			span = 60 * time.Millisecond
		}
		if part == "reload" {
			l.vassalFile(part, litter)
		}
		if part == "remove" {
			os.Remove(l.dir + "/vassals/litter.ini")
			span = 1200 * time.Millisecond
		}
	}
	time.Sleep(time.Duration(where * float64(span)))
	var fds []int // each means its process for ever, whoever has its number by then
	for _, w := range who {
		found := []int{emperor}
		if w != "emperor" {
			found = find(emperor, w)
		}
		if len(found) == 0 {
			continue
		}
		if fd, err := unix.PidfdOpen(found[rand.IntN(len(found))], 0); err == nil {
			defer unix.Close(fd)
			fds = append(fds, fd)
		}
	}
	gap := gaps[rand.IntN(len(gaps))]
	what += fmt.Sprintf(", up to %s apart", gap)
	begun := time.Now()
	for i, fd := range fds {
		if i > 0 && gap > 0 {
			time.Sleep(rand.N(gap))
		}
		_ = unix.PidfdSendSignal(fd, syscall.SIGKILL, nil, 0)
		begun = time.Now()
	}
	alive := !slices.Contains(who, "emperor")
	if !alive {
		<-ended
		emperor = 0
	}
	var left []being
	if !l.until(limit, func() bool { left = unwatched(l.uid, emperor); return len(left) == 0 }) {
		l.t.Errorf("%s: left after %s: %v", what, limit, left)
	}
	took = time.Since(begun)
	if alive {
		if part != "remove" && !l.until(2*limit, func() bool { return l.get("/") == nil }) {
			l.t.Errorf("%s: does not serve again", what)
		}
		_ = e.Signal(syscall.SIGTERM)
		time.Sleep(600 * time.Millisecond) // a second TERM is for those who do not want to wait for held requests
		_ = e.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil {
				l.t.Errorf("%s: emperord ended: %v", what, err)
			}
		case <-time.After(2 * limit):
			l.t.Errorf("%s: emperord does not end", what)
			_ = e.Kill()
		}
	}
	if !l.until(limit, func() bool { left = unwatched(l.uid, 0); return len(left) == 0 }) {
		l.t.Errorf("%s: left at the end: %v", what, left)
	}
	for pid := range beings(l.uid) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	return took, len(fds) > 0
}

// TestTheNextEmperorServesAlone starts an emperor right after another one was killed, on the same addresses. The first answer
// of the new copy is the end of the old one: a request that was under way may finish, nothing new is accepted.
func TestTheNextEmperorServesAlone(t *testing.T) {
	s := newSite(t)
	s.app("plain", "plain", shop)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	s.vassal("plain.ini", shop, plainVassal+"socket = "+address+"\nenv = SLOW=0.3\nenv = NOTES=/dev/null\n")
	args := []string{"--emperor", s.dir + "/vassals", "--emperor-tyrant", "--emperor-control-socket", s.dir + "/control.sock", "--emperor-socket-root", s.dir + "/run", "--emperor-throttle", "20"}
	ask := func(network, address, path string) (string, error) {
		c, err := net.Dial(network, address)
		if err != nil {
			return "", err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Write(packet(path, "")); err != nil {
			return "", err
		}
		text, err := io.ReadAll(c)
		_, body, ok := strings.Cut(string(text), "\r\n\r\n")
		if err == nil && !ok {
			err = fmt.Errorf("answer %q", text)
		}
		return strings.TrimSpace(body), err
	}
	places := [][2]string{{"unix", s.dir + "/run/plain.sock"}, {"tcp", address}}
	e := s.start(bin+"/emperord", args...)
	for round := range 4 {
		for _, p := range places {
			s.eventually(20*time.Second, p[0]+" answers", func() error { _, err := ask(p[0], p[1], "/slow"); return err })
		}
		old := map[string]bool{}
		for _, pid := range find(e.cmd.Process.Pid, "worker") {
			old[strconv.Itoa(pid)] = true
		}
		held := make(chan error, 1)
		go func() {
			_, err := ask("unix", s.dir+"/run/plain.sock", "/slow")
			held <- err
		}()
		time.Sleep(100 * time.Millisecond) // it is under way
		if err := e.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		<-e.done
		if round < 3 {
			e = s.start(bin+"/emperord", args...)
		} else {
			e = s.emperor(args[2:]...).program
		}
		for _, p := range places {
			pid := ""
			s.eventually(20*time.Second, p[0]+" answers again", func() (err error) { pid, err = ask(p[0], p[1], "/slow"); return err })
			took := time.Since(begun)
			for range 3 {
				if old[pid] {
					t.Errorf("%s: an old worker, %s, has taken a new request after %s", p[0], pid, took)
				}
				if pid, err = ask(p[0], p[1], "/slow"); err != nil {
					t.Errorf("%s: refused after the first answer: %v", p[0], err)
				}
			}
			t.Logf("%s answered %s after the kill", p[0], took.Round(time.Millisecond))
		}
		if err := <-held; err != nil {
			t.Errorf("the request under way failed: %v", err)
		}
	}
}
