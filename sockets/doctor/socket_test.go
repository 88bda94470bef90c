package doctor

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/protocol/api"
	"github.com/emperord/emperord/protocol/uwsgi"
	"github.com/emperord/emperord/sockets/access"
)

// Strangers that no real system has.
var (
	web  = access.User{Name: "61560", UID: 61560, GID: 61560}
	shop = access.User{Name: "61561", UID: 61561, GID: 61561}
)

// ground is a folder that everybody may enter.
func ground(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("the tests of rights need root")
		}
		t.Skip("the tests of rights need root")
	}
	dir, err := os.MkdirTemp("/tmp", "emperord-doctor-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// listen listens at a path or address, with a socket that belongs to a user.
func listen(t *testing.T, address string, mode os.FileMode, who access.User) net.Listener {
	t.Helper()
	network := "unix"
	if strings.Contains(address, ":") {
		network = "tcp"
	}
	ln, err := net.Listen(network, address)
	must(t, err)
	t.Cleanup(func() { ln.Close() })
	if strings.HasPrefix(address, "/") {
		must(t, os.Chmod(address, mode))
		must(t, os.Chown(address, who.UID, who.GID))
	}
	return ln
}

// serve answers uwsgi. A request that reaches the application is an error: the doctor runs nobody's code.
func serve(t *testing.T, ln net.Listener) {
	t.Helper()
	done := make(chan struct{})
	s := &uwsgi.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the doctor sent a request") })}
	go func() { defer close(done); _ = s.Serve(ln) }()
	t.Cleanup(func() { ln.Close(); <-done })
}

// each calls do with every connection.
func each(t *testing.T, ln net.Listener, do func(net.Conn)) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			do(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
}

func codes(list []Finding) string {
	var words []string
	for _, f := range list {
		words = append(words, f.Code)
	}
	return strings.Join(words, " ")
}

// mend runs every command as an operator would.
func mend(t *testing.T, list []Finding) {
	t.Helper()
	for _, f := range list {
		for _, c := range f.Commands {
			if out, err := exec.Command("sh", "-c", c).CombinedOutput(); err != nil {
				t.Errorf("%s: %s: %v: %s", f.Code, c, err, out)
			}
		}
	}
}

func examine(t *testing.T, x *Examiner, s Socket) []Finding {
	t.Helper()
	list := x.Socket(t.Context(), s, web)
	for _, f := range list {
		if f.Cause == "" || f.Subject == "" || f.Place == "" || len(f.Commands) == 0 && f.Note == "" && f.Code != BadAddress && f.Code != Unreachable && f.Code != SpeaksOther {
			t.Errorf("a finding of no use: %+v", f)
		}
		if !strings.Contains(fmt.Sprint(Codes), "{"+f.Code+" ") {
			t.Errorf("the code %s is not among Codes", f.Code)
		}
	}
	return list
}

func TestAGoodSocketHasNoFindings(t *testing.T) {
	dir := ground(t)
	for _, address := range []string{dir + "/a.sock", "@emperord-doctor-" + fmt.Sprint(os.Getpid()), "127.0.0.1:0", "[::1]:0"} {
		ln, err := net.Listen("unix", address)
		if strings.Contains(address, ":0") {
			ln, err = net.Listen("tcp", address)
		}
		if strings.HasPrefix(address, "[") && err != nil {
			continue // a machine without IPv6
		}
		must(t, err)
		if strings.HasPrefix(address, "/") {
			must(t, os.Chmod(address, 0o660))
			must(t, os.Chown(address, shop.UID, web.GID))
		} else if !strings.HasPrefix(address, "@") {
			address = ln.Addr().String()
		}
		serve(t, ln)
		if list := examine(t, &Examiner{}, Socket{Address: address}); len(list) > 0 {
			t.Errorf("%s: %+v", address, list)
		}
	}
}

// TestTheWayAndTheSocketAreMended: the printed commands are run, and nothing is found any more.
func TestTheWayAndTheSocketAreMended(t *testing.T) {
	for name, c := range map[string]struct {
		folder os.FileMode
		mode   os.FileMode
		group  int
		want   string
	}{
		"folder closed":          {0o700, 0o666, shop.GID, "no-way"},
		"socket of mode 600":     {0o755, 0o600, shop.GID, "socket-closed"},
		"socket of mode 755":     {0o755, 0o755, shop.GID, "socket-closed"},
		"group right, mode not":  {0o755, 0o600, web.GID, "socket-closed"},
		"both, the usual 502":    {0o750, 0o660, shop.GID, "no-way socket-closed"},
		"group shut out by mode": {0o755, 0o606, web.GID, "socket-closed"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := ground(t)
			home := dir + "/home"
			must(t, os.Mkdir(home, 0o755))
			ln := listen(t, home+"/a.sock", c.mode, access.User{UID: shop.UID, GID: c.group})
			serve(t, ln)
			must(t, os.Chown(home, shop.UID, shop.GID))
			must(t, os.Chmod(home, c.folder))
			s := Socket{Address: home + "/a.sock"}
			list := examine(t, &Examiner{}, s)
			if codes(list) != c.want {
				t.Fatalf("got %+v", list)
			}
			mend(t, list)
			if list := examine(t, &Examiner{}, s); len(list) > 0 {
				t.Errorf("after the commands: %+v", list)
			}
		})
	}
}

func TestWhatIsThereInTheSocketsPlace(t *testing.T) {
	dir := ground(t)
	file := dir + "/shop.ini"
	must(t, os.WriteFile(file, []byte("[uwsgi]\n"), 0o644))
	must(t, os.WriteFile(dir+"/file", nil, 0o644))
	must(t, os.Mkdir(dir+"/folder", 0o755))
	must(t, os.Symlink("nowhere", dir+"/link"))
	must(t, os.Symlink("circle", dir+"/circle"))
	must(t, unix.Mkfifo(dir+"/fifo", 0o644))
	dead := listen(t, dir+"/dead", 0o666, shop)
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	dead.Close()
	gram, err := net.ListenPacket("unixgram", dir+"/gram")
	must(t, err)
	t.Cleanup(func() { gram.Close() })
	must(t, os.Chmod(dir+"/gram", 0o666))
	for _, c := range []struct{ address, want, cause string }{
		{dir + "/none.sock", SocketMissing, "is not there"},
		{dir + "/none/a.sock", FolderMissing, dir + "/none is missing"},
		{dir + "/link", MissingLink, "leads nowhere"},
		{dir + "/circle", MissingLink, "circle"},
		{dir + "/folder", NotASocket, "is a folder"},
		{dir + "/file", NotASocket, "is a regular file"},
		{dir + "/fifo", NotASocket, "is a FIFO"},
		{dir + "/file/a.sock", MissingLink, "is no folder"},
		{dir + "/dead", NobodyListens, "who made it has ended"},
		{dir + "/gram", SpeaksOther, "datagram"},
		{"@no-such-name-of-emperord", NobodyListens, "nobody listens"},
		{"127.0.0.1:1", NobodyListens, "nobody listens"},
		{"relative.sock", BadAddress, "relative"},
		{"unix:/run/a.sock", BadAddress, "unix:"},
		{"nobody.invalid:3031", Unreachable, "no connection"},
	} {
		list := examine(t, &Examiner{}, Socket{Address: c.address})
		if codes(list) != c.want || !strings.Contains(list[0].Cause, c.cause) {
			t.Errorf("%s: got %+v; want %s, %s", c.address, list, c.want, c.cause)
		}
	}
	list := examine(t, &Examiner{}, Socket{Address: dir + "/file", File: file, Vassal: "shop.ini"})
	mend(t, list)
	serve(t, listen(t, dir+"/file", 0o666, shop)) // what the touch makes an emperor do
	if list := examine(t, &Examiner{}, Socket{Address: dir + "/file", File: file, Vassal: "shop.ini"}); len(list) > 0 {
		t.Errorf("after the commands: %+v", list)
	}
	list = examine(t, &Examiner{}, Socket{Address: dir + "/none/a.sock", Owner: shop})
	mend(t, list)
	serve(t, listen(t, dir+"/none/a.sock", 0o666, shop))
	if list := examine(t, &Examiner{}, Socket{Address: dir + "/none/a.sock"}); len(list) > 0 {
		t.Errorf("after the commands: %+v", list)
	}
}

func TestWhoAnswersAndHow(t *testing.T) {
	dir := ground(t)
	const little = 300 * time.Millisecond
	for name, c := range map[string]struct {
		do   func(net.Conn)
		want string
	}{
		"an HTTP server that answers": {func(c net.Conn) { _, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }, SpeaksHTTP},
		"one that waits for a line": {func(c net.Conn) {
			buf := make([]byte, 100)
			for n := 1; n > 0; n, _ = c.Read(buf) {
			}
		}, SpeaksHTTP},
		"FastCGI":       {func(net.Conn) {}, SpeaksOther},
		"bytes":         {func(c net.Conn) { _, _ = c.Write([]byte{1, 2, 3, 4, 5}) }, SpeaksOther},
		"a busy worker": {func(net.Conn) { <-t.Context().Done() }, NoAnswer},
	} {
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		each(t, listen(t, path, 0o666, shop), c.do)
		patience := 20 * time.Second // where an answer has to come
		if c.want == NoAnswer || strings.Contains(name, "waits") {
			patience = little
		}
		if list := examine(t, &Examiner{Patience: patience}, Socket{Address: path, Owner: access.User{Name: "root"}}); codes(list) != c.want {
			t.Errorf("%s: got %+v", name, list)
		}
	}
}

// fill makes a listener that nobody accepts from, with a full queue.
func fill(t *testing.T, path string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	must(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	must(t, unix.Listen(fd, 1))
	must(t, os.Chmod(path, 0o666))
	for range 10 {
		c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		must(t, err)
		t.Cleanup(func() { unix.Close(c) })
		if unix.Connect(c, &unix.SockaddrUnix{Name: path}) != nil {
			return
		}
	}
	t.Fatal("the queue is not full after 10 connections")
}

func TestAFullQueueIsNamed(t *testing.T) {
	dir := ground(t)
	file := dir + "/shop.ini"
	must(t, os.WriteFile(file, []byte("[uwsgi]\nsocket = "+dir+"/full.sock\nlisten = 5\n"), 0o644))
	fill(t, dir+"/full.sock")
	list := examine(t, &Examiner{}, Socket{Address: dir + "/full.sock", File: file, Vassal: "shop.ini"})
	if codes(list) != QueueFull || !strings.Contains(list[0].Why, "11: Resource temporarily unavailable") {
		t.Fatalf("got %+v", list)
	}
	for _, c := range list[0].Commands {
		if strings.HasPrefix(c, "sysctl") {
			continue // it is the machine's
		}
		if out, err := exec.Command("sh", "-c", c).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", c, err, out)
		}
	}
	if raw, err := os.ReadFile(file); err != nil || !strings.Contains(string(raw), "\nlisten = 4096\n") {
		t.Errorf("the file says %q, %v", raw, err)
	}
}

// TestTheEmperorsWordCounts: what the emperor knows of a vassal is said instead of guessed, and a vassal that is not serving is not woken.
func TestTheEmperorsWordCounts(t *testing.T) {
	dir := ground(t)
	path := dir + "/a.sock"
	each(t, listen(t, path, 0o666, shop), func(net.Conn) { t.Error("a vassal that does not serve was pinged") })
	x := &Examiner{Asked: true, Vassals: []api.Vassal{{Name: "shop.ini", State: api.Backoff, Reason: "it exits with 1; see its log", UID: shop.UID}}}
	list := examine(t, x, Socket{Address: path, Vassal: "shop.ini"})
	if codes(list) != VassalNotReady || !strings.Contains(list[0].Note, "exits with 1") {
		t.Errorf("got %+v", list)
	}
	x.Vassals[0].State = api.Suspended
	list = examine(t, x, Socket{Address: dir + "/gone.sock", Vassal: "shop.ini"})
	if codes(list) != SocketMissing || len(list[0].Commands) != 1 || list[0].Commands[0] != "emperorctl start shop.ini" {
		t.Errorf("got %+v", list)
	}
}

func TestAnotherListenerIsNamed(t *testing.T) {
	dir := ground(t)
	path := dir + "/a.sock"
	c := exec.Command("setpriv", "--reuid=61562", "--regid=61562", "--clear-groups", "/usr/bin/python3", "-c", `
import socket, sys
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(5); print("up", flush=True)
while True:
    c, _ = s.accept(); c.recv(4); c.send(b"d\0\0\1"); c.close()`, path)
	must(t, os.Chmod(dir, 0o777))
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	must(t, err)
	must(t, c.Start())
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	buf := make([]byte, 2)
	if _, err := out.Read(buf); err != nil {
		t.Fatal(err)
	}
	must(t, os.Chmod(path, 0o666))
	list := examine(t, &Examiner{}, Socket{Address: path, Owner: shop, Vassal: "shop.ini"})
	if codes(list) != ListenerOther || !strings.Contains(list[0].Cause, fmt.Sprintf("process %d, uid 61562", c.Process.Pid)) {
		t.Errorf("got %+v", list)
	}
	if list := examine(t, &Examiner{PIDs: []int{c.Process.Pid}}, Socket{Address: path, Owner: shop}); len(list) > 0 {
		t.Errorf("the emperor itself listens: got %+v", list)
	}
}

// TestWhoMayNotLookSaysSo runs the doctor as a nobody: it must not say that all is well.
func TestWhoMayNotLookSaysSo(t *testing.T) {
	if dir := os.Getenv("EMPERORD_TEST_NOBODY"); dir != "" { // the child
		list := (&Examiner{}).Socket(t.Context(), Socket{Address: dir + "/shut/a.sock"}, shop)
		fmt.Printf("shut: %s\n", codes(list))
		list = (&Examiner{}).Socket(t.Context(), Socket{Address: dir + "/b.sock"}, shop)
		fmt.Printf("closed: %s\n", codes(list))
		return
	}
	dir := ground(t)
	must(t, os.Mkdir(dir+"/shut", 0o700))
	must(t, os.Chown(dir+"/shut", shop.UID, shop.GID))
	serve(t, listen(t, dir+"/shut/a.sock", 0o600, shop))
	serve(t, listen(t, dir+"/b.sock", 0o600, shop))
	self := dir + "/doctor.test"
	exe, err := os.Executable()
	must(t, err)
	raw, err := os.ReadFile(exe)
	must(t, err)
	must(t, os.WriteFile(self, raw, 0o755))
	c := exec.Command("setpriv", "--reuid=61563", "--regid=61563", "--clear-groups", self, "-test.run=TestWhoMayNotLookSaysSo")
	c.Env, c.Dir = append(os.Environ(), "EMPERORD_TEST_NOBODY="+dir), dir
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "shut: cannot-look\n") || !strings.Contains(string(out), "closed: cannot-look\n") {
		t.Errorf("%v: %s", err, out)
	}
}
