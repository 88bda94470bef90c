package rights

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A stranger that no real system has.
const strangerID = 61101

// TestMain makes the test binary able to be a program that is started by another one, and keeps the tests on one thread
// each. With MODE set it acts.
func TestMain(m *testing.M) {
	switch os.Getenv("MODE") {
	case "openfiles": // says what the limit is that a program started by each of the two ways gets
		runtime.LockOSThread()
		l, err := OpenFiles()
		fmt.Println(l.Soft, l.Hard, err)
		os.Exit(0)
	case "parent": // starts a sleeper that is to end with it, says its pid, and ends when its input does
		runtime.LockOSThread()
		pid, err := began(Spec{Path: "/bin/sleep", Args: []string{"sleep", "60"}, Files: []uintptr{0, 1, 2}, Death: syscall.SIGKILL, Rights: Rights{User: &User{strangerID, strangerID, nil}}})
		fmt.Println(pid, err)
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	case "stopper":
		for end := time.Now().Add(time.Minute); time.Now().Before(end); {
			_ = syscall.Kill(-1, syscall.SIGSTOP) // everything of this user but itself
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// began starts a child and waits until it runs its program.
func began(spec Spec) (int, error) {
	pid, later, err := Start(spec)
	if later == nil {
		return pid, err
	}
	if err := later.Wait(); err != nil {
		end(pid)
		return 0, err
	}
	return pid, nil
}

// began does the same with a plan.
func (p *plan) began() (int, error) {
	defer p.close()
	return p.start(patience)
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("this test needs root")
		}
		t.Skip("this test needs root")
	}
}

// stranger has every right set.
func stranger() Rights {
	bounding := uint64(1<<unix.CAP_NET_BIND_SERVICE | 1<<unix.CAP_CHOWN)
	mask := fs.FileMode(0o027)
	return Rights{
		User: &User{strangerID, strangerID + 1, []int{strangerID + 3, strangerID + 1, strangerID + 2}}, Bounding: &bounding, NoNewPrivs: true, Umask: &mask,
		Limits: []Limit{{unix.RLIMIT_NOFILE, 333, 444}, {unix.RLIMIT_CORE, 0, 0}, {unix.RLIMIT_NPROC, 55, 66}, {unix.RLIMIT_FSIZE, 1 << 30, 1 << 31}},
	}
}

// run starts a shell with a script and returns what it writes.
func run(t testing.TB, spec Spec, script string) (string, error) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	out, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	spec.Path, spec.Args = "/bin/sh", []string{"sh", "-c", script}
	spec.Files = append([]uintptr{null.Fd(), write.Fd(), write.Fd()}, spec.Files...)
	if spec.Env == nil {
		spec.Env = []string{"PATH=/usr/bin:/bin"}
	}
	pid, err := began(spec)
	write.Close()
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	if status := await(t, pid); status != 0 {
		t.Errorf("the child ended with %#x and said %s", int(status), text)
	}
	return string(text), nil
}

func await(t testing.TB, pid int) (status syscall.WaitStatus) {
	t.Helper()
	for {
		got, err := syscall.Wait4(pid, &status, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || got != pid {
			t.Fatalf("cannot wait for the child: %v", err)
		}
		return status
	}
}

// publicDir returns a folder that everybody may enter, as testing's own folders may not be.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "rights-test-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestChildHasExactlyItsRights(t *testing.T) {
	needRoot(t)
	dir := publicDir(t)
	secret, err := os.Open("/etc/hostname")
	if err != nil {
		t.Fatal(err)
	}
	defer secret.Close()
	if _, err := unix.FcntlInt(secret.Fd(), unix.F_SETFD, 0); err != nil { // somebody forgot close-on-exec
		t.Fatal(err)
	}
	text, err := run(t, Spec{Rights: stranger(), Setsid: true, Death: syscall.SIGKILL, Dir: dir},
		`grep . /proc/self/status; cat /proc/self/limits; echo umask=$(umask); echo pwd=$(pwd); echo fds $(ls /proc/$$/fd); echo sid $(cut -d' ' -f5,6 /proc/$$/stat) $$`)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`Uid:	61101	61101	61101	61101`, `Gid:	61102	61102	61102	61102`, `Groups:	61102 61103 61104 `,
		`CapInh:	0000000000000000`, `CapPrm:	0000000000000000`, `CapEff:	0000000000000000`, `CapBnd:	0000000000000401`, `CapAmb:	0000000000000000`,
		`NoNewPrivs:	1`, `SigBlk:	0000000000000000`, `SigIgn:	0000000000000000`, `umask=0027`, `pwd=` + dir, `fds 0 1 2`,
		`Max open files            333                  444 `, `Max core file size        0                    0 `, `Max processes             55                   66 `,
		`Max file size             1073741824           2147483648 `,
	} {
		if !strings.Contains(text, want+"\n") && !strings.Contains(text, want) {
			t.Errorf("the child does not say %q; it says\n%s", want, text)
		}
	}
	if m := regexp.MustCompile(`sid (\d+) (\d+) (\d+)\n`).FindStringSubmatch(text); m == nil || m[1] != m[3] || m[2] != m[3] {
		t.Errorf("the child does not lead its session: %v", m)
	}
}

func TestDescriptorsAreExactlyThoseGiven(t *testing.T) {
	var files []uintptr
	names := []string{"/etc/hostname", "/etc/passwd", "/etc/group", "/etc/hosts"}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f.Fd())
	}
	for range 4 { // every rotation, so that some stand where others have to go
		files = append(files[1:], files[0])
		names = append(names[1:], names[0])
		for gap := uintptr(0); gap < 4; gap++ {
			spec := Spec{Dir: "/tmp"}
			var want []string
			for i, f := range files {
				spec.Files = append(spec.Files, f)
				want = append(want, fmt.Sprintf("%d=%s", i+3, names[i]))
			}
			for range gap { // the same one several times, and some of 0, 1 and 2
				spec.Files = append(spec.Files, files[0])
				want = append(want, fmt.Sprintf("%d=%s", len(want)+3, names[0]))
			}
			got, err := run(t, spec, `exec find /proc/self/fd -mindepth 1 -printf '%f=%l\n'`)
			if err != nil {
				t.Fatal(err)
			}
			have := slices.DeleteFunc(strings.Fields(got), func(s string) bool { // find's own folders, and those of run
				return strings.Contains(s, "=/proc/") || strings.HasSuffix(s, "=/tmp") || s[1] == '=' && s[0] < '3'
			})
			slices.Sort(have)
			slices.Sort(want)
			if !slices.Equal(have, want) {
				t.Errorf("got %q, want %q", have, want)
			}
		}
	}
}

func TestEachStepThatFailsIsNamed(t *testing.T) {
	needRoot(t)
	dir := t.TempDir() // below folders of mode 0700
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	many := make([]int, 70000)
	for i := range many {
		many[i] = i + 1
	}
	user := func(u User) Rights { return Rights{User: &u} }
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, words string
		errno       error
		spec        Spec
	}{
		{"a uid that is none", "after taking uid -1 the kernel says real uid 0, not", ErrRefused, Spec{Rights: user(User{-1, 5, nil})}},
		{"too many groups", "cannot take 70000 supplementary groups: invalid argument", syscall.EINVAL, Spec{Rights: user(User{strangerID, strangerID, many})}},
		{"a soft limit above the hard one", "cannot set the limit nproc to 5:4: invalid argument", syscall.EINVAL, Spec{Rights: Rights{Limits: []Limit{{unix.RLIMIT_NPROC, 5, 4}}}}},
		{"a limit that there is not", "cannot set the limit 99 to 1:1: invalid argument", syscall.EINVAL, Spec{Rights: Rights{Limits: []Limit{{99, 1, 1}}}}},
		{"a folder that is closed", "cannot enter " + dir + ": permission denied", syscall.EACCES, Spec{Dir: dir, Rights: user(User{strangerID, strangerID, nil})}},
		{"a folder that is not there", "cannot enter /nonexistent: no such file", syscall.ENOENT, Spec{Dir: "/nonexistent"}},
		{"a program that is not there", "cannot run /nonexistent: no such file", syscall.ENOENT, Spec{Path: "/nonexistent"}},
		{"a program that cannot be run", "cannot run " + plain + ": permission denied", syscall.EACCES, Spec{Path: plain}},
		{"a descriptor that is not open", "cannot put descriptor 0 in its place: bad file", syscall.EBADF, Spec{Files: []uintptr{999}}},
		{"a NUL in the name", "holds a NUL", syscall.EINVAL, Spec{Path: "/bin/true\x00"}},
		{"a NUL in an argument", "holds a NUL", syscall.EINVAL, Spec{Args: []string{"\x00"}}},
		{"a NUL in the folder", "holds a NUL", syscall.EINVAL, Spec{Dir: "/\x00"}},
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := descriptors(t)
	for _, test := range tests {
		if test.spec.Path == "" {
			test.spec.Path = "/bin/true"
		}
		if test.spec.Args == nil {
			test.spec.Args = []string{"true"}
		}
		if test.spec.Files == nil {
			test.spec.Files = []uintptr{0, 1, 2}
		}
		pid, err := began(test.spec)
		if err == nil || pid != 0 || !errors.Is(err, test.errno) || !strings.Contains(err.Error(), test.words) {
			t.Errorf("%s: got %d, %v; want %q", test.name, pid, err, test.words)
		}
		if _, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); !errors.Is(err, syscall.ECHILD) {
			t.Errorf("%s: a child is left: %v", test.name, err)
		}
	}
	if after := descriptors(t); !slices.Equal(before, after) {
		t.Errorf("descriptors before: %v, after: %v", before, after)
	}
}

// without runs f in a thread that lacks a capability, as an emperor may.
func without(t *testing.T, capability uint, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // ends with the goroutine
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var sets [2]unix.CapUserData
		err := unix.Capget(&header, &sets[0])
		if err == nil {
			sets[capability/32].Effective &^= 1 << (capability % 32)
			sets[capability/32].Permitted &^= 1 << (capability % 32)
			err = unix.Capset(&header, &sets[0])
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestMissingCapabilityIsNamed(t *testing.T) {
	needRoot(t)
	none := uint64(0)
	who := Rights{User: &User{strangerID, strangerID, []int{strangerID}}}
	for _, test := range []struct {
		missing uint
		words   []string
		spec    Spec
	}{
		{unix.CAP_SETUID, []string{"cannot take uid 61101: operation not permitted", "CAP_SETUID"}, Spec{Rights: who}},
		{unix.CAP_SETGID, []string{"cannot take 1 supplementary groups: operation not permitted", "CAP_SETGID"}, Spec{Rights: who}},
		{unix.CAP_SETPCAP, []string{"from the bounding set: operation not permitted", "CAP_SETPCAP"}, Spec{Rights: Rights{Bounding: &none}}},
		{unix.CAP_SYS_ADMIN, []string{"in namespaces of its own: operation not permitted", "emperor-use-clone"}, Spec{Namespaces: unix.CLONE_NEWUTS}},
	} {
		without(t, test.missing, func() {
			test.spec.Path, test.spec.Args, test.spec.Files = "/bin/true", []string{"true"}, []uintptr{0, 1, 2}
			_, err := began(test.spec)
			if !errors.Is(err, syscall.EPERM) {
				t.Errorf("without capability %d: %v", test.missing, err)
				return
			}
			for _, w := range test.words {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("without capability %d: %q lacks %q", test.missing, err, w)
				}
			}
		})
	}
}

func TestHardLimitCannotBeRaised(t *testing.T) {
	needRoot(t)
	without(t, unix.CAP_SYS_RESOURCE, func() {
		var old unix.Rlimit
		if err := unix.Prlimit(0, unix.RLIMIT_MSGQUEUE, nil, &old); err != nil || old.Max == Unlimited {
			t.Errorf("the limit msgqueue of this process is %v, %v", old, err)
			return
		}
		_, err := began(Spec{Path: "/bin/true", Args: []string{"true"}, Files: []uintptr{0, 1, 2}, Rights: Rights{Limits: []Limit{{unix.RLIMIT_MSGQUEUE, 1, old.Max + 1}}}})
		want := fmt.Sprintf("cannot set the limit msgqueue to 1:%d: operation not permitted; a hard limit can only be raised with CAP_SYS_RESOURCE", old.Max+1)
		if !errors.Is(err, syscall.EPERM) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	})
}

func descriptors(t testing.TB) []string {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, n := range names {
		if to, err := os.Readlink("/proc/self/fd/" + n.Name()); err == nil && !strings.Contains(to, "/proc/") && !strings.Contains(to, "anon_inode") {
			all = append(all, n.Name()+"="+to)
		}
	}
	return all
}

// TestOpenFilesAreThoseOfTheStart compares with a child of syscall.ForkExec, for several limits of the shell.
func TestOpenFilesAreThoseOfTheStart(t *testing.T) {
	for _, soft := range []string{"77", "256", "1024"} {
		cmd := exec.Command("/bin/sh", "-c", "ulimit -S -n "+soft+"; exec "+os.Args[0])
		cmd.Env = []string{"MODE=openfiles", "PATH=/usr/bin:/bin"}
		out, err := cmd.Output()
		if err != nil || !strings.HasPrefix(string(out), soft+" ") || !strings.HasSuffix(string(out), "<nil>\n") {
			t.Errorf("started with ulimit -n %s, the program says %q, %v", soft, out, err)
		}
	}
}

func TestChildOfOursHasTheLimitsOfAChildOfForkExec(t *testing.T) {
	theirs, err := exec.Command("/bin/cat", "/proc/self/limits").Output() // before OpenFiles is asked for the first time, or after: the same
	if err != nil {
		t.Fatal(err)
	}
	ours, err := run(t, Spec{}, "cat /proc/self/limits")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`Max open files.*`)
	if os.Getenv("LIMITS_COMPARED") == "" { // in a process of its own, where nobody has asked yet
		cmd := exec.Command("/bin/sh", "-c", "ulimit -S -n 321; exec "+os.Args[0]+" -test.run=^TestChildOfOursHasTheLimitsOfAChildOfForkExec$")
		cmd.Env = append(os.Environ(), "LIMITS_COMPARED=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("under ulimit -n 321: %v\n%s", err, out)
		}
		return
	}
	if a, b := line.FindString(string(theirs)), line.FindString(ours); a != b || !strings.Contains(a, " 321 ") {
		t.Errorf("ForkExec gives %q, Start %q", a, b)
	}
}
