package e2e

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestNothingIsLeftOfARealUwsgi kills the emperor of a real uwsgi, its first process, and both; with a master and without one. Under uWSGI's own
// emperor its workers go on. A worker that hears no signal, and what the application has started, go too.
func TestNothingIsLeftOfARealUwsgi(t *testing.T) {
	for i, way := range []struct{ settings, victims string }{
		{"master = true\n", "uwsgi"}, {"master = true\n", "emperor"}, {"master = true\n", "emperor uwsgi"}, {"master = true\n", "uwsgi emperor"},
		{"", "uwsgi"}, {"", "emperor"}, {"", "emperor uwsgi"},
	} {
		name := strings.ReplaceAll(strings.TrimSpace(way.settings+way.victims), "\n", ", ")
		t.Run(name, func(t *testing.T) {
			l := newLane(t, 20+i)
			l.own("vassals/litter.ini", "[uwsgi]\nplugin = python3\n"+way.settings+"chdir = "+l.dir+"/srv/litter\nmodule = litter\nprocesses = 2\nsocket = "+l.socket+"\nchmod-socket = 666\ndisable-logging = true\nenv = LITTER=named\nclose-on-exec = true\n")
			var out log
			e := l.run(&out, bin+"/emperord", nil, "--emperor-wrapper", "/usr/bin/uwsgi", "--emperor-throttle", "10")
			if !l.until(limit, func() bool { return l.get("/") == nil }) {
				t.Fatalf("no answer: %s", out.String())
			}
			old := beings(l.uid)
			c := l.hold("/deaf") // only KILL ends it
			defer c.Close()
			l.guardOf(e.Pid)
			var vassal int
			for _, k := range childrenOf(e.Pid) {
				if strings.Contains(k.args, "litter.ini") {
					vassal = k.pid
				}
			}
			for _, victim := range strings.Fields(way.victims) {
				if victim == "uwsgi" { // a child of our child, found a moment ago
					_ = syscall.Kill(vassal, syscall.SIGKILL)
				} else if err := errors.Join(e.Kill(), wait(e)); err != nil {
					t.Fatal(err)
				}
			}
			if way.victims == "uwsgi" {
				var left []being
				if !l.until(limit, func() bool {
					left = nil
					for pid, b := range beings(l.uid) {
						if _, was := old[pid]; was && b.state != "Z" {
							left = append(left, b)
						}
					}
					return len(left) == 0
				}) {
					t.Errorf("left of the old one: %v", left)
				}
				if !l.until(limit, func() bool { return l.get("/") == nil }) {
					t.Errorf("no answer after it was killed: %s", out.String())
				}
				if err := errors.Join(e.Kill(), wait(e)); err != nil {
					t.Fatal(err)
				}
			}
			l.nothingIsLeft(name)
			if t.Failed() {
				t.Logf("emperord said:\n%s", out.String())
			}
		})
	}
}

func wait(p *os.Process) error {
	_, err := p.Wait()
	return err
}
