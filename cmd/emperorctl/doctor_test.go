package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/protocol/api"
	"github.com/emperord/emperord/sockets/doctor"
)

// ward is a machine's corner: a folder of vassal files and an nginx configuration, which leads from / to target.
func ward(t *testing.T, target string, vassals map[string]string) (dir string, flags []string) {
	t.Helper()
	dir = shortDir(t)
	files := map[string]string{"nginx.conf": "user root;\nhttp {\n uwsgi_param REQUEST_METHOD a;\n server { location / {\n  " + target + "\n } }\n}\n"}
	for name, text := range vassals {
		files["v/"+name] = text
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, []string{"--socket", dir + "/none.sock", "doctor", "--nginx", dir + "/nginx.conf", "--vassals", dir + "/v", "--as", "0"}
}

// listens answers nothing on a socket, as a server does that is not spoken to.
func listens(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
}

func TestDoctorWithoutAnEmperorReadsVassalFiles(t *testing.T) {
	dir, flags := ward(t, "uwsgi_pass unix:DIR/api.socket;", map[string]string{
		"api.ini":    "[uwsgi]\nhttp-socket = DIR/api.sock\nwsgi-file = DIR/nginx.conf\n",
		"notes.txt":  "socket = DIR/x.sock\n",
		"broken.ini": "[uwsgi]\nsocket = \n",
	})
	if err := os.WriteFile(dir+"/nginx.conf", []byte("user root;\nhttp {\n server { location / {\n  uwsgi_pass unix:"+dir+"/api.socket;\n } }\n}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(dir+"/v/fifo.ini", 0o644); err != nil {
		t.Fatal(err)
	}
	listens(t, dir+"/api.sock")
	code, out, errs := ctl(t, "", append(flags, "api.ini", "--json")...)
	var d diagnosis
	if err := json.Unmarshal([]byte(out), &d); err != nil || code != exitUsage || errs != "" {
		t.Fatalf("%d %s %s", code, out, errs)
	}
	if len(d.Findings) != 1 || d.Findings[0].Code != "target-not-served" || d.Findings[0].Subject != "api.ini" ||
		!strings.Contains(d.Findings[0].Commands[0], "|proxy_pass http://unix:"+dir+"/api.sock;|") {
		t.Errorf("%s", out)
	}
	if d.Emperor || d.Version != 1 || len(d.Web) != 1 || d.Web[0].UID != 0 || d.Web[0].Told != "--as" {
		t.Errorf("%s", out)
	}
	code, out, _ = ctl(t, "", append(flags, "api.ini")...)
	if code != exitUsage || !strings.Contains(out, "\n      "+d.Findings[0].Commands[0]+"\n") || !strings.HasSuffix(out, "\n1 vassal, 1 socket: 1 error, 1 note\n") {
		t.Errorf("%d %s", code, out)
	}
}

func TestDoctorsMistakes(t *testing.T) {
	_, flags := ward(t, "return 200;", map[string]string{"shop.ini": "[uwsgi]\nsocket = DIR/shop.sock\n"})
	for _, c := range []struct{ args, want string }{
		{"nope.ini", "there is no vassal and no socket nope.ini; there are: shop.ini"},
		{"--as no-such-user", "--as no-such-user: there is no user"},
		{"--nginx /nonexistent/nginx.conf", "--nginx /nonexistent/nginx.conf: "},
		{"--jsno", "unknown flag: --jsno"},
	} {
		code, out, errs := ctl(t, "", append(append([]string{}, flags...), strings.Fields(c.args)...)...)
		if code != exitUsage || out != "" || !strings.Contains(errs, c.want) {
			t.Errorf("%s: %d %q %q", c.args, code, out, errs)
		}
	}
}

func TestDoctorCommandsAskTheEmperorThatWasAsked(t *testing.T) {
	d := &diagnosis{Findings: []doctor.Finding{{Commands: []string{"emperorctl start shop.ini", "touch /x", "setpriv emperorctl"}}}}
	d.address("/run/my emperor.sock")
	if got := strings.Join(d.Findings[0].Commands, "|"); got != "emperorctl --socket '/run/my emperor.sock' start shop.ini|touch /x|setpriv emperorctl" {
		t.Error(got)
	}
	d.Findings[0].Commands = []string{"emperorctl start shop.ini"}
	if d.address(api.DefaultSocket); d.Findings[0].Commands[0] != "emperorctl start shop.ini" {
		t.Error(d.Findings[0].Commands)
	}
}

// TestDoctorPrintsNothingThatMovesTheCursor: a tenant chooses names; a command that a terminal does not show as it is, is not shown.
func TestDoctorPrintsNothingThatMovesTheCursor(t *testing.T) {
	evil := "evil\x1b[2J\n\u202e"
	d := &diagnosis{Web: []webUser{{Name: evil, Told: evil, Conf: evil}},
		Findings: []doctor.Finding{{Code: "x", Subject: evil, Place: evil, Cause: evil, Why: evil, Note: evil, Commands: []string{"rm " + evil, "true"}}}, Notes: []doctor.Finding{{Subject: evil, Cause: evil}}}
	var b bytes.Buffer
	if err := d.print(&b, false); err != nil {
		t.Fatal(err)
	}
	if out := b.String(); strings.ContainsAny(out, "\x1b\u202e") || strings.Contains(out, "rm evil") || !strings.Contains(out, "\n      true\n") {
		t.Errorf("%q", out)
	}
}

// TestDoctorHidesNothingBehindManyFindings: a tenant with many sockets must not push the others off the screen.
func TestDoctorHidesNothingBehindManyFindings(t *testing.T) {
	d := &diagnosis{}
	for i := range 500 {
		d.Findings = append(d.Findings, doctor.Finding{Code: "x", Subject: "evil.ini", Cause: strings.Repeat("x", i)})
	}
	d.Findings = append(d.Findings, doctor.Finding{Code: "x", Subject: "shop.ini", Cause: "the one that counts"})
	var b bytes.Buffer
	if err := d.print(&b, false); err != nil {
		t.Fatal(err)
	}
	if out := b.String(); strings.Count(out, "\n") > 40 || !strings.Contains(out, "and 480 more") || !strings.Contains(out, "the one that counts") {
		t.Errorf("%s", out)
	}
	if list := gather(make([]doctor.Finding, 11)); len(list) != 1 || !strings.Contains(list[0].Cause, "11 sockets") {
		t.Errorf("%+v", list)
	}
}

// TestDoctorSaysFirstThatTheEmperorHasGone: its control socket is there, and nobody listens.
func TestDoctorSaysFirstThatTheEmperorHasGone(t *testing.T) {
	dir, flags := ward(t, "return 200;", map[string]string{"shop.ini": "[uwsgi]\nsocket = DIR/shop.sock\n"})
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dir + "/none.sock", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	_, out, _ := ctl(t, "", append(flags, "--json")...)
	var d diagnosis
	if err := json.Unmarshal([]byte(out), &d); err != nil || len(d.Findings) < 2 || d.Findings[0].Code != emperorDown {
		t.Errorf("%v %s", err, out)
	}
	if _, _, errs := ctl(t, "", "--socket", dir+"/none.sock", "why", "shop.ini"); !strings.Contains(errs, "emperorctl doctor shop.ini") {
		t.Error(errs)
	}
}

// TestDoctorAsksForSixtyFourSocketsOfAFile, as many as the emperor makes.
func TestDoctorAsksForSixtyFourSocketsOfAFile(t *testing.T) {
	file := shortDir(t) + "/evil.ini"
	if err := os.WriteFile(file, []byte("[uwsgi]\n"+strings.Repeat("socket = /run/x.sock\n", 1000)), 0o644); err != nil {
		t.Fatal(err)
	}
	if p := patientFile(file); p == nil || len(p.sockets) != maxSockets {
		t.Errorf("%+v", p)
	}
}
