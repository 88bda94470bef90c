package e2e

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestNothingIsLeftOfARealUwsgi kills the emperor of a real uwsgi, and its master. Under uWSGI's own emperor its workers go on.
func TestNothingIsLeftOfARealUwsgi(t *testing.T) {
	l := newLane(t, 20)
	l.own("vassals/litter.ini", "[uwsgi]\nplugin = python3\nmaster = true\nchdir = "+l.dir+"/srv/litter\nmodule = litter\nprocesses = 2\nsocket = "+l.socket+"\nchmod-socket = 666\ndisable-logging = true\n")
	for _, victim := range []string{"master", "emperor"} {
		var out log
		e := l.program(&out, "--emperor", l.dir+"/vassals", "--emperor-tyrant", "--emperor-control-socket", l.dir+"/control.sock", "--emperor-socket-root", l.dir+"/run", "--emperor-wrapper", "/usr/bin/uwsgi")
		if !l.until(limit, func() bool { return l.get("/") == nil }) {
			t.Fatalf("no answer: %s", out.String())
		}
		old := beings(l.uid)
		c := l.hold(map[string]string{"master": "/deaf", "emperor": "/sleep"}[victim]) // what hears no signal, only we can kill
		defer c.Close()
		if victim == "master" {
			for _, k := range childrenOf(e.Pid) {
				if strings.Contains(k.args, "litter.ini") {
					_ = syscall.Kill(k.pid, syscall.SIGKILL)
				}
			}
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
				t.Errorf("no answer after the master was killed")
			}
		}
		if err := errors.Join(e.Kill(), wait(e)); err != nil {
			t.Fatal(err)
		}
		var left []being
		if !l.until(limit, func() bool { left = unwatched(l.uid, 0); return len(left) == 0 }) {
			t.Errorf("left after the emperor was killed: %v", left)
		}
		for pid := range beings(l.uid) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

func wait(p *os.Process) error {
	_, err := p.Wait()
	return err
}
