package configs

import (
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"time"
)

func emperorOf(t *testing.T, text string, args ...string) (*Emperor, []string, error) {
	t.Helper()
	if text != "" {
		args = append(args, "--ini", "emperor.ini")
	}
	s, err := Read(texts(map[string]string{"emperor.ini": text}, args...))
	if err != nil {
		t.Fatal(err)
	}
	return ParseEmperor(s)
}

func TestEmperorCommandLine(t *testing.T) {
	e, notices, err := emperorOf(t, "", "--emperor", "/etc/uwsgi-emperor/vassals", "--emperor-tyrant")
	if err != nil || len(notices) != 0 {
		t.Fatal(notices, err)
	}
	want := &Emperor{
		Sources: []string{"/etc/uwsgi-emperor/vassals"}, Tyrant: true, TyrantInitgroups: true,
		Freq: 3 * time.Second, Throttle: time.Second, MaxThrottle: 180 * time.Second, Mercy: 30 * time.Second, StartTimeout: 2 * time.Minute, Heartbeat: 30 * time.Second, HookTimeout: time.Minute, MaxPerUser: 1000,
		ControlSocket: "/run/emperord/control.sock",
		SocketRoots:   []string{"/run/uwsgi", "/var/run/uwsgi", "/run/emperord"},
		SocketGroups:  []string{"www-data", "nginx", "http", "apache"},
	}
	if !reflect.DeepEqual(e, want) {
		t.Errorf("got  %+v\nwant %+v", e, want)
	}
}

// The files that Debian and Fedora ship.
func TestPackagedEmperorFiles(t *testing.T) {
	e, notices, err := emperorOf(t, `[uwsgi]

# try to autoload appropriate plugin if "unknown" option has been specified
autoload = true
master = true
workers = 2
no-orphans = true
log-date = true
uid = www-data
gid = www-data
emperor = /etc/uwsgi-emperor/vassals
`)
	if err != nil || len(notices) != 0 || e.UID != "www-data" || e.GID != "www-data" || e.Tyrant {
		t.Errorf("Debian: %+v %q %v", e, notices, err)
	}
	e, notices, err = emperorOf(t, `[uwsgi]
uid = uwsgi
gid = uwsgi
pidfile = /run/uwsgi/uwsgi.pid
emperor = /etc/uwsgi.d
stats = /run/uwsgi/stats.sock
chmod-socket = 660
emperor-tyrant = true
cap = setgid,setuid
`)
	if err != nil || len(notices) != 0 || e.SocketMode == nil || *e.SocketMode != 0o660 || e.Pidfile != "/run/uwsgi/uwsgi.pid" || e.Stats != "/run/uwsgi/stats.sock" || !e.Tyrant || e.Keep == nil || e.Keep.String() != "setgid,setuid" {
		t.Errorf("Fedora: %+v %q %v", e, notices, err)
	}
}

func TestEmperorOptions(t *testing.T) {
	e, notices, err := emperorOf(t, `[uwsgi]
emperor = glob:///srv/*/uwsgi.ini
emperor = dir:///etc/vassals
emperor-nofollow = true
emperor-tyrant-initgroups = no
emperor-freq = 7
emperor-throttle = 250
emperor-max-throttle = 60
emperor-max-vassals-per-user = 20
reload-mercy = 5
emperor-start-timeout = 0
emperor-required-heartbeat = 9
emperor-curse-tolerance = 4
emperor-no-blacklist = true
emperor-wait-for-command = true
emperor-wait-for-command-ignore = a.ini
emperor-wait-for-command-ignore = b.ini
emperor-control-socket = /run/x/../c.sock
emperor-socket-root = /run/a/
emperor-socket-root = /run/b
emperor-socket-groups = www-data, nginx
emperor-socket-groups = x
emperor-socket-policy = own-name
emperor-wrapper = /usr/bin/uwsgi
emperor-extra-extension = .conf
vassal-set = region=eu
vassals-set = owner=%%n
vassals-include = /i
vassals-include-before = /ib
vassals-inherit = /h
vassals-inherit-before = /hb
emperor-cap = perfmon,chown
emperor-use-clone = fs,pid
emperor-limit = nofile=100
emperor-limit = as=1G:unlimited
emperor-limit = nofile=1024:4096
emperor-no-new-privs = no
emperor-new-privs-for = shop
emperor-keep-env = PATH,LANG
emperor-keep-env = TZ
umask = 027
`)
	if err != nil || len(notices) != 0 {
		t.Fatal(notices, err)
	}
	want := &Emperor{
		Sources: []string{"glob:///srv/*/uwsgi.ini", "dir:///etc/vassals"}, NoFollow: true,
		Freq: 7 * time.Second, Throttle: 250 * time.Millisecond, MaxThrottle: time.Minute, Mercy: 5 * time.Second, MercySaid: true, HookTimeout: time.Minute, MaxPerUser: 20,
		Heartbeat: 9 * time.Second, Curse: 4 * time.Second, NoBlacklist: true, WaitCommand: true, WaitCommandNo: []string{"a.ini", "b.ini"},
		ControlSocket: "/run/c.sock", SocketRoots: []string{"/run/a", "/run/b"}, SocketGroups: []string{"www-data", "nginx", "x"},
		SocketPolicy: OwnName, Wrapper: "/usr/bin/uwsgi", ExtraExtensions: []string{".conf"}, VassalSet: []string{"region=eu", "owner=%n"},
		Include: []string{"/i"}, IncludeBefore: []string{"/ib"}, Inherit: []string{"/h"}, InheritBefore: []string{"/hb"},
		VassalsKeep: new(Capabilities(1<<0 | 1<<38)), Namespaces: 0x20020000, Limits: []ResourceLimit{{"as", 1 << 30, Unlimited}, {"nofile", 1024, 4096}},
		NoNewPrivs: new(false), NewPrivsFor: []string{"shop"}, KeepVariable: []string{"PATH", "LANG", "TZ"}, Umask: new(fs.FileMode(0o027)),
	}
	if !reflect.DeepEqual(e, want) {
		t.Errorf("got  %+v\nwant %+v", e, want)
	}
}

func TestEmperorFaults(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"emperor-freq = fuor", `emperor.ini:3: option "emperor-freq": value "fuor" is not a number; write a whole number from 1 to 315360000`},
		{"emperor-socket-policy = own", `emperor.ini:3: option "emperor-socket-policy": value "own" is not a policy; write emperor-socket-policy = own-name, or leave the line out`},
		{"cap = setgid,setuit", `emperor.ini:3: option "cap": value "setgid,setuit" names the capability "setuit", which there is not; write names of capabilities(7) with commas, for example cap = setgid,setuid`},
		{"emperor-limit = nofile=200:100", `emperor.ini:3: option "emperor-limit": value "nofile=200:100" has a soft limit above the hard one; write emperor-limit = nofile=100:200`},
		{"emperor-limit = files=5", `emperor.ini:3: option "emperor-limit": value "files=5" does not name a limit; write emperor-limit = NAME=SOFT:HARD, with one of as, core, cpu, data, fsize, locks, memlock, msgqueue, nice, nofile, nproc, rss, rtprio, rttime, sigpending, stack`},
		{"emperor-limit = as=1T", `emperor.ini:3: option "emperor-limit": value "as=1T" has no number; write whole numbers (of bytes where it is a size; K, M and G may stand behind them) or unlimited, for example emperor-limit = nofile=1024:4096`},
		{"emperor-limit = as=9999999999999G", `emperor.ini:3: option "emperor-limit": value "as=9999999999999G" has no number; write whole numbers (of bytes where it is a size; K, M and G may stand behind them) or unlimited, for example emperor-limit = nofile=1024:4096`},
		{"emperor-keep-env = A=B", `emperor.ini:3: option "emperor-keep-env": value "A=B" is not a list of variables; write their names with commas, for example emperor-keep-env = PATH,LANG,TZ`},
		{"emperor-socket-root = /", `emperor.ini:3: option "emperor-socket-root": value "/" would let tenants have sockets everywhere; write a folder such as /run/uwsgi`},
		{"emperor-control-socket = c.sock", `emperor.ini:3: option "emperor-control-socket": value "c.sock" is not an absolute path; write one that begins with /`},
		{"emperor = pg://x", `emperor.ini:3: option "emperor": value "pg://x" names vassals that are not files: pg:// is not supported yet; name a folder or a glob`},
		{"vassal-set = x", `emperor.ini:3: option "vassal-set": value "x" has no equals sign; write vassal-set = NAME=VALUE`},
	} {
		_, _, err := emperorOf(t, "[uwsgi]\nemperor = /x\n"+c.line+"\n")
		if err == nil || err.Error() != c.want {
			t.Errorf("%q:\ngot  %v\nwant %s", c.line, err, c.want)
		}
	}
	_, _, err := emperorOf(t, "[uwsgi]\nmaster = true\n")
	if want := "emperor.ini: no vassals are named; add --emperor /etc/uwsgi-emperor/vassals, or a line emperor = … to the file"; err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

// uWSGI 2.0.21 corrupts such variables; here they do what they were made for, and it is said.
func TestVariablesForVassalsAreSaid(t *testing.T) {
	r := texts(nil, "--emperor", "/etc/vassals")
	r.Env = []string{"UWSGI_VASSAL_MAX_REQUESTS=4", "UWSGI_VASSAL_SET=q=1"}
	s, err := Read(r)
	if err != nil {
		t.Fatal(err)
	}
	e, notices, err := ParseEmperor(s)
	if err != nil || len(notices) != 1 || !strings.Contains(notices[0], "each gets it as UWSGI_MAX_REQUESTS") || len(e.VassalSet) != 1 || e.VassalSet[0] != "q=1" {
		t.Errorf("%q, %v, %+v", notices, err, e)
	}
}
