package emperor

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/sockets"
)

func TestEnvironmentOfAVassal(t *testing.T) {
	own := []string{"PATH=/bin", "HOME=/root", "USER=root", "SUDO_USER=me", "LANG=C", "NOTIFY_SOCKET=/n", "LISTEN_FDS=1", "WATCHDOG_USEC=1",
		"UWSGI_RELOADS=1", "UWSGI_EMPEROR_FD=9", "UWSGI_EMPEROR=/etc", "UWSGI_VASSAL_PROCESSES=4", "UWSGI_VASSAL_SET=a=b", "UWSGI_VASSALS_INHERIT=/x", "EMPERORD_VASSAL=other", "DATABASE=x", "UWSGI_THREADS=2",
		"UWSGI_HARAKIRI=9", "UWSGI_VASSAL_HARAKIRI=5", "UWSGI_SET=c=d", "UWSGI_VASSAL_EMPEROR_FD=7", "UWSGI_VASSAL_A_B="}
	want := []string{"PATH=/bin", "LANG=C", "UWSGI_PROCESSES=4", "DATABASE=x", "UWSGI_THREADS=2", "UWSGI_HARAKIRI=5", "UWSGI_SET=c=d", "UWSGI_A_B=", "USER=61001", "LOGNAME=61001", "SHELL=/bin/sh", "HOME=/", "EXTRA=1"}
	got := environment(newDirectory(nil), own, &sockets.Identity{Name: "61001", UID: 61001}, "EXTRA=1")
	if !slices.Equal(got, want) {
		t.Errorf("with another user:\n%q, want\n%q", got, want)
	}
	same := environment(newDirectory(nil), []string{"HOME=/root", "USER=root"}, nil)
	if !slices.Equal(same, []string{"HOME=/root", "USER=root"}) {
		t.Errorf("with the same user: %q", same)
	}
}

// stuck is a log that nobody reads for a while.
type stuck struct {
	release chan struct{}
	mu      sync.Mutex
	b       bytes.Buffer
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.release
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func TestSlowLogHoldsUpNobodyAndSaysWhatItLost(t *testing.T) {
	w := &stuck{release: make(chan struct{})}
	s := newSink(w, style{})
	done := make(chan struct{})
	go func() {
		for i := range sinkSize + 100 {
			fmt.Fprintf(s, "line %d\n", i)
		}
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("the writer waits")
	}
	close(w.release)
	s.close()
	if text := w.b.String(); !strings.Contains(text, "line 0\n") || !strings.Contains(text, "pieces of the log were dropped here") {
		t.Errorf("%d bytes, without a word of what was lost", len(text))
	}
}

func TestOutputIsPrefixedBoundedAndHarmless(t *testing.T) {
	var log logBuffer
	s := newSink(&log, style{})
	o, err := newOutput("shop.ini", 0, s, nil, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", maxLine+10)
	io.WriteString(o.write, "one\ntwo \x1b[31mred\r\n\n"+long+"\nno newline at the end")
	o.closeWrite()
	<-o.done
	s.close()
	want := "[shop.ini] one\n[shop.ini] two ?[31mred\n[shop.ini] \n[shop.ini] " + long[:maxLine] + "\n[shop.ini] " + long[:10] + "\n[shop.ini] no newline at the end\n"
	if got := log.String(); got != want {
		t.Errorf("got %q", got)
	}
	if o.lastLine() != "no newline at the end" {
		t.Errorf("last line %q", o.lastLine())
	}
}

func TestOutputEndsThoughSomebodyKeepsThePipe(t *testing.T) {
	s := newSink(io.Discard, style{})
	defer s.close()
	o, err := newOutput("shop.ini", 0, s, nil, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	kept := o.write // a descendant's copy
	o.write = nil
	o.abandon(20 * time.Millisecond)
	select {
	case <-o.done:
	case <-time.After(5 * time.Second):
		t.Error("the reader does not end")
	}
	kept.Close()
}

func TestFloodOfOneVassalLosesItsOwnLinesOnly(t *testing.T) {
	w := &stuck{release: make(chan struct{})}
	s := newSink(w, style{})
	flood, err := newOutput("flood.ini", 0, s, nil, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	line := []byte(strings.Repeat("x", 4000) + "\n")
	for range 16 * share {
		if _, err := flood.write.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Fprintln(s, "the word of another")
	close(w.release)
	for flood.waiting.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
	flood.write.Write([]byte("afterwards\n"))
	flood.closeWrite()
	<-flood.done
	s.close()
	text := w.b.String()
	if !strings.Contains(text, "the word of another\n") || !strings.Contains(text, "[flood.ini] afterwards\n") {
		t.Error("lines are missing")
	}
	if n := strings.Count(text, "[flood.ini] xxx"); n >= 16*share || !strings.Contains(text, "lines were dropped here: more came") {
		t.Errorf("%d lines of the flood were written", n)
	}
}

// A flood that is written as fast as it comes would push everybody else's lines out of the log, or fill the disk.
func TestVassalWritesNoMoreThanItsMeasure(t *testing.T) {
	now := time.Now()
	m := measure{}
	for range bytesAtOnce / chunk {
		if !m.take(chunk, now) {
			t.Fatal("the first bytes are refused")
		}
	}
	if m.take(1, now) || m.take(chunk, now.Add(-time.Hour)) {
		t.Error("there is no bound")
	}
	if !m.take(bytesASecond/2, now.Add(500*time.Millisecond)) || m.take(1, now.Add(500*time.Millisecond)) {
		t.Error("half a second does not give half of a second's bytes")
	}
	if !m.take(bytesAtOnce, now.Add(time.Hour)) || m.take(bytesASecond, now.Add(time.Hour)) {
		t.Error("an hour does not fill it up, or fills in too much")
	}

	// The next generation of the same vassal has no more than the first has left, and both tell what is missing.
	var log logBuffer
	s := newSink(&log, style{})
	spent := &measure{spent: bytesAtOnce - 40, at: now.Add(time.Hour)}
	for _, line := range []string{"is written", strings.Repeat("x", 100), "is there no more"} {
		o, err := newOutput("flood.ini", 0, s, nil, spent, 0)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(o.write, line+"\n")
		o.closeWrite()
		<-o.done
	}
	fmt.Fprintln(s, "the word of another")
	s.close()
	dropped := "[flood.ini] (1 lines were dropped here: more came than the log takes)\n"
	if got, want := log.String(), "[flood.ini] is written\n"+dropped+dropped+"the word of another\n"; got != want {
		t.Errorf("got %q", got)
	}
}

func TestLogThatNobodyReadsDoesNotHoldUpTheEnd(t *testing.T) {
	w := &stuck{release: make(chan struct{})}
	s := newSink(w, style{})
	fmt.Fprintln(s, "stuck")
	begin := time.Now()
	s.close()
	if took := time.Since(begin); took > 5*patience {
		t.Errorf("it took %s", took)
	}
	close(w.release)
	<-s.done
}

func TestOwnName(t *testing.T) {
	who := sockets.Identity{Name: "shop"}
	for path, ok := range map[string]bool{"/run/uwsgi/app.sock": true, "/run/uwsgi/shop/x.sock": true, "/run/uwsgi/shop": true, "/run/uwsgi/other.sock": false, "/run/uwsgi/app2.sock": false, "/shop/run/other.sock": false, "/home/shop/x.sock": true} {
		err := ownName(sockets.Address{Kind: sockets.Unix, Path: path}, []string{"/run/uwsgi", "/shop/run"}, "app.ini", who)
		if (err == nil) != ok {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestChildrenInheritNoCapabilities(t *testing.T) {
	needRoot(t)
	result := make(chan error)
	go func() { // on a thread that ends with its capabilities
		runtime.LockOSThread()
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var before, after [2]unix.CapUserData
		if err := unix.Capget(&header, &before[0]); err != nil {
			result <- err
			return
		}
		before[0].Inheritable = before[0].Permitted
		err := unix.Capset(&header, &before[0])
		if err == nil {
			err = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_CHOWN, 0, 0)
		}
		if err == nil {
			err = shedInheritance()
		}
		if err == nil {
			err = unix.Capget(&header, &after[0])
		}
		if err == nil && (after[0].Inheritable != 0 || after[1].Inheritable != 0 || after[0].Effective != before[0].Effective) {
			err = fmt.Errorf("before %+v, after %+v", before, after)
		}
		if set, e := unix.PrctlRetInt(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, unix.CAP_CHOWN, 0, 0); err == nil && (e != nil || set != 0) {
			err = fmt.Errorf("ambient CAP_CHOWN: %d, %v", set, e)
		}
		result <- err
	}()
	if err := <-result; err != nil {
		t.Error(err)
	}
}

func TestBlameNamesTheFirstClosedFolder(t *testing.T) {
	needRoot(t)
	who := sockets.Identity{Name: "shop", UID: shopID, GID: shopID}
	if got := blame(who, "/root/bin/vassald"); !strings.Contains(got, "shop may not enter or run /root ") {
		t.Errorf("got %q", got)
	}
	if got := blame(who, "/usr/bin/env"); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestSecretsThatVassalsGetAreNamed(t *testing.T) {
	env := []string{"PATH=/bin", "DB_PASSWORD=x", "aws_secret_access_key=y", "GITHUB_TOKEN=z", "EMPTY_TOKEN=", "EMPERORD_TOKEN=ours", "UWSGI_VASSAL_API_KEY=theirs", "KEYBOARD=de", "PASSPHRASE_HINT=none"}
	if got, want := secrets(env), []string{"DB_PASSWORD", "GITHUB_TOKEN", "UWSGI_API_KEY", "aws_secret_access_key"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestTyrantSaysOnceWhatNobodyHasDecided, and is silent where the operator has.
func TestTyrantSaysOnceWhatNobodyHasDecided(t *testing.T) {
	yes := true
	for _, c := range []struct {
		name         string
		tyrant       bool
		tune         func(*configs.Emperor)
		secret, mail int
	}{
		{"tyrant", true, func(*configs.Emperor) {}, 1, 1},
		{"not a tyrant", false, func(*configs.Emperor) {}, 0, 0},
		{"no_new_privs decided", true, func(c *configs.Emperor) { c.NoNewPrivs = &yes }, 1, 0},
		{"a user excepted", true, func(c *configs.Emperor) { c.NewPrivsFor = []string{"root"} }, 1, 0},
		{"variables named", true, func(c *configs.Emperor) { c.KeepVariable = []string{"DB_PASSWORD"} }, 0, 1},
	} {
		var log bytes.Buffer
		out := newSink(&log, style{})
		e := &Emperor{c: &configs.Emperor{}, o: Options{Env: []string{"DB_PASSWORD=x"}}, log: style{}.logger(out), tyrant: c.tyrant, powers: ^powers(0)}
		c.tune(e.c)
		e.warnOfRights()
		out.close()
		if n := strings.Count(log.String(), "look like secrets: DB_PASSWORD; "); n != c.secret {
			t.Errorf("%s: secrets are said %d times: %s", c.name, n, log.String())
		}
		if n := strings.Count(log.String(), "emperor-new-privs-for = USER"); n != c.mail {
			t.Errorf("%s: no_new_privs is said %d times: %s", c.name, n, log.String())
		}
	}
}
