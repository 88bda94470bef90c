package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emperord/emperord/protocol/api"
)

// releases builds two versions of the programs into folders of the site, and installs the first one in DIR/bin.
func (s *site) releases() (first, second string) {
	s.t.Helper()
	first, second = s.mkdir("first", 0, 0), s.mkdir("second", 0, 0)
	for _, dir := range []string{first, second} {
		build := exec.Command("go", "build", "-ldflags", "-X main.version=the-"+filepath.Base(dir), "-o", dir+"/", "../emperord", "../vassald")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			s.t.Fatalf("cannot build: %v\n%s", err, out)
		}
	}
	s.mkdir("bin", 0, 0)
	s.install(first)
	return first, second
}

// install puts a release into DIR/bin as a package manager does it.
func (s *site) install(release string) {
	s.t.Helper()
	for _, name := range []string{"emperord", "vassald"} {
		text, err := os.ReadFile(release + "/" + name)
		if err == nil {
			err = os.WriteFile(s.dir+"/bin/"+name+"~", text, 0o755)
		}
		if err == nil {
			err = os.Rename(s.dir+"/bin/"+name+"~", s.dir+"/bin/"+name)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// installed starts the emperord of DIR/bin.
func (s *site) installed(args ...string) *emperor {
	s.t.Helper()
	args = append([]string{"--emperor", s.dir + "/vassals", "--emperor-control-socket", s.dir + "/control.sock", "--emperor-socket-root", s.dir + "/run"}, args...)
	e := &emperor{s.start(s.dir+"/bin/emperord", args...), s}
	s.t.Cleanup(e.audit)
	return e
}

// ask runs emperorctl, which may fail.
func (s *site) ask(args ...string) (string, error) {
	out, err := exec.Command(bin+"/emperorctl", append([]string{"--socket", s.dir + "/control.sock"}, args...)...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("emperorctl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

func (s *site) mustUpgrade(args ...string) {
	s.t.Helper()
	if out, err := s.ask(append([]string{"upgrade"}, args...)...); err != nil || !strings.HasPrefix(out, "upgraded from ") {
		s.t.Fatalf("%s, %v", out, err)
	}
}

// whole asks for everything. What changes by itself in a moment is left out.
func (s *site) whole() api.Status {
	s.t.Helper()
	st, err := api.NewClient(s.dir + "/control.sock").Status(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

// same are the words of a status that no upgrade may change. Times are compared as far as clocks allow.
func same(st api.Status) string {
	st.Version, st.Goroutines = "", 0
	for i := range st.Vassals {
		v := &st.Vassals[i]
		v.Since = v.Since.Truncate(time.Millisecond).UTC()
		if v.NextTry != nil {
			t := v.NextTry.Round(50 * time.Millisecond).UTC()
			v.NextTry = &t
		}
		for j := range v.Generations {
			v.Generations[j].Since = v.Generations[j].Since.Round(50 * time.Millisecond).UTC()
		}
		v.Since = v.Since.Round(50 * time.Millisecond)
	}
	text, _ := json.MarshalIndent(st, "", " ")
	return string(text)
}

const quickly = "plugin = python3\nchdir = DIR/srv/plain\nmodule = plain:application\nprocesses = 1\nsocket = DIR/run/NAME.sock\nchmod-socket = 666\ndisable-logging = true\nenv = GEN=NAME\n"

func (s *site) many(n int) (names []string, sockets map[string]string) {
	s.t.Helper()
	sockets = map[string]string{}
	for i := range n {
		name := fmt.Sprintf("v%02d", i)
		owner := []string{shop, blog}[i%2]
		s.vassal(name+".ini", owner, strings.ReplaceAll(quickly, "NAME", name))
		names, sockets[name] = append(names, name), s.dir+"/run/"+name+".sock"
	}
	return names, sockets
}

func (s *site) allAccept(n int) {
	s.t.Helper()
	s.eventually(60*time.Second, "all vassals accept", func() error {
		st, err := api.NewClient(s.dir + "/control.sock").Status(context.Background())
		if err != nil {
			return err
		}
		count := 0
		for _, v := range st.Vassals {
			if v.State == api.Accepting {
				count++
			}
		}
		if count != n {
			return fmt.Errorf("%d of %d accept", count, n)
		}
		return nil
	})
}

// allLoyal has each vassal serve somebody, and waits until the emperor knows: it is told with the first request.
func (s *site) allLoyal(names []string) {
	s.t.Helper()
	for _, name := range names {
		s.get(name, "/")
	}
	s.eventually(20*time.Second, "all vassals are loyal", func() error {
		for _, v := range s.whole().Vassals {
			for _, g := range v.Generations {
				if !g.Loyal {
					return errors.New(v.Name + " is not")
				}
			}
		}
		return nil
	})
}

// crowd asks for pages through nginx until end is called.
func (s *site) crowd(names []string, clients int) (end func() (ok int64, failed []string)) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	var ok atomic.Int64
	var failed []string
	for c := range clients {
		wg.Go(func() {
			for i := c; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				name := names[i%len(names)]
				a, err := s.request(name, "GET", "/", nil)
				if err == nil && (a.status != 200 || a.body != "hello from "+name+"\n") {
					err = fmt.Errorf("status %d: %.100s", a.status, a.body)
				}
				if err == nil {
					ok.Add(1)
					continue
				}
				mu.Lock()
				failed = append(failed, name+": "+err.Error())
				mu.Unlock()
			}
		})
	}
	return func() (int64, []string) {
		close(stop)
		wg.Wait()
		return ok.Load(), failed
	}
}

func threads(pid int) int {
	names, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	return len(names)
}

func (s *site) why(name string) api.Why {
	s.t.Helper()
	w, err := api.NewClient(s.dir+"/control.sock").Why(context.Background(), name)
	if err != nil {
		s.t.Fatal(err)
	}
	return w
}

// vassald returns the serving process of a vassal, 0 if none serves.
func (e *emperor) vassald(t *testing.T, name string) int {
	t.Helper()
	v, err := api.NewClient(e.site.dir+"/control.sock").Vassal(context.Background(), name)
	if err != nil || v.State != api.Accepting {
		return 0
	}
	return v.PID
}

// program writes a file that may be run.
func (s *site) program(path string, text []byte, mode os.FileMode) {
	s.t.Helper()
	if err := os.WriteFile(path, text, mode); err != nil {
		s.t.Fatal(err)
	}
}
