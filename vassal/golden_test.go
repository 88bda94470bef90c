package vassal

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/protocol/control"
	"github.com/emperord/emperord/vassal/hosts"
)

var update = flag.Bool("update", false, "write the captured packets of the real host to protocol/control/testdata")

// TestGoldenReports lets the real host say every word, and compares with what protocol/control is tested with.
func TestGoldenReports(t *testing.T) {
	dir := t.TempDir()
	bad := "\nraise ValueError('gr\u00fc\u00dfe \"quoted\"\\n\u2603')\n"
	for name, text := range map[string]string{"good.py": "def application(e, s): s('200 OK', []); return []\n", "bad.py": bad} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]string{}
	for _, module := range []string{"good", "bad"} {
		for word, packet := range converse(t, dir, module) {
			got[word] = packet
		}
	}
	for _, word := range []string{control.Loaded, control.Failed, control.Forked, control.Ready, control.Active, control.Exited} {
		name := filepath.Join("..", "protocol", "control", "testdata", "reports", word+".json")
		packet := got[word]
		packet = regexp.MustCompile(`"pid":\d+`).ReplaceAllString(packet, `"pid":4242`)
		packet = strings.Replace(packet, `,"held":1`, "", 1) // it may have answered before it was killed
		packet = regexp.MustCompile(`CPython [0-9.]+`).ReplaceAllString(packet, "CPython 3.11.2")
		packet = strings.ReplaceAll(packet, dir+"/bad.py", "/srv/shop/app.py")
		if *update {
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte(packet), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(name)
		if err != nil || string(want) != packet {
			t.Errorf("%s: the host says %s, the sample is %s (%v); if that is meant: go test ./vassal -run Golden -update", word, packet, want, err)
		}
	}
}

// converse runs a host through a life and returns its packets by word.
func converse(t *testing.T, dir, module string) map[string]string {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "control"), os.NewFile(uintptr(pair[1]), "control")
	defer ours.Close()
	listener, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, module+".s")
	if err := unix.Bind(listener, &unix.SockaddrUnix{Name: socket}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(listener, 10); err != nil {
		t.Fatal(err)
	}
	files := []*os.File{os.NewFile(uintptr(listener), "listener"), theirs, memory(t, make([]byte, 2*control.SlotSize)), memory(t, hosts.PythonModules("")), memory(t, hosts.PythonBoot())}
	cmd := exec.Command("/usr/bin/python3", "/proc/self/fd/"+strconv.Itoa(2+len(files)), "golden.ini")
	cmd.Dir, cmd.ExtraFiles, cmd.Env = dir, files, append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		_ = f.Close()
	}
	defer cmd.Wait()

	order := func(o control.Order) {
		packet, err := control.Encode(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ours.Write(packet); err != nil {
			t.Fatal(err)
		}
	}
	order(control.Load{Listeners: []int{3}, Processes: 2, Module: module, Path: []string{}, Options: []control.Option{}})
	said := map[string]string{}
	_ = ours.SetReadDeadline(time.Now().Add(10 * time.Second))
	buffer := make([]byte, control.MaxReport)
	for {
		n, err := ours.Read(buffer)
		if err != nil {
			return said
		}
		word, err := control.Decode(buffer[:n])
		if err != nil {
			t.Fatalf("%q: %v", buffer[:n], err)
		}
		said[word.Word] = string(buffer[:n])
		switch word.Word {
		case control.Loaded:
			order(control.Fork{Slot: 1})
		case control.Ready:
			go func() { _, _ = send(socket, request("GET", "/", "")) }()
		case control.Active:
			_ = unix.Kill(word2pid(said[control.Ready]), unix.SIGKILL)
		case control.Exited:
			order(control.Stop{Mercy: time.Second})
		}
	}
}

func word2pid(packet string) int {
	word, _ := control.Decode([]byte(packet))
	return word.PID
}
