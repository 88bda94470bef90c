package main

import (
	"slices"
	"testing"
)

// What was started once more with a setting of our own gives its children the environment that it was given.
func TestTheEnvironmentIsAsItWas(t *testing.T) {
	for _, c := range []struct {
		note, debug string
		want        bool
		value       string
	}{{"", calm, false, ""}, {"=http2client=0", "http2client=0," + calm, true, "GODEBUG=http2client=0"}, {"=", "," + calm, true, "GODEBUG="}} {
		t.Setenv(restoreVariable, c.note)
		t.Setenv(debugVariable, c.debug)
		env := environ()
		got := slices.ContainsFunc(env, func(kv string) bool { return len(kv) > 8 && kv[:8] == "GODEBUG=" || kv == "GODEBUG=" })
		if got != c.want || c.want && !slices.Contains(env, c.value) || slices.ContainsFunc(env, func(kv string) bool { return len(kv) > 16 && kv[:17] == restoreVariable+"=" }) {
			t.Errorf("%+v: %v", c, env)
		}
	}
}
