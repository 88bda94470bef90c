package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emperord/emperord/cmd/e2e/witness"
)

// An attacked site has a neighbour behind nginx that is asked without a pause, and an emperor that watches a folder of
// root's and the tenants' own folders. The attacker is shop.
type attacked struct {
	*site
	e      *emperor
	own    string // the attacker's vassals
	before witness.Snapshot

	mu      sync.Mutex
	asked   int
	noticed error
	slowest time.Duration
}

func underAttack(t *testing.T, args ...string) *attacked {
	t.Helper()
	s := newSite(t)
	s.app("plain", "plain", shop)
	s.app("plain", "neighbour", blog)
	uid, gid := ids(t, shop)
	a := &attacked{site: s, own: s.mkdir("srv/plain/vassals", uid, gid)}
	s.vassal("neighbour.ini", blog, "chdir = DIR/srv/neighbour\nmodule = plain\nsocket = DIR/run/neighbour.sock\nchown-socket = :www-data\nchmod-socket = 660\ndisable-logging = true\n")
	a.e = s.emperor(append([]string{"--emperor-tyrant", "--emperor", s.dir + "/srv/*/vassals/*.ini"}, args...)...)
	s.nginx(map[string]string{"neighbour": s.dir + "/run/neighbour.sock", "evil": s.dir + "/srv/plain/evil.sock"})
	s.get("neighbour", "/")
	pid := a.neighbours()
	a.before = witness.Look(t, s.dir+"/vassals", s.dir+"/run", s.dir+"/srv")
	ctx, cancel := context.WithCancel(context.Background())
	var asking sync.WaitGroup
	asking.Go(func() { a.ask(ctx) })
	t.Cleanup(func() {
		cancel()
		asking.Wait()
		if a.noticed != nil || a.asked == 0 {
			t.Errorf("the neighbour has noticed, in %d requests: %v", a.asked, a.noticed)
		}
		if now := a.neighbours(); now != pid {
			t.Errorf("the neighbour's processes were %s and are %s", pid, now)
		}
		a.before.Unchanged(t, func(path string) bool {
			return strings.HasPrefix(path, s.dir+"/srv/plain/") || strings.Contains(path, "__pycache__")
		})
		if rss := residentKiB(t, a.e.cmd.Process.Pid); rss > 150<<10 {
			t.Errorf("the emperor has %d KiB", rss)
		}
		t.Logf("%d requests to the neighbour, the slowest took %s; the emperor has %d KiB", a.asked, a.slowest.Round(time.Millisecond), residentKiB(t, a.e.cmd.Process.Pid))
	})
	return a
}

// neighbours names the neighbour's processes.
func (a *attacked) neighbours() string {
	var pids []string
	for _, p := range processesIn(a.dir) {
		if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.pid)); err == nil && strings.Contains(string(env), "EMPERORD_VASSAL=neighbour.ini\x00") {
			pids = append(pids, strconv.Itoa(p.pid))
		}
	}
	return strings.Join(pids, " ")
}

func (a *attacked) ask(ctx context.Context) {
	for ctx.Err() == nil {
		begin := time.Now()
		got, err := a.request("neighbour", "GET", "/", nil)
		if err == nil && got.status != 200 {
			err = fmt.Errorf("status %d", got.status)
		}
		a.mu.Lock()
		a.asked++
		a.slowest = max(a.slowest, time.Since(begin))
		if err != nil && a.noticed == nil {
			a.noticed = err
		}
		a.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
}

func residentKiB(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Error(err)
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kib, _ := strconv.Atoi(strings.Fields(rest)[0])
	return kib
}

// logged waits for a line of the emperor's log with all of the words.
func (a *attacked) logged(words ...string) {
	a.t.Helper()
	a.eventually(40*time.Second, fmt.Sprintf("the log says %q", words), func() error {
		for _, line := range strings.Split(a.e.log.String(), "\n") {
			has := true
			for _, w := range words {
				has = has && strings.Contains(line, w)
			}
			if has {
				return nil
			}
		}
		return fmt.Errorf("not yet")
	})
}

const evilVassal = "chdir = DIR/srv/plain\nmodule = plain\nsocket = DIR/srv/plain/evil.sock\nchmod-socket = 666\n"

func (a *attacked) evil(name, text string) {
	a.t.Helper()
	a.write("srv/plain/vassals/"+name, "[uwsgi]\n"+strings.ReplaceAll(text, "DIR", a.dir), shop)
}

// asShop runs a shell script of the attacker's.
func (a *attacked) asShop(script string) {
	a.t.Helper()
	cmd := exec.Command("/usr/bin/setpriv", "--reuid", shop, "--regid", shop, "--clear-groups", "/bin/sh", "-c", script)
	cmd.Dir = a.own
	if out, err := cmd.CombinedOutput(); err != nil {
		a.t.Fatalf("%v\n%s", err, out)
	}
}

// steal takes standard output from its parent, the real resolver, which runs as the same user, and answers for it. To
// open /proc/PID/fd/1 is not enough: the pipe belongs to root.
const steal = `import ctypes, os, signal, sys, time
libc = ctypes.CDLL(None, use_errno=True)
resolver = os.getppid()
while open(f"/proc/{resolver}/comm").read().strip() != "vassald":
    resolver = int(open(f"/proc/{resolver}/stat").read().rsplit(")", 1)[1].split()[1])
try:
    os.open(f"/proc/{resolver}/fd/1", os.O_WRONLY)
    sys.exit("the pipe could be opened")
except PermissionError:
    pass
fd = libc.syscall(438, libc.syscall(434, resolver, 0), 1, 0)  # pidfd_getfd, pidfd_open
if fd < 0:
    open("stolen", "w").write("no: " + os.strerror(ctypes.get_errno()))
    sys.exit(1)
open("stolen", "w").write("yes")
lie = open("lie").read().encode()
if sys.argv[1] == "before":
    os.write(fd, lie)
elif sys.argv[1] == "instead":
    os.write(fd, lie)
    os.kill(resolver, signal.SIGKILL)
elif os.fork() == 0:
    os.setsid()
    os.close(1)
    time.sleep(30)
    os.write(fd, lie)
`

// TestProgramOfAVassalFileAnswersForTheResolver: exec:// gives a tenant's program the same user as the real resolver has.
func TestProgramOfAVassalFileAnswersForTheResolver(t *testing.T) {
	a := underAttack(t)
	a.write("srv/plain/lie", `{"version":1,"settings":[],"uid":"0","gid":"0","mercy":99999999,"sockets":[{"protocol":"uwsgi","address":"`+a.dir+`/run/neighbour.sock","owner":"root","place":{"file":"evil"}}]}`, shop)
	a.write("srv/plain/steal.py", steal, shop)
	for when, want := range map[string][]string{
		"before":  {"vassal refused", "after top-level value"},
		"instead": {"vassal failed", "killed by SIGKILL"},
		"after":   {"vassal accepts"}, // the resolver ends what the file has started before it ends itself: nobody is left to lie
	} {
		t.Run(when, func(t *testing.T) {
			a.evil(when+".ini", evilVassal+"x = @(exec://cd DIR/srv/plain; exec python3 steal.py "+when+")\n")
			if text, err := os.ReadFile(a.waitFor("srv/plain/stolen")); err != nil || string(text) != "yes" {
				if scope, _ := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope"); len(scope) > 0 && scope[0] != '0' {
					want = []string{"vassal accepts"} // the kernel lets nobody trace its parent
				} else {
					t.Errorf("nothing was stolen: %s, %v", text, err)
				}
			}
			a.logged(append(want, when+".ini")...)
			if err := os.Remove(a.dir + "/srv/plain/stolen"); err != nil {
				t.Error(err)
			}
			if err := os.Remove(a.own + "/" + when + ".ini"); err != nil {
				t.Error(err)
			}
			a.logged("vassal gone", when+".ini")
		})
	}
}

// waitFor waits until a file is there and not empty.
func (a *attacked) waitFor(name string) string {
	a.t.Helper()
	path := a.dir + "/" + name
	a.eventually(20*time.Second, path, func() error {
		text, err := os.ReadFile(path)
		if err == nil && len(text) == 0 {
			err = fmt.Errorf("it is empty")
		}
		return err
	})
	return path
}

func TestTenThousandFilesOfOneTenant(t *testing.T) {
	a := underAttack(t)
	begin := time.Now()
	a.asShop("i=0; while [ $i -lt 10000 ]; do echo garbage >$i.ini; i=$((i+1)); done")
	a.logged("files, and emperor-max-vassals-per-user is 1000", "cannot take all vassals of "+shop)
	t.Logf("said after %s", time.Since(begin).Round(time.Millisecond))
	// meanwhile a thousand files are resolved, and the neighbour dies
	uid, _ := ids(t, blog)
	a.vassal("second.ini", blog, "chdir = DIR/srv/neighbour\nmodule = plain\nsocket = DIR/run/second.sock\nchmod-socket = 666\n")
	took := a.eventually(20*time.Second, "a new vassal of the neighbour's", func() error { _, err := os.Lstat(a.dir + "/run/second.sock"); return err })
	t.Logf("a new vassal of uid %d had its socket after %s", uid, took.Round(time.Millisecond))
	a.eventually(60*time.Second, "all are refused", func() error {
		if n := strings.Count(a.e.log.String(), "vassal refused"); n < 1000 {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
	t.Logf("all refused after %s; the emperor has %d KiB", time.Since(begin).Round(time.Millisecond), residentKiB(t, a.e.cmd.Process.Pid))
	if err := os.Remove(a.dir + "/vassals/second.ini"); err != nil {
		t.Error(err)
	}
	a.logged("vassal gone", "second.ini")
	a.asShop("find . -name '*.ini' -delete")
	a.eventually(20*time.Second, "all are gone", func() error {
		if n := strings.Count(a.e.log.String(), "vassal gone"); n < 1000 {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
}

// TestMoreEventsThanTheKernelKeeps stops the emperor while a tenant makes more events than the kernel has room for: with
// a slow look that never comes, only the notice of the overflow can lead to the right picture.
func TestMoreEventsThanTheKernelKeeps(t *testing.T) {
	a := underAttack(t, "--emperor-freq", "86400")
	a.evil("evil.ini", evilVassal)
	a.get("evil", "/")
	room, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Fatal(err)
	}
	most, _ := strconv.Atoi(strings.TrimSpace(string(room)))
	if err := syscall.Kill(a.e.cmd.Process.Pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	a.asShop(fmt.Sprintf("i=0; while [ $i -lt %d ]; do : >$((i%%2)).ini; i=$((i+1)); done; rm 0.ini 1.ini", most))
	a.evil("evil.ini", evilVassal+"env = GEN=changed\n")
	a.evil("late.ini", strings.ReplaceAll(evilVassal, "evil.sock", "late.sock"))
	if err := syscall.Kill(a.e.cmd.Process.Pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	a.logged("lost sight of some changes", "overflow")
	a.logged("vassal accepts", "late.ini")
	a.eventually(20*time.Second, "the changed file is live", func() error {
		if body := a.get("evil", "/"); body != "hello from changed\n" {
			return fmt.Errorf("%q", body)
		}
		return nil
	})
	a.asShop("rm *.ini")
	a.logged("vassal gone", "late.ini")
	a.logged("vassal gone", "/evil.ini")
}

// TestDeletedSocketIsBackByItself is what users of uWSGI suffer from: a socket that was removed came back at the next
// restart only.
func TestDeletedSocketIsBackByItself(t *testing.T) {
	a := underAttack(t)
	a.evil("evil.ini", evilVassal)
	a.get("evil", "/")
	for _, script := range []string{"rm ../evil.sock", "mv ../evil.sock ../away.sock", "rm ../evil.sock; ln -s /etc/passwd ../evil.sock; sleep 1; rm ../evil.sock"} {
		a.asShop(script)
		took := a.eventually(20*time.Second, "nginx reaches it again", func() error {
			got, err := a.request("evil", "GET", "/", nil)
			if err == nil && got.status != 200 {
				err = fmt.Errorf("status %d", got.status)
			}
			return err
		})
		t.Logf("%s: answers again after %s", script, took.Round(time.Millisecond))
	}
	a.logged("a socket is lost", "evil.ini", "its file was removed")
	a.asShop("rm *.ini ../away.sock")
	a.logged("vassal gone", "/evil.ini")
}
