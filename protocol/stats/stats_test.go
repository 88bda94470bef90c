package stats

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/emperord/emperord/cmd/e2e/shape"
)

const golden = "testdata/uwsgi-2.0.21-emperor.json" // what a real emperor answered; only the paths are shortened

func TestDocumentHasTheShapeOfTheRealOne(t *testing.T) {
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	want, err := shape.Of(text)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := (&Emperor{Emperor: []string{"/srv"}, Vassals: make([]Vassal, 2), Blacklist: make([]Banned, 2)}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := shape.Of(ours); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\ngot  %q\nwant %q", err, got, want)
	}
}

// TestNoValueOfTheRealOneIsLost reads the real document and writes it again.
func TestNoValueOfTheRealOneIsLost(t *testing.T) {
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	var e Emperor
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		t.Fatal(err)
	}
	again, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if err := json.Unmarshal(text, &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(again, &b); err != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("%v\nread  %v\nwrote %v", err, a, b)
	}
}

// Readers go through the arrays without asking whether they are there.
func TestAnEmptyEmpireHasItsArrays(t *testing.T) {
	text, err := (&Emperor{}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"emperor": []`, `"vassals": []`, `"blacklist": []`} {
		if !bytes.Contains(text, []byte(part)) {
			t.Errorf("%s is missing in %s", part, text)
		}
	}
}

// TestWhatReadersExpect holds what the readers in the wild do with the document of an emperor, found by reading them.
func TestWhatReadersExpect(t *testing.T) {
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	var real Emperor
	if err := json.Unmarshal(text, &real); err != nil {
		t.Fatal(err)
	}
	real.Vassals[0].ID = "<&> \u00fcnter.ini"
	if text, err = real.Encode(); err != nil {
		t.Fatal(err)
	}
	// uwsgitop: shows an emperor where the key vassals is; pid, uid, gid, emperor_tyrant and each vassal's pid are
	// formatted as whole numbers, the version is a string, each id has a length.
	var top map[string]any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&top); err != nil {
		t.Fatal(err)
	}
	whole := func(in map[string]any, keys ...string) {
		for _, k := range keys {
			n, ok := in[k].(json.Number)
			if _, err := n.Int64(); !ok || err != nil {
				t.Errorf("uwsgitop wants a whole number for %s: %v", k, in[k])
			}
		}
	}
	whole(top, "pid", "uid", "gid", "emperor_tyrant")
	for _, k := range []string{"version", "cwd"} {
		if _, ok := top[k].(string); !ok {
			t.Errorf("uwsgitop wants a text for %s: %v", k, top[k])
		}
	}
	for _, v := range top["vassals"].([]any) {
		v := v.(map[string]any)
		whole(v, "pid")
		if _, ok := v["id"].(string); !ok {
			t.Errorf("uwsgitop wants a text for id: %v", v["id"])
		}
	}
	if !bytes.Contains(text, []byte("<&> \u00fcnter.ini")) {
		t.Error("names are written in a way that people cannot read")
	}
	// uwsgi_exporter and telegraf decode these keys into int and string and fail on anything else; a missing one is 0.
	var exporter struct {
		Version           string
		PID, UID, GID     int
		CWD               string
		ListenQueue       int        `json:"listen_queue"`
		ListenQueueErrors int        `json:"listen_queue_errors"`
		SignalQueue       int        `json:"signal_queue"`
		Load              int        `json:"load"`
		Workers           []struct{} `json:"workers"`
		Sockets           []struct{} `json:"sockets"`
		Caches            []struct{} `json:"caches"`
	}
	if err := json.Unmarshal(text, &exporter); err != nil || exporter.PID != 27120 || exporter.Version == "" {
		t.Errorf("uwsgi_exporter does not read it: %+v %v", exporter, err)
	}
}
