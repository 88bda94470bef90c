package rights

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestChildEndsWithItsParent(t *testing.T) {
	needRoot(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{"MODE=parent"}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	var said string
	if _, err := fmt.Fscan(out, &pid, &said); err != nil || said != "<nil>" {
		t.Fatalf("%v, %q", err, said)
	}
	in.Close()
	_ = cmd.Wait()
	for end := time.Now().Add(10 * time.Second); syscall.Kill(pid, 0) == nil; time.Sleep(time.Millisecond) {
		if state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err != nil || strings.Contains(string(state), ") Z ") {
			break
		}
		if time.Now().After(end) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatal("the child lives on")
		}
	}
}

// TestTenantWhoStopsTheChildHoldsUpNobody has the tenant send SIGSTOP to everything of its own, all the time.
func TestTenantWhoStopsTheChildHoldsUpNobody(t *testing.T) {
	needRoot(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	program := filepath.Join(publicDir(t), "stopper")
	self, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(program, self, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	attacker, err := os.StartProcess(program, []string{"stopper"}, &os.ProcAttr{Env: []string{"MODE=stopper"}, Sys: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: strangerID, Gid: strangerID}, Pdeathsig: syscall.SIGKILL}})
	if err != nil {
		t.Fatal(err)
	}
	caught := 0
	for range 300 {
		begun := time.Now()
		pid, err := began(Spec{Path: "/bin/true", Args: []string{"true"}, Files: []uintptr{0, 1, 2}, Rights: stranger()})
		if took := time.Since(begun); took > 3*time.Second {
			t.Fatalf("it was held up for %s", took)
		}
		if err != nil {
			if !errors.Is(err, syscall.ETIMEDOUT) {
				t.Fatal(err)
			}
			caught++
			continue
		}
		_ = syscall.Kill(pid, syscall.SIGKILL)
		await(t, pid)
	}
	if caught == 0 {
		t.Error("the attack never hit; it proves nothing")
	}
	_ = attacker.Kill()
	_, _ = attacker.Wait()
}

// TestForksWhileOthersAllocate starts thousands of children while other threads allocate, collect garbage and start
// threads: whatever the child shares with the runtime would show.
func TestForksWhileOthersAllocate(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	stop := make(chan struct{})
	var busy sync.WaitGroup
	for range 4 {
		busy.Go(func() {
			keep := make([][]byte, 512)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				keep[i%len(keep)] = make([]byte, 64+i%8192)
				if i%5000 == 0 {
					runtime.GC()
				}
				if i%500 == 0 {
					gone := make(chan struct{})
					go func() { runtime.LockOSThread(); close(gone) }() // a thread that ends
					<-gone
				}
			}
		})
	}
	before := descriptors(t)
	for i := range 2000 {
		spec := Spec{Path: "/bin/true", Args: []string{"true"}, Files: []uintptr{0, 1, 2}, Setsid: true, Death: syscall.SIGKILL}
		if os.Geteuid() == 0 {
			spec.Rights = stranger()
		}
		if i%10 == 9 {
			spec.Path = "/nonexistent"
		}
		pid, err := began(spec)
		if i%10 == 9 {
			if !errors.Is(err, syscall.ENOENT) {
				t.Fatalf("start %d: %v", i, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("start %d: %v", i, err)
		}
		if status := await(t, pid); status != 0 {
			t.Fatalf("child %d ended with %#x", i, int(status))
		}
	}
	close(stop)
	busy.Wait()
	if after := descriptors(t); !slices.Equal(before, after) {
		t.Errorf("descriptors before: %v, after: %v", before, after)
	}
	if _, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); !errors.Is(err, syscall.ECHILD) {
		t.Errorf("a child is left: %v", err)
	}
}

func TestNamespaces(t *testing.T) {
	needRoot(t)
	own := func(name string) string { to, _ := os.Readlink("/proc/self/ns/" + name); return to }
	for _, test := range []struct {
		name   string
		flags  uintptr
		script string
		want   string
	}{
		{"uts", unix.CLONE_NEWUTS, "true", ""},
		{"ipc", unix.CLONE_NEWIPC, "true", ""},
		{"net", unix.CLONE_NEWNET, "cat /proc/net/dev | grep -c :", "1"},
		{"mnt", unix.CLONE_NEWNS, "grep -c shared: /proc/self/mountinfo; true", "0"},
		{"user", unix.CLONE_NEWUSER, "id -u; id -g; cat /proc/self/uid_map | tr -s ' '; grep CapBnd /proc/self/status", "61101\n61102\n 61101 61101 1\nCapBnd:\t0000000000000401"},
		{"pid", unix.CLONE_NEWPID, "echo $$", "1"},
		{"pid", unix.CLONE_NEWPID | unix.CLONE_NEWNS, "readlink /proc/self/ns/mnt >/dev/null; echo $$; ls -d /proc/[0-9]* | wc -l | sed 's/[1-5]/few/'", "1\nfew"},
		{"user", unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC, "echo $$", "1"},
	} {
		r := stranger()
		r.Limits = nil
		got, err := run(t, Spec{Rights: r, Namespaces: test.flags, Death: syscall.SIGKILL}, "readlink /proc/$$/ns/"+test.name+" 2>/dev/null || readlink /proc/self/ns/"+test.name+"; "+test.script)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		first, rest, _ := strings.Cut(got, "\n")
		if first == own(test.name) || !strings.HasPrefix(first, test.name+":") {
			t.Errorf("%s: the child is in %q, and we are in %q", test.name, first, own(test.name))
		}
		if strings.TrimRight(rest, "\n") != test.want {
			t.Errorf("%s: got %q, want %q", test.name, rest, test.want)
		}
	}
}

// TestCgroupsAreEnteredBothWays starts a child in a cgroup: born there, and where clone3 is missing, moved there by itself.
// output starts a program by clone3, or without it, and returns what it printed.
func output(t *testing.T, spec Spec, noClone3 bool) string {
	t.Helper()
	out, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	spec.Files = []uintptr{0, write.Fd(), 2}
	p, err := newPlan(spec)
	if err != nil {
		t.Fatal(err)
	}
	p.noClone3 = noClone3
	pid, err := p.began()
	write.Close()
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(out)
	if status := await(t, pid); err != nil || status != 0 {
		t.Fatalf("it ended with %v, %v: %q", status, err, text)
	}
	return string(text)
}

func TestCgroupsAreEnteredBothWays(t *testing.T) {
	needRoot(t)
	root := ""
	for _, at := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(at + "/cgroup.procs"); err == nil {
			root = at
		}
	}
	dir := fmt.Sprintf("%s/emperord-t-%d", root, os.Getpid())
	err := error(unix.ENOENT)
	if root != "" {
		err = os.Mkdir(dir, 0o755)
	}
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("no control group of version 2 can be made, and CI must have them: %v", err)
		}
		t.Skipf("no control group of version 2 can be made here: %v", err)
	}
	defer os.Remove(dir)
	group, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, moved := range []bool{false, true} {
		text := output(t, Spec{Path: "/bin/cat", Args: []string{"cat", "/proc/self/cgroup"}, Rights: stranger(), Cgroup: group}, moved)
		if !strings.Contains(text, "0::/"+filepath.Base(dir)+"\n") {
			t.Errorf("moved %v: %q", moved, text)
		}
	}
}

// TestSignalsHaveTheirUsualMeaning in the child, by clone3 and without it.
func TestSignalsHaveTheirUsualMeaning(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	defer signal.Reset(syscall.SIGHUP, syscall.SIGPIPE)
	for _, old := range []bool{false, true} {
		text := output(t, Spec{Path: "/bin/grep", Args: []string{"grep", "Sig[BI]", "/proc/self/status"}}, old)
		if strings.Trim(regexp.MustCompile(`[^\t]*\t`).ReplaceAllString(text, ""), "0\n") != "" {
			t.Errorf("without clone3 %v: %q", old, text)
		}
	}
}
