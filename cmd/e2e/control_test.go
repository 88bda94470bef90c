package e2e

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// ctlAs runs emperorctl as somebody else.
func (s *site) ctlAs(user string, args ...string) (string, error) {
	all := append([]string{"--reuid", user, "--regid", user, "--clear-groups", bin + "/emperorctl", "--socket", s.dir + "/control.sock"}, args...)
	out, err := exec.Command("/usr/bin/setpriv", all...).CombinedOutput()
	return string(out), err
}

func TestTenantsSeeAndSteerTheirOwnVassalsOnly(t *testing.T) {
	s := newSite(t)
	s.app("plain", "plain", shop)
	s.vassal("plain.ini", shop, plainVassal)
	s.vassal("blog.ini", blog, strings.NewReplacer("emperord-t-shop", "emperord-t-blog", "plain.sock", "blog.sock").Replace(plainVassal))
	s.emperor("--emperor-tyrant")
	for _, name := range []string{"plain.ini", "blog.ini"} {
		s.eventually(10*time.Second, name, func() error {
			if out, err := s.ctl("status", name); err != nil || !strings.Contains(out, "accepting") {
				return fmt.Errorf("%v %s", err, out)
			}
			return nil
		})
	}
	out, err := s.ctlAs(blog, "status")
	if err != nil || !strings.Contains(out, "blog.ini") || strings.Contains(out, "plain.ini") {
		t.Errorf("what %s sees: %v\n%s", blog, err, out)
	}
	if out, err := s.ctlAs(blog, "reload", "blog.ini"); err != nil {
		t.Errorf("its own: %v %s", err, out)
	}
	for _, args := range [][]string{{"reload", "plain.ini"}, {"stop", "plain.ini"}, {"status", "plain.ini"}, {"reload", "--all"}} {
		if out, err := s.ctlAs(blog, args...); err == nil {
			t.Errorf("%s may %v: %s", blog, args, out)
		}
	}
	if out, err := s.ctl("status", "plain.ini"); err != nil || !strings.Contains(out, "accepting") {
		t.Errorf("plain.ini afterwards: %v %s", err, out)
	}
	if out, err := s.ctlAs("www-data", "status"); err != nil || strings.Contains(out, ".ini") {
		t.Errorf("what a stranger sees: %v %s", err, out)
	}
}

func TestSeveralSocketsAndTCP(t *testing.T) {
	s := newSite(t)
	s.app("plain", "plain", shop)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	s.vassal("plain.ini", shop, plainVassal+"socket = "+address+"\nsocket = @"+s.dir+"\n")
	s.emperor("--emperor-tyrant")
	for _, where := range []string{s.dir + "/run/plain.sock", address} {
		s.eventually(10*time.Second, where, func() error {
			out, err := exec.Command(bin+"/emperorctl", "request", where, "/").CombinedOutput()
			if err != nil || !strings.Contains(string(out), "hello from ?") {
				return fmt.Errorf("%v %s", err, out)
			}
			return nil
		})
	}
}
