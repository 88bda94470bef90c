package cgroups

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain lets the test's own program play a vassal that daemonizes.
func TestMain(m *testing.M) {
	switch os.Args[0] { // nothing that a child inherits: a role must not breed
	case "sleeper":
		fmt.Println(os.Getpid())
		time.Sleep(time.Minute)
	case "forker": // leaves processes in sessions of their own, and ends
		for range 3 {
			_, err := start("sleeper", nil, os.Stdout)
			if err != nil {
				fmt.Println(err)
			}
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// start runs this program in a role, in a session of its own, and in the leaf if there is one.
func start(role string, l *Leaf, out *os.File) (int, error) {
	attr := &syscall.SysProcAttr{Setsid: true}
	if l != nil {
		attr.UseCgroupFD, attr.CgroupFD = true, int(l.Folder().Fd())
	}
	return syscall.ForkExec("/proc/self/exe", []string{role}, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, out.Fd(), 2}, Sys: attr})
}

// real returns the view of a machine where version 2 can be used.
func real(t *testing.T) View {
	t.Helper()
	view, err := Look()
	if err == nil && os.Geteuid() != 0 {
		err = errors.New("not root")
	}
	if err == nil {
		err = unix.Access(view.Mount, unix.W_OK)
	}
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("the tests need root and a control group of version 2 that may be written: %v", err)
		}
		t.Skipf("no control group of version 2: %v", err)
	}
	return view
}

// realTree takes a group of its own below the mount, and demands that nothing of it stays.
func realTree(t *testing.T) *Tree {
	t.Helper()
	view := real(t)
	name := "/emperord-t-" + strconv.Itoa(os.Getpid())
	tree, err := Take(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() { // nothing may outlive a test, however it ended
			_ = tree.base.kill()
		}
		tree.Release()
		if _, err := os.Stat(filepath.Join(view.Mount, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", name, err)
		}
	})
	for _, c := range controllers {
		if why := tree.Lacks(c); why != nil {
			t.Logf("this machine has no %s: %v", c, why)
		} else {
			t.Logf("this machine has %s", c)
		}
	}
	return tree
}

// pids reads the pids that n sleepers say.
func pids(t *testing.T, r *os.File, n int) []int {
	t.Helper()
	r.SetReadDeadline(time.Now().Add(20 * time.Second))
	in := bufio.NewScanner(r)
	var all []int
	for len(all) < n && in.Scan() {
		pid, err := strconv.Atoi(in.Text())
		if err != nil {
			t.Fatal(in.Text())
		}
		all = append(all, pid)
	}
	if len(all) < n {
		t.Fatalf("only %d of %d processes began: %v", len(all), n, in.Err())
	}
	return all
}

// ended waits until no process is left in the leaf.
func ended(t *testing.T, l *Leaf) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !l.Empty(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("processes are still there")
		}
	}
}

// TestNobodyEscapes: what has left its session and lost its parent is still in the group, and dies with it. So does what is killed
// in the way of a kernel without cgroup.kill.
func TestNobodyEscapes(t *testing.T) {
	tree := realTree(t)
	for name, kill := range map[string]func(*Leaf) error{"at once": (*Leaf).Kill, "one by one": func(l *Leaf) error { return l.folder.killOneByOne() }} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() {
				if t.Failed() {
					_ = tree.base.kill()
				}
			})
			g, err := tree.Group("shop.ini")
			if err != nil {
				t.Fatal(err)
			}
			if err := g.Limit(Limits{Memory: number(256 << 20), PIDs: number(100), CPU: number(500), CPUWeight: number(10)}); err != nil {
				t.Fatal(err)
			}
			l, err := g.Leaf()
			if err != nil {
				t.Fatal(err)
			}
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			leader, err := start("forker", l, w)
			if err != nil {
				t.Fatal(err)
			}
			w.Close()
			l.Started()
			all := pids(t, r, 3)
			if _, err := syscall.Wait4(leader, nil, 0, nil); err != nil {
				t.Fatal(err)
			}
			inside, err := l.folder.pids()
			for _, pid := range all {
				if !slices.Contains(inside, pid) {
					t.Errorf("%d is not among %v, %v", pid, inside, err)
				}
			}
			if l.Empty() {
				t.Error("it counts as empty")
			}
			if err := l.Remove(); !errors.Is(err, unix.EBUSY) {
				t.Errorf("removing a group with processes: %v", err)
			}
			if err := kill(l); err != nil {
				t.Fatal(err)
			}
			ended(t, l)
			if err := l.Remove(); err != nil || !g.Gone() {
				t.Errorf("%v, gone %t", err, g.Gone())
			}
		})
	}
}

// TestKilledEmperorLeavesNothing: the next one removes what is empty, hands over what is not, and leaves alone what is not ours.
func TestKilledEmperorLeavesNothing(t *testing.T) {
	view := real(t)
	first := realTree(t)
	base := first.Base()
	name := filepath.Base(base)
	if _, err := Take("/" + name); err == nil || !strings.Contains(err.Error(), "another emperor") {
		t.Fatalf("two emperors have one group: %v", err)
	}
	g, err := first.Group("shop.ini")
	if err != nil {
		t.Fatal(err)
	}
	full, err := g.Leaf()
	if err == nil {
		_, err = g.Leaf()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Group("blog.ini"); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	pid, err := start("sleeper", full, w)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	pids(t, r, 1)
	full.Started()
	foreign := []string{base + "/vassal-foreign.ini", base + "/other"}
	for _, dir := range foreign {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(dir)
	}
	first.lock.Close() // as the kernel does for a killed process
	first.lock = nil

	second, err := Take(base) // by its folder
	if err != nil {
		t.Fatal(err)
	}
	defer second.Release()
	for _, dir := range foreign {
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("a foreign group is gone: %v", err)
		}
	}
	if _, err := os.Stat(base + "/vassal-blog.ini"); err == nil {
		t.Error("an empty group is left")
	}
	left := second.Left()
	if len(left) != 1 || left[0].Path() != full.Path() {
		t.Fatalf("left: %+v", left)
	}
	again, err := second.Group("shop.ini") // it starts meanwhile
	if err != nil {
		t.Fatal(err)
	}
	next, err := again.Leaf()
	if err != nil || next.Path() == full.Path() {
		t.Fatalf("%v, %v", next, err)
	}
	if err := left[0].Kill(); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil || status.Signal() != syscall.SIGKILL {
		t.Errorf("%v, %v", status, err)
	}
	ended(t, left[0])
	if err := left[0].Remove(); err != nil {
		t.Error(err)
	}
	if err := next.Remove(); err != nil {
		t.Error(err)
	}
	if names, _ := filepath.Glob(filepath.Join(view.Mount, name, "vassal-[^f]*")); len(names) > 0 {
		t.Errorf("left: %v", names)
	}
}

// TestDelegatedGroupIsDivided moves this very process: into the group that it was given, and back when it ends.
func TestDelegatedGroupIsDivided(t *testing.T) {
	view := real(t)
	given := folder{filepath.Join(view.Mount, "emperord-t-given-"+strconv.Itoa(os.Getpid()))}
	if err := os.Mkdir(given.path, 0o755); err != nil {
		t.Fatal(err)
	}
	home := folder{view.Own}
	t.Cleanup(func() {
		if err := home.write("cgroup.procs", strconv.Itoa(os.Getpid())); err != nil {
			t.Error(err)
		}
		if err := given.remove(); err != nil {
			t.Error(err)
		}
	})
	if err := given.write("cgroup.procs", strconv.Itoa(os.Getpid())); err != nil {
		t.Fatal(err)
	}
	var r *Refusal
	if _, err := Take(""); !errors.As(err, &r) || !strings.Contains(r.Cause, "/"+filepath.Base(given.path)+" is not delegated") || !strings.Contains(r.Remedy, "Delegate=yes") {
		t.Fatalf("not delegated: %v", err)
	}
	if err := unix.Setxattr(given.path, "user.delegate", []byte("1"), 0); err != nil { // as systemd does
		t.Fatal(err)
	}
	tree, err := Take("")
	if err != nil {
		t.Fatal(err)
	}
	if now, err := Look(); err != nil || now.Own != given.path+"/emperord" || tree.Base() != given.path {
		t.Errorf("%+v, %v, %s", now, err, tree.Base())
	}
	tree.Release()
	if now, err := Look(); err != nil || now.Own != given.path {
		t.Errorf("%+v, %v", now, err)
	}
	if _, err := os.Stat(given.path + "/emperord"); err == nil {
		t.Error("the seat is left")
	}
	// DelegateSubgroup=emperord: systemd has made the seat.
	seat := folder{given.path + "/emperord"}
	if err := os.Mkdir(seat.path, 0o755); err != nil {
		t.Fatal(err)
	}
	defer seat.remove()
	defer home.write("cgroup.procs", strconv.Itoa(os.Getpid()))
	if err := seat.write("cgroup.procs", strconv.Itoa(os.Getpid())); err != nil {
		t.Fatal(err)
	}
	if tree, err = Take(""); err != nil || tree.Base() != given.path {
		t.Fatal(tree, err)
	}
	tree.Release()
	if now, err := Look(); err != nil || now.Own != seat.path {
		t.Errorf("%+v, %v", now, err)
	}
}

// A group that cannot be had gives a reason and a way out.
func TestRefusals(t *testing.T) {
	view := real(t)
	for path, want := range map[string]string{
		"/emperord-t-no/such/parent": "make the groups above it",
	} {
		var r *Refusal
		if _, err := Take(path); !errors.As(err, &r) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := choose(View{Mount: view.Mount, Own: view.Mount}, ""); !rootOfMachine(view) && err != nil || rootOfMachine(view) && err == nil {
		t.Errorf("the root of what can be seen: %v", err)
	}
}

func rootOfMachine(v View) bool {
	_, err := os.Stat(v.Mount + "/cgroup.events")
	return err != nil
}
