package emperor

import (
	"slices"
	"sync"
	"time"
)

// A scout lets the monitor ask what may never be answered: a home folder of a dead server, a tenant's file system.
// Who does not answer is left alone until it does, and nobody waits for it twice. The goroutine and the thread of such a
// question stay until the kernel lets go of them; they are not waited for at the end either.
type scout struct {
	late func() // an answer has come after all: look again

	left time.Duration // what the look under way may still wait for answers

	mu      sync.Mutex
	pending map[string]*inquiry // what was asked and has not been answered, or too late
}

// An inquiry was asked.
type inquiry struct {
	path   string
	since  time.Time
	left   bool // nobody waits for the answer any more
	over   bool
	answer any
}

const (
	lookPatience  = time.Second          // for all questions of one look together
	leastPatience = 5 * time.Millisecond // for each when that has been used up
	maxPending    = 1000                 // threads are limited: this process may have 10,000
)

func newScout(late func()) *scout {
	return &scout{late: late, pending: map[string]*inquiry{}}
}

// ask runs f beside the caller and returns what it says; false if it says nothing in time, or has still not answered
// the last time. An answer that comes later is kept for who asks next, so that what is merely slow is seen too. Where p
// is nil it waits for as long as it takes.
func ask[T any](p *scout, what, path string, f func() T) (answer T, answered bool) {
	if p == nil {
		return f(), true
	}
	about := what + " " + path
	p.mu.Lock()
	if old := p.pending[about]; old != nil || len(p.pending) >= maxPending {
		defer p.mu.Unlock()
		if old == nil || !old.over {
			return answer, false
		}
		delete(p.pending, about)
		answer, answered = old.answer.(T)
		return answer, answered
	}
	q := &inquiry{path: path, since: time.Now()}
	p.pending[about] = q
	p.mu.Unlock()
	said := make(chan T, 1)
	go func() {
		t := f()
		p.mu.Lock()
		left := q.left
		if q.over, q.answer = true, t; !left {
			delete(p.pending, about)
		}
		p.mu.Unlock()
		said <- t
		if left {
			p.late()
		}
	}()
	end := time.NewTimer(max(p.left, leastPatience))
	defer end.Stop()
	select {
	case answer = <-said:
		return answer, true
	case <-end.C:
	}
	p.left -= time.Since(q.since)
	p.mu.Lock()
	defer p.mu.Unlock()
	if q.over { // at the last moment
		return <-said, true
	}
	q.left = true
	return answer, false
}

// askEach asks f of every item, one after the other beside the caller, and hands over what it says. An item that says nothing in
// time, or has not answered the last time, is told to silent; the others go on without it. It costs less than to ask for each.
func askEach[I, T any](p *scout, what string, items []I, path func(I) string, f func(I) T, heard func(I, T), silent func(I)) {
	alone := func(item I) {
		if t, answered := ask(p, what, path(item), func() T { return f(item) }); answered {
			heard(item, t)
		} else {
			silent(item)
		}
	}
	for len(items) > 0 {
		n := p.ready(len(items), func(i int) string { return what + " " + path(items[i]) })
		if n == 0 {
			alone(items[0])
			items = items[1:]
			continue
		}
		some := items[:n]
		items = items[n:]
		answers, done := p.round(n, func(i int) any { return f(some[i]) }, func(i int) (string, string) { return what + " " + path(some[i]), path(some[i]) })
		for i := range done {
			heard(some[i], answers[i].(T))
		}
		if done < n {
			silent(some[done])
			items = slices.Concat(some[done+1:], items)
		}
	}
}

// ready counts the items from the first on that can be asked in one round: none of them was left unanswered before.
func (p *scout) ready(n int, about func(i int) string) int {
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.pending) == 0 {
		return n
	}
	if len(p.pending) >= maxPending {
		return 0
	}
	for i := range n {
		if p.pending[about(i)] != nil {
			return i
		}
	}
	return n
}

// round asks n questions. It returns what was answered, and how many: the next one has not been answered in time. That one is
// left alone as ask does it.
func (p *scout) round(n int, f func(i int) any, about func(i int) (key, path string)) ([]any, int) {
	answers, done := make([]any, n), 0
	var left *inquiry // of the question that is under way; guarded by p.mu, as done is
	finished := make(chan struct{})
	go func() {
		for i := range n {
			t := f(i)
			p.mu.Lock()
			q := left
			if q != nil {
				q.over, q.answer = true, t
			} else {
				answers[i] = t
				done++
			}
			p.mu.Unlock()
			if q != nil {
				p.late()
				return
			}
		}
		close(finished)
	}()
	patience := max(p.left, leastPatience)
	end := time.NewTimer(patience)
	defer end.Stop()
	for before := 0; ; end.Reset(patience) {
		select {
		case <-finished:
			return answers, n
		case <-end.C:
		}
		p.mu.Lock()
		if now := done; now == n || now > before { // it is slow, but it does not hang
			before = now
			p.mu.Unlock()
			continue
		}
		key, path := about(done)
		left = &inquiry{path: path, since: time.Now().Add(-patience), left: true}
		p.pending[key] = left
		now := done
		p.mu.Unlock()
		p.left -= patience
		return answers, now
	}
}

// forget drops answers that nobody has asked for again since they came, so that they do not fill the room.
func (p *scout) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for about, q := range p.pending {
		if q.over && time.Since(q.since) > repeat {
			delete(p.pending, about)
		}
	}
}

// asked returns how many questions have no answer at the moment, and one of them.
func (p *scout) asked() (n int, example string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, q := range p.pending {
		if !q.over {
			n, example = n+1, q.path
		}
	}
	return n, example
}

// silent returns how many questions have waited for longer than a look, and one of them.
func (p *scout) silent() (n int, example string) {
	if p == nil {
		return 0, ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, q := range p.pending {
		if q.over || time.Since(q.since) < lookPatience {
			continue
		}
		if n++; example == "" || q.path < example {
			example = q.path
		}
	}
	return n, example
}
