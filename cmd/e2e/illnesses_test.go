package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"
)

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
		name: "RequestTooBig", extra: true, cause: "a request's header (cookies) is larger than a real uWSGI's buffer-size", status: 502,
		log: "recv() failed (104: Connection reset by peer) while reading response header from upstream", code: "request-too-big", remedy: "grep -q LINE FILE || sed -i … FILE",
		build: func(s *site) []string {
			uid, gid := ids(s.t, shop)
			s.mkdir("run", uid, gid)
			s.app("plain", "plain", shop)
			s.vassal("plain.ini", shop, "plugin = python3\nmaster = true\nchdir = DIR/srv/plain\nmodule = plain\nsocket = DIR/run/plain.sock\nchmod-socket = 666\n")
			old := time.Now().Add(-time.Minute) // uWSGI's emperor sees no change within the second of the start
			if err := os.Chtimes(s.dir+"/vassals/plain.ini", old, old); err != nil {
				s.t.Fatal(err)
			}
			s.start("/usr/bin/uwsgi", "--emperor", s.dir+"/vassals", "--emperor-tyrant", "--emperor-freq", "1", "--die-on-term")
			s.eventually(15*time.Second, "uWSGI listens", func() error { _, err := os.Stat(s.dir + "/run/plain.sock"); return err })
			large := strings.Repeat("x", 3000)
			s.nginxServing(strings.Replace(plainServer, "include uwsgi_params;", "include uwsgi_params; uwsgi_param A "+large+"; uwsgi_param B "+large+";", 1))
			return []string{"plain.ini", "--vassals", s.dir + "/vassals"}
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
			s.eventually(10*time.Second, "nginx serves: until then HUP would end it", func() error { _, err := s.request("plain", "GET", "/", nil); return err })
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
