package configs

import (
	"bytes"
	"fmt"
	"math"
	"net"
	"os"
	"os/user"
	"slices"
	"strings"
)

// What uWSGI refuses when it applies an option, found by asking 2.0.21 about every option with two dozen values. It applies
// before it prints --show-config, so a refusal here is one of the reading, whoever obeys the option. Nothing is opened, bound
// or started: what would only fail for what this machine lacks (a log file, a spooler's folder) is left to who obeys. Where it
// is uWSGI's reading that looks at the machine, the fault is marked local, and only --show-config refuses for it.

// applied judges one setting as uWSGI does when it applies it.
func (r *reader) applied(opt Option, s Setting) error {
	if !r.loaded(opt) {
		return nil
	}
	if judge, ok := judges[opt.First()]; ok {
		return judge(r, s)
	}
	if err := routed(opt.First(), s); err != nil {
		return err
	}
	switch opt.Kind {
	case Int:
		return number32(s)
	case Socket:
		return r.listens(s)
	case TLSSocket:
		return certificate(r, s)
	case Mode:
		if !s.Bare && s.Value != "1" && !threeOctal(s.Value) {
			_, err := socketMode(s)
			return err
		}
	case Assignment:
		if strings.IndexByte(s.Value, '=') < 0 {
			return wrong(s, "has no equals sign", "write "+s.Key+" = A=B")
		}
	case Regexp:
		return pattern(s, s.Value)
	case RegexpValue:
		return patternValue(s)
	}
	return nil
}

// loaded reports whether uWSGI would apply an option at all: an option of a plugin that no line has loaded is only a
// placeholder there.
func (r *reader) loaded(opt Option) bool {
	if opt.Where == "core" {
		return true
	}
	return slices.ContainsFunc(r.plugins, func(p string) bool { return p == opt.Where || ownName(p) == opt.Where })
}

// acted judges an immediate option as uWSGI does when it reads the line.
func (r *reader) acted(opt Option, s Setting) error {
	if opt.Kind == Int && r.loaded(opt) {
		return number32(s)
	}
	switch opt.First() {
	case "help", "cflags", "dot-h", "config-py", "print-sym", "binary-append-data", "build-plugin", "extract":
		return ends(r, s)
	case "python-version", "perl-version":
		return onlyIf(r.loaded(opt), ends(r, s))
	case "stop", "reload", "pause", "signal", "connect-and-read":
		return &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "speaks to a uWSGI that runs already, and ends", Remedy: "remove the line; emperorctl speaks to what runs"}
	case "flock", "flock-wait", "flock2", "flock-wait2":
		return lockable(r, s)
	}
	return nil
}

// judges are the options with a syntax of their own, by their first names.
var judges = map[string]func(*reader, Setting) error{
	"prio":                        func(*reader, Setting) error { return nil }, // the one number that may be negative
	"safe-fd":                     func(_ *reader, s Setting) error { return number32(s) },
	"logfile-chmod":               logfileMode,
	"shared-socket":               sharedSocket,
	"undeferred-shared-socket":    sharedSocket,
	"version":                     ends,
	"get":                         ends,
	"dump-options":                func(r *reader, s Setting) error { return onlyIf(s.Bare || truth(s.Value), ends(r, s)) },
	"cron":                        func(_ *reader, s Setting) error { return fiveNumbers(s, s.Value) },
	"cron2":                       cron2,
	"unique-cron":                 func(_ *reader, s Setting) error { return fiveNumbers(s, s.Value) },
	"legion-cron":                 legionCron,
	"unique-legion-cron":          legionCron,
	"attach-daemon2":              keys("a command", "command=/usr/bin/thing", "command", "cmd", "exec"),
	"smart-attach-daemon":         needs(1, "a pid file and a command", "/run/thing.pid /usr/bin/thing"),
	"smart-attach-daemon2":        needs(1, "a pid file and a command", "/run/thing.pid /usr/bin/thing"),
	"legion":                      legion,
	"legion-mcast":                legion,
	"legion-node":                 ofLegion,
	"legion-lord":                 ofLegion,
	"legion-unlord":               ofLegion,
	"legion-setup":                ofLegion,
	"legion-death":                ofLegion,
	"legion-join":                 ofLegion,
	"legion-node-joined":          ofLegion,
	"legion-node-left":            ofLegion,
	"legion-quorum":               ofLegion,
	"legion-scroll":               ofLegion,
	"legion-smart-attach-daemon":  needs(1, "a legion, a pid file and a command", "mylegion /run/thing.pid /usr/bin/thing"),
	"legion-smart-attach-daemon2": needs(1, "a legion, a pid file and a command", "mylegion /run/thing.pid /usr/bin/thing"),
	"subscriptions-sign-check":    digest,
	"sni":                         sni,
	"sni-regexp":                  sni,
	"cap":                         capabilities,
	"emperor-cap":                 capabilities,
	"unshare":                     namespaces,
	"unshare2":                    namespaces,
	"emperor-use-clone":           namespaces,
	"hook-asap":                   hook,
	"mount-asap":                  mount,
	"stats-push":                  pusher,
	"logger":                      logger,
	"req-logger":                  logger,
	"log-encoder":                 encoder,
	"log-req-encoder":             encoder,
	"log-route":                   logRoute,
	"log-req-route":               logRoute,
	"envdir":                      folder,
	"cgi-map-helper":              func(_ *reader, s Setting) error { return assignment(s, ".php=php-cgi") },
	"https":                       certificate,
	"https2":                      https2,
	"http-uid":                    account32,
	"http-gid":                    account32,
	"http-use-code-string":        twoColons,
	"http-stud-prefix":            func(_ *reader, s Setting) error { return ipAddress(s) },
}

func onlyIf(holds bool, err error) error {
	if holds {
		return err
	}
	return nil
}

// number32 reads a number as C's atoi does. Whatever becomes negative is refused; a word is 0.
func number32(s Setting) error {
	if !s.Bare && int32(leading(s.Value)) < 0 {
		return wrong(s, "is negative, or so large that uWSGI takes it for a negative number", fmt.Sprintf("write a number from 0 to %d", math.MaxInt32))
	}
	return nil
}

func threeOctal(text string) bool { return len(text) == 3 && strings.Trim(text, "01234567") == "" }

func logfileMode(_ *reader, s Setting) error {
	if !threeOctal(s.Value) {
		return wrong(s, "is not three octal digits", "write for example "+s.Key+" = 640")
	}
	return nil
}

// listens judges an address: there is one, a shared socket it names was defined above it, and a local address that it only
// begins is there.
func (r *reader) listens(s Setting) error {
	switch at := strings.LastIndexByte(s.Value, ':'); {
	case s.Value == "":
		return wrong(s, "names no address", "write for example "+s.Key+" = /run/uwsgi/shop.sock")
	case s.Value[0] == '=' && int32(leading(s.Value[1:])) >= int32(r.shared):
		return wrong(s, "names a shared socket that no line above has defined", "write shared-socket = ADDRESS above it; the first one is =0")
	case at > 0 && strings.Contains(s.Value[:at], "*"):
		begin, _, _ := strings.Cut(s.Value, "*")
		addresses, err := net.InterfaceAddrs()
		if err == nil && !slices.ContainsFunc(addresses, func(a net.Addr) bool { return strings.HasPrefix(a.String(), begin) }) {
			return local(wrong(s, "fits no address of this machine", "write the address itself, or 127.0.0.1"))
		}
	}
	return nil
}

func sharedSocket(r *reader, s Setting) error {
	if s.Value == "" || s.Value[0] != '=' {
		if err := r.listens(s); err != nil {
			return err
		}
	}
	r.shared++
	return nil
}

// ends is the fault of an option that makes uWSGI print something and end.
func ends(_ *reader, s Setting) error { return ending(s) }

// certificate judges socket,certificate,key.
func certificate(r *reader, s Setting) error {
	parts := strings.Split(s.Value, ",")
	if len(parts) < 3 {
		return wrong(s, "is not an address, a certificate and a key with commas between", "write "+s.Key+" = :443,/etc/ssl/shop.crt,/etc/ssl/shop.key")
	}
	return r.exists(s, parts[1], parts[2])
}

func https2(r *reader, s Setting) error {
	found := pairs(s.Value)
	if found["addr"] == "" || found["cert"] == "" || found["key"] == "" {
		return wrong(s, "needs addr, cert and key", "write "+s.Key+" = addr=:443,cert=/etc/ssl/shop.crt,key=/etc/ssl/shop.key")
	}
	return r.exists(s, found["cert"], found["key"])
}

// exists judges files that uWSGI reads when it applies the option.
func (r *reader) exists(s Setting, names ...string) error {
	for _, name := range names {
		if fi, err := os.Stat(r.path(name)); err != nil || fi.IsDir() {
			e := local(wrong(s, "names a file that is not there: "+name, "write the name of a file that is there; a relative one starts at "+r.Dir))
			e.outside = true
			return e
		}
	}
	return nil
}

func lockable(r *reader, s Setting) error { return r.exists(s, s.Value) }

func folder(r *reader, s Setting) error {
	if fi, err := os.Stat(r.path(s.Value)); s.Value == "" || err != nil || !fi.IsDir() {
		e := local(wrong(s, "is not a folder", "write the name of a folder that is there; a relative one starts at "+r.Dir))
		e.outside = true
		return e
	}
	return nil
}

// account32 judges a user or group that is looked up at once; 0 and what is no number are names.
func account32(_ *reader, s Setting) error {
	if isDigits(s.Value) && leading(s.Value) > 0 {
		return nil
	}
	_, err := user.Lookup(s.Value)
	if strings.HasSuffix(s.Key, "gid") {
		_, err = user.LookupGroup(s.Value)
	}
	if err != nil {
		return local(wrong(s, "is not the name of an account here, nor a number above 0", "write for example "+s.Key+" = www-data"))
	}
	return nil
}

// cron2 judges [key=value,…] command.
func cron2(_ *reader, s Setting) error {
	if keys, command := cronKeys(s.Value); keys != "" && command == "" {
		return wrong(s, "has no command behind its times", "write "+s.Key+" = minute=-5,hour=-1 COMMAND")
	}
	return nil
}

// cronKeys splits the value of cron2. Without an equals sign before the first blank all of it is the command.
func cronKeys(value string) (keys, command string) {
	keys, command, _ = strings.Cut(value, " ")
	if strings.IndexByte(keys, '=') < 0 {
		return "", value
	}
	return keys, command
}

// Shown is the value as --show-config prints it: "true" for a bare flag, and of cron2 only what is left when uWSGI has cut its
// command off.
func (s Setting) Shown() string {
	if s.Bare {
		return "true"
	}
	if s.Key == "cron2" {
		if keys, _ := cronKeys(s.Value); keys != "" {
			return keys
		}
	}
	return s.Value
}

// fiveNumbers judges the times of cron: five numbers, with any blanks between them.
func fiveNumbers(s Setting, text string) error {
	rest := []byte(text)
	for range 5 {
		rest = bytes.TrimLeft(rest, " \t\n\v\f\r")
		n := 0
		if n < len(rest) && (rest[n] == '-' || rest[n] == '+') {
			n++
		}
		start := n
		for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		if n == start {
			return wrong(s, "does not begin with five numbers (minute, hour, day, month, weekday)", "write -1 for every one and -5 for every fifth, for example "+s.Key+" = 0 -1 -1 -1 -1 COMMAND")
		}
		rest = rest[n:]
	}
	return nil
}
