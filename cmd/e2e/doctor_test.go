package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A diagnosis is what `emperorctl doctor --json` says.
type diagnosis struct {
	Findings, Notes []struct {
		Code, Subject, Place, Cause, Why, Note string
		Commands                               []string
	}
}

func (d diagnosis) String() string {
	text, _ := json.MarshalIndent(d, "", "  ")
	return string(text)
}

// doctor runs `emperorctl doctor`, as text and as JSON, and wants the exit code that fits.
func (s *site) doctor(args ...string) (diagnosis, error) {
	args = append([]string{"--socket", s.dir + "/control.sock", "doctor", "--nginx", s.dir + "/nginx.conf"}, args...)
	text, plainErr := exec.Command(bin+"/emperorctl", args...).Output()
	var complaint bytes.Buffer
	c := exec.Command(bin+"/emperorctl", append(args, "--json")...)
	c.Stderr = &complaint
	out, err := c.Output()
	var d diagnosis
	if bad := json.Unmarshal(out, &d); bad != nil {
		return d, fmt.Errorf("%w: %s%s", bad, out, complaint.String())
	}
	code := func(err error) int {
		if exit := new(exec.ExitError); errors.As(err, &exit) {
			return exit.ExitCode()
		}
		return 0
	}
	want := 0
	if len(d.Findings) > 0 {
		want = 2
	}
	if code(err) != want || code(plainErr) != want {
		return d, fmt.Errorf("exit codes %d and %d, want %d", code(err), code(plainErr), want)
	}
	for _, f := range d.Findings {
		for _, command := range f.Commands {
			if !slices.ContainsFunc(strings.Split(string(text), "\n"), func(line string) bool { return strings.TrimSpace(line) == command }) {
				return d, fmt.Errorf("the text has no line %q:\n%s", command, text)
			}
		}
	}
	return d, nil
}

// obey runs exactly the commands that the doctor printed, as root, with sh.
func (s *site) obey(d diagnosis) {
	s.t.Helper()
	for _, f := range d.Findings {
		for _, command := range f.Commands {
			c := exec.Command("sh", "-c", command)
			c.Dir = "/"
			c.Env = []string{"PATH=" + bin + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/root"}
			if out, err := c.CombinedOutput(); err != nil {
				s.t.Errorf("%s: %v\n%s", command, err, out)
			}
			s.t.Logf("ran: %s", command)
		}
	}
}

// run runs a command of the system's.
func (s *site) run(name string, args ...string) {
	s.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		s.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// TestDoctorMends makes each illness, sees the 502 and nginx's own word for it, runs exactly what the doctor prints, sees the
// page, and asks the doctor again.
func TestDoctorMends(t *testing.T) {
	for _, ill := range illnesses {
		t.Run(ill.name, func(t *testing.T) {
			s := newSite(t)
			args := ill.build(s)
			s.eventually(20*time.Second, fmt.Sprintf("a page with status %d", ill.status), func() error {
				a, err := s.request("plain", "GET", "/", nil)
				if err == nil && a.status != ill.status {
					err = fmt.Errorf("status %d: %.200s", a.status, a.body)
				}
				return err
			})
			said := pattern(ill.log)
			s.eventually(10*time.Second, "nginx's error log says "+ill.log, func() error {
				text, err := os.ReadFile(s.dir + "/nginx/error.log")
				if err == nil && !said.Match(text) {
					err = fmt.Errorf("%s", text)
				}
				return err
			})
			d, err := s.doctor(args...)
			if err != nil {
				t.Fatal(err)
			}
			var codes []string
			for _, f := range d.Findings {
				codes = append(codes, f.Code)
			}
			if !slices.Equal(codes, append([]string{ill.code}, ill.also...)) || len(d.Findings[0].Commands) == 0 {
				t.Fatalf("want %s first, %q beside it, with commands: %v", ill.code, ill.also, d)
			}
			if first := d.Findings[0].Commands[0]; !pattern("^" + ill.remedy + "$").MatchString(first) {
				t.Errorf("the command is %s\nand not like %s", first, ill.remedy)
			}
			s.obey(d)
			s.get("plain", "/")
			s.eventually(15*time.Second, "a second look finds nothing", func() error {
				d, err := s.doctor(args...)
				if err == nil && len(d.Findings) > 0 {
					err = errors.New(d.String())
				}
				return err
			})
		})
	}
}

// pattern makes a regular expression of a text whose words in capitals stand for anything.
func pattern(text string) *regexp.Regexp {
	begin, end := strings.HasPrefix(text, "^"), strings.HasSuffix(text, "$")
	text = regexp.QuoteMeta(strings.TrimSuffix(strings.TrimPrefix(text, "^"), "$"))
	text = regexp.MustCompile(`\b[A-Z]{3,}\b`).ReplaceAllStringFunc(text, func(word string) string {
		if word == "HUP" {
			return word
		}
		return "[^|]+?"
	})
	text = strings.ReplaceAll(text, "…", ".*")
	if begin {
		text = "^" + text
	}
	if end {
		text += "$"
	}
	return regexp.MustCompile(text)
}

func TestDoctorFindsNothingWhereAllIsWell(t *testing.T) {
	s := newSite(t)
	s.plain("--emperor-tyrant")
	s.nginxServing(plainServer)
	s.get("plain", "/")
	d, err := s.doctor()
	if err != nil || len(d.Findings) > 0 || len(d.Notes) > 0 {
		t.Errorf("%v: %v", err, d)
	}
	for _, args := range [][]string{{"plain.ini"}, {"plain"}, {s.dir + "/run/plain.sock"}, {s.dir + "/vassals/plain.ini"}, {"--as", "www-data"}} {
		if d, err := s.doctor(args...); err != nil || len(d.Findings) > 0 {
			t.Errorf("%q: %v: %v", args, err, d)
		}
	}
	for _, name := range []string{shop, blog} { // a tenant sees its own vassals, and is told what it may not see
		uid, gid := ids(t, name)
		c := exec.Command(bin+"/emperorctl", "--socket", s.dir+"/control.sock", "doctor", "--nginx", s.dir+"/nginx.conf")
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		out, err := c.Output()
		if err != nil || strings.Contains(string(out), "error:") || name == blog && !strings.Contains(string(out), "run it as root") {
			t.Errorf("as %s: %v\n%s", name, err, out)
		}
	}
	if _, err := s.doctor("nosuch.ini"); err == nil {
		t.Error("a vassal that is not there is a mistake")
	}
}

// TestREADMEShowsTheTenIllnesses keeps the README's table equal to what TestDoctorMends has seen.
func TestREADMEShowsTheTenIllnesses(t *testing.T) {
	rows := []string{"| cause | browser | nginx's error log | finding | command |", "|---|---|---|---|---|"}
	cell := func(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
	for _, ill := range illnesses {
		if !ill.extra {
			rows = append(rows, fmt.Sprintf("| %s | %d | %s | `%s` | `%s` |", cell(ill.cause), ill.status, cell(ill.log), ill.code, cell(ill.remedy)))
		}
	}
	if len(rows) != 12 {
		t.Errorf("the table has %d illnesses, not ten", len(rows)-2)
	}
	want := strings.Join(rows, "\n") + "\n\n"
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), want) {
		t.Errorf("README.md does not hold this table:\n%s", want)
	}
}
