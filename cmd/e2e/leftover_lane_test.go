package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A lane is a place for one trial at a time, with a user of its own: what is left is told by the user, whatever it calls itself.
type lane struct {
	*site
	uid    int
	socket string
}

func newLane(t *testing.T, n int) *lane {
	l := &lane{site: newSite(t), uid: 61600 + n}
	l.mkdir("srv/litter", l.uid, l.uid)
	text, err := os.ReadFile("apps/litter/litter.py")
	if err != nil {
		t.Fatal(err)
	}
	l.own("srv/litter/litter.py", string(text))
	l.socket = l.dir + "/run/litter.sock"
	return l
}

// own writes a file of the lane's user.
func (l *lane) own(name, text string) {
	path := filepath.Join(l.dir, name)
	if err := errors.Join(os.WriteFile(path+"~", []byte(text), 0o644), os.Chown(path+"~", l.uid, l.uid), os.Rename(path+"~", path)); err != nil {
		l.t.Error(err)
	}
}

// litter is nameless where a process that carries nothing of its vassal, and has left its session, is to be found as well. Nobody
// can find that one when the emperor was killed too; a control group, a unit of systemd or a container has it.
func (l *lane) vassalFile(part, litter string) {
	text := "[uwsgi]\nplugin = python3\nchdir = " + l.dir + "/srv/litter\nmodule = litter\nprocesses = 2\nsocket = " + l.socket + "\nchmod-socket = 666\ndisable-logging = true\nworker-reload-mercy = 60\n"
	if part != "hold" && part != "exec" {
		text += "env = LITTER=" + litter + "\n"
	}
	switch part {
	case "deaf start":
		text += "env = DEAF=0.3\n"
	case "lazy start":
		text += "lazy-apps = true\n"
	case "exec":
		if litter == "nameless" {
			litter = "(setsid sleep 1000 >/dev/null 2>&1 &) ; "
		} else {
			litter = ""
		}
		text += "x = @(exec://" + litter + "sleep 0.1; sleep 0.1; echo)\n"
	}
	l.own("vassals/litter.ini", text)
}

// get asks the vassal.
func (l *lane) get(path string) error {
	c, err := net.Dial("unix", l.socket)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write(packet(path, "")); err != nil {
		return err
	}
	text, err := io.ReadAll(c)
	if err == nil && !strings.HasSuffix(string(text), "ok\n") {
		err = fmt.Errorf("answer %.60q", text)
	}
	return err
}

// hold leaves a request under way; nobody waits for its answer.
func (l *lane) hold(path string) io.Closer {
	c, err := net.Dial("unix", l.socket)
	if err != nil {
		return io.NopCloser(nil)
	}
	_, _ = c.Write(packet(path, ""))
	return c
}

// child is a child of a process, by what its command line says.
type child struct {
	pid  int
	args string
}

// childrenOf lists the children of all threads of a process.
func childrenOf(pid int) []child {
	var all []child
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for _, field := range strings.Fields(string(text)) {
			kid, _ := strconv.Atoi(field)
			args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", kid))
			all = append(all, child{kid, string(bytes.ReplaceAll(args, []byte{0}, []byte{' '}))})
		}
	}
	return all
}

// find returns the processes of an emperor that play a part.
func find(emperor int, part string) (found []int) {
	for _, k := range childrenOf(emperor) {
		resolving := strings.HasPrefix(k.args, "vassald --resolve")
		switch {
		case part == "guard" && strings.HasPrefix(k.args, "emperord --emperord-guard"), part == "resolver" && resolving, part == "vassald" && strings.HasPrefix(k.args, "vassald --ini"):
			found = append(found, k.pid)
		case part == "host" || part == "worker":
			for _, h := range childrenOf(k.pid) {
				if !strings.Contains(h.args, "/proc/self/fd/") {
					continue
				}
				if part == "host" {
					found = append(found, h.pid)
					continue
				}
				for _, w := range childrenOf(h.pid) {
					if strings.Contains(w.args, "/proc/self/fd/") {
						found = append(found, w.pid)
					}
				}
			}
		}
	}
	return found
}

// A being is a process of the lane's user.
type being struct {
	pid, ppid int
	state     string
	args      string
}

func (b being) String() string {
	return fmt.Sprintf("%d (of %d, %s) %s", b.pid, b.ppid, b.state, b.args)
}

// beings lists all processes of a user.
func beings(uid int) map[int]being {
	all := map[int]being{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		var st syscall.Stat_t
		if syscall.Stat("/proc/"+e.Name(), &st) != nil || int(st.Uid) != uid {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		args, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		ppid, _ := strconv.Atoi(fields[1])
		all[pid] = being{pid, ppid, fields[0], string(bytes.ReplaceAll(args, []byte{0}, []byte{' '}))}
	}
	return all
}

// unwatched returns those that are not below a live vassald (or resolver) of a live emperor, and dead children of the emperor.
// An emperor of 0 is none: then everybody is unwatched.
func unwatched(uid, emperor int) (left []being) {
	all := beings(uid)
	for _, b := range all {
		if _, ours := all[b.ppid]; b.state == "Z" && b.ppid != emperor && !ours {
			continue // dead, and left to who reaps for the machine
		}
		watched := false
		for at := b; emperor != 0; {
			if at.ppid == emperor {
				watched = at.state != "Z" && strings.HasPrefix(at.args, "vassald ")
				break
			}
			next, ok := all[at.ppid]
			if !ok {
				break
			}
			at = next
		}
		if !watched {
			left = append(left, b)
		}
	}
	return left
}

// program starts emperord, with its output in out.
func (l *lane) program(out io.Writer, args ...string) *os.Process {
	read, write, err := os.Pipe()
	if err != nil {
		l.t.Fatal(err)
	}
	null, _ := os.Open(os.DevNull)
	defer null.Close()
	p, err := os.StartProcess(bin+"/emperord", append([]string{"emperord"}, args...), &os.ProcAttr{Dir: l.dir, Env: []string{"PATH=/usr/bin:/bin"}, Files: []*os.File{null, write, write}})
	write.Close()
	if err != nil {
		l.t.Fatal(err)
	}
	go func() {
		defer read.Close()
		_, _ = io.Copy(out, read)
	}()
	return p
}

func (l *lane) until(limit time.Duration, f func() bool) bool {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if f() {
			return true
		}
	}
	return f()
}
