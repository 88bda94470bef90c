package webserver

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/emperord/emperord/sockets/nginxconf"
)

// TestAnNginxThatDoesNotRunComesFirst: everything else that is found is of no use before it runs.
func TestAnNginxThatDoesNotRunComesFirst(t *testing.T) {
	s, _ := conf(t, "user root;\n"+strings.Replace(site, "TARGET", "uwsgi_pass unix:/nonexistent/shop.sock;", 1))
	found, err := Find(context.Background(), "", s.Conf)
	if err != nil || len(found) != 1 || !found[0].Down {
		t.Fatalf("%v %+v", err, found)
	}
	shop := Socket{Address: "/nonexistent/shop.sock", Vassal: "shop.ini", Protocol: nginxconf.UWSGI}
	if r := found[0].Examine([]Socket{shop}); len(r.Findings) != 1 || r.Findings[0].Code != NginxDown || len(r.Findings[0].Commands) != 1 || r.Findings[0].Commands[0] != found[0].Reload() {
		t.Errorf("%+v", r.Findings)
	}
	shop.Address = "/nonexistent/shop.socket" // another finding, whose command starts it: not twice
	if r := found[0].Examine([]Socket{shop}); len(r.Findings) != 2 || r.Findings[0].Code != NginxDown || len(r.Findings[0].Commands) != 0 {
		t.Errorf("%+v", r.Findings)
	}
	if found, err = Find(context.Background(), "0", s.Conf); err != nil || len(found) != 1 || found[0].Down {
		t.Errorf("who names a user may mean another server: %v %+v", err, found)
	}
}

// TestNginxHasNoAbstractSockets: it takes the name for a file's (measured with nginx 1.22).
func TestNginxHasNoAbstractSockets(t *testing.T) {
	s, _ := conf(t, strings.Replace(site, "TARGET", "uwsgi_pass unix:@shop;", 1))
	r := s.Examine([]Socket{{Address: "@shop", Vassal: "shop.ini", Protocol: nginxconf.UWSGI}})
	if len(r.Findings) != 1 || r.Findings[0].Code != TargetNotServed || r.Findings[0].Subject != "shop.ini" || !strings.Contains(r.Findings[0].Cause, "no abstract sockets") || len(r.Notes) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestADeadServerAmongOthersIsNo502(t *testing.T) {
	text := strings.Replace(site, "http {", "http {\n upstream u { server unix:/nonexistent/dead.sock; server unix:/nonexistent/shop.sock; }", 1)
	s, _ := conf(t, strings.Replace(text, "TARGET", "uwsgi_pass u;", 1))
	r := s.Examine([]Socket{{Address: "/nonexistent/shop.sock", Vassal: "shop.ini", Protocol: nginxconf.UWSGI}})
	if len(r.Findings) != 1 || r.Findings[0].Code != TargetNotServed || !strings.Contains(r.Findings[0].Why, "the other servers") {
		t.Errorf("%+v", r.Findings)
	}
}

// TestAResetCountsForARealUWSGIOnly: only uWSGI drops what is larger than its buffer-size.
func TestAResetCountsForARealUWSGIOnly(t *testing.T) {
	s, _ := conf(t, strings.Replace(site, "TARGET", "uwsgi_pass 127.0.0.1:1;", 1))
	x := examination{Server: s, Report: &Report{}, byKey: map[string][]Socket{}}
	x.resets(map[string]time.Time{key("127.0.0.1:1"): time.Now()})
	if len(x.Findings) != 0 || uwsgiAt("/nonexistent/socket") != 0 || uwsgiAt("*:1") != 0 {
		t.Errorf("%+v", x.Findings)
	}
}
