package emperor

import (
	"bytes"
	"io"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emperord/emperord/children"
)

// asker returns an emperor without a loop whose directory asks a program that says nothing, and an attempt.
func asker(t *testing.T) (*Emperor, *vassal, *attempt) {
	t.Helper()
	runtime.LockOSThread() // it starts children and waits for them
	t.Cleanup(runtime.UnlockOSThread)
	d := newDirectory([]byte("passwd: files sss"))
	d.getent = "/bin/true"
	a := &attempt{id: 1}
	v := &vassal{name: "many.ini", attempts: map[Generation]*attempt{1: a}}
	out := newSink(io.Discard, style{})
	t.Cleanup(out.close)
	return &Emperor{directory: d, log: style{}.logger(out), events: make(chan func(), 256), closing: make(chan struct{}), processes: map[int]process{}, asking: map[question][]func(){}}, v, a
}

// turn does one piece of the loop's work, and reaps.
func (e *Emperor) turn(t *testing.T) {
	t.Helper()
	select {
	case work := <-e.events:
		work()
	case <-time.After(20 * time.Second):
		t.Fatal("nothing happens")
	}
	for _, x := range children.Reap() {
		delete(e.processes, x.PID)
	}
}

func (e *Emperor) asked() (n int) {
	for _, p := range e.processes {
		if p.getent {
			n++
		}
	}
	return n
}

// TestOneFileAsksForFewNamesAtATime: a tenant writes a hundred names into a vassal file, and root asks for each of them.
func TestOneFileAsksForFewNamesAtATime(t *testing.T) {
	e, v, a := asker(t)
	var names []question
	for i := range 130 {
		names = append(names, question{"group", "emperord-t-nobody-" + strconv.Itoa(i)})
	}
	done := false
	e.known(v, a, func() []question { return names }, func() { done = true })
	for !done {
		e.turn(t)
		if len(e.asking) > abreast {
			t.Fatalf("%d names are asked for at a time", len(e.asking))
		}
	}
	e.directory.mu.Lock()
	defer e.directory.mu.Unlock()
	if n := len(e.directory.known); n != rounds*abreast {
		t.Errorf("asked for %d names, want %d", n, rounds*abreast)
	}
	if len(e.asking) != 0 {
		t.Errorf("still asking %v", e.asking)
	}
}

// TestAbandonedAttemptAsksNoMore: what is under way is taken in, nothing else happens, and nothing of it stays.
func TestAbandonedAttemptAsksNoMore(t *testing.T) {
	e, v, a := asker(t)
	missing := func() []question { return []question{{"group", "emperord-t-one"}, {"group", "emperord-t-two"}} }
	e.known(v, a, missing, func() { t.Error("an abandoned attempt went on") })
	e.turn(t) // the questions are put
	if len(e.asking) != 2 {
		t.Fatalf("asking %v", e.asking)
	}
	delete(v.attempts, a.id)
	for len(e.asking) > 0 {
		e.turn(t)
	}
	e.turn(t) // the round that finds the attempt gone
	e.helpers.Wait()
	for end := time.Now().Add(20 * time.Second); e.asked() > 0; time.Sleep(time.Millisecond) {
		for _, x := range children.Reap() {
			delete(e.processes, x.PID)
		}
		if time.Now().After(end) {
			t.Fatal("a getent is left")
		}
	}
	if len(e.events) != 0 || len(e.asking) != 0 {
		t.Errorf("%d pieces of work and the questions %v are left", len(e.events), e.asking)
	}
}

// TestSilentDirectoryIsLeftAloneForAWhile: each question costs four seconds of the ten that an attempt has, so a second
// attempt must not put them again.
func TestSilentDirectoryIsLeftAloneForAWhile(t *testing.T) {
	d := newDirectory([]byte("passwd: files sss"))
	silent, absent := question{"group", "emperord-t-silent"}, question{"group", "emperord-t-absent"}
	before := time.Now().Add(-20 * time.Second)
	d.forget(silent, before)
	d.learn(absent, nil, before)
	if open := d.open(silent, absent); len(open) != 1 || open[0] != absent {
		t.Errorf("asked again: %v", open)
	}
}

func TestSilentDirectoryIsSaidOnce(t *testing.T) {
	e, v, a := asker(t)
	e.directory.getent = "/nonexistent"
	var log bytes.Buffer
	out := newSink(&log, style{})
	e.log = style{}.logger(out)
	done := false
	e.known(v, a, func() []question {
		return []question{{"group", "emperord-t-1"}, {"group", "emperord-t-2"}, {"group", "emperord-t-3"}}
	}, func() { done = true })
	for !done {
		e.turn(t)
	}
	out.close()
	if n := strings.Count(log.String(), "does not answer"); n != 1 {
		t.Errorf("said %d times: %s", n, log.String())
	}
}
