package configs

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func TestWhereALogIsSent(t *testing.T) {
	udp := func(text string) Destination { return Destination{Address: netip.MustParseAddrPort(text)} }
	for _, c := range []struct {
		key, value string
		want       LogFile
		notice     string
	}{
		{"logto", "127.0.0.1:1717", LogFile{To: []Destination{udp("127.0.0.1:1717")}}, ""},
		{"logto", "udp:10.0.0.1:514", LogFile{To: []Destination{udp("10.0.0.1:514")}}, ""},
		{"logto2", ":514", LogFile{To: []Destination{udp("127.0.0.1:514")}}, ""},
		{"log-socket", "[::1]:514", LogFile{To: []Destination{udp("[::1]:514")}}, ""},
		{"log-socket", "/run/logs.sock", LogFile{To: []Destination{{Path: "/run/logs.sock"}}}, ""},
		{"log-socket", "127.0.0.1:514,shop", LogFile{To: []Destination{udp("127.0.0.1:514")}}, "text to put before"},
		{"logto", "loghost:514", LogFile{}, "see: getent hosts loghost"},
		{"logto", "$(id):514", LogFile{}, "see: getent hosts NAME"},
		{"logto", "1.2.3.4:0", LogFile{}, "a port from 1"},
		{"logto", "1.2.3.4:65536", LogFile{}, "a port from 1"},
		{"logto", "/var/log/a:12", LogFile{Path: "/var/log/a:12"}, ""},
		{"log-syslog", "", LogFile{To: []Destination{{Syslog: "uwsgi", Facility: 3}}}, ""},
		{"log-syslog", "shop", LogFile{To: []Destination{{Syslog: "shop", Facility: 3}}}, ""},
		{"log-syslog", "shop,local3", LogFile{To: []Destination{{Syslog: "shop", Facility: 19}}}, ""},
		{"log-syslog", "shop,nowhere", LogFile{To: []Destination{{Syslog: "shop", Facility: 3}}}, "no facility of syslog"},
		{"log-syslog", "shop,-", LogFile{To: []Destination{{Syslog: "shop", Facility: 3}}}, "no facility of syslog"},
		{"log-syslog", "a b", LogFile{To: []Destination{{Syslog: "uwsgi", Facility: 3}}}, "names no program"},
		{"log-syslog", "a\x1b", LogFile{To: []Destination{{Syslog: "uwsgi", Facility: 3}}}, "names no program"},
		{"log-syslog", strings.Repeat("x", 49), LogFile{To: []Destination{{Syslog: "uwsgi", Facility: 3}}}, "names no program"},
	} {
		settings := Settings{{Key: c.key, Value: c.value, Place: Place{File: "x.ini", Line: 2}}}
		v, notices, err := ParseVassal(append(settings, Setting{Key: "socket", Value: "/run/x.sock"}, Setting{Key: "module", Value: "x"}))
		if err != nil {
			t.Errorf("%s = %s: %v", c.key, c.value, err)
			continue
		}
		e, said, err := ParseEmperor(append(settings, Setting{Key: "emperor", Value: "/srv"}))
		if err != nil || !reflect.DeepEqual(v.Log, c.want) || !e.Log.Equal(c.want) || !v.Log.Equal(e.Log) {
			t.Errorf("%s = %s: %v, vassal %+v, emperor %+v, not %+v", c.key, c.value, err, v.Log, e.Log, c.want)
		}
		for who, all := range map[string][]string{"vassal": notices, "emperor": said} {
			text := ""
			for _, n := range all {
				text += n + "\n"
			}
			if (c.notice == "") != (text == "") || !strings.Contains(text, c.notice) {
				t.Errorf("%s = %s: the %s says %q, not %q", c.key, c.value, who, text, c.notice)
			}
		}
	}
}

func TestALogHasAFewDestinations(t *testing.T) {
	settings := Settings{{Key: "emperor", Value: "/srv"}}
	for i := range 2 * maxDestinations {
		settings = append(settings, Setting{Key: "log-socket", Value: "127.0.0.1:" + string(rune('1'+i%9)) + string(rune('1'+i/9))})
	}
	e, notices, err := ParseEmperor(append(settings, settings[1]))
	if err != nil || len(e.Log.To) != maxDestinations || len(notices) != 1 {
		t.Errorf("%v %d %v", err, len(e.Log.To), notices)
	}
}
