package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/emperord/emperord/protocol/api"
	"github.com/emperord/emperord/sockets/doctor"
)

// trouble is a vassal whose every kind of trouble is known.
func trouble() whyDocument {
	code := 1
	at := func(d time.Duration) time.Time { return ago(d).UTC() }
	return whyDocument{
		Why: api.Why{
			Vassal: court().Vassals[0], Failures: 4,
			Refused: &api.Refusal{At: at(time.Hour), Reason: "blog.ini:3: option \"processes\": value \"fuor\" is not a number"},
			Exits: []api.Exit{
				{Generation: 9, PID: 812, Role: api.Coming, Started: at(3 * time.Second), At: at(2 * time.Second), Text: "exit code 1", Code: &code, Reason: "ModuleNotFoundError: No module named 'blgo'"},
				{Generation: 8, PID: 800, Role: api.Serving, Started: at(time.Hour), At: at(3 * time.Minute), Text: "killed by SIGKILL", Signal: "SIGKILL", OutOfMemory: true},
				{Generation: 7, PID: 700, Role: api.Serving, Started: at(3 * time.Hour), At: at(2 * time.Hour), Text: "killed by SIGKILL", Signal: "SIGKILL"},
				{Generation: 6, PID: 600, Role: api.Leaving, Started: at(5 * time.Hour), At: at(4 * time.Hour), Text: "exit code 0", Asked: true},
			},
			Lines: []api.Line{
				{Generation: 8, At: at(time.Hour), Text: "GET / => 200"},
				{Generation: 9, At: at(2 * time.Second), Text: "Traceback (most recent call last):"},
				{Generation: 9, At: at(2 * time.Second), Text: "ModuleNotFoundError: No module named 'blgo' \x1b[2J"},
			},
		},
		Findings: []doctor.Finding{{Code: "way", Subject: "blog.ini", Place: "/srv/blog", Cause: "www-data may not enter /srv/blog", Why: "502", Commands: []string{"chmod o+x /srv/blog"}}},
		Kernel:   []string{"Memory cgroup out of memory: Killed process 800 (python3) total-vm:1000kB"},
	}
}

func TestWhyTellsTheWholeStory(t *testing.T) {
	var b bytes.Buffer
	printWhy(&b, trouble(), noon, false)
	golden(t, "why", b.Bytes())
	b.Reset()
	printWhy(&b, whyDocument{Why: api.Why{Vassal: court().Vassals[1]}}, noon, false)
	golden(t, "why-well", b.Bytes())
}

func TestWhyOverTheSocket(t *testing.T) {
	socket := emperorTest(t)
	code, out, _ := ctl(t, "", "--socket", socket, "why", "blog.ini", "--json")
	var d whyDocument
	if err := json.Unmarshal([]byte(out), &d); err != nil || code != 0 || d.Failures != 4 || len(d.Exits) != 4 || len(d.Lines) != 3 || d.State != api.Backoff {
		t.Errorf("%d, %v, %+v", code, err, d)
	}
	for name, part := range map[string]string{"blog": "is it blog.ini?", "BLOG.INI": "is it blog.ini?", "nobody.ini": "there is no vassal nobody.ini\n"} {
		if code, _, err := ctl(t, "", "--socket", socket, "why", name); code != 1 || !strings.Contains(err, part) {
			t.Errorf("%s: %d, %s", name, code, err)
		}
	}
	if code, _, err := ctl(t, "", "--socket", socket, "why"); code != 2 || !strings.Contains(err, "the name of one vassal") {
		t.Errorf("%d, %s", code, err)
	}
}

func TestFileThatIsThereAndNoVassal(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"shop.conf", "elsewhere.ini"} {
		if err := os.WriteFile(dir+"/"+name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := api.Status{Sources: []string{"dir://" + dir}}
	for name, part := range map[string]string{
		"shop.conf":            "mv " + dir + "/shop.conf " + dir + "/shop.ini",
		dir + "/elsewhere.ini": "belongs to none of the folders",
		dir:                    "is a folder",
	} {
		if got := notTaken(name, s); !strings.Contains(got, part) {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := notTaken("nobody", s); got != "" {
		t.Errorf("nothing there: %q", got)
	}
}

// TestKernelsWords takes records as Linux 6.1 to 6.18 write them.
func TestKernelsWords(t *testing.T) {
	for record, want := range map[string]bool{
		"6,1,2,-;python3[77]: segfault at 0 ip 00007f sp 00007ff error 4 in libc.so.6[1+2] likely on CPU 0\n SUBSYSTEM=x": true,
		"6,1,2,-;traps: python3[77] general protection fault ip:1 sp:2 error:0 in libc.so.6":                              true,
		"6,1,2,-;traps: vassald[77] trap invalid opcode ip:1 sp:2 error:0":                                                true,
		"3,1,2,-;Out of memory: Killed process 77 (python3) total-vm:1kB, anon-rss:1kB":                                   true,
		"3,1,2,-;Memory cgroup out of memory: Killed process 77 (python3) total-vm:1kB":                                   true,
		"3,1,2,-;Memory cgroup out of memory: Killed process 778 (python3) total-vm:1kB":                                  false,
		"6,1,2,-;python3[177]: segfault at 0":                                                                             false,
		"6,1,2,-;eth0[77]: link is up":                                                                                    false,
		"no record":                                                                                                       false,
		"6,1,2,-;\n python3[77]: segfault at 0":                                                                           false,
	} {
		if got := aboutOneOf(record, []int{1, 77}); (got != "") != want {
			t.Errorf("%q: %q", record, got)
		}
	}
}
