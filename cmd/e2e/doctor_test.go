package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
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

// An illness is one cause of a 502. The README's table is made of them.
type illness struct {
	name   string   // of the test
	cause  string   // for people
	status int      // what the browser shows
	log    string   // what nginx's error log says
	code   string   // what the doctor finds
	also   []string // what else follows from it
	remedy string   // its first command; words in capitals and … stand for anything
	extra  bool     // not among the ten of the README
	build  func(s *site) (args []string)
}

const plainServer = "server { listen 127.0.0.1:PORT; server_name plain.test;\n location / { include uwsgi_params; uwsgi_pass unix:DIR/run/plain.sock; }\n}\n"

// real starts a real uWSGI as shop and a group, without an emperor.
func (s *site) real(group string, args ...string) *program {
	s.t.Helper()
	uid, gid := ids(s.t, shop)
	s.mkdir("run", uid, gid)
	s.app("plain", "plain", shop)
	all := []string{"--plugin", "python3", "--chdir", s.dir + "/srv/plain", "--master", "--die-on-term", "--uid", shop, "--gid", group}
	p := s.start("/usr/bin/uwsgi", append(all, args...)...)
	s.eventually(15*time.Second, "uWSGI is ready", func() error {
		if !strings.Contains(p.log.String(), "spawned uWSGI worker 1") {
			return errors.New("not yet")
		}
		return nil
	})
	return p
}

var illnesses = []illness{
	{
		name: "ClosedFolder", cause: "a folder on the way to the socket does not let the web server pass (a home with mode 0700)", status: 502,
		log: "connect() to unix:SOCKET failed (13: Permission denied)", code: "no-way", remedy: "setfacl -m u:USER:x,m::x FOLDER",
		build: func(s *site) []string {
			s.app("plain", "plain", shop)
			uid, gid := ids(s.t, shop)
			s.mkdir("srv/plain/run", uid, gid)
			if err := os.Chmod(s.dir+"/srv/plain", 0o700); err != nil {
				s.t.Fatal(err)
			}
			s.vassal("plain.ini", shop, strings.Replace(plainVassal, "DIR/run/", "DIR/srv/plain/run/", 1))
			s.emperor("--emperor-tyrant").says("vassal accepts")
			s.nginxServing(strings.ReplaceAll(plainServer, "DIR/run/", "DIR/srv/plain/run/"))
			return nil
		},
	},
	{
		name: "ClosedSocket", cause: "mode or group of the socket leave the web server out", status: 502,
		log: "connect() to unix:SOCKET failed (13: Permission denied)", code: "socket-closed", remedy: "grep -q LINE FILE || sed -i … FILE",
		build: func(s *site) []string {
			s.plain("--emperor-tyrant")
			s.vassal("plain.ini", shop, strings.NewReplacer("chmod-socket = 660", "chmod-socket = 600", "chown-socket = emperord-t-shop:www-data\n", "").Replace(plainVassal))
			s.nginxServing(plainServer)
			return nil
		},
	},
	{
		name: "Stopped", cause: "the vassal was stopped, or has never been started", status: 502,
		log: "connect() to unix:SOCKET failed (2: No such file or directory)", code: "socket-missing", remedy: "emperorctl --socket FILE start plain.ini",
		build: func(s *site) []string {
			e := s.plain("--emperor-tyrant")
			s.nginxServing(plainServer)
			s.get("plain", "/")
			s.run(bin+"/emperorctl", "--socket", s.dir+"/control.sock", "stop", "plain.ini")
			e.says("vassal process ended")
			return nil
		},
	},
	{
		name: "DeadSocket", cause: "a server that was killed left its socket file behind", status: 502,
		log: "connect() to unix:SOCKET failed (111: Connection refused)", code: "nobody-listens", remedy: "setpriv OPTIONS rm -f SOCKET",
		build: func(s *site) []string {
			s.app("plain", "plain", shop)
			uid, gid := ids(s.t, shop)
			s.mkdir("srv/plain/run", uid, gid)
			path := s.dir + "/srv/plain/run/plain.sock"
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"}) // what a uWSGI of www-data's leaves when it is killed
			if err != nil {
				s.t.Fatal(err)
			}
			l.SetUnlinkOnClose(false)
			l.Close()
			www, _ := ids(s.t, "www-data")
			if err := os.Chown(path, www, -1); err != nil {
				s.t.Fatal(err)
			}
			s.vassal("plain.ini", shop, strings.Replace(plainVassal, "DIR/run/", "DIR/srv/plain/run/", 1))
			s.emperor("--emperor-tyrant").says("plain.ini")
			s.nginxServing(strings.ReplaceAll(plainServer, "DIR/run/", "DIR/srv/plain/run/"))
			return nil
		},
	},
	{
		name: "NoModule", cause: "the application does not load: its user may not read its module (a deploy as root with umask 077)", status: 502,
		log: "connect() to unix:SOCKET failed (2: No such file or directory)", code: "no-access", also: []string{"socket-missing"}, remedy: "… setfacl -m u:USER:r…",
		build: func(s *site) []string {
			s.app("plain", "plain", shop)
			if err := errors.Join(os.Chown(s.dir+"/srv/plain/plain.py", 0, 0), os.Chmod(s.dir+"/srv/plain/plain.py", 0o600)); err != nil {
				s.t.Fatal(err)
			}
			s.vassal("plain.ini", shop, plainVassal)
			s.emperor("--emperor-tyrant").says("next try in 4s")
			s.nginxServing(plainServer)
			return nil
		},
	},
	{
		name: "OtherFolder", cause: "nginx names another folder than the vassal", status: 502,
		log: "connect() to unix:SOCKET failed (2: No such file or directory)", code: "target-not-served", remedy: "sed -i 'LINE|uwsgi_pass WRONG|uwsgi_pass RIGHT|g' FILE",
		build: func(s *site) []string {
			s.plain("--emperor-tyrant")
			s.nginxServing(strings.ReplaceAll(plainServer, "DIR/run/", "DIR/run/uwsgi/"))
			return nil
		},
	},
	{
		name: "OtherEnding", cause: "nginx says .socket, the vassal .sock", status: 502,
		log: "connect() to unix:SOCKET failed (2: No such file or directory)", code: "target-not-served", remedy: "sed -i 'LINE|server WRONG|server RIGHT|g' FILE",
		build: func(s *site) []string {
			s.plain("--emperor-tyrant")
			s.nginxServing("upstream plain {\n server unix:///DIR/run/other.sock down;\n server unix:DIR/run/plain.socket;\n}\n" + strings.ReplaceAll(plainServer, "unix:DIR/run/plain.sock", "plain"))
			return nil
		},
	},
	{
		name: "ProxyPassToUWSGI", cause: "proxy_pass to a socket that speaks uwsgi", status: 502,
		log: "upstream prematurely closed connection", code: "wrong-protocol", remedy: "sed -i 'LINE|proxy_pass WRONG|include uwsgi_params; uwsgi_pass RIGHT|g' FILE",
		build: func(s *site) []string {
			s.real(shop, "--module", "plain", "--socket", s.dir+"/run/plain.sock", "--chmod-socket=666")
			s.vassal("plain.ini", shop, "plugin = python3\nchdir = DIR/srv/plain\nmodule = plain\nsocket = DIR/run/plain.sock\n")
			s.nginxServing("server { listen 127.0.0.1:PORT; server_name plain.test;\n location / { proxy_pass http://unix:DIR/run/plain.sock; }\n}\n")
			return []string{"--vassals", s.dir + "/vassals"}
		},
	},
	{
		name: "UWSGIPassToHTTP", extra: true, cause: "uwsgi_pass to a socket that speaks HTTP (http-socket)", status: 502,
		log: "upstream prematurely closed connection", code: "wrong-protocol", remedy: "sed -i 'LINE|uwsgi_pass WRONG|proxy_pass RIGHT|g' FILE",
		build: func(s *site) []string {
			s.real(shop, "--module", "plain", "--http-socket", s.dir+"/run/plain.sock", "--chmod-socket=666")
			s.vassal("plain.ini", shop, "plugin = python3\nchdir = DIR/srv/plain\nmodule = plain\nhttp-socket = DIR/run/plain.sock\n")
			s.nginxServing(plainServer)
			return []string{"plain.ini", "--vassals", s.dir + "/vassals"}
		},
	},
	{
		name: "NoParams", extra: true, cause: "uwsgi_pass without include uwsgi_params", status: 502,
		log: "upstream prematurely closed connection", code: "no-uwsgi-params", remedy: "sed -i 'LINE|uwsgi_pass WRONG|include uwsgi_params; uwsgi_pass RIGHT|g' FILE",
		build: func(s *site) []string {
			s.real(shop, "--module", "plain", "--socket", s.dir+"/run/plain.sock", "--chmod-socket=666")
			s.nginxServing("uwsgi_param REQUEST_METHOD $request_method;\n" + strings.Replace(plainServer, "include uwsgi_params;", "uwsgi_param MINE 1;", 1))
			return []string{s.dir + "/run/plain.sock"}
		},
	},
	{
		name: "OldGroups", cause: "usermod -aG put nginx's user into the group, but nginx was not reloaded", status: 502,
		log: "connect() to unix:SOCKET failed (13: Permission denied)", code: "nginx-old-groups", remedy: "nginx -t -q OPTIONS && kill -HUP PID",
		build: func(s *site) []string {
			const group = "emperord-t-late"
			_ = exec.Command("groupdel", group).Run()
			s.run("groupadd", "--system", group)
			s.t.Cleanup(func() {
				_ = exec.Command("gpasswd", "-d", "www-data", group).Run()
				_ = exec.Command("groupdel", group).Run()
			})
			s.real(group, "--module", "plain", "--socket", s.dir+"/run/plain.sock", "--chmod-socket=660")
			s.nginxServing(plainServer)
			s.run("gpasswd", "-a", "www-data", group)
			return []string{s.dir + "/run/plain.sock"}
		},
	},
	{
		name: "HeaderTooBig", cause: "the application's header (cookies) is larger than nginx's buffer", status: 502,
		log: "upstream sent too big header while reading response header from upstream", code: "header-too-big",
		remedy: "sed -i 'LINE|uwsgi_pass WRONG|uwsgi_buffer_size 32k; uwsgi_buffers 8 32k; uwsgi_pass RIGHT|g' FILE",
		build: func(s *site) []string {
			s.plain("--emperor-tyrant")
			s.write("srv/plain/plain.py", "def application(environ, start_response):\n    start_response('200 OK', [('Set-Cookie', 'a=' + 'x' * 9000)])\n    return [b'big']\n", shop)
			s.vassal("plain.ini", shop, plainVassal+"env = AGAIN=1\n")
			s.nginxServing(plainServer)
			return nil
		},
	},
	{
		name: "NoScheme", extra: true, cause: "uwsgi_pass without unix: in an edited file, so that nginx cannot reload it", status: 502,
		log: "invalid host in upstream", code: "nginx-refuses", remedy: "sed -i 'LINE|uwsgi_pass WRONG|uwsgi_pass RIGHT|g' FILE",
		build: func(s *site) []string {
			s.plain("--emperor-tyrant")
			p := s.nginxServing(strings.ReplaceAll(plainServer, "plain.sock", "old.sock"))
			conf, err := os.ReadFile(s.dir + "/nginx.conf")
			if err != nil {
				s.t.Fatal(err)
			}
			s.write("nginx.conf", strings.ReplaceAll(string(conf), "unix:"+s.dir+"/run/old.sock", s.dir+"/run/plain.sock"), "")
			_ = p.cmd.Process.Signal(sighup)
			return nil
		},
	},
	{
		name: "NotReloaded", extra: true, cause: "nginx has not read its file since it was changed", status: 502,
		log: "connect() to unix:SOCKET failed (2: No such file or directory)", code: "nginx-not-reloaded", remedy: "nginx -t -q OPTIONS && kill -HUP PID",
		build: func(s *site) []string {
			s.plain("--emperor-tyrant")
			s.nginxServing(strings.ReplaceAll(plainServer, "plain.sock", "old.sock"))
			conf, err := os.ReadFile(s.dir + "/nginx.conf")
			if err != nil {
				s.t.Fatal(err)
			}
			s.eventually(20*time.Second, "a change that is clearly later than nginx's start", func() error {
				s.write("nginx.conf", strings.ReplaceAll(string(conf), "/old.sock", "/plain.sock"), "")
				if d, err := s.doctor(); err != nil || len(d.Findings) == 0 {
					return fmt.Errorf("%w: %v", err, d)
				}
				return nil
			})
			return nil
		},
	},
}

// plain starts an emperor with one vassal that works.
func (s *site) plain(args ...string) *emperor {
	s.t.Helper()
	s.app("plain", "plain", shop)
	s.vassal("plain.ini", shop, plainVassal)
	e := s.emperor(args...)
	e.says("vassal accepts")
	return e
}

// says waits for words in the emperor's log.
func (e *emperor) says(words string) {
	e.t.Helper()
	e.site.eventually(15*time.Second, "the emperor says: "+words, func() error {
		if !strings.Contains(e.log.String(), words) {
			return errors.New("not yet")
		}
		return nil
	})
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
