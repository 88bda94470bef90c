package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/emperord/emperord/protocol/api"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with testdata/NAME.golden.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return noon.Add(-d) }

// court is an empire with one vassal of each kind.
func court() api.Status {
	soon, loyal, beat := noon.Add(4*time.Second), ago(28*time.Hour), ago(3*time.Second)
	return api.Status{Version: "0.1", PID: 1, Tyrant: true, Sources: []string{"/etc/uwsgi-emperor/vassals"}, Started: ago(50 * time.Hour), Vassals: []api.Vassal{
		{Name: "blog.ini", File: "/etc/uwsgi-emperor/vassals/blog.ini", State: api.Backoff, Since: ago(2 * time.Second), UID: 1001, GID: 1001, User: "blog", Group: "blog",
			Reason: "blog.ini:3: option \"module\": value \"blgo\" does not import:\nModuleNotFoundError: No module named 'blgo'", Restarts: 12, NextTry: &soon},
		{Name: "größe.ini", File: "/etc/uwsgi-emperor/vassals/größe.ini", State: api.Accepting, Since: ago(185 * time.Second), PID: 77, UID: 0, GID: 0, User: "root", Group: "root", RunsAsRoot: true,
			Sockets: []api.Socket{{Address: "@abstract"}, {Address: "127.0.0.1:3031"}}},
		{Name: "new.ini", State: api.Resolving, Since: ago(0), UID: -1, GID: -1},
		{Name: "shop.ini", File: "/etc/uwsgi-emperor/vassals/shop.ini", State: api.Reloading, Since: ago(5*time.Hour + 3*time.Minute), PID: 4242, UID: 1002, GID: 33, User: "shop", Group: "www-data", Restarts: 1,
			Sockets:     []api.Socket{{Address: "/run/uwsgi/shop.sock", Mode: "0660", Owner: "shop", Group: "www-data"}, {Address: "/run/uwsgi/api.sock", Mode: "0666", Owner: "shop", Group: "shop"}},
			Generations: []api.Generation{{PID: 4242, Role: api.Serving, Since: ago(28 * time.Hour), Ready: true, Accepting: true, Loyal: true}, {PID: 4300, Role: api.Coming, Since: ago(time.Second)}},
			Signs:       api.Signs{Loyal: &loyal, Heartbeat: &beat},
			Notices:     []string{"shop.ini:9: option \"mule\" is not honoured yet", "shop.ini:11: option \"cheaper\" is not honoured yet"}},
		{Name: "evil\x1b[2J\n.ini", File: "/v/evil", State: "odd\tstate", Since: ago(3 * 24 * time.Hour), Reason: "clear \x1b[2J your \u009b screen\n", User: "mallory\n"},
	}}
}

func TestStatusTable(t *testing.T) {
	var b bytes.Buffer
	printStatus(&b, court(), noon)
	golden(t, "status", b.Bytes())
}

func TestEmptyStatus(t *testing.T) {
	var b bytes.Buffer
	s := court()
	s.Vassals = nil
	printStatus(&b, s, noon)
	golden(t, "status-empty", b.Bytes())
}

func TestStatusOfOneVassal(t *testing.T) {
	var b bytes.Buffer
	for _, v := range court().Vassals {
		printVassal(&b, v, noon)
		b.WriteString("----\n")
	}
	golden(t, "status-one", b.Bytes())
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 900 * time.Millisecond: "0s", 59 * time.Second: "59s", 65 * time.Second: "1m05s", 3600 * time.Second: "1h00m", 50 * time.Hour: "2d02h",
	} {
		if got := age(d); got != want {
			t.Errorf("%s: got %s, want %s", d, got, want)
		}
	}
}
