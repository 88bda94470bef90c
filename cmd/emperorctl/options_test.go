package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
)

// alone runs one command line without an emperor.
func alone(t *testing.T, args ...string) (code int, out, err string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(context.Background(), args, streams{strings.NewReader(""), &stdout, &stderr})
	return code, stdout.String(), stderr.String()
}

func TestOptionsTellsAboutOne(t *testing.T) {
	code, out, _ := alone(t, "options", "workers", "--socket")
	if code != exitUsage {
		t.Errorf("--socket is a flag of emperorctl that needs a value, and the code is %d: %s", code, out)
	}
	code, out, _ = alone(t, "options", "workers", "p")
	if code != exitDone || strings.Count(out, "1 to 1024") != 2 || !strings.Contains(out, "--workers N\n") || !strings.Contains(out, "-p, --processes N\n") || !strings.Contains(out, "aliases     workers\n") {
		t.Errorf("%d\n%s", code, out)
	}
	code, out, text := alone(t, "options", "proceses")
	if want := `emperorctl: the option "proceses" is unknown, to uWSGI as well; did you mean processes?` + "\n"; code != exitUsage || out != "" || text != want {
		t.Errorf("%d %q\ngot  %swant %s", code, out, text, want)
	}
}

func TestOptionsPicksByStanding(t *testing.T) {
	count := func(args ...string) int {
		code, out, err := alone(t, append([]string{"options", "--json"}, args...)...)
		var rows []optionRow
		if bad := json.Unmarshal([]byte(out), &rows); code != exitDone || bad != nil {
			t.Fatalf("%q: %d %s %v", args, code, err, bad)
		}
		for _, row := range rows {
			if row.Name == "" || row.Takes == "" || row.Standing == "" {
				t.Errorf("%+v", row)
			}
		}
		return len(rows)
	}
	honoured, accepted, later, never := count("--honoured"), count("--accepted"), count("--not-yet"), count("--never")
	if honoured < 50 || later == 0 || never == 0 {
		t.Errorf("%d honoured, %d not yet, %d never", honoured, later, never)
	}
	if sum, all := honoured+accepted+later+never, count(); sum != all || count("--never", "--honoured") != never+honoured {
		t.Errorf("%d of %d", sum, all)
	}
	if count("workers") != 1 {
		t.Error("one name, one row")
	}
	_, out, _ := alone(t, "options", "--never")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != never+1 || !strings.HasPrefix(lines[0], "OPTION ") {
		t.Errorf("%s", out)
	}
}

func TestCompletionIsPrinted(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if code, out, err := alone(t, "completion", shell); code != exitDone || !strings.Contains(out, "emperorctl") {
			t.Errorf("%s: %d %s", shell, code, err)
		}
	}
	if _, out, _ := alone(t, "__complete", "options", "proce"); !strings.Contains(out, "processes\n") {
		t.Errorf("%s", out)
	}
}
