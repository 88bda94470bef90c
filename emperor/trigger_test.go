package emperor

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/configs"
)

// TestTriggerSocketMakesTheEmperorLook has vassals that inotify tells nothing of: links that lead elsewhere.
func TestTriggerSocketMakesTheEmperorLook(t *testing.T) {
	for _, kind := range []string{"path", "relative", "abstract", "udp"} {
		t.Run(kind, func(t *testing.T) {
			network, address := "unixgram", ""
			m := found(t, func(c *configs.Emperor) {
				c.Freq = never
				dir := strings.TrimSuffix(c.ControlSocket, "/control.sock")
				switch kind {
				case "path":
					address = dir + "/trigger.sock"
					d, err := net.ListenUnixgram(network, &net.UnixAddr{Net: network, Name: address}) // somebody was killed
					mustDo(t, err)
					d.Close()
				case "relative":
					address, c.TriggerSocket = dir+"/trigger.sock", "trigger.sock"
					return
				case "abstract":
					address = "@emperor-test-trigger"
				case "udp":
					network, address = "udp", "127.0.0.1:36113"
				}
				c.TriggerSocket = address
			})
			m.app("plain.ini", shopID, "ok")
			m.await("plain.ini", Accepting, "")
			if kind == "path" || kind == "relative" {
				var st unix.Stat_t
				if err := unix.Lstat(address, &st); err != nil || st.Mode != unix.S_IFSOCK|0o600 || st.Uid != 0 {
					t.Errorf("mode %o, uid %d, %v", st.Mode, st.Uid, err)
				}
			}
			elsewhere := m.dir + "/elsewhere"
			mustDo(t, os.Symlink(elsewhere, m.dir+"/vassals/link.ini"))
			time.Sleep(3 * restless)
			mustDo(t, os.WriteFile(elsewhere, []byte("[uwsgi]\nmodule = ok\nsocket = "+m.dir+"/run/link.sock\n"), 0o644), os.Chown(elsewhere, blogID, blogID))
			time.Sleep(3 * restless)
			if _, err := m.status("link.ini"); err == nil {
				t.Fatal("it was seen before anything was said")
			}
			c, err := net.Dial(network, address)
			mustDo(t, err)
			defer c.Close()
			_, err = c.Write([]byte("whatever\x00\xff"))
			mustDo(t, err)
			m.await("link.ini", Accepting, "")
			m.end()
			if _, err := os.Lstat(address); network == "unixgram" && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the socket is left: %v", err)
			}
		})
	}
}

// TestATriggerWithoutEndCostsLittle floods the socket and counts the looks.
func TestATriggerWithoutEndCostsLittle(t *testing.T) {
	m := found(t, func(c *configs.Emperor) {
		c.TriggerSocket, c.Freq = strings.TrimSuffix(c.ControlSocket, "control.sock")+"trigger.sock", never
	})
	m.app("plain.ini", shopID, "ok")
	m.await("plain.ini", Accepting, "")
	c, err := net.Dial("unixgram", m.dir+"/trigger.sock")
	mustDo(t, err)
	defer c.Close()
	var before, after syscall.Rusage
	mustDo(t, syscall.Getrusage(syscall.RUSAGE_SELF, &before))
	sent := 0
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); sent++ {
		if _, err := c.Write([]byte{0}); err != nil {
			t.Fatal(err)
		}
	}
	mustDo(t, syscall.Getrusage(syscall.RUSAGE_SELF, &after))
	used := time.Duration(after.Utime.Nano() - before.Utime.Nano() + after.Stime.Nano() - before.Stime.Nano())
	if used > time.Second || sent > 1000 { // the sender waits for us, not we for it
		t.Errorf("%d datagrams were taken in 2 s and cost %s", sent, used)
	}
	m.await("plain.ini", Accepting, "")
}

// TestATriggerSocketThatCannotBeHadIsSaid leaves what stands in the way alone.
func TestATriggerSocketThatCannotBeHadIsSaid(t *testing.T) {
	var taken string
	m := found(t, func(c *configs.Emperor) {
		c.TriggerSocket = strings.TrimSuffix(c.ControlSocket, "control.sock") + "trigger.sock"
		taken = c.TriggerSocket
		mustDo(t, os.WriteFile(taken, []byte("precious"), 0o644))
	})
	m.app("plain.ini", shopID, "ok")
	m.await("plain.ini", Accepting, "")
	if log := m.log.String(); !strings.Contains(log, "nothing will trigger a look") || !strings.Contains(log, "a file of uid 0, not a socket, is in the way") {
		t.Error("it is not said")
	}
	m.end()
	if text, err := os.ReadFile(taken); string(text) != "precious" {
		t.Errorf("%q, %v", text, err)
	}
}
