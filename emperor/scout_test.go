package emperor

import (
	"testing"
	"time"
)

// TestWhatIsSlowIsSeenAndWhatHangsIsNotAskedTwice asks what answers only when it is let go.
func TestWhatIsSlowIsSeenAndWhatHangsIsNotAskedTwice(t *testing.T) {
	late := make(chan bool, 1)
	s := newScout(func() { late <- true })
	let, asked := make(chan bool), make(chan bool, 2)
	slow := func() string { asked <- true; <-let; return "there" }
	for range 3 {
		if said, answered := ask(s, "file", "/slow", slow); answered {
			t.Fatalf("it answered %q before it could", said)
		}
	}
	if said, answered := ask(s, "file", "/quick", func() string { return "here" }); !answered || said != "here" {
		t.Errorf("another one has to wait for it: %q", said)
	}
	if len(asked) != 1 {
		t.Errorf("it was asked %d times", len(asked))
	}
	close(let)
	select {
	case <-late:
	case <-time.After(5 * time.Second):
		t.Fatal("nobody is told that the answer has come")
	}
	if said, answered := ask(s, "file", "/slow", func() string { return "asked again" }); !answered || said != "there" {
		t.Errorf("the late answer is %q, %v", said, answered)
	}
	if n, _ := s.silent(); n != 0 || len(s.pending) != 0 {
		t.Errorf("%d are silent, %d pending", n, len(s.pending))
	}
}

// TestAScoutAsksNoMoreThanTheProcessCanBear fills its room.
func TestAScoutAsksNoMoreThanTheProcessCanBear(t *testing.T) {
	s := newScout(func() {})
	for i := range maxPending {
		s.pending[string(rune(i))] = &inquiry{path: "/dead", since: time.Now().Add(-2 * lookPatience), left: true}
	}
	if _, answered := ask(s, "file", "/one/more", func() bool { t.Error("it was asked"); return true }); answered {
		t.Error("it was answered")
	}
	if n, example := s.silent(); n != maxPending || example != "/dead" {
		t.Errorf("%d are silent, such as %s", n, example)
	}
}
