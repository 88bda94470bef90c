package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// asStranger runs f where the kernel judges files as for a user who is not root: as root, with another filesystem uid,
// in a thread that ends with it.
func asStranger(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if os.Geteuid() == 0 {
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
			if _, err := unix.SetfsuidRetUid(65534); err != nil {
				t.Error(err)
				return
			}
		}
		f()
	}()
	<-done
}

func TestConnectSaysWhyNot(t *testing.T) {
	dir := shortDir(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}

	for _, name := range []string{"dead", "secret", "locked/live"} {
		if err := os.MkdirAll(filepath.Dir(at(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		ln := listen(t, "unix", at(name)).(*net.UnixListener)
		ln.SetUnlinkOnClose(false)
		if name == "dead" {
			ln.Close()
		} else {
			defer ln.Close()
		}
	}
	datagram, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: at("datagram"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer datagram.Close()
	tcp := listen(t, "tcp", "127.0.0.1:0")
	tcp.Close()
	for name, mode := range map[string]os.FileMode{"secret": 0o000, "locked": 0o600, "dead": 0o777, "datagram": 0o777} {
		if err := os.Chmod(at(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	defer os.Chmod(at("locked"), 0o755)
	if err := os.WriteFile(at("file"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(at("file"), 0o666); err != nil {
		t.Fatal(err)
	}

	for address, want := range map[string]string{
		at("none"):                     "there is no such file; see what its vassal is doing: emperorctl status",
		at("no/folder/s"):              fmt.Sprintf("there is no folder %s; ", at("no")),
		at("file") + "/s":              "a part of the path is no folder",
		at("file"):                     "it is no socket: -rw-rw-rw- ",
		at("dead"):                     "the socket is there, but nobody listens on it",
		at("datagram"):                 "it is a datagram socket",
		at("secret"):                   "may not write to the socket (s--------- ",
		at("locked/live"):              fmt.Sprintf("may not enter the folder %s (drw------- ", at("locked")),
		tcp.Addr().String():            "nobody listens there",
		"@emperorctl-test-nobody-here": "nobody listens there",
	} {
		asStranger(t, func() {
			a, err := parseAddress(address)
			if err != nil {
				t.Error(err)
				return
			}
			nc, err := connect(context.Background(), a)
			if err == nil {
				nc.Close()
				t.Errorf("%s: connected", address)
				return
			}
			if !strings.HasPrefix(err.Error(), "cannot connect to "+address+": ") || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %q", address, err, want)
			}
		})
	}
}
