package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const talker = `import sys
print("the application loads", flush=True)
def application(environ, start_response):
    print("asked for", environ["PATH_INFO"], flush=True)
    start_response("200 OK", [])
    return [b"well"]
`

// TestAVassalWritesItsOwnLog rotates the log of a tenant's vassal while it is written, and changes its place.
func TestAVassalWritesItsOwnLog(t *testing.T) {
	s := newSite(t)
	uid, gid := ids(t, shop)
	s.mkdir("log", uid, gid)
	s.write("srv/app.py", talker, shop)
	text := "chdir = DIR/srv\nmodule = app:application\nsocket = DIR/run/app.sock\nchmod-socket = 666\nprocesses = 2\n"
	s.vassal("app.ini", shop, text+"logto = DIR/log/app.log\n")
	e := s.emperor("--emperor-tyrant")
	s.nginx(map[string]string{"app": s.dir + "/run/app.sock"})
	path := filepath.Join(s.dir, "log", "app.log")
	ask := func(page string) {
		t.Helper()
		if body := s.get("app", page); body != "well" {
			t.Fatalf("%q", body)
		}
	}
	holds := func(path, words string) {
		t.Helper()
		s.eventually(10*time.Second, filepath.Base(path)+" holds "+words, func() error {
			text, err := os.ReadFile(path)
			if err == nil && !strings.Contains(string(text), words) {
				err = fmt.Errorf("%s", text)
			}
			return err
		})
	}
	ask("/one")
	holds(path, "asked for /one")
	holds(path, "the application loads")
	holds(path, "accepts requests") // vassald's own lines
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); int(st.Uid) != uid || info.Mode().Perm() != 0o640 {
		t.Errorf("uid %d, mode %04o", st.Uid, info.Mode().Perm())
	}
	// logrotate: create
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	s.write("log/app.log", "", shop)
	ask("/two")
	holds(path, "asked for /two")
	// copytruncate
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	ask("/three")
	holds(path, "asked for /three")
	if text, _ := os.ReadFile(path); strings.Contains(string(text), "/two") || strings.Contains(string(text), "\x00") {
		t.Errorf("%q", text)
	}
	// nocreate
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	s.eventually(15*time.Second, "the log is made again", func() error {
		ask("/four")
		_, err := os.Stat(path)
		return err
	})
	// the emperor's log has none of it, and why still knows
	if strings.Contains(e.log.String(), "asked for") {
		t.Error("the emperor's log has the vassal's lines too")
	}
	if out, err := s.ctl("why", "app.ini"); err != nil || !strings.Contains(out, "asked for /four") {
		t.Errorf("why: %v %s", err, out)
	}
	// another place counts at the next reload
	s.vassal("app.ini", shop, text+"chdir2 = DIR/log\nlogto = DIR/log/never.log\nlogto2 = ../log/second.log\n")
	holds(s.dir+"/log/second.log", "accepts requests")
	s.eventually(10*time.Second, "requests are in the second log", func() error { // the old generation may take some still
		ask("/five")
		text, err := os.ReadFile(s.dir + "/log/second.log")
		if err == nil && !strings.Contains(string(text), "asked for /five") {
			err = fmt.Errorf("%q", text)
		}
		return err
	})
	if _, err := os.Stat(s.dir + "/log/never.log"); err == nil {
		t.Error("logto2 does not go before logto")
	}
	// a failing reload: its last words were written to a log of its own
	s.write("srv/app.py", "print('on my way', flush=True)\nraise ValueError('no such luck')\n", shop)
	s.vassal("app.ini", shop, text+"daemonize = DIR/log/third.log\n")
	s.eventually(15*time.Second, "the refusal", func() error {
		out, err := s.ctl("why", "app.ini")
		if err == nil && !(strings.Contains(out, "no such luck") && strings.Contains(out, "on my way")) {
			err = fmt.Errorf("%s", out)
		}
		return err
	})
	holds(s.dir+"/log/third.log", "no such luck")
}

// TestALogThatCannotBeOpenedKeepsNobodyFromServing runs the command that the message names.
func TestALogThatCannotBeOpenedKeepsNobodyFromServing(t *testing.T) {
	s := newSite(t)
	uid, gid := ids(t, shop)
	s.mkdir("log", 0, 0)
	s.write("srv/app.py", talker, shop)
	s.vassal("app.ini", shop, "chdir = DIR/srv\nmodule = app:application\nsocket = DIR/run/app.sock\nchmod-socket = 666\nlogto = DIR/log/app.log\n")
	e := s.emperor("--emperor-tyrant")
	s.nginx(map[string]string{"app": s.dir + "/run/app.sock"})
	if body := s.get("app", "/one"); body != "well" {
		t.Fatalf("%q", body)
	}
	command := fmt.Sprintf("install -o %d -g %d -m 640 /dev/null %s/log/app.log", uid, gid, s.dir)
	s.eventually(10*time.Second, "the remedy and the line in the emperor's log", func() error {
		if text := e.log.String(); !strings.Contains(text, "app.ini:6: the log "+s.dir+"/log/app.log cannot be opened") || !strings.Contains(text, command) || !strings.Contains(text, "asked for /one") {
			return fmt.Errorf("%s", text)
		}
		return nil
	})
	s.start("/bin/sh", "-c", command)
	s.eventually(15*time.Second, "the log is written after all", func() error {
		s.get("app", "/two")
		text, err := os.ReadFile(s.dir + "/log/app.log")
		if err == nil && !strings.Contains(string(text), "asked for /two") {
			err = fmt.Errorf("%s", text)
		}
		return err
	})
	s.eventually(10*time.Second, "it is said that it is over", func() error {
		if text := e.log.String(); !strings.Contains(text, "can be written again") {
			return fmt.Errorf("%s", text)
		}
		return nil
	})
}

// TestSyslogAndUDPGetWhatUWSGISends has a real uWSGI emperor and ours send the output of the same vassal to /dev/log, which is
// a folder of the test's own in their mount namespace, and to a UDP port.
func TestSyslogAndUDPGetWhatUWSGISends(t *testing.T) {
	s := newSite(t)
	uid, gid := ids(t, shop)
	s.mkdir("sock", uid, gid)
	s.mkdir("dev", 0, 0)
	for name, minor := range map[string]int{"null": 3, "zero": 5, "random": 8, "urandom": 9} {
		if err := syscall.Mknod(filepath.Join(s.dir, "dev", name), syscall.S_IFCHR|0o666, 1<<8|minor); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(s.dir, "dev", name), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	listen := func(network, address string) net.PacketConn {
		c, err := net.ListenPacket(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	syslog, udp := listen("unixgram", s.dir+"/dev/log"), listen("udp4", "127.0.0.1:0")
	if err := os.Chmod(s.dir+"/dev/log", 0o666); err != nil {
		t.Fatal(err)
	}
	s.write("srv/app.py", talker, shop)
	find := func(c net.PacketConn, words string) string {
		t.Helper()
		buf := make([]byte, 64<<10)
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
		for {
			n, _, err := c.ReadFrom(buf)
			if err != nil {
				t.Fatalf("no %s: %v", words, err)
			}
			if text := string(buf[:n]); strings.Contains(text, words) {
				return strings.TrimRight(text, "\n")
			}
		}
	}
	within := func(name string, args ...string) *program {
		return s.start("/usr/bin/unshare", append([]string{"--mount", "sh", "-c", `mount --bind "$1" /dev && shift && exec "$@"`, "sh", s.dir + "/dev", name, "--emperor", s.dir + "/vassals", "--emperor-tyrant"}, args...)...)
	}
	told := map[string][]string{}
	for _, whose := range []string{"uwsgi", "emperord"} {
		s.vassal("app.ini", shop, "plugin = python3,syslog,logsocket\nmaster = true\nchdir = DIR/srv\nmodule = app:application\nsocket = DIR/sock/app.sock\nlog-syslog = myapp,local3\nlog-socket = "+udp.LocalAddr().String()+"\n")
		var p *program
		if whose == "uwsgi" {
			p = within("/usr/bin/uwsgi")
		} else {
			p = within(bin+"/emperord", "--emperor-control-socket", s.dir+"/control.sock", "--log-syslog=emperor,daemon")
			if text := find(syslog, "vassal accepts"); !strings.HasPrefix(text, "<30>") || !strings.Contains(text, " emperor: INFO vassal accepts") {
				t.Errorf("the emperor's line is %q", text)
			}
			syslog, udp = listen("unixgram", s.dir+"/dev/log2"), listen("udp4", "127.0.0.1:0")
			if err := os.Chmod(s.dir+"/dev/log2", 0o666); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(s.dir+"/dev/log2", s.dir+"/dev/log"); err != nil { // a syslog that is started again
				t.Fatal(err)
			}
			s.vassal("app.ini", shop, "plugin = python3\nchdir = DIR/srv\nmodule = app:application\nsocket = DIR/sock/app.sock\nlog-syslog = myapp,local3\nlog-socket = "+udp.LocalAddr().String()+"\n")
		}
		line := find(syslog, "the application loads")
		stamp, text := line[len("<158>"):len("<158>Nov 21 21:26:03")], line[:len("<158>")]+line[len("<158>Nov 21 21:26:03"):]
		if _, err := time.Parse(time.Stamp, stamp); err != nil {
			t.Errorf("%s: %v in %q", whose, err, line)
		}
		told[whose] = []string{text, find(udp, "the application loads")}
		if whose == "uwsgi" {
			find(syslog, "spawned uWSGI worker") // until then it would not hear that it is to stop
		}
		_ = p.cmd.Process.Signal(sigint)
		<-p.done
	}
	if !slices.Equal(told["uwsgi"], told["emperord"]) || told["uwsgi"][0] != "<158> myapp: the application loads" {
		t.Errorf("uWSGI sends %q, emperord %q", told["uwsgi"], told["emperord"])
	}
}
