package control

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"
)

func TestOrdersAreWhatTheHostReads(t *testing.T) {
	for _, c := range []struct {
		order Order
		want  string
	}{
		{Fork{Slot: 3}, `{"version":1,"word":"fork","slot":3}`},
		{Fork{Slot: 3, Name: "uWSGI worker 4"}, `{"version":1,"word":"fork","slot":3,"name":"uWSGI worker 4"}`},
		{Expire{Slot: 1, PID: 42}, `{"version":1,"word":"expire","slot":1,"pid":42}`},
		{Retire{}, `{"version":1,"word":"retire"}`},
		{Stop{Mercy: 1500 * time.Millisecond}, `{"version":1,"word":"stop","mercy_ms":1500}`},
		{Load{Listeners: []int{3}, Processes: 2, Module: "a:b", Path: []string{"/p"}, Options: []Option{{Key: "k", Value: "v"}, {Key: "master", Bare: true}}},
			`{"version":1,"word":"load","listeners":[3],"processes":2,"module":"a:b","file":"","callable":"","path":["/p"],"chdir2":"","lazy":false,"log":false,"limit_as":0,"limit_nproc":0,"timeout_ms":0,"buffer":0,"options":[["k","v"],["master",true]]}`},
	} {
		got, err := Encode(c.order)
		if err != nil || string(got) != c.want {
			t.Errorf("got %s, %v; want %s", got, err, c.want)
		}
	}
}

func TestOrderThatDoesNotFitIsAnError(t *testing.T) {
	_, err := Encode(Load{Options: []Option{{Key: "env", Value: strings.Repeat("x", MaxOrder)}}})
	if err == nil || !strings.Contains(err.Error(), "the configuration is too large") {
		t.Errorf("got %v", err)
	}
}

// The files in testdata/reports are packets captured from the real host (vassal: TestGoldenReports).
func TestReportsOfTheRealHost(t *testing.T) {
	for name, want := range map[string]Report{
		"loaded": {Version: 1, Word: Loaded, Text: "CPython 3.11.2"},
		"forked": {Version: 1, Word: Forked, Slot: 1, PID: 4242},
		"ready":  {Version: 1, Word: Ready, Slot: 1, PID: 4242},
		"active": {Version: 1, Word: Active, Slot: 1},
		"exited": {Version: 1, Word: Exited, Slot: 1, PID: 4242, Status: 9},
		"failed": {Version: 1, Word: Failed, Slot: -1, Line: 2, Kind: "ValueError", Text: "gr\u00fc\u00dfe \"quoted\"\n\u2603", File: "/srv/shop/app.py"},
	} {
		packet, err := os.ReadFile(filepath.Join("testdata", "reports", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Decode(packet); err != nil || got != want {
			t.Errorf("%s: got %+v, %v; want %+v", name, got, err, want)
		}
	}
}

func TestWordsThatAreNotKnownAreSkipped(t *testing.T) {
	for _, packet := range []string{`{"version":1,"word":"sing"}`, `{"version":2,"word":"ready","slot":1}`, `{"word":"ready"}`, `{}`, `null`} {
		if got, err := Decode([]byte(packet)); err != nil || got != (Report{}) {
			t.Errorf("%s: got %+v, %v", packet, got, err)
		}
	}
	for _, packet := range []string{"", "ready", "[]", `{"version":1,"word":"ready","slot":"x"}`, `{"version":1,"word":"ready"`, strings.Repeat(" ", MaxReport) + "{}"} {
		if _, err := Decode([]byte(packet)); err == nil {
			t.Errorf("%.40q is taken for a word", packet)
		}
	}
}

func FuzzDecode(f *testing.F) {
	samples, _ := filepath.Glob("testdata/reports/*.json")
	for _, s := range samples {
		if packet, err := os.ReadFile(s); err == nil {
			f.Add(packet)
		}
	}
	f.Add([]byte(`{"version":1,"word":"exited","slot":-9223372036854775808,"pid":1e3}`))
	f.Fuzz(func(t *testing.T, packet []byte) {
		r, err := Decode(packet)
		if err != nil || r.Word == "" {
			return
		}
		if r.Version != Version {
			t.Errorf("version %d got through", r.Version)
		}
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Decode(text); err == nil && again != r {
			t.Errorf("%+v became %+v", r, again)
		}
	})
}

func TestScoreboard(t *testing.T) {
	words := make([]uint64, 16)
	memory := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), 128)
	b, err := NewScoreboard(memory)
	if err != nil || b.Len() != 2 {
		t.Fatalf("%v, %d slots", err, b.Len())
	}
	copy(words[8:], []uint64{3, 4242, 5, 6, 7, 8, 9, 1})
	if got, want := b.Slot(1), (Slot{Running, 4242, 5, 6, 7, 8, 9, true}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if b.Slot(0) != (Slot{}) {
		t.Errorf("slot 0 is %+v", b.Slot(0))
	}
	b.Unwatch(1)
	if words[15] != 0 || b.Slot(1).Watched {
		t.Error("Unwatch does not clear the word")
	}
	for _, bad := range [][]byte{nil, memory[:63], memory[1:65]} {
		if _, err := NewScoreboard(bad); err == nil {
			t.Errorf("%d bytes are taken for a scoreboard", len(bad))
		}
	}
	if !bytes.Equal(memory[120:], make([]byte, 8)) {
		t.Error("the last word is not where Python writes it")
	}
}
