package emperor

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

func TestDatesCountRunsAndSurviveJSON(t *testing.T) {
	var d Dates
	d.seen(start, stamp{sec: start.Unix() - 60})
	d.ran(start.Add(time.Second))
	d.ran(start.Add(2 * time.Second))
	d.ran(start.Add(3 * time.Second))
	d.seen(start.Add(time.Hour), stamp{sec: start.Unix() + 5, nsec: 7})
	if d.Born != start || d.FirstRun != start.Add(time.Second) || d.LastRun != start.Add(3*time.Second) || d.Respawns != 2 {
		t.Errorf("%+v", d)
	}
	if !d.LastModified.Equal(start.Add(5*time.Second + 7)) {
		t.Errorf("last modified %s", d.LastModified)
	}
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var again Dates
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	d.LastModified, again.LastModified = d.LastModified.UTC(), again.LastModified.UTC()
	if !reflect.DeepEqual(d, again) {
		t.Errorf("%+v became %+v", d, again)
	}
}
