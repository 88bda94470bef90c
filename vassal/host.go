package vassal

import (
	"errors"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/procname"
	"github.com/emperord/emperord/protocol/control"
)

// A host is one generation of the application: a language host and its workers. Only the supervisor's goroutine uses
// it; the goroutine that listen starts only reads the control socket.
type host struct {
	pid     int
	names   procname.Name // what ps shows of its processes
	control *os.File
	memory  []byte
	board   *control.Scoreboard
	workers []worker
	born    time.Time

	silent   chan struct{} // closed when the goroutine that reads has ended
	released chan struct{} // closed to make it end

	stage    stage
	ended    bool          // the host process has been reaped; what is left of its group may still live
	deadline time.Time     // Leaving: when whoever is left is killed. Orphaned: the same
	killed   time.Time     // Leaving: when the host kills its workers
	mercy    time.Duration // Leaving: how long after it was told to
	late     bool          // Leaving: it has not ended in time, which was said
	cheap    bool          // it has no workers, and forks them when somebody connects
	moved    time.Time     // when something was last known to happen: a request, or the host became ready
	again    time.Time     // Orphaned: when they are asked next
	step     time.Duration
	watch    watch
	pending  [][]byte        // orders that the control socket has not taken yet
	failure  *control.Report // why it could not load
	stray    error           // what came over the control socket that was no word
}

// A stage says where a host is.
type stage int

const (
	loading  stage = iota // started, the application is not loaded yet
	serving               // loaded; workers are forked and replaced
	leaving               // told to end
	orphaned              // the host has died and what it has left behind is being ended
	gone                  // nothing is left that would have to be ended
)

// A worker is one slot of a host.
type worker struct {
	pid     int       // 0: none
	ready   bool      // accepts connections
	born    time.Time // when it was forked
	ordered bool      // a fork has been ordered and not answered
	retired bool      // told to end because there is nothing to do
	respawn respawn
}

// forked takes note of a new worker.
func (w *worker) forked(pid int, now time.Time) {
	if w.pid != pid {
		w.pid, w.born, w.ready, w.retired = pid, now, false, false
	}
	w.ordered = false
}

// A report is a word from a host or one of its workers, or what is wrong with a packet of theirs.
type report struct {
	from *host
	word control.Report
	err  error
}

// listen starts the goroutine that hands the host's words to the supervisor. It ends when the control socket does.
func (h *host) listen(to chan<- report) {
	h.silent, h.released = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(h.silent)
		buffer := make([]byte, control.MaxReport)
		for {
			n, err := h.control.Read(buffer)
			if errors.Is(err, syscall.ECONNRESET) {
				continue // said once, where the host has ended without reading an order; its last words come after it
			}
			if err != nil {
				return // the host's end is closed, or ours: the reaper and release know
			}
			word, err := control.Decode(buffer[:n])
			if err == nil && word.Word == "" {
				continue
			}
			select {
			case to <- report{from: h, word: word, err: err}:
			case <-h.released:
				return
			}
		}
	}()
}

// hush makes the goroutine that reads end after the words that have been said so far. Workers that outlive their host
// keep the control socket open, so the end of the host alone does not end it.
func (h *host) hush() {
	if raw, err := h.control.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RD) })
	}
}

// maxPending bounds the orders that wait for a host that does not read. One that has let so many gather is past help,
// and is killed when it has to go.
const maxPending = 4096

// order sends the host an order, when the host reads: the supervisor never waits for it. A host that cannot be reached
// has died or will: its end is noticed by the reaper.
func (h *host) order(o control.Order) {
	packet, err := control.Encode(o)
	if err != nil || len(h.pending) >= maxPending {
		return
	}
	h.pending = append(h.pending, packet)
	h.flush()
}

// flush sends what waits, as far as the control socket takes it.
func (h *host) flush() {
	raw, err := h.control.SyscallConn()
	if err != nil {
		h.pending = nil
		return
	}
	for len(h.pending) > 0 {
		_ = raw.Control(func(fd uintptr) { _, err = unix.Write(int(fd), h.pending[0]) })
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			return // tick tries again
		case err != nil:
			h.pending = nil
			return
		}
		h.pending = h.pending[1:]
	}
}

// fork orders the worker of a slot.
func (h *host) fork(slot int) {
	h.workers[slot].ordered = true
	h.workers[slot].respawn.due = time.Time{}
	h.order(control.Fork{Slot: slot, Name: shownName(h.names.OfOther("uWSGI worker " + strconv.Itoa(slot+1)))})
}

// ready tells whether all workers accept.
func (h *host) ready() bool {
	for _, w := range h.workers {
		if !w.ready {
			return false
		}
	}
	return true
}

// anyReady tells whether any worker accepts.
func (h *host) anyReady() bool {
	for _, w := range h.workers {
		if w.ready {
			return true
		}
	}
	return false
}

// leave tells the host to end. It kills its workers itself after mercy; the deadline is for a host that does not.
func (h *host) leave(now time.Time, mercy time.Duration) {
	if h.ended {
		return
	}
	slack := 500 * time.Millisecond
	if mercy <= orphanMercy {
		slack = 50 * time.Millisecond // everything has to go within a second
	}
	deadline := now.Add(mercy + slack)
	if h.stage == leaving && !deadline.Before(h.deadline) {
		return
	}
	if h.stage == loading {
		_ = syscall.Kill(-h.pid, syscall.SIGKILL) // its own group, leader not reaped
	}
	h.stage, h.deadline, h.mercy, h.killed = leaving, deadline, mercy, now.Add(mercy)
	h.order(control.Stop{Mercy: mercy})
}

// kill ends the host and everything in its group.
func (h *host) kill() {
	if !h.ended {
		_ = syscall.Kill(-h.pid, syscall.SIGKILL)
	} else {
		children.SignalGroup(h.pid, syscall.SIGKILL)
	}
}

// died is called when the host process has been reaped. What it has left behind, now children of this process, is
// asked to end, again and again because a worker may overhear it (see docs/architecture.md), and killed after orphanMercy.
func (h *host) died(now time.Time) {
	h.ended, h.stage, h.pending = true, orphaned, nil
	h.deadline, h.again, h.step = now.Add(orphanMercy), now, 10*time.Millisecond
}

// within bounds the time that what a dead host has left behind may take.
func (h *host) within(limit time.Time) {
	if h.stage == orphaned && limit.Before(h.deadline) {
		h.deadline, h.again = limit, limit
	}
}

// sweep asks or kills what a dead host has left behind. It returns true when nothing is left.
func (h *host) sweep(now time.Time) (gone bool) {
	if !children.InGroup(h.pid) {
		return true
	}
	if !now.Before(h.deadline) {
		children.SignalGroup(h.pid, syscall.SIGKILL)
		h.again = now.Add(50 * time.Millisecond)
		return false
	}
	if !now.Before(h.again) {
		children.SignalGroup(h.pid, syscall.SIGTERM)
		h.again = now.Add(h.step)
		h.step = min(h.step*3/2, 100*time.Millisecond)
	}
	return false
}

// release closes what belongs to the host here. It waits for the goroutine that reads.
func (h *host) release() {
	_ = h.control.Close()
	if h.silent != nil {
		close(h.released)
		<-h.silent
	}
	if h.memory != nil {
		_ = unix.Munmap(h.memory)
		h.memory, h.board = nil, nil
	}
}
