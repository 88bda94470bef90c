package configs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// What uWSGI takes and refuses when it applies an option, as it was asked. Each line is asked again where it is installed.
var applied = []struct {
	lines string
	taken bool
}{
	{"processes = -5", false}, {"processes = -0", true}, {"processes = abc", true}, {"harakiri = 6442450944", false}, {"harakiri = 9999999999", true},
	{"harakiri = 99999999999999999999999", false}, {"harakiri = -99999999999999999999999", true}, {"prio = -5", true}, {"listen = -1", false}, {"safe-fd = -1", false},
	{"buffer-size = -1", true}, {"mules = -1", true}, {"chmod-socket = 1", true}, {"chmod-socket = 01", false}, {"logfile-chmod = 1", false}, {"logfile-chmod = 644", true},
	{"socket =", false}, {"socket = =0", false}, {"shared-socket = @x\nsocket = =0", true}, {"socket = =0\nshared-socket = @x", false}, {"socket = 9.*:1", false},
	{"socket = 127.*:80", true}, {"https-socket = :1,a", false}, {"static-map = a", false}, {"static-map = =", true}, {"static-expires = a b c", true}, {"static-expires = x", false},
	{"cron = 1 2 3 4 5", true}, {"cron = 1 2 3 4 5.5 x", true}, {"cron = */5 1 1 1 1 x", false}, {"cron = 1,2 3 4 5 6 x", false}, {"unique-cron = 1 2 3 4 x", false},
	{"legion-cron = a", false}, {"legion-cron = a 1 2 3 4 5", true}, {"cron2 = a=b", false}, {"cron2 = x y=z", true}, {"cron2 =", true},
	{"cap = setgid,nosuch", true}, {"cap = SETGID", false}, {"cap =", false}, {"cap = 5", true}, {"unshare = ,", true}, {"unshare = ipc, uts", false},
	{"legion = a :80 1 aes-128-cbc:x", true}, {"legion = a :80 1 bf-cbc:x", false}, {"legion = a :80 1", false}, {"legion-node = a x", false},
	{"attach-daemon2 = foo,cmd=x", true}, {"attach-daemon2 = pidfile=y", false}, {"smart-attach-daemon = a", false}, {"legion-smart-attach-daemon = a b", true},
	{"hook-asap = setquota:x", false}, {"hook-asap = print:x", true}, {"stats-push = nosuch", false}, {"logger = nosuch:x", false}, {"log-encoder = nosuch", false},
	{"log-encoder = nl", true}, {"log-route = a", false}, {"log-route = a (", false}, {"subscriptions-sign-check = nope:/", false}, {"subscriptions-sign-check = SHA1:/", true},
	{"sni = a", false}, {"sni = a b,c", true}, {"envdir = nope", false}, {"envdir = .", true}, {"flock = nope", false}, {"flock2 = nope", false}, {"need-plugin =", true},
	{"route = ( log:x", true}, {"route = x  log:x", false}, {"route = x last", false}, {"route = .* addvar:a", false}, {"route-if = equal:a log:x", true}, {"route-if = equal log:x", false},
	{"route-if = isreadable:a log:x", false}, {"route-run = last:", true}, {"final-route-run = last", false}, {"route-label =", true}, {"route-status = 404 log:x", true},
	{"version", false}, {"get = a", false}, {"dump-options = off", true}, {"dump-options", false}, {"help", false}, {"cflags = 0", false}, {"stop = nope", false},
	{"http-timeout = -1", true}, {"plugin = http\nhttp-timeout = -1", false}, {"plugin = http\nhttps = a,b", false}, {"https = a,b", true}, {"plugin = http\nhttp-uid = 0", false},
	{"plugin = http\nhttp-uid = 33", true}, {"plugin = http\nhttp-uid = root", true}, {"plugin = http\nhttp-stud-prefix = 1", false},
	{`static-gzip = (`, false}, {`static-gzip = [`, false}, {`static-gzip = []a]`, true}, {`static-gzip = [z-a]`, false}, {`static-gzip = *`, false}, {`static-gzip = a**`, false},
	{`static-gzip = a++`, true}, {`static-gzip = ^*`, false}, {`static-gzip = {`, true}, {`static-gzip = a{2,1}`, false}, {`static-gzip = x{1001}`, true}, {`static-gzip = x{99999}`, false},
	{`static-gzip = (?<=a)b`, true}, {`static-gzip = (?<n>x)`, true}, {`static-gzip = )`, false}, {`static-gzip = a\`, false}, {`static-gzip = (?#c`, false}, {`static-gzip = \p{L}`, true},
	{`static-gzip = [[:alpha:]]`, true}, {`static-gzip = \(`, true}, {`static-gzip = a|*`, false}, {`static-gzip = (?:a)+?`, true}, {`static-gzip = \Q(\E`, true},
}

func TestAppliedAsInUWSGI(t *testing.T) {
	for _, c := range applied {
		q := appliedQuestion(t, c.lines)
		_, err := Read(Reading{Args: q.args, Env: q.env, Dir: q.dir, Plugged: true})
		var fault *Error
		if (err == nil) != c.taken || (err != nil && (!errors.As(err, &fault) || fault.Remedy == "")) {
			t.Errorf("%q: %v, want taken %v", c.lines, err, c.taken)
		}
	}
}

func TestAppliedIsTrue(t *testing.T) {
	needUWSGI(t)
	for _, c := range applied {
		if a := ask(t, appliedQuestion(t, c.lines)); (a.end == "") != c.taken {
			t.Errorf("%q: uwsgi says %s, and the table taken %v", c.lines, a, c.taken)
		}
	}
}

func appliedQuestion(t *testing.T, lines string) question {
	t.Helper()
	dir := realDir(t)
	if err := os.WriteFile(filepath.Join(dir, "main.ini"), []byte("[uwsgi]\n"+lines+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return question{dir: dir, args: []string{"--ini", "main.ini"}, env: []string{"PATH=/usr/bin:/bin"}}
}

func TestCron2IsShownWithoutItsCommand(t *testing.T) {
	for value, want := range map[string]string{"minute=1 x y": "minute=1", "x y": "x y", "x y=z": "x y=z", "": ""} {
		if got := (Setting{Key: "cron2", Value: value}).Shown(); got != want {
			t.Errorf("%q: %q", value, got)
		}
	}
}
