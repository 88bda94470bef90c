package configs

import (
	"errors"
	"strings"
	"testing"
)

// Each line stands in a vassal file that is good otherwise; most of the options are not honoured yet.
func TestValuesOfTheWrongKindAreRefused(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"harakiri = 2m", `"harakiri": value "2m" is not a number; write a whole number of seconds`},
		{"harakiri = -1", `"harakiri": value "-1" is out of range; write a whole number of seconds from 0 to 2147483647`},
		{"http-timeout = abc", `"http-timeout": value "abc" is not a number; write a whole number of seconds`},
		{"cheaper = two", `"cheaper": value "two" is not a number; write a whole number`},
		{"cheaper =", `"cheaper": has no value; write a whole number`},
		{"cheaper = 99999999999", `"cheaper": value "99999999999" is out of range; write a whole number from 0 to 2147483647`},
		{"prio = low", `"prio": value "low" is not a number; write a whole number from -20 to 19`},
		{"max-requests = %(nope)", `"max-requests": value "%(nope)" is not a number; define it with a line nope = …, or write a whole number`},
		{"processes = $WORKERS", `"processes": value "$WORKERS" is not a number; write $(WORKERS), which is the environment variable, or write a whole number from 1 to 1024`},
		{"chmod-socket = %(m)", `"chmod-socket": value "%(m)" is not a mode of three octal digits; define it with a line m = …, or write chmod-socket = 660, or 666 if everybody may connect`},
		{"buffer-size = 32k", `"buffer-size": value "32k" is not a number; write a whole number from 0 to 2147483647`},
		{"limit-as = 1G", `"limit-as": value "1G" is not a number; write a whole number of MiB`},
		{"umask =", `"umask": has no value; write for example umask = 022`},
		{"uid = shop:www", `"uid": value "shop:www" is not a name or a number; write for example uid = www-data`},
		{"http-socket = :80abc", `"http-socket": value ":80abc" has no port; write a port from 1 to 65535 behind the colon`},
		{"http-socket = unix:/run/x", `"http-socket": value "unix:/run/x" is not an address: uWSGI has no unix: in front; write http-socket = /run/x`},
		{"http-socket = :$(PORT)", `"http-socket": value ":$(PORT)" refers to something that is not defined; define it, or write the address itself`},
		{"https-socket = :443", `"https-socket": value ":443" is not an address, a certificate and a key; write https-socket = ADDRESS,CERTIFICATE.pem,KEY.pem`},
		{"https-socket = ::1:443,a,b", `"https-socket": value "::1:443,a,b" is not an address: an IPv6 address stands in brackets; write https-socket = [::1]:443,a,b`},
		{"log-filter = (GET", `"log-filter": value "(GET" is not a regular expression: a ( without its ); close it, or write \( for the character itself`},
		{"log-filter = *.php", `"log-filter": value "*.php" is not a regular expression: a * with nothing to repeat before it; write what it repeats before it, such as ., or \* for the character itself`},
		{"log-filter = [z-a]", `"log-filter": value "[z-a]" is not a regular expression: a range in [ ] that ends before it begins; write the range from its lower end, such as a-z`},
		{"static-expires-uri = [a 300", `"static-expires-uri": value "[a 300" is not a regular expression: a [ without its ]; close it, or write \[ for the character itself`},
	} {
		_, _, err := ParseVassal(shop(t, minimal+c.line+"\n"))
		if want := "shop.ini:4: option " + c.want; err == nil || err.Error() != want {
			t.Errorf("%q:\ngot  %v\nwant %s", c.line, err, want)
		}
	}
}

func TestValuesOfTheRightKindAreTaken(t *testing.T) {
	for _, line := range []string{
		"harakiri = 30", "harakiri = +30", "harakiri = 030", "harakiri = 0", "harakiri = 30 # seconds", "harakiri = 30s", "harakiri = 30 sec ; wait", "limit-as = 512M", "reload-on-rss = 256 MB", "http-keepalive", "post-buffering = 2147483647",
		"limit-as = 512", "log-drain = ^/static/(?!x)", "log-filter = (?<=a)b++", "log-filter = (?|(a)|(b))\\1", "log-filter = (*UTF8)é", "log-filter =",
		"log-filter = (?x) a # (", "log-filter = [[:alpha:]-z]", "static-expires-uri = \\.(css|js)$ 300", "static-map = /a=/b",
		"http-socket = fd://3", "http-socket = 127.0.0.1:0", "http-socket = localhost:", "http-socket = =0", "http-socket = *:80", "http-socket = /run/x",
		"suwsgi-socket = :443,a.pem,b.pem,HIGH", "emperor-freq = 7", "log-date = false", "ienv = A=B", "buffer-size = 65536", "prio = -5", "prio = 19",
	} {
		if _, _, err := ParseVassal(shop(t, minimal+line+"\n")); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	}
}

// In an emperor nobody reads the vassals' options, so any number is good enough, but it has to be one.
func TestVassalsOptionsInAnEmperor(t *testing.T) {
	if _, _, err := emperorOf(t, "[uwsgi]\nemperor = /x\nworkers = 0\nlisten = 100000\n"); err != nil {
		t.Error(err)
	}
	_, _, err := emperorOf(t, "[uwsgi]\nemperor = /x\nworkers = abc\n")
	if want := `emperor.ini:3: option "workers": value "abc" is not a number; write a whole number`; err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func TestAllFaultsAreFound(t *testing.T) {
	_, _, err := ParseVassal(shop(t, "[uwsgi]\nprocesses = a\nsocket = ::1:80\nfor = 1 2\nharakiri = x\nendfor =\nchmod-socket = 0664\numask = 22\n"))
	var lines []string
	for _, e := range Faults(err) {
		lines = append(lines, e.Place.String()+" "+e.Option+": "+e.Cause)
	}
	want := `shop.ini:2 processes: is not a number
shop.ini:3 socket: is not an address: an IPv6 address stands in brackets
shop.ini:5 harakiri: is not a number
shop.ini:7 chmod-socket: is not a mode of three octal digits
shop.ini:8 umask: is too short, and uWSGI would take it for 000
shop.ini : the file names no application`
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	var first *Error
	if !errors.As(err, &first) || first.Option != "processes" || err.Error() != first.Error()+" (and 5 more: see emperorctl check)" {
		t.Errorf("%v, first %v", err, first)
	}
	if Faults(nil) != nil || Faults(errors.New("x")) != nil || len(Faults(first)) != 1 {
		t.Error("Faults is wrong about others' errors")
	}
}

func TestFaultsAreBounded(t *testing.T) {
	_, _, err := ParseVassal(shop(t, minimal+"for-times = 3000\nharakiri = x%(_)\nendfor =\n"))
	if n := len(Faults(err)); n != maxNotices {
		t.Errorf("%d faults", n)
	}
}

func FuzzValue(f *testing.F) {
	for _, s := range []string{"harakiri\x0030s", "http-socket\x00:80", "https-socket\x00:443,a,b", "log-filter\x00(a", "static-expires-uri\x00a b", "chmod-socket\x00664", "env\x00A=1"} {
		key, value, _ := strings.Cut(s, "\x00")
		f.Add(key, value)
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		settings := Settings{{Key: key, Value: value, Place: Place{"f.ini", 2}}, {Key: "socket", Value: "s", Place: Place{"f.ini", 3}}, {Key: "module", Value: "m", Place: Place{"f.ini", 4}}, {Key: "emperor", Value: "/x"}}
		for _, parse := range []func(Settings) error{
			func(s Settings) error { _, _, err := ParseVassal(s); return err },
			func(s Settings) error { _, _, err := ParseEmperor(s); return err },
		} {
			for _, e := range Faults(parse(settings)) {
				if e.Cause == "" || e.Remedy == "" || e.Place.File != "f.ini" {
					t.Errorf("%s = %q: %v", key, value, e)
				}
			}
		}
	})
}
