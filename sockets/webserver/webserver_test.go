package webserver

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emperord/emperord/sockets/access"
	"github.com/emperord/emperord/sockets/nginxconf"
)

// conf writes a configuration; DIR in it stands for its folder.
func conf(t *testing.T, text string) (server *Server, dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "ws")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := dir + "/nginx.conf"
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/uwsgi_params", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s := &Server{Conf: file, Prefix: dir, Given: true}
	s.read()
	if s.Config == nil {
		t.Fatal(s.Unread)
	}
	return s, dir
}

const site = "http {\n uwsgi_param REQUEST_METHOD a;\n server { location / {\n  TARGET\n } }\n}\n"

func TestNearMisses(t *testing.T) {
	for _, c := range []struct {
		target, socket string
		how            string // empty: not alike
	}{
		{"/var/run/shop.sock", "/run/shop.sock", "/var/run is not /run here"},
		{"/run/shop.sock", "/var/run/shop.sock", "/run is not /var/run here"},
		{"/run/uwsgi/shop.sock", "/run/uwsgi/shop.socket", "the ending differs"},
		{"/run/uwsgi/shop.sock:", "/run/uwsgi/shop.sock", "the ending differs"},
		{"/run/uwsgi/shop", "/run/uwsgi/shop.sock", "the ending differs"},
		{"run/uwsgi/shop.sock", "/run/uwsgi/shop.sock", "the first slash is missing, so nginx takes it for a path relative to its own folder"},
		{"/run/shop.sock", "/run/uwsgi/shop.sock", "the folder differs"},
		{"/tmp/shop.socket", "/run/uwsgi/shop.sock", "folder and ending differ"},
		{"/run/uwsgi/Shop.sock", "/run/uwsgi/shop.sock", "upper and lower case differ"},
		{"/run/uwsgi/shpo.sock", "/run/uwsgi/shop.sock", "the name is spelled otherwise"},
		{"/run/uwsgi/webshp.sock", "/run/uwsgi/webshop.sock", "the name is spelled otherwise"},
		{"/run/uwgsi/app/shop/socket", "/run/uwsgi/app/shop/socket", "the folder differs"},
		{"127.0.0.1:3031", "127.0.0.1:3032", "the port differs"},
		{"10.0.0.1:3031", "127.0.0.1:3031", "the host differs"},
		{"/run/uwsgi/app1.sock", "/run/uwsgi/app2.sock", ""}, // two applications
		{"/run/uwsgi/a.sock", "/run/uwsgi/b.sock", ""},
		{"/run/a/uwsgi.sock", "/run/b/uwsgi.sock", ""}, // a name that says nothing
		{"/run/uwsgi/blog.sock", "/run/uwsgi/shop.sock", ""},
		{"/run/shop.sock", "127.0.0.1:3031", ""},
		{"@shop", "/run/shop", ""},
		{"127.0.0.1:80", "127.0.0.1:3031", ""},
	} {
		cost, how := distance(c.target, c.socket)
		if how != c.how || (cost > 0) != (how != "") {
			t.Errorf("%s and %s: %q (cost %d), want %q", c.target, c.socket, how, cost, c.how)
		}
	}
	if got := nearest("/run/shop.sock", []Socket{{Address: "/run/shop.socket", Vassal: "a"}, {Address: "/srv/shop.sock", Vassal: "b"}, {Address: "/run/shop", Vassal: "c"}}); len(got) != 2 || got[0].Vassal != "a" || got[1].Vassal != "c" {
		t.Errorf("the nearest ones: %+v", got)
	}
}

// TestNoCommandForATextThatIsNotPlain: a tenant chose the socket's path, and the command is for root.
func TestNoCommandForATextThatIsNotPlain(t *testing.T) {
	for _, path := range []string{
		"/run/DIR/shop.sock'; touch /tmp/pwned; '", "/run/shop|e touch.sock", "/run/shop&.sock", "/run/$(id)/shop.sock", "/run/shop;return 200 x/shop.sock",
		"/run/a b/shop.sock", "/run/shop.sock\n1e id", `/run/\x/shop.sock`, "/run/[a]/shop.sock", "/run/`id`/shop.sock", "/run/{a}/shop.sock", "/run/\"a\"/shop.sock",
	} {
		s, _ := conf(t, strings.Replace(site, "TARGET", "uwsgi_pass unix:/nonexistent/shop.sock;", 1))
		r := s.Examine([]Socket{{Address: path, Vassal: "evil.ini", Protocol: nginxconf.UWSGI}})
		for _, f := range r.Findings {
			if len(f.Commands) > 0 {
				t.Errorf("%q: %q", path, f.Commands)
			}
		}
		s, _ = conf(t, strings.Replace(site, "TARGET", "proxy_pass http://unix:/nonexistent/shop.sock;", 1))
		for _, f := range s.Examine([]Socket{{Address: path, Vassal: "evil.ini", Protocol: nginxconf.UWSGI}, {Address: "/nonexistent/shop.sock", Protocol: "uw;sgi"}}).Findings {
			for _, command := range f.Commands {
				if strings.Contains(command, path) {
					t.Errorf("%q: %q", path, f.Commands)
				}
			}
		}
	}
}

// TestReplaceChangesOnlyTheWord runs the commands and looks at the file.
func TestReplaceChangesOnlyTheWord(t *testing.T) {
	for _, c := range []struct{ line, old, new, want string }{
		{"a unix:/run/x.sock;", "a unix:/run/x.sock", "a unix:/run/y.sock", "a unix:/run/y.sock;"},
		{"a unix:/run/x.sock; a unix:/run/x.sock2;", "a unix:/run/x.sock", "a Y", "a Y; a unix:/run/x.sock2;"},
		{"a unix:/run/xysock; a unix:/run/x.sock;", "a unix:/run/x.sock", "a Y", "a unix:/run/xysock; a Y;"},
		{"a unix:/run/x.sock ;", "a unix:/run/x.sock", "a Y", "a Y ;"},
		{"server unix:/run/x.sock weight=5;", "server unix:/run/x.sock", "server Y", "server Y weight=5;"},
		{"server unix:/run/x.sock2 weight=5;", "server unix:/run/x.sock", "server Y", ""},
		{`a "unix:/run/x.sock";`, "a unix:/run/x.sock", "a Y", ""},
		{"a  unix:/run/x.sock;", "a unix:/run/x.sock", "a Y", ""},
		{"a unix:/run/x.sock;", "a unix:/run/x.sock", "", ""},
	} {
		file := filepath.Join(t.TempDir(), "it's a file")
		if err := os.WriteFile(file, []byte("first "+c.line+"\n"+c.line+"\n"+"third "+c.line+"\n"), 0o640); err != nil {
			t.Fatal(err)
		}
		command, ok := replace(file, 2, c.old, c.new)
		if ok != (c.want != "") {
			t.Errorf("%s: %q", c.line, command)
		}
		if !ok {
			continue
		}
		if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
			t.Errorf("%s: %v %s", command, err, out)
		}
		text, _ := os.ReadFile(file)
		if want := "first " + c.line + "\n" + c.want + "\nthird " + c.line + "\n"; string(text) != want {
			t.Errorf("%s\n%s\nwant\n%s", command, text, want)
		}
	}
}

// TestALinkStaysALink: Debian's sites-enabled are links, which `sed -i` would replace.
func TestALinkStaysALink(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/available", []byte("a b;\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir+"/available", dir+"/enabled"); err != nil {
		t.Fatal(err)
	}
	command, ok := replace(dir+"/enabled", 1, "a b", "a c")
	if out, err := exec.Command("sh", "-c", command).CombinedOutput(); !ok || err != nil {
		t.Fatalf("%s: %v %s", command, err, out)
	}
	if _, err := os.Readlink(dir + "/enabled"); err != nil {
		t.Error(err)
	}
	if text, _ := os.ReadFile(dir + "/available"); string(text) != "a c;\n" {
		t.Errorf("%q", text)
	}
}

// TestFindings is one table of what nginx is told and what the sockets are.
func TestFindings(t *testing.T) {
	shop := Socket{Address: "/nonexistent/shop.sock", Vassal: "shop.ini", Protocol: nginxconf.UWSGI}
	api := Socket{Address: "/nonexistent/api.sock", Vassal: "api.ini", Protocol: nginxconf.HTTP}
	for _, c := range []struct {
		target string
		codes  []string
		first  string // of the first command, as written for sed
	}{
		{"uwsgi_pass unix:/nonexistent/shop.sock;", nil, ""},
		{"uwsgi_pass unix:///nonexistent//shop.sock;", nil, ""},
		{"proxy_pass http://unix:/nonexistent/api.sock;", nil, ""},
		{"proxy_pass http://127.0.0.1:1/;", nil, ""},
		{"fastcgi_pass unix:/run/php/php.sock;", nil, ""},
		{"uwsgi_pass uwsgi.example.org:3031;", nil, ""},
		{"uwsgi_pass unix:/nonexistent/shop.socket;", []string{TargetNotServed}, "|uwsgi_pass unix:/nonexistent/shop.sock;|"},
		{"proxy_pass http://unix:/nonexistent/shop.socket;", []string{TargetNotServed}, "|uwsgi_pass unix:/nonexistent/shop.sock;|"},
		{"uwsgi_pass unix:nonexistent/shop.sock;", []string{TargetNotServed}, "|uwsgi_pass unix:/nonexistent/shop.sock;|"},
		{"uwsgi_pass unix:/nonexistent/other.sock;", []string{TargetNotServed}, ""},
		{"uwsgi_pass 127.0.0.1:1;", []string{TargetNotServed}, ""},
		{"proxy_pass http://unix:/nonexistent/shop.sock;", []string{WrongProtocol}, "|uwsgi_pass unix:/nonexistent/shop.sock;|"},
		{"uwsgi_pass unix:/nonexistent/api.sock;", []string{WrongProtocol}, "|proxy_pass http://unix:/nonexistent/api.sock;|"},
		{"uwsgi_pass /nonexistent/shop.sock;", []string{NginxRefuses}, "|uwsgi_pass unix:/nonexistent/shop.sock;|"},
		{"proxy_pass unix:/nonexistent/api.sock;", []string{NginxRefuses}, "|proxy_pass http://unix:/nonexistent/api.sock;|"},
		{"uwsgi_pass http://unix:/nonexistent/shop.sock;", []string{NginxRefuses}, "|uwsgi_pass unix:/nonexistent/shop.sock;|"},
		{"uwsgi_pass unix:/nonexistent/shop.sock", []string{NginxRefuses}, ""},
		{"uwsgi_param A b; uwsgi_pass unix:/nonexistent/shop.sock;", []string{NoParams}, "|include uwsgi_params; uwsgi_pass unix:/nonexistent/shop.sock;|"},
	} {
		s, _ := conf(t, strings.Replace(site, "TARGET", c.target, 1))
		r := s.Examine([]Socket{shop, api})
		var codes []string
		for _, f := range r.Findings {
			codes = append(codes, f.Code)
		}
		if !slices.Equal(codes, c.codes) {
			t.Errorf("%s: %+v", c.target, r.Findings)
			continue
		}
		if len(codes) == 0 {
			continue
		}
		f := r.Findings[0]
		if (c.first == "") != (len(f.Commands) == 0) || c.first != "" && !strings.Contains(f.Commands[0], c.first) {
			t.Errorf("%s: %q", c.target, f.Commands)
		}
		if len(f.Commands) == 0 && f.Note == "" {
			t.Errorf("%s: neither a command nor a note", c.target)
		}
		if len(f.Commands) == 2 { // the first command alone, and it is well but for nginx, which does not run
			if out, err := exec.Command("sh", "-c", f.Commands[0]).CombinedOutput(); err != nil {
				t.Errorf("%v %s", err, out)
			}
			again := &Server{Conf: s.Conf, Prefix: s.Prefix, Given: true}
			again.read()
			for _, f := range again.Examine([]Socket{shop, api}).Findings {
				if f.Code != NoParams { // include uwsgi_params, which is empty here
					t.Errorf("%s: after %s: %+v", c.target, f.Commands[0], f)
				}
			}
		}
	}
}

func TestNotes(t *testing.T) {
	s, _ := conf(t, strings.Replace(site, "TARGET", "uwsgi_pass unix:/nonexistent/shop.sock;", 1))
	r := s.Examine([]Socket{{Address: "/nonexistent/shop.sock", Vassal: "shop.ini"}, {Address: "/nonexistent/blog.sock", Vassal: "blog.ini"}})
	if len(r.Notes) != 1 || r.Notes[0].Code != SocketUnused || r.Notes[0].Subject != "blog.ini" {
		t.Errorf("%+v", r.Notes)
	}
	r = s.Examine([]Socket{{Address: "/nonexistent/shop.sock", Vassal: "shop.ini"}, {Address: "/nonexistent/./shop.sock", Vassal: "blog.ini"}})
	if len(r.Notes) != 1 || r.Notes[0].Code != SocketShared || !strings.Contains(r.Notes[0].Cause, "shop.ini and blog.ini") {
		t.Errorf("%+v", r.Notes)
	}
	s, _ = conf(t, strings.Replace(site, "TARGET", "uwsgi_pass unix:/run/$host.sock;", 1))
	r = s.Examine([]Socket{{Address: "/nonexistent/blog.sock", Vassal: "blog.ini"}})
	if len(r.Findings) != 0 || len(r.Notes) != 1 || r.Notes[0].Code != TargetVariable {
		t.Errorf("%+v", r)
	}
}

func TestTheErrorLogTellsOfHeaders(t *testing.T) {
	for line, want := range map[string]string{
		`2026/11/21 15:28:42 [error] 25855#25855: *15 upstream sent too big header while reading response header from upstream, client: 127.0.0.1, server: , request: "GET /bigh HTTP/1.1", upstream: "uwsgi://unix:/tmp/ngx/big.sock:", host: "127.0.0.1:58082"`:                 "25855 /tmp/ngx/big.sock",
		`2026/11/21 15:28:42 [error] 9#9: *15 upstream sent too big header while reading response header from upstream, client: ::1, server: x, request: "GET / HTTP/1.1", upstream: "uwsgi://127.0.0.1:3031", host: "x", referrer: "http://x/"`:                                  "9 127.0.0.1:3031",
		`2026/11/21 15:28:42 [error] 9#9: *7 upstream prematurely closed connection while reading response header from upstream, client: 127.0.0.1, server: , request: "GET /upstream sent too big header HTTP/1.1", upstream: "uwsgi://unix:/tmp/x.sock:", host: "x"`:            "",
		`2026/11/21 16:26:59 [error] 486#486: *3 recv() failed (104: Connection reset by peer) while reading response header from upstream, client: 127.0.0.1, server: alice, request: "GET / HTTP/1.1", upstream: "uwsgi://unix:/run/uwsgi/alice.sock:", host: "127.0.0.1:8001"`: "486 /run/uwsgi/alice.sock",
		`2026/11/21 16:26:59 [error] 486#486: *3 recv() failed (104: Connection reset by peer) while reading upstream, client: 127.0.0.1, server: a, request: "GET / HTTP/1.1", upstream: "uwsgi://unix:/run/a.sock:", host: "a"`:                                                 "",
		`upstream sent too big header while reading, upstream: "uwsgi://unix:/tmp/x.sock:"`: "",
		"": "",
	} {
		c, ok := complaint(line)
		if got := fmt.Sprintf("%d %s", c.pid, c.address); ok != (want != "") || ok && got != want {
			t.Errorf("%s\n%q %v, want %q", line, got, ok, want)
		}
	}
}

func FuzzComplaint(f *testing.F) {
	f.Add(`2026/11/21 15:28:42 [error] 1#1: *1 upstream sent too big header while, request: "G", upstream: "uwsgi://unix:/a:", host: "x"`, "configure arguments: --prefix=/a --conf-path='b c'", "nginx -p /x -c y -g z")
	f.Fuzz(func(t *testing.T, line, version, title string) {
		complaint(line)
		var b build
		b.parse(version)
		(&Server{}).options(strings.Fields(title), b)
	})
}

func TestWhereABuildLooksForItsFiles(t *testing.T) {
	for text, want := range map[string]build{
		"nginx version: nginx/1.22.1\nconfigure arguments: --with-cc-opt='-g -O2' --prefix=/usr/share/nginx --conf-path=/etc/nginx/nginx.conf --error-log-path=stderr": {prefix: "/usr/share/nginx", conf: "/etc/nginx/nginx.conf", errorLog: "stderr"},
		"configure arguments: ": {prefix: "/usr/local/nginx", conf: "/usr/local/nginx/conf/nginx.conf", errorLog: "logs/error.log"},
		"configure arguments: --user=nginx --group=web --prefix=/opt/n": {prefix: "/opt/n", conf: "/opt/n/conf/nginx.conf", user: "nginx", group: "web", errorLog: "logs/error.log"},
		"no nginx at all": {},
	} {
		var got build
		got.parse(text)
		if got != want {
			t.Errorf("%s\n%+v, want %+v", text, got, want)
		}
	}
	b := build{prefix: "/usr/local/nginx", conf: "/usr/local/nginx/conf/nginx.conf"}
	for title, want := range map[string]string{
		"nginx": "/usr/local/nginx/conf/nginx.conf", "/usr/sbin/nginx -c /etc/x.conf": "/etc/x.conf", "nginx -p /srv/n": "/srv/n/conf/nginx.conf", "nginx -p /srv/n -c a.conf -g x": "/srv/n/a.conf", "nginx -c/etc/y.conf": "/etc/y.conf",
	} {
		s := Server{Prefix: b.prefix, Conf: b.conf}
		s.options(strings.Fields(title), b)
		if s.Conf != want {
			t.Errorf("%s: %s, want %s", title, s.Conf, want)
		}
	}
}

// TestAStrangerIsNoNginx: anybody may call a process nginx. Its user must not become the one that folders are opened for.
func TestAStrangerIsNoNginx(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("a process of another user needs root, and CI must be it")
		}
		t.Skip("not root: a process of another user cannot be started")
	}
	s, dir := conf(t, "user nobody;\nhttp { }\n")
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	sleep, err := os.ReadFile("/usr/bin/sleep")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/nginx", sleep, 0o755); err != nil {
		t.Fatal(err)
	}
	c := &exec.Cmd{Path: dir + "/nginx", Args: []string{"nginx: master process /usr/sbin/nginx -c " + s.Conf, "1000"},
		SysProcAttr: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 61600, Gid: 61600}}}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Process.Kill(); _ = c.Wait() }()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) { // until it has become "nginx"
		if slices.ContainsFunc(nginxes(), func(p process) bool { return p.pid == c.Process.Pid }) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the false nginx is not seen")
		}
	}
	found, err := Find(context.Background(), "", s.Conf)
	if err != nil || len(found) != 1 || found[0].Master != 0 || len(found[0].Users) != 1 || found[0].Users[0].Name != "nobody" {
		t.Errorf("%v: %+v", err, found)
	}
}

func TestWhoTheWebServerIs(t *testing.T) {
	s, _ := conf(t, "http { }\n")
	found, err := Find(context.Background(), "0", s.Conf)
	if err != nil || len(found) != 1 || found[0].Users[0].UID != 0 || found[0].Told != "--as" {
		t.Errorf("%v: %+v", err, found)
	}
	if _, err := Find(context.Background(), "no-such-user", ""); err == nil || !strings.Contains(err.Error(), "--as no-such-user") {
		t.Error(err)
	}
	if _, err := Find(context.Background(), "", "/nonexistent/nginx.conf"); err == nil || !strings.Contains(err.Error(), "--nginx /nonexistent/nginx.conf") {
		t.Error(err)
	}
	s, _ = conf(t, "user no-such-user;\nhttp { }\n")
	if _, err := Find(context.Background(), "", s.Conf); err == nil || !strings.Contains(err.Error(), "nginx.conf:1: user no-such-user") {
		t.Error(err)
	}
	if _, changed := OldGroups(access.User{Name: "nobody", UID: 65534}); changed {
		t.Error("a user that is no process has no old groups")
	}
}
