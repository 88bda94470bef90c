package vassal

import (
	"fmt"
	"syscall"
	"time"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/protocol/control"
	"github.com/emperord/emperord/protocol/pipe"
)

// hear takes note of what a host or a worker says.
func (s *supervisor) hear(r report) {
	h, now := r.from, time.Now()
	if r.err != nil {
		if h.stray == nil {
			s.say("heard something odd from the Python host (pid %d) and skipped it: %v", h.pid, r.err)
		}
		h.stray = r.err
		return
	}
	word := r.word
	if word.Word == control.Loaded {
		if h.stage == loading {
			h.stage = serving
			did := "loaded the application"
			if s.app.LazyApps {
				did = "got ready for workers that load the application themselves"
			}
			s.say("%s in %d ms (%s, pid %d)", did, now.Sub(h.born).Milliseconds(), word.Text, h.pid)
			h.moved = now
			if h == s.coming && s.current != nil && s.current.cheap || s.app.Cheap && (h == s.current || s.current == nil) {
				s.beCheap(h, now)
				return
			}
			for slot := range h.workers {
				h.fork(slot)
			}
		}
		return
	}
	if word.Word == control.Failed && word.Slot < 0 {
		h.failure = &word
		return
	}
	if word.Slot < 0 || word.Slot >= len(h.workers) {
		return
	}
	w := &h.workers[word.Slot]
	switch word.Word {
	case control.Failed: // lazy-apps: a worker could not load
		s.lazyFailed(h, w, &word)
	case control.Forked:
		w.forked(word.PID, now)
		s.tell(pipe.Spawned, &s.spawned)
	case control.Unforked:
		w.ordered = false
		w.respawn.after(now, 0)
		s.say("could not fork worker %d: %s; tries again %s", word.Slot+1, word.Text, until(w.respawn.due, now))
	case control.Ready:
		w.forked(word.PID, now) // the worker may be faster than the host
		w.ready = true
		s.tell(pipe.Spawned, &s.spawned)
		h.moved = now
		s.ready(h, now)
	case control.Active:
		h.moved = now
		h.watch.start(now, !s.loyal)
	case control.Exited:
		if w.pid == word.PID {
			s.workerEnded(h, w, word, now)
		}
	}
}

// ready acts on a worker that has begun to accept.
func (s *supervisor) ready(h *host, now time.Time) {
	switch {
	case h == s.current:
		if !s.accepting {
			s.say("accepts requests")
			s.notice("")
			s.writePidfiles()
		}
		s.tell(pipe.Accepting, &s.accepting)
		s.beat(now)
	case h == s.coming && (h.cheap || h.ready()):
		s.say("reloaded; the old host (pid %s) finishes what is under way", pidOf(s.current))
		s.notice("")
		old := s.current
		s.current, s.coming, s.restart = h, nil, respawn{}
		if !h.cheap {
			s.bell.disarm()
		}
		if old != nil {
			old.leave(now, s.app.Mercy)
		}
	}
}

func (s *supervisor) lazyFailed(h *host, w *worker, why *control.Report) {
	if h.anyReady() {
		s.say("a new worker could not load the application: %s", s.cause(why))
		return
	}
	h.failure = why
	if h == s.coming {
		h.leave(time.Now(), s.app.Mercy) // the others may hold requests already
		return
	}
	h.kill()
}

func (s *supervisor) workerEnded(h *host, w *worker, word control.Report, now time.Time) {
	wasReady, retired := w.ready, w.retired
	w.pid, w.ready, w.retired = 0, false, false
	end := children.Exit{PID: word.PID, Status: syscall.WaitStatus(word.Status)}
	if h.stage == leaving && h.failure == nil {
		s.lateWorker(h, word, end)
	}
	if h.stage != serving || h.failure != nil && !h.anyReady() { // a host that could not load has been killed already
		return
	}
	if h == s.coming && !wasReady {
		if h.failure == nil {
			h.failure = &control.Report{Kind: "Worker", Text: fmt.Sprintf("worker %d ended before it accepted requests: %s", word.Slot+1, end)}
		}
		h.leave(now, s.app.Mercy) // the others may hold requests already
		return
	}
	if retired {
		if !h.cheap { // somebody has connected meanwhile
			w.respawn.due = now
		}
		return
	}
	w.respawn.after(now, now.Sub(w.born))
	lost := ""
	if word.Held != 0 {
		lost = ", and the request that it had is lost"
	}
	s.say("worker %d (pid %d) ended: %s%s; its successor starts %s", word.Slot+1, word.PID, end, lost, until(w.respawn.due, now))
}

// lateWorker says what became of a worker that did not leave as it was told to. A client has got no answer, and this is the
// only place that says why.
func (s *supervisor) lateWorker(h *host, word control.Report, end children.Exit) {
	killed := end.Status.Signaled() && end.Status.Signal() == syscall.SIGKILL && !time.Now().Before(h.killed)
	more := ""
	if s.hurried.IsZero() {
		more = "; reload-mercy gives more time"
	}
	switch {
	case killed && word.Held != 0:
		s.say("worker %d (pid %d) still had a request %s after it was told to end, and was killed: that request is lost%s", word.Slot+1, word.PID, h.mercy, more)
	case killed:
		s.say("worker %d (pid %d) had no request and did not end within %s, so it was killed; see whether the application blocks or ignores SIGTERM", word.Slot+1, word.PID, h.mercy)
	case word.Held != 0:
		s.say("worker %d (pid %d), told to end, ended with a request in its hands: %s; that request is lost", word.Slot+1, word.PID, end)
	}
}

// ended acts on the end of a host process.
func (s *supervisor) ended(h *host, end children.Exit) {
	now := time.Now()
	h.hush()
	for open := true; open; { // its last words may say why
		select {
		case r := <-s.mail:
			s.hear(r)
		case <-h.silent:
			open = false
		}
	}
	stage, lived := h.stage, now.Sub(h.born)
	h.died(now)
	if !s.hurried.IsZero() {
		h.within(s.hurried)
	}
	switch {
	case stage == leaving && end.Clean() && !s.stopping:
		h.stage = gone // what its workers have started goes on after a reload, as under uWSGI
	case stage == leaving && (h != s.coming || h.failure == nil):
	case h == s.coming:
		s.coming = nil
		text := "the reload failed and the old application serves on: " + s.why(h, stage, end)
		s.say("%s", text)
		s.notice(text)
	case h == s.current && (stage == loading || h.failure != nil):
		s.current = nil
		s.fail(now, &failedLoad{s.why(h, stage, end), asksForExile(h.failure, stage, end)})
	case h == s.current:
		s.current = nil
		s.restart.after(now, lived)
		s.say("the Python host (pid %d) ended: %s; its workers are ended, and a new host starts %s", h.pid, end, until(s.restart.due, now))
	}
}

// why says why a host has ended before it served.
func (s *supervisor) why(h *host, stage stage, end children.Exit) string {
	switch {
	case h.failure != nil:
		return s.cause(h.failure)
	case stage == loading:
		return fmt.Sprintf("the Python host ended while it loaded the application: %s; the log may say more%s", end, s.app.limitText("limit-as", s.app.LimitAS, "MiB may be too few"))
	}
	return fmt.Sprintf("the Python host ended: %s", end)
}

// until says how long something is away.
func until(due, now time.Time) string {
	if wait := due.Sub(now); wait > 0 {
		return "in " + wait.Round(10*time.Millisecond).String()
	}
	return "now"
}

func pidOf(h *host) string {
	if h == nil {
		return "none"
	}
	return fmt.Sprint(h.pid)
}
