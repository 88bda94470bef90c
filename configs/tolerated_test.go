package configs

import (
	"strings"
	"testing"
)

// What a uWSGI with other plugins, libraries, files or accounts takes does not keep an application from running that does not
// need it. --show-config refuses it where the real program on this machine does, and a real mistake is refused everywhere.
func TestWhatOnlyThisMachineLacksIsSaid(t *testing.T) {
	for line, says := range map[string]string{
		"legion = a 225.1.1.1:4242 98 bf-cbc:secret": `cipher "bf-cbc"`,
		"route = ^/chat$ websocket:subscribe=chat":   `router "websocket"`,
		"route-if = strange:a;b log:x":               `condition "strange"`,
		"hook-asap = setquota:10":                    `action "setquota"`,
		"log-encoder = mine x":                       `encoder "mine"`,
		"logger = sentry:x":                          `logger "sentry"`,
		"stats-push = influx:x":                      `pusher "influx"`,
		"envdir = /nonexistent":                      "is not a folder",
		"flock = /nonexistent":                       "not there",
		"https-socket = :443,/nonexistent,/none":     "not there",
		"cap = perfmon":                              "no capability",
	} {
		in := texts(map[string]string{"shop.ini": "[uwsgi]\nsocket = /run/uwsgi/s.sock\nmodule = app\n" + line + "\n"}, "--ini", "shop.ini")
		r := Resolve(in)
		if said := strings.Join(r.Notices, "\n"); r.Error != "" || !strings.Contains(said, says) || !strings.Contains(said, "shop.ini:4: option ") {
			t.Errorf("%s: %q, and it says %q", line, r.Error, r.Notices)
		}
		if _, _, err := Show(in); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: --show-config does not refuse it: %v", line, err)
		}
	}
	for _, line := range []string{"route = ^/a", "route-run = last", "hook-asap = exit", "https-socket = :443", "legion = a b", "logfile-chmod = 1", "log-route = x"} {
		in := texts(map[string]string{"shop.ini": "[uwsgi]\nsocket = /run/uwsgi/s.sock\nmodule = app\n" + line + "\n"}, "--ini", "shop.ini")
		if r := Resolve(in); r.Error == "" {
			t.Errorf("%s is not refused", line)
		}
	}
}

// Of a plugin that is not known here nobody knows the options. In --show-config there is no such plugin.
func TestStrictWithAStrangePlugin(t *testing.T) {
	for lines, refused := range map[string]bool{
		"strict = true\nsentry-dsn = x\n":                          true,
		"plugin = sentry\nstrict = true\nsentry-dsn = x\n":         false,
		"strict = true\nplugin = python3,sentry\nsentry-dsn = x\n": false,
		"plugin = python3\nstrict = true\nsentry-dsn = x\n":        true,
		"plugin =\nstrict = true\nsentry-dsn = x\n":                true,
		"sentry-dsn = x\nplugin = python3\nstrict = true\n":        true,
		"sentry-dsn = x\nplugin = sentry\nstrict = true\n":         false,
	} {
		in := texts(map[string]string{"shop.ini": "[uwsgi]\nsocket = /run/uwsgi/s.sock\nmodule = app\n" + lines}, "--ini", "shop.ini")
		if r := Resolve(in); (r.Error != "") != refused {
			t.Errorf("%q: %q", lines, r.Error)
		} else if !refused && !strings.Contains(strings.Join(r.Notices, "\n"), `"sentry-dsn" is unknown`) {
			t.Errorf("%q: says %q", lines, r.Notices)
		}
		if _, _, err := Show(in); err == nil {
			t.Errorf("%q: --show-config takes it", lines)
		}
	}
}

// Nothing that the reading passes over is lost for who only calls Read.
func TestNoticesAreHeard(t *testing.T) {
	in := texts(map[string]string{"shop.yml": "uwsgi:\n  socket: s\n  master:\n", "other.ini": "[x]\na = 1\n"}, "--yaml", "shop.yml", "--ini", "other.ini")
	var heard []string
	in.Notice = func(at Place, text string) { heard = append(heard, at.String()+" "+text) }
	if _, err := Read(in); err != nil || len(heard) != 2 || !strings.HasPrefix(heard[0], `shop.yml:3 option "master"`) || !strings.HasPrefix(heard[1], "other.ini there is no section [uwsgi]") {
		t.Errorf("%q, %v", heard, err)
	}
}
