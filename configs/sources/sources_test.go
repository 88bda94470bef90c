package sources

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// read opens a source and returns its text, the error of opening or reading, and that of closing.
func read(o *Opener, scheme, rest string) (text string, err, odd error) {
	f, err := o.Open(scheme, rest)
	if err != nil {
		return "", err, nil
	}
	raw, err := io.ReadAll(f)
	return string(raw), err, f.Close()
}

// clean fails the test if it leaves descriptors or children behind.
func clean(t *testing.T) {
	t.Helper()
	count := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	null, err := os.Open(os.DevNull) // makes the runtime's own descriptors before they are counted
	if err != nil {
		t.Fatal(err)
	}
	_ = null.SetReadDeadline(time.Time{})
	null.Close()
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	before := count()
	t.Cleanup(func() {
		if after := count(); after != before {
			t.Errorf("%d descriptors before and %d after", before, after)
		}
		if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != syscall.ECHILD {
			t.Errorf("a child is left: %d, %v", pid, err)
		}
	})
}

func TestProgramsRunAsUWSGIRunsThem(t *testing.T) {
	clean(t)
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/in", []byte("given"), 0o600); err != nil {
		t.Fatal(err)
	}
	stdin, err := os.Open(dir + "/in")
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	for _, c := range []struct{ command, text, odd string }{
		{"echo a = 1; printf b", "a = 1\nb", ""},
		{"echo $0 $PWD $X $(ps -o sid= -p $$ | tr -d ' ' | sed s/^$$\\$/leads/)", "/bin/sh " + dir + " y leads\n", ""},
		{"cat", "given", ""},
		{"echo c; exit 3", "c\n", "the program ended with exit code 3"},
		{"kill -9 $$", "", "the program was ended by SIGKILL"},
		{"nosuchprogram 2>/dev/null", "", "the program ended with exit code 127"},
		{"", "", ""},
		{"echo d; exec >&-; true", "d\n", ""},
		{"[ ! -e /proc/$$/fd/$OURS ] && echo closed", "closed\n", ""},
	} {
		o := &Opener{Dir: dir, Env: []string{"PATH=/usr/bin:/bin", "X=y", fmt.Sprint("OURS=", stdin.Fd())}, Stdin: stdin, Stderr: os.Stderr}
		text, err, odd := read(o, "exec", c.command)
		if err != nil || text != c.text || (odd == nil) != (c.odd == "") || odd != nil && odd.Error() != c.odd {
			t.Errorf("%s: got %q, %v, %v", c.command, text, err, odd)
		}
	}
}

func TestSetenvReachesPrograms(t *testing.T) {
	clean(t)
	o := &Opener{Env: []string{"PATH=/usr/bin:/bin", "X=1", "XY=2"}}
	value := "new"
	o.Setenv("A", &value)
	o.Setenv("X", nil)
	if text, err, odd := read(o, "exec", "echo $A-$X-$XY"); text != "new--2\n" || err != nil || odd != nil {
		t.Errorf("%q, %v, %v", text, err, odd)
	}
}

func TestNothingIsLeftOfAProgram(t *testing.T) {
	clean(t)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil { // as vassald is
		t.Fatal(err)
	}
	defer func() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) }()
	dir := t.TempDir()
	for name, c := range map[string]struct{ command, fault string }{
		"hangs":              {"echo $$ > pid; sleep 1000; true", "takes too long"},
		"writes without end": {"echo $$ > pid; cat /dev/zero", "gives more than 1048576 bytes"},
		"leaves a daemon":    {"echo $$ > pid; (sleep 1000; true) >/dev/null 2>&1 & echo x", ""},
		"leaves a writer":    {"echo $$ > pid; sleep 1000 & echo x", "takes too long"},
		"closes and stays":   {"echo $$ > pid; exec >&-; sleep 1000", ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := &Opener{Dir: dir, Env: []string{"PATH=/usr/bin:/bin"}, Patience: 300 * time.Millisecond}
			if strings.HasPrefix(name, "writes") {
				o.Patience = 0
			}
			_, err, _ := read(o, "exec", c.command)
			if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
				t.Errorf("got %v", err)
			}
			text, err := os.ReadFile(filepath.Join(dir, "pid"))
			if err != nil {
				t.Fatal(err)
			}
			var group int
			if _, err := fmt.Sscan(string(text), &group); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(-group, 0); err != syscall.ESRCH {
				t.Errorf("something of group %d is left: %v", group, err)
			}
		})
	}
}

func TestDescriptors(t *testing.T) {
	clean(t)
	read1, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read1.Close()
	fmt.Fprint(write, "from a pipe")
	write.Close()
	secret, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer secret.Close()
	n := int(read1.Fd())
	for _, c := range []struct {
		inherited []int
		rest      string
		text, odd string
	}{
		{nil, fmt.Sprint(n), "", "is not one that the program was started with"},
		{[]int{n}, fmt.Sprint(secret.Fd()), "", "is not one that the program was started with"},
		{[]int{n}, fmt.Sprintf("%dx", n), "from a pipe", ""}, // as atoi reads it
		{[]int{n}, fmt.Sprint(n), "", ""},                    // a second reader finds the end
		{[]int{999}, "999", "", "is not open"},
		{[]int{n}, "-1", "", "is not one"},
		{[]int{n}, "99999999999", "", "is not one"},
		{nil, "word", "", ""}, // standard input, and there is none
	} {
		o := &Opener{Inherited: c.inherited}
		text, err, odd := read(o, "fd", c.rest)
		if err != nil || text != c.text || (odd == nil) != (c.odd == "") || odd != nil && !strings.Contains(odd.Error(), c.odd) {
			t.Errorf("fd://%s of %v: %q, %v, %v", c.rest, c.inherited, text, err, odd)
		}
	}
}

func TestAStalledDescriptorIsGivenUp(t *testing.T) {
	clean(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	_, err, _ = read(&Opener{Stdin: r, Patience: 50 * time.Millisecond}, "fd", "0")
	if err == nil || err.Error() != "takes too long" {
		t.Errorf("%v", err)
	}
}

// Only what stood open at the start and is not close-on-exec is inherited.
func TestInherited(t *testing.T) {
	if os.Getenv("SOURCES_CHILD") != "" {
		fmt.Print(Inherited())
		os.Exit(0)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	cmd := exec.Command("/proc/self/exe", "-test.run", "TestInherited$")
	cmd.Env = append(os.Environ(), "SOURCES_CHILD=1")
	cmd.ExtraFiles = []*os.File{r}
	out, err := cmd.Output()
	// What our own parent has left open is inherited as well.
	if want := fmt.Sprint(append([]int{3}, Inherited()...)); err != nil || string(out) != want {
		t.Errorf("%s and not %s, %v", out, want, err)
	}
}

// emperorSocket is an emperor that has sent these packets and, if it is to, ended.
func emperorSocket(t *testing.T, end bool, texts ...string) (fd int) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range texts {
		packet := append([]byte{'s', 0, 0, 0}, text...)
		binary.LittleEndian.PutUint16(packet[1:], uint16(len(text)))
		if _, err := unix.Write(pair[1], packet); err != nil {
			t.Fatal(err)
		}
	}
	if end {
		unix.Close(pair[1])
	} else {
		t.Cleanup(func() { unix.Close(pair[1]) })
	}
	t.Cleanup(func() { unix.Close(pair[0]) })
	return pair[0]
}

func TestTheEmperorsNewestConfigurationCounts(t *testing.T) {
	for _, end := range []bool{false, true} {
		asked := 0
		e := &Emperor{FD: emperorSocket(t, end, "[uwsgi]\nold = 1\n", "[uwsgi]\nnew = 1\n"), Ask: func() error { asked++; return nil }}
		o := &Opener{Emperor: e}
		for range 2 { // the second time it is the one of this reading
			text, err, odd := read(o, "emperor", "one.ini")
			if text != "[uwsgi]\nnew = 1\n" || err != nil || odd != nil || asked != 1 {
				t.Errorf("%q, %v, %v, asked %d times", text, err, odd, asked)
			}
		}
	}
}

func TestNoEmperorAndASilentOne(t *testing.T) {
	if _, err := (&Opener{}).Open("emperor", "x"); err == nil || !strings.Contains(err.Error(), "UWSGI_EMPEROR_FD_CONFIG is not set") {
		t.Errorf("%v", err)
	}
	for _, end := range []bool{false, true} {
		o := &Opener{Emperor: &Emperor{FD: emperorSocket(t, end)}, Patience: 50 * time.Millisecond}
		if _, err := o.Open("emperor", "x"); err == nil || err.Error() != "the emperor has sent no configuration" {
			t.Errorf("%v", err)
		}
	}
}

func FuzzPacket(f *testing.F) {
	f.Add([]byte("sT\x00\x00" + strings.Repeat("a", 84))) // as recorded from uWSGI 2.0.21
	f.Add([]byte("s\xff\xff\x00x"))
	f.Add([]byte("x"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		text, err := packet(bytes.NewReader(wire))
		if err == nil && (len(text) > len(wire)-4 || text != string(wire[4:4+len(text)])) {
			t.Errorf("%q", text)
		}
	})
}

func TestUnknownScheme(t *testing.T) {
	if _, err := (&Opener{}).Open("gopher", "x"); err == nil {
		t.Error("was opened")
	}
}

// A reading that is given up ends what it waits for.
func TestGivingUp(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	for scheme, rest := range map[string]string{"exec": "sleep 1000 | cat", "fd": "0", "http": silent.Addr().String() + "/x", "emperor": "x"} {
		ctx, giveUp := context.WithCancel(context.Background())
		o := &Opener{Context: ctx, Env: []string{"PATH=/usr/bin:/bin"}, Stdin: r, Patience: time.Hour, Emperor: &Emperor{FD: int(r.Fd())}}
		go func() {
			time.Sleep(20 * time.Millisecond) // it should be waiting by then; it must end as well where it is not
			giveUp()
		}()
		text, err, odd := read(o, scheme, rest)
		if err == nil {
			t.Errorf("%s: gave %q, %v", scheme, text, odd)
		}
		if _, err := o.Open("exec", "echo ran"); err == nil {
			t.Errorf("%s: something is opened after the end", scheme)
		}
	}
}

// A program that has taken other rights cannot be killed by us, and does not hold us for ever.
func TestAProgramWithOtherRights(t *testing.T) {
	if os.Getenv("SOURCES_AS_NOBODY") != "" {
		_, err, odd := read(&Opener{Patience: 200 * time.Millisecond}, "exec", "exec "+os.Getenv("SOURCES_AS_NOBODY")+" --reuid=0 --regid=0 --clear-groups sleep 4")
		fmt.Printf("fault %v, left %v\n", err, odd)
		return
	}
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("this test needs root")
		}
		t.Skip("needs root, to make a program that takes root's rights")
	}
	setpriv, err := os.ReadFile("/usr/bin/setpriv")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/var/tmp", "") // not /tmp, which may ignore the bit that gives rights
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string][]byte{"rights": setpriv, "test": self} {
		if err := os.WriteFile(filepath.Join(dir, name), file, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(filepath.Join(dir, "rights"), 0o755|os.ModeSetuid)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "test"), "-test.run=^TestAProgramWithOtherRights$")
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/bin:/bin", "SOURCES_AS_NOBODY=" + filepath.Join(dir, "rights")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "fault takes too long") || !strings.Contains(string(out), "cannot be ended by us") {
		t.Errorf("%v: %s", err, out)
	}
}
