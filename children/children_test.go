package children

import (
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain makes the test binary its own child: with CHILD set it sleeps, or leaves an orphan behind.
func TestMain(m *testing.M) {
	switch os.Getenv("CHILD") {
	case "exit3":
		os.Exit(3)
	case "sleep":
		time.Sleep(time.Minute)
		os.Exit(9)
	case "orphan": // starts a sleeper in its own group and leaves it
		runtime.LockOSThread()
		if _, err := Start(Spec{Path: "/proc/self/exe", Args: []string{"sleeper"}, Env: []string{"CHILD=sleep"}, Files: []uintptr{0, 1, 2}}); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	runtime.LockOSThread()
	os.Exit(m.Run())
}

func start(t *testing.T, what string, attr *syscall.SysProcAttr) int {
	t.Helper()
	pid, err := Start(Spec{Path: "/proc/self/exe", Args: []string{"child"}, Env: []string{"CHILD=" + what}, Files: []uintptr{0, 1, 2}, Attr: attr})
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func await(t *testing.T, pid int) Exit {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		for _, e := range Reap() {
			if e.PID == pid || pid == 0 {
				return e
			}
		}
	}
	t.Fatalf("child %d did not end", pid)
	return Exit{}
}

func TestReapTellsHowAChildEnded(t *testing.T) {
	runtime.LockOSThread()
	pid := start(t, "exit3", nil)
	if e := await(t, pid); e.String() != "exit code 3" || e.Clean() {
		t.Errorf("got %q, clean %v", e, e.Clean())
	}
	pid = start(t, "sleep", nil)
	if kids, err := Kids(); err != nil || !slices.Contains(kids, pid) {
		t.Errorf("Kids() = %v, %v; want %d in it", kids, err, pid)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e := await(t, pid); e.String() != "killed by SIGKILL" {
		t.Errorf("got %q", e)
	}
}

func TestStartNamesTheProgramAndTheErrno(t *testing.T) {
	_, err := Start(Spec{Path: "/nonexistent/program", Args: []string{"x"}})
	if err == nil || !strings.Contains(err.Error(), "/nonexistent/program") || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("got %v", err)
	}
}

func TestGroupOfADeadLeaderIsStillSwept(t *testing.T) {
	runtime.LockOSThread()
	if err := BecomeSubreaper(); err != nil {
		t.Fatal(err)
	}
	leader := start(t, "orphan", &syscall.SysProcAttr{Setsid: true})
	await(t, leader)
	if !InGroup(leader) {
		t.Fatal("the orphan was not given to this process")
	}
	if !SignalGroup(leader, syscall.SIGKILL) {
		t.Fatal("SignalGroup found nobody")
	}
	if e := await(t, 0); e.String() != "killed by SIGKILL" {
		t.Errorf("the orphan ended with %q", e)
	}
	if InGroup(leader) || SignalGroup(leader, syscall.SIGKILL) {
		t.Error("the group is said to have members after the last was reaped")
	}
}
