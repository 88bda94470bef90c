package rights

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestChildThatEndsBeforeItsProgramIsNoStart: a fault, a signal and an exit between the fork and the program must be an
// error of Start, not a vassal that seems to run. Nothing of it stays.
func TestChildThatEndsBeforeItsProgramIsNoStart(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	nothing, err := unix.Mmap(-1, 0, 4096, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(nothing)
	before := descriptors(t)
	for _, old := range []bool{false, true} {
		for name, test := range map[string]struct {
			spoil func(p *plan, last *step)
			words string
		}{
			"a fault": {func(p *plan, last *step) {
				last.number, last.got32, last.want32 = unix.SYS_GETPID, unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(nothing))), 1), moved(p, make([]uint32, 1))
			}, "killed by SIGSEGV"},
			"the heap, which is not there": {func(p *plan, last *step) {
				last.number, last.got32, last.want32 = unix.SYS_GETPID, unsafe.Slice((*uint32)(unsafe.Pointer(p)), 4), moved(p, make([]uint32, 4))
			}, "killed by SIGSEGV"},
			"a signal": {func(p *plan, last *step) {
				last.number, last.args = unix.SYS_KILL, [6]uintptr{0, uintptr(unix.SIGKILL)}
			}, "killed by SIGKILL, by its user, or by the kernel for want of memory"},
			"an exit": {func(p *plan, last *step) { last.number, last.args = unix.SYS_EXIT_GROUP, [6]uintptr{7} }, "exit code 7"},
		} {
			p, err := newPlan(Spec{Path: "/bin/true", Args: []string{"true"}, Files: []uintptr{0, 1, 2}, Setsid: true})
			if err != nil {
				t.Fatal(err)
			}
			p.noClone3 = old
			i := slices.IndexFunc(p.steps, func(s step) bool { return s.does == "empty the signal mask" })
			test.spoil(p, &p.steps[i])
			pid, err := p.began()
			if err == nil || pid != 0 || !strings.Contains(err.Error(), "ended before it could run its program: "+test.words) {
				t.Errorf("%s (without clone3: %v): %d, %v", name, old, pid, err)
			}
			if _, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); !errors.Is(err, syscall.ECHILD) {
				t.Errorf("%s: a child is left: %v", name, err)
			}
		}
	}
	if after := descriptors(t); !slices.Equal(before, after) {
		t.Errorf("descriptors before: %v, after: %v", before, after)
	}
}

// TestChildHasItsPlanThoughTheHeapLiesBesideIt: where the kernel decides where Go's heap lies, what the child needs may be
// in the address space that is marked as not to be copied.
func TestChildHasItsPlanThoughTheHeapLiesBesideIt(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, at := range []uintptr{heapSpan - chunkSize, heapSpan / 2} {
		p, err := newPlan(Spec{Path: "/bin/true", Args: []string{"true"}, Files: []uintptr{0, 1, 2}})
		if err != nil {
			t.Fatal(err)
		}
		want := unsafe.Add(unsafe.Pointer(p), heapOf(unsafe.Pointer(p))-uintptr(unsafe.Pointer(p))+at)
		got, err := unix.MmapPtr(-1, 0, want, chunkSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED_NOREPLACE)
		if err != nil || got != want {
			t.Fatalf("no memory at %p: %p, %v", want, got, err)
		}
		p.chunks, p.used = append(p.chunks, unsafe.Slice((*byte)(got), chunkSize)), 0 // all that follows is there
		pid, err := p.began()
		_ = unix.MunmapPtr(got, chunkSize) // Munmap knows only what Mmap has made
		if err != nil {
			t.Fatalf("with its plan %#x behind the heap's beginning: %v", at, err)
		}
		if status := await(t, pid); status != 0 {
			t.Errorf("the child ended with %#x", int(status))
		}
	}
}

// TestUserWithTooManyProcessesIsNamed: setuid(2) passes, and the kernel refuses when the program is run.
func TestUserWithTooManyProcessesIsNamed(t *testing.T) {
	needRoot(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	who := Rights{User: &User{strangerID + 9, strangerID + 9, nil}, Limits: []Limit{{unix.RLIMIT_NPROC, 1, 1}}}
	sleeper := Spec{Path: "/bin/sleep", Args: []string{"sleep", "60"}, Files: []uintptr{0, 1, 2}, Death: syscall.SIGKILL, Rights: who}
	var pids []int
	defer func() {
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			await(t, pid)
		}
	}()
	for range 3 {
		pid, err := began(sleeper)
		if err == nil {
			pids = append(pids, pid)
			continue
		}
		want := fmt.Sprintf("cannot run /bin/sleep: resource temporarily unavailable; uid %d has more processes and threads than the limit nproc allows, which is 1;", strangerID+9)
		if !errors.Is(err, syscall.EAGAIN) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		sleeper.Rights.Limits = []Limit{{unix.RLIMIT_NPROC, 10, 10}} // the remedy
		pid, err = began(sleeper)
		if err != nil {
			t.Fatalf("with a higher limit: %v", err)
		}
		pids = append(pids, pid)
		return
	}
	t.Error("three processes were started where one is allowed")
}

// TestStartsLeaveTheAddressSpaceAsItWas: marking the heap cuts mappings into pieces, which must join again.
func TestStartsLeaveTheAddressSpaceAsItWas(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	mappings := func() int {
		text, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(text), "\n")
	}
	begin := mappings()
	for range 300 {
		pid, err := began(Spec{Path: "/bin/true", Args: []string{"true"}, Files: []uintptr{0, 1, 2}})
		if err != nil {
			t.Fatal(err)
		}
		await(t, pid)
	}
	if end := mappings(); end > begin+50 {
		t.Errorf("%d mappings before, %d after 300 starts", begin, end)
	}
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "VmFlags:") && slices.Contains(strings.Fields(line), "dc") && !slices.Contains(strings.Fields(line), "io") {
			t.Errorf("a mapping is still not to be copied: %s", line)
		}
	}
}
