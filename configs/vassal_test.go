package configs

import (
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestWholeVassal(t *testing.T) {
	v, notices, err := ParseVassal(shop(t, whole))
	if err != nil || len(notices) != 0 {
		t.Fatalf("notices %q, error %v", notices, err)
	}
	mode := fs.FileMode(0o660)
	want := &Vassal{
		Plugins: []string{"python3"}, Chdir: "/srv/shop", Module: "shop.wsgi:application", Processes: 2, BufferSize: 6553,
		SockTimeout: 4 * time.Second, Mercy: 60 * time.Second, Vacuum: true,
		Sockets: []SocketWish{{Protocol: "uwsgi", Address: "/run/uwsgi/shop.sock", Mode: &mode, Owner: "shop", Group: "www-data",
			Place: Place{"shop.ini", 7}}},
	}
	if !reflect.DeepEqual(v, want) {
		t.Errorf("got  %+v\nwant %+v", v, want)
	}
}

func TestVassalOptions(t *testing.T) {
	mask := func(m fs.FileMode) *fs.FileMode { return &m }
	for _, c := range []struct {
		lines string
		want  func(v *Vassal) bool
	}{
		{"module = a\nwsgi = b", func(v *Vassal) bool { return v.Module == "b" }},
		{"file = a.py", func(v *Vassal) bool { return v.File == "a.py" && v.Module == "m" }},
		{"virtualenv = /v", func(v *Vassal) bool { return v.Home == "/v" }},
		{"pp = /a\npythonpath = /b:/c", func(v *Vassal) bool { return reflect.DeepEqual(v.Path, []string{"/a", "/b:/c"}) }},
		{"workers = 3\nprocesses = 4", func(v *Vassal) bool { return v.Processes == 4 }},
		{"env = A=1=2\nenv = B\nunenv = C\nenv = D=", func(v *Vassal) bool {
			return reflect.DeepEqual(v.EnvChanges, []EnvChange{{"A", "1=2", false}, {"B", "", true}, {"C", "", true}, {"D", "", false}})
		}},
		{"lazy-apps", func(v *Vassal) bool { return v.LazyApps }},
		{"need-app = off", func(v *Vassal) bool { return !v.NeedApp }},
		{"disable-logging = false", func(v *Vassal) bool { return !v.DisableLogging }},
		{"disable-logging = 1", func(v *Vassal) bool { return v.DisableLogging }},
		{"umask = 0027", func(v *Vassal) bool { return reflect.DeepEqual(v.Umask, mask(0o027)) }},
		{"umask = 022", func(v *Vassal) bool { return reflect.DeepEqual(v.Umask, mask(0o022)) }},
		{"reload-mercy = 8", func(v *Vassal) bool { return v.Mercy == 8*time.Second && v.ReloadMercy == 8*time.Second }},
		{"worker-reload-mercy = 9\nreload-mercy = 8", func(v *Vassal) bool { return v.Mercy == 9*time.Second }},
		{"socket-timeout = 30", func(v *Vassal) bool { return v.SockTimeout == 30*time.Second }},
		{"uid = shop\ngid = 33", func(v *Vassal) bool { return v.UID == "shop" && v.GID == "33" }},
		{"plugins = 0:python311, http,/usr/lib/uwsgi/plugins/logfile_plugin.so", func(v *Vassal) bool {
			return reflect.DeepEqual(v.Plugins, []string{"python311", "http", "logfile"})
		}},
		{"listen = 100", func(v *Vassal) bool { return v.Sockets[0].Backlog == 100 }},
		{"chmod-socket = 1", func(v *Vassal) bool { return *v.Sockets[0].Mode == 0o666 }},
		{"chown-socket = :www-data", func(v *Vassal) bool { return v.Sockets[0].Owner == "" && v.Sockets[0].Group == "www-data" }},
		{"chown-socket = 33", func(v *Vassal) bool { return v.Sockets[0].Owner == "33" && v.Sockets[0].Group == "" }},
		{"socket = s.sock\nuwsgi-socket = :8000", func(v *Vassal) bool { return len(v.Sockets) == 2 && v.Sockets[1].Address == "0.0.0.0:8000" }},
		{"protocol = http\nuwsgi-socket = /u", func(v *Vassal) bool { return len(v.Sockets) == 1 && v.Sockets[0].Address == "/u" }},
		{"abstract-socket = true", func(v *Vassal) bool { return v.Sockets[0].Address == "@s.sock" }},
		{"socket = @a\nsocket = \\0b\nsocket = [::1]:80\nsocket = localhost:080", func(v *Vassal) bool {
			return v.Sockets[1].Address == "@a" && v.Sockets[2].Address == "@b" && v.Sockets[3].Address == "[::1]:80" && v.Sockets[4].Address == "localhost:80"
		}},
	} {
		v, _, err := ParseVassal(shop(t, minimal+c.lines+"\n"))
		if err != nil {
			t.Errorf("%q: %v", c.lines, err)
		} else if !c.want(v) {
			t.Errorf("%q: %+v", c.lines, v)
		}
	}
}

// The errors are compared word by word: they are what an operator gets to read.
func TestVassalFaults(t *testing.T) {
	for _, c := range []struct{ lines, want string }{
		{"processes = fuor", `shop.ini:4: option "processes": value "fuor" is not a number; write a whole number from 1 to 1024`},
		{"processes = four ; 4", `shop.ini:4: option "processes": value "four ; 4" is not a number; give the comment a line of its own; then write a whole number from 1 to 1024`},
		{"processes = $(NOPE)", `shop.ini:4: option "processes": value "$(NOPE)" is not a number; define the environment variable, or write a whole number from 1 to 1024`},
		{"processes = 4k", `shop.ini:4: option "processes": value "4k" is not a number; write a whole number from 1 to 1024`},
		{"processes =", `shop.ini:4: option "processes": has no value; write a whole number from 1 to 1024`},
		{"workers = 0", `shop.ini:4: option "workers": value "0" is out of range; write a whole number from 1 to 1024`},
		{"chmod-socket = 0664", `shop.ini:4: option "chmod-socket": value "0664" is not a mode of three octal digits; write chmod-socket = 664`},
		{"chmod-socket = 4777", `shop.ini:4: option "chmod-socket": value "4777" is not a mode of three octal digits; write for example chmod-socket = 660`},
		{"chmod-socket = 0", `shop.ini:4: option "chmod-socket": value "0" is not a mode of three octal digits; write for example chmod-socket = 660`},
		{"chmod-socket = abc", `shop.ini:4: option "chmod-socket": value "abc" is not a mode of three octal digits; write chmod-socket = 660, or 666 if everybody may connect`},
		{"chmod-socket = 888", `shop.ini:4: option "chmod-socket": value "888" is not a mode of three octal digits; write for example chmod-socket = 660`},
		{"chmod-socket", `shop.ini:4: option "chmod-socket": has no value; write chmod-socket = 660, or 666 if everybody may connect`},
		{"chmod-socket = true", `shop.ini:4: option "chmod-socket": value "true" is not a mode of three octal digits; write chmod-socket = 660, or 666 if everybody may connect`},
		{"chown-socket = shop www-data", `shop.ini:4: option "chown-socket": value "shop www-data" is not user:group; write for example chown-socket = shop:www-data`},
		{"umask = 22", `shop.ini:4: option "umask": value "22" is too short, and uWSGI would take it for 000; write umask = 022`},
		{"listen = many", `shop.ini:4: option "listen": value "many" is not a number; write a whole number from 1 to 65535`},
		{"socket = a, b", `shop.ini:4: option "socket": value "a, b" is one address with a comma in it, as in uWSGI; write one socket line for each address`},
		{"socket = unix:/x", `shop.ini:4: option "socket": value "unix:/x" is not an address: uWSGI has no unix: in front; write socket = /x`},
		{"socket = ::1:80", `shop.ini:4: option "socket": value "::1:80" is not an address: an IPv6 address stands in brackets; write socket = [::1]:80`},
		{"socket = :80abc", `shop.ini:4: option "socket": value ":80abc" has no port; write a port from 1 to 65535 behind the colon`},
		{"socket = /run/%(nope).sock", `shop.ini:4: option "socket": value "/run/%(nope).sock" refers to something that is not defined; define it, or write the address itself`},
		{"socket = fd://3", `shop.ini:4: option "socket": value "fd://3" is not an address: schemes are not served; write a path, host:port, [v6]:port or @name`},
		{"plugin = php", `shop.ini:4: option "plugin": value "php" asks for PHP, which cannot be hosted yet: only Python 3 can; leave this vassal to uWSGI, in a folder of its own`},
		{"uid =", `shop.ini:4: option "uid": has no value; write for example uid = www-data`},
		{"env = =x", `shop.ini:4: option "env": value "=x" names no variable; write env = NAME=value`},
	} {
		settings, err := Read(texts(map[string]string{"shop.ini": minimal + c.lines + "\n"}, "--ini", "shop.ini"))
		if err == nil { // some are refused as soon as they are read, as in uWSGI
			_, _, err = ParseVassal(settings)
		}
		if err == nil || err.Error() != c.want {
			t.Errorf("%q:\ngot  %v\nwant %s", c.lines, err, c.want)
		}
	}
}

func TestVassalWithoutSocketOrApplication(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"[uwsgi]\nmodule = m\n", `shop.ini: the file names no socket; add a line such as socket = /run/uwsgi/shop.sock`},
		{"[uwsgi]\nmodule = m\nhttp-socket = :8080\n", `shop.ini:3: option "http-socket": value ":8080" is not a uwsgi socket, and the file has no other; add a line such as socket = /run/uwsgi/shop.sock, and let nginx uwsgi_pass to it`},
		{"[uwsgi]\nmodule = m\nprotocol = http\nsocket = :8080\n", `shop.ini:4: option "socket": value ":8080" is not a uwsgi socket, and the file has no other; add a line such as socket = /run/uwsgi/shop.sock, and let nginx uwsgi_pass to it`},
		{"[uwsgi]\nsocket = s\n", `shop.ini: the file names no application; add a line such as module = package.module:callable or wsgi-file = app.py`},
		{"[uwsgi]\nsocket = s\nmount = /a=m\n", `shop.ini:3: option "mount": value "/a=m" is the file's only application, and this kind is not served yet; write module = package.module:callable or wsgi-file = path.py`},
		{"", `shop.ini: the file names no socket; add a line such as socket = /run/uwsgi/shop.sock`},
	} {
		_, _, err := ParseVassal(shop(t, c.text))
		if err == nil || err.Error() != c.want {
			t.Errorf("%q:\ngot  %v\nwant %s", c.text, err, c.want)
		}
	}
}

func TestVassalNotices(t *testing.T) {
	text := minimal + `harakiri = 30
proceses = 4
name = shop
chdir = /srv/%(name)
frobnicate-the-thing = 1
set = mine=1
emperor = /x
static-map = /a=/b
static-map = /c=/d
master = enabled
lazy-apps = "false"
plugin = nosuch
env = A = 1
dlopen = x.so
worker-reload-mercy = 60   ; seconds
listen = @(/proc/sys/net/core/somaxconn)
env DJANGO = x
pythonpath = %(nope)/lib
`
	want := []string{
		`shop.ini:4: option "harakiri" is not honoured yet`,
		`shop.ini:5: option "proceses" is unknown, and nothing refers to it as %(proceses); did you mean processes?`,
		`shop.ini:8: option "frobnicate-the-thing" is unknown, and nothing refers to it as %(frobnicate-the-thing)`,
		`shop.ini:10: option "emperor" has no effect in a vassal: the emperor obeys it`,
		`shop.ini:11: option "static-map" is not honoured yet: until then let nginx serve the files: location with alias or root`,
		`shop.ini:14: option "lazy-apps" has the value "\"false\"", which counts as true, as in uWSGI; write true or false`,
		`shop.ini:15: option "plugin" asks for a plugin "nosuch" that does not exist; it is left out, as in uWSGI`,
		`shop.ini:16: option "env" sets a variable whose name ends in a blank, "A ", as in uWSGI; write env = A=1`,
		`shop.ini:17: option "dlopen" has no effect: no foreign code is loaded into emperord or vassald`,
		`shop.ini:18: option "worker-reload-mercy" has a comment behind its value, and only 60 counts, as in uWSGI; a comment needs a line of its own`,
		`shop.ini:19: option "listen" holds a reference, which is not replaced in this option, as in uWSGI; the default counts`,
		`shop.ini:20: option "env DJANGO" is unknown: the key goes up to the first equals sign; write env = DJANGO=x`,
		`shop.ini:21: option "pythonpath" has the value "%(nope)/lib": what it refers to is not defined, and it stays as text`,
	}
	v, notices, err := ParseVassal(shop(t, text))
	if err != nil {
		t.Fatal(err)
	}
	if v.Mercy != time.Minute || v.Sockets[0].Backlog != 0 {
		t.Errorf("%+v", v)
	}
	if got := strings.Join(notices, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}
