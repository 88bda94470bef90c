package emperor

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// A guard watches over the loop while it forks. Between taking the tenant's uid and running vassald the new process
// still shares our memory, and our thread waits for it in the kernel; but the tenant may signal it already. One that
// is stopped there would hold up the loop for ever, so the guard kills it.
type guard struct {
	forks chan fork
	done  sync.WaitGroup
}

// A fork is one call that the guard watches.
type fork struct {
	thread int
	over   chan struct{}
}

// guardPace is how often a fork is looked at. It normally takes less than a millisecond.
const guardPace = 5 * time.Millisecond

func newGuard() *guard {
	g := &guard{forks: make(chan fork)}
	g.done.Go(func() {
		for f := range g.forks {
			f.watch()
		}
	})
	return g
}

func (g *guard) close() {
	close(g.forks)
	g.done.Wait()
}

// watch calls start, which forks from the calling thread, under the guard's eyes.
func (g *guard) watch(start func() (int, error)) (int, error) {
	f := fork{syscall.Gettid(), make(chan struct{})}
	g.forks <- f
	defer close(f.over)
	return start()
}

func (f fork) watch() {
	tick := time.NewTicker(guardPace)
	defer tick.Stop()
	for {
		select {
		case <-f.over:
			return
		case <-tick.C:
			f.kill()
		}
	}
}

// kill ends a child of the forking thread that is stopped and still runs our own program, which it only does between
// fork and exec. The loop, which alone reaps, is waiting for that very child, so its pid is still its own.
func (f fork) kill() {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", f.thread))
	if err != nil {
		return
	}
	for _, field := range bytes.Fields(text) {
		pid, err := strconv.Atoi(string(field))
		if err != nil {
			continue
		}
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if err != nil || exe != self {
			continue
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err == nil && bytes.Contains(stat, []byte(") T ")) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}
