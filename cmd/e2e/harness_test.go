// Package e2e runs the real binaries with their real neighbours: nginx, uWSGI, Django, Flask, real users.
package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// bin is the folder of the binaries under test, built once.
var bin string

// The tenants of every test: real users, made by useradd and removed again.
var (
	shop = "emperord-t-shop"
	blog = "emperord-t-blog"
)

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) int {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			fmt.Println("the end-to-end tests need root")
			return 1
		}
		fmt.Println("not root: the end-to-end tests are not run")
		return 0
	}
	for _, tool := range []string{"/usr/sbin/nginx", "/usr/bin/uwsgi", "/usr/bin/python3", "/usr/sbin/useradd", "/usr/bin/unshare"} {
		if _, err := os.Stat(tool); err != nil {
			fmt.Printf("the end-to-end tests need %s; run: sh cmd/e2e/install.sh\n", tool)
			return 1
		}
	}
	dir, err := os.MkdirTemp("/tmp", "emperord-e2e-bin-")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		fmt.Println(err)
		return 1
	}
	bin = dir
	build := exec.Command("go", "build", "-o", dir+"/", "../emperord", "../vassald", "../emperorctl")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Printf("cannot build the binaries: %v\n%s", err, out)
		return 1
	}
	for _, name := range []string{shop, blog} {
		_ = exec.Command("userdel", name).Run() // a run that was killed may have left it
		if out, err := exec.Command("useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", name).CombinedOutput(); err != nil {
			fmt.Printf("cannot make the user %s: %v\n%s", name, err, out)
			return 1
		}
		defer exec.Command("userdel", name).Run()
	}
	return m.Run()
}

func ids(t *testing.T, name string) (uid, gid int) {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, _ = strconv.Atoi(u.Uid)
	gid, _ = strconv.Atoi(u.Gid)
	return uid, gid
}

func groupID(t *testing.T, name string) int {
	t.Helper()
	g, err := user.LookupGroup(name)
	if err != nil {
		t.Fatal(err)
	}
	gid, _ := strconv.Atoi(g.Gid)
	return gid
}

// A site is a folder with vassals, applications, sockets, and what has been started in it.
type site struct {
	t    *testing.T
	dir  string
	port int
}

func newSite(t *testing.T) *site {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "emperord-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, dir: dir}
	for _, sub := range []string{"", "vassals", "srv"} {
		s.mkdir(sub, 0, 0)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return s
}

func (s *site) mkdir(name string, uid, gid int) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	err := os.MkdirAll(path, 0o755)
	err = errors.Join(err, os.Chmod(path, 0o755), os.Chown(path, uid, gid))
	if err != nil {
		s.t.Fatal(err)
	}
	return path
}

// app copies an application of ours to the tenant's folder srv/NAME.
func (s *site) app(from, name, owner string) string {
	s.t.Helper()
	uid, gid := ids(s.t, owner)
	dir := s.mkdir("srv/"+name, uid, gid)
	entries, err := os.ReadDir("apps/" + from)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile("apps/" + from + "/" + e.Name())
		if err == nil && !e.IsDir() {
			s.write("srv/"+name+"/"+e.Name(), string(text), owner)
		}
	}
	return dir
}

// write puts a file in place, as editors and deploy tools do it.
func (s *site) write(name, text, owner string) {
	s.t.Helper()
	uid, gid := 0, 0
	if owner != "" {
		uid, gid = ids(s.t, owner)
	}
	path := filepath.Join(s.dir, name)
	err := os.WriteFile(path+"~", []byte(text), 0o644)
	err = errors.Join(err, os.Chown(path+"~", uid, gid), os.Rename(path+"~", path))
	if err != nil {
		s.t.Fatal(err)
	}
}

// vassal writes the file of a vassal; DIR in it stands for the site's folder.
func (s *site) vassal(name, owner, text string) {
	s.t.Helper()
	s.write("vassals/"+name, "[uwsgi]\n"+strings.ReplaceAll(text, "DIR", s.dir), owner)
}

// A log keeps what a process writes and shows it when the test fails.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A program is something that runs until it is stopped.
type program struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  log
	done chan struct{}
	err  error
}

func (s *site) start(name string, args ...string) *program {
	s.t.Helper()
	p := &program{t: s.t, cmd: exec.Command(name, args...), done: make(chan struct{})}
	p.cmd.Dir = s.dir
	p.cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/root"}
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if secret, err := os.Open("/etc/shadow"); err == nil { // what a careless parent leaves open
		defer secret.Close()
		p.cmd.ExtraFiles = append(p.cmd.ExtraFiles, secret)
	}
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	s.t.Cleanup(func() {
		p.kill()
		if s.t.Failed() {
			text := p.log.String()
			s.t.Logf("%s said:\n%s", filepath.Base(name), text[max(0, len(text)-8000):])
		}
	})
	return p
}

// kill ends what should have ended by itself.
func (p *program) kill() {
	select {
	case <-p.done:
		return
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
	}
}

// stop asks the program to end and wants exit code 0.
func (p *program) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.done:
		if p.err != nil {
			p.t.Errorf("TERM: %v", p.err)
		}
	case <-time.After(20 * time.Second):
		p.t.Fatal("TERM does not stop it")
	}
}

// An emperor is a running emperord with what has to hold after it has ended.
type emperor struct {
	*program
	site *site
}

// emperor starts emperord on the site's vassals. When the test is over it is stopped and nothing may be left.
func (s *site) emperor(args ...string) *emperor {
	s.t.Helper()
	args = append([]string{"--emperor", s.dir + "/vassals", "--emperor-control-socket", s.dir + "/control.sock", "--emperor-socket-root", s.dir + "/run"}, args...)
	e := &emperor{s.start(bin+"/emperord", args...), s}
	s.t.Cleanup(e.audit)
	return e
}

// audit stops the emperor and looks for what is left: processes, zombies, sockets.
func (e *emperor) audit() {
	t := e.site.t
	select {
	case <-e.done:
	default:
		left := zombies(e.cmd.Process.Pid)
		for end := time.Now().Add(time.Second); len(left) > 0 && time.Now().Before(end); { // one that has just ended is no fault
			time.Sleep(10 * time.Millisecond)
			left = zombies(e.cmd.Process.Pid)
		}
		if len(left) > 0 {
			t.Errorf("zombies of the emperor: %v", left)
		}
		if n := countFDs(e.cmd.Process.Pid); n > 0 {
			vassals := 0
			if v, err := os.ReadDir(e.site.dir + "/vassals"); err == nil {
				vassals = len(v)
			}
			if n > 24+12*vassals {
				t.Errorf("the emperor has %d descriptors for %d vassals", n, vassals)
			}
		}
		e.stop()
	}
	if left := processesIn(e.site.dir); len(left) > 0 {
		t.Errorf("processes left: %v", left)
		for _, p := range left {
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
	}
	_ = filepath.WalkDir(e.site.dir+"/run", func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type()&os.ModeSocket != 0 {
			t.Errorf("a socket is left: %s", path)
		}
		return nil
	})
}

// A process is one line of the process table.
type process struct {
	pid, ppid int
	comm      string
}

// processesIn finds the processes that belong to a vassal whose working folder or settings lie in dir.
func processesIn(dir string) []process {
	var found []process
	for _, p := range processes() {
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.pid))
		if err != nil || !bytes.Contains(env, []byte("EMPERORD_VASSAL=")) {
			continue
		}
		cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", p.pid))
		if strings.HasPrefix(cwd, dir) {
			found = append(found, p)
		}
	}
	return found
}

func processes() []process {
	names, _ := filepath.Glob("/proc/[0-9]*/stat")
	var all []process
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
		fields := strings.Fields(string(text[end+1:]))
		if open < 0 || len(fields) < 2 {
			continue
		}
		p := process{comm: string(text[open+1 : end])}
		p.pid, _ = strconv.Atoi(strings.TrimSpace(string(text[:open])))
		p.ppid, _ = strconv.Atoi(fields[1])
		all = append(all, p)
	}
	return all
}

func zombies(parent int) []process {
	var found []process
	for _, p := range processes() {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
		if p.ppid == parent && bytes.Contains(text, []byte(") Z ")) {
			found = append(found, p)
		}
	}
	return found
}

// kids are the children of a process; an emperor's guard is left out.
func kids(pid int) []process {
	var found []process
	for _, p := range processes() {
		if p.ppid == pid && p.comm != "emperord-guard" {
			found = append(found, p)
		}
	}
	return found
}

func countFDs(pid int) int {
	names, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(names)
}

// eventually repeats f until it succeeds.
func (s *site) eventually(limit time.Duration, what string, f func() error) time.Duration {
	s.t.Helper()
	begin := time.Now()
	for {
		err := f()
		if err == nil {
			return time.Since(begin)
		}
		if time.Since(begin) > limit {
			s.t.Fatalf("%s: not within %s: %v", what, limit, err)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
