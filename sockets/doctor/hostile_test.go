package doctor

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/protocol/api"
	"github.com/emperord/emperord/sockets/access"
)

// TestSocketsThatDoNotAnswerCostTheirTimeTogether: a tenant owns its sockets, and names as many as it likes. One after the
// other, these would hold the doctor for eight minutes.
func TestSocketsThatDoNotAnswerCostTheirTimeTogether(t *testing.T) {
	dir := ground(t)
	kinds := map[string]func(net.Conn){
		"silent":  func(c net.Conn) { _, _ = c.Read(make([]byte, 8)); time.Sleep(time.Millisecond) },
		"trickle": func(c net.Conn) { _, _ = c.Write([]byte("x")) },
		"flood": func(c net.Conn) {
			for _, err := c.Write(make([]byte, 1<<16)); err == nil; _, err = c.Write(make([]byte, 1<<16)) {
			}
		},
	}
	var list []Socket
	for kind, do := range kinds {
		for i := range 40 {
			path := fmt.Sprintf("%s/%s%d", dir, kind, i)
			ln := listen(t, path, 0o666, shop)
			list = append(list, Socket{Address: path})
			go func() {
				for {
					c, err := ln.Accept()
					if err != nil {
						return
					}
					go func() { // and keeps the connection
						do(c)
						_, _ = c.Read(make([]byte, 1))
						<-t.Context().Done()
						c.Close()
					}()
				}
			}()
		}
	}
	x := &Examiner{}
	begin := time.Now()
	x.Ask(context.Background(), list)
	for _, s := range list {
		if f := x.Socket(context.Background(), s, web); len(f) != 1 || f[0].Code != NoAnswer && f[0].Code != SpeaksOther {
			t.Errorf("%s: %+v", s.Address, f)
		}
	}
	if took := time.Since(begin); took > 2*time.Minute {
		t.Errorf("it took %s", took)
	}
}

func TestASocketWhoseTurnDidNotComeIsNoFindingAboutIt(t *testing.T) {
	path := ground(t) + "/s"
	listen(t, path, 0o666, shop)
	x := &Examiner{asked: map[string]probe{path: {err: errNoTime}}}
	f := x.Socket(context.Background(), Socket{Address: path}, web)
	if len(f) != 1 || f[0].Code != CannotLook || !strings.Contains(f[0].Note, "emperorctl doctor "+path) {
		t.Errorf("%+v", f)
	}
}

func TestAskWakesNobody(t *testing.T) {
	path := ground(t) + "/s"
	ln := listen(t, path, 0o666, shop)
	x := &Examiner{Vassals: []api.Vassal{{Name: "shop.ini", State: api.Suspended}}}
	x.Ask(context.Background(), []Socket{{Address: path, Vassal: "shop.ini"}})
	_ = ln.(*net.UnixListener).SetDeadline(time.Now())
	if _, err := ln.Accept(); err == nil {
		t.Error("a vassal that does not serve was connected to")
	}
}

// TestAnAbstractNameMayEndInNUL: uWSGI counts the NUL behind a name to it, others do not.
func TestAnAbstractNameMayEndInNUL(t *testing.T) {
	for _, end := range []string{"", "\x00"} {
		name := fmt.Sprintf("@emperord-doctor-%d", os.Getpid())
		ln, err := net.Listen("unix", name+end)
		must(t, err)
		serve(t, ln)
		if f := (&Examiner{}).Socket(context.Background(), Socket{Address: name}, web); len(f) != 0 {
			t.Errorf("%q: %+v", name+end, f)
		}
		ln.Close()
	}
}

func TestStoppedProcessesAreNamedAndGoOn(t *testing.T) {
	path := ground(t) + "/s"
	ln := listen(t, path, 0o666, shop)
	c := exec.Command("sleep", "600")
	must(t, c.Start())
	defer func() { _ = c.Process.Kill(); _ = c.Wait() }()
	must(t, c.Process.Signal(syscall.SIGSTOP))
	var status unix.WaitStatus
	if _, err := unix.Wait4(c.Process.Pid, &status, unix.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatal(err, status)
	}
	x := &Examiner{PIDs: []int{os.Getpid()}, Patience: 50 * time.Millisecond,
		Vassals: []api.Vassal{{Name: "shop.ini", State: api.Accepting, UID: shop.UID, PID: c.Process.Pid}}}
	f := x.Socket(context.Background(), Socket{Address: path, Vassal: "shop.ini"}, web)
	if len(f) != 1 || f[0].Code != NoAnswer || !strings.HasPrefix(f[0].Cause, "shop.ini did not answer") || strings.Join(f[0].Commands, ";") != fmt.Sprintf("kill -CONT %d", c.Process.Pid) {
		t.Fatalf("%+v", f)
	}
	mend(t, f)
	if pids := stopped(c.Process.Pid); len(pids) != 0 {
		t.Errorf("still stopped: %v", pids)
	}
	ln.Close()
}

// TestADeadSocketIsRemovedWhereNobodyCanMoveTheFolder: root's rm must not be led elsewhere.
func TestADeadSocketIsRemovedWhereNobodyCanMoveTheFolder(t *testing.T) {
	dir := ground(t)
	for _, c := range []struct {
		name    string
		outer   os.FileMode // of the folder around, which is root's
		command string      // the first, "" for none
	}{
		{"sticky", 0o777 | os.ModeSticky, "setpriv --reuid=61561 --regid=61561 --clear-groups rm -f "},
		{"open", 0o777, ""},
		{"closed", 0o755, "rm -f "},
	} {
		outer := dir + "/" + c.name
		must(t, os.Mkdir(outer, 0o755))
		must(t, os.Chmod(outer, c.outer))
		inner := outer + "/d"
		must(t, os.Mkdir(inner, 0o755))
		must(t, os.Chown(inner, shop.UID, shop.GID))
		ln, err := net.Listen("unix", inner+"/passwd")
		must(t, err)
		ln.(*net.UnixListener).SetUnlinkOnClose(false)
		ln.Close()
		must(t, os.Chown(inner+"/passwd", web.UID, web.GID))
		x := &Examiner{Vassals: []api.Vassal{{Name: "shop.ini", State: api.Backoff, UID: shop.UID}}}
		f := x.Socket(context.Background(), Socket{Address: inner + "/passwd", Vassal: "shop.ini"}, access.User{Name: "root"})
		if len(f) != 1 || f[0].Code != NobodyListens {
			t.Fatalf("%s: %+v", c.name, f)
		}
		switch {
		case c.command == "" && (len(f[0].Commands) > 0 || !strings.Contains(f[0].Note, "before you remove")):
			t.Errorf("%s: %+v", c.name, f)
		case c.command != "" && (len(f[0].Commands) != 2 || f[0].Commands[0] != c.command+inner+"/passwd"):
			t.Errorf("%s: %q", c.name, f[0].Commands)
		}
	}
}

// TestTwoWebServersShareASocket: what lets one in must not shut the other out, nor put a tenant into a web server's group.
func TestTwoWebServersShareASocket(t *testing.T) {
	dir := ground(t)
	path, file := dir+"/s", dir+"/shop.ini"
	serve(t, listen(t, path, 0o660, access.User{UID: shop.UID, GID: web.GID}))
	must(t, os.WriteFile(file, []byte("[uwsgi]\nsocket = "+path+"\nchown-socket = 61561:61560\n"), 0o644))
	second := access.User{Name: "61563", UID: 61563, GID: 61563}
	s := Socket{Address: path, Vassal: "shop.ini", File: file, Line: 2, Owner: shop}
	for _, x := range []*Examiner{
		{Webs: []access.User{web, second}},
		{Asked: true, Tyrant: true, Vassals: []api.Vassal{{Name: "shop.ini", State: api.Accepting, UID: shop.UID}}, PIDs: []int{os.Getpid()}},
	} {
		f := x.Socket(context.Background(), s, second)
		if len(f) != 1 || f[0].Code != SocketClosed || len(f[0].Commands) != 1 || !strings.HasPrefix(f[0].Commands[0], "setfacl -m ") || !strings.Contains(f[0].Note, "makes it last") {
			t.Fatalf("%+v", f)
		}
	}
	mend(t, (&Examiner{Webs: []access.User{web, second}}).Socket(context.Background(), s, second))
	for _, u := range []access.User{web, second} {
		if f := (&Examiner{}).Socket(context.Background(), s, u); len(f) != 0 {
			t.Errorf("%s: %+v", u.Name, f)
		}
	}
}
