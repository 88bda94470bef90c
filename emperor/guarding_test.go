package emperor

import (
	"os"
	"testing"
	"time"

	"github.com/emperord/emperord/configs"
)

// TestNobodyStartsAGuardByHand: its words are for emperord itself.
func TestNobodyStartsAGuardByHand(t *testing.T) {
	for _, args := range [][]string{nil, {"5"}, {"1", "5"}, {"x", "5"}, {"5", "x"}, {"5", "-1"}, {"5", "5", "5"}} {
		if err := RunGuard(args, os.Stderr); err == nil {
			t.Errorf("%q was taken", args)
		}
	}
}

// TestLeadersHaveTheTimeThatTheyNeed when the emperor was killed.
func TestLeadersHaveTheTimeThatTheyNeed(t *testing.T) {
	register, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer register.Close()
	for _, c := range []struct {
		name string
		a    attempt
		kept bool
		want time.Duration
	}{
		{"a resolver", attempt{}, true, 0},
		{"vassald, with nobody to come", attempt{answer: &configs.Resolution{Mercy: 20}}, false, 0},
		{"vassald, with another emperor to come", attempt{answer: &configs.Resolution{Mercy: 20}}, true, 24 * time.Second},
		{"a real uwsgi", attempt{answer: &configs.Resolution{Mercy: 20}, foreign: true}, true, 0},
		{"an emperor", attempt{answer: &configs.Resolution{Emperor: true}}, false, 33 * time.Second},
	} {
		e := &Emperor{c: &configs.Emperor{Mercy: 30 * time.Second}}
		if c.kept {
			e.store.register = register
		}
		if got := e.leaderMercy(&c.a); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
