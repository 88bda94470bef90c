package emperor

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/configs"
)

// packet is a datagram of uWSGI with these names and values.
func packet(pairs ...string) []byte {
	var block []byte
	for _, s := range pairs {
		block = append(binary.LittleEndian.AppendUint16(block, uint16(len(s))), s...)
	}
	return append([]byte{0, byte(len(block)), byte(len(block) >> 8), 0}, block...)
}

// commandAs sends a datagram as uid.
func (m *empire) commandAs(uid int, pairs ...string) error {
	sent := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			sent <- errno
			return
		}
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			sent <- errno
			return
		}
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Sendto(fd, packet(pairs...), 0, &unix.SockaddrUnix{Name: m.dir + "/command.sock"})
			unix.Close(fd)
		}
		sent <- err
	}()
	return <-sent
}

func (m *empire) command(uid int, pairs ...string) {
	m.t.Helper()
	if err := m.commandAs(uid, pairs...); err != nil {
		m.t.Fatal(err)
	}
}

func (m *empire) says(text string) {
	m.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if strings.Contains(m.log.String(), text) {
			return
		}
	}
	m.t.Fatalf("the log does not say %q", text)
}

func TestCommandsGovernVassals(t *testing.T) {
	open := os.FileMode(0o666)
	m := found(t, func(c *configs.Emperor) { c.CommandSocket, c.SocketMode = "command.sock", &open })
	m.app("shop.ini", controlID, "a")
	m.app("blog.ini", rivalID, "a")
	m.await("shop.ini", Accepting, "")
	m.await("blog.ini", Accepting, "")
	m.command(0, "cmd", "stop", "vassal", "shop.ini")
	m.await("shop.ini", Suspended, "")
	m.command(0, "cmd", "spawn", "vassal", "shop.ini")
	m.await("shop.ini", Accepting, "")
	first, _ := m.ask("shop.ini")
	m.command(0, "cmd", "respawn", "vassal", "shop.ini")
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if pid, _ := m.ask("shop.ini"); pid != first {
			break
		} else if time.Now().After(end) {
			t.Fatal("respawn does nothing")
		}
	}
	m.command(0, "cmd", "log", "msg", "deploy 4711\x1b[31m done\n2026 ERROR fake")
	m.says(`deploy 4711?[31m done\n2026 ERROR fake`) // as one line

	// A tenant governs its own vassals, and learns nothing of others.
	m.command(controlID, "vassal", "blog.ini", "cmd", "stop")
	m.says(fmt.Sprintf(`not the sender's", "command": "stop", "uid": %d`, controlID))
	m.command(controlID, "cmd", "log", "msg", "rubbish of a tenant")
	m.says("the emperor's log is for root")
	m.command(controlID, "cmd", "stop", "vassal", "shop.ini")
	m.await("shop.ini", Suspended, "")
	if v := m.await("blog.ini", Accepting, ""); v.Restarts != 0 {
		t.Errorf("the neighbour's: %+v", v)
	}
	if strings.Contains(m.log.String(), "rubbish of a tenant") {
		t.Error("a tenant writes into the log")
	}
	for text, pairs := range map[string][]string{
		"cmd is missing":                {"vassal", "shop.ini"},
		`there is no command \"dance\"`: {"cmd", "dance", "vassal", "shop.ini"},
		"names no vassal":               {"cmd", "spawn"},
		"vassals are files":             {"cmd", "spawn", "vassal", "new.ini", "config", "[uwsgi]"},
		"has no msg":                    {"cmd", "log"},
		"more than 8192 bytes":          {"cmd", strings.Repeat("x", maxCommand)},
	} {
		m.command(0, pairs...)
		m.says(text)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(m.dir+"/command.sock", &st); err != nil || st.Mode&0o777 != 0o666 {
		t.Errorf("mode %o, %v", st.Mode, err)
	}
	m.end()
	if _, err := os.Lstat(m.dir + "/command.sock"); err == nil {
		t.Error("the socket is left")
	}
}

func TestWithoutAModeOnlyRootCommands(t *testing.T) {
	m := found(t, func(c *configs.Emperor) { c.CommandSocket = "command.sock" })
	m.app("shop.ini", controlID, "a")
	m.await("shop.ini", Accepting, "")
	if err := m.commandAs(controlID, "cmd", "stop", "vassal", "shop.ini"); err != unix.EACCES {
		t.Errorf("a tenant's command: %v", err)
	}
	m.command(0, "cmd", "stop", "vassal", "shop.ini")
	m.await("shop.ini", Suspended, "")
}

// TestNoDatagramIsTrusted sends what is no command, descriptors along with it, and a flood of it.
func TestNoDatagramIsTrusted(t *testing.T) {
	m := found(t, func(c *configs.Emperor) { c.CommandSocket = "command.sock" })
	m.app("shop.ini", controlID, "a")
	m.await("shop.ini", Accepting, "")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	to := &unix.SockaddrUnix{Name: m.dir + "/command.sock"}
	null, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, p := range [][]byte{{}, {0}, []byte("GET / HTTP/1.0\r\n\r\n"), packet("cmd"), packet(strings.Split(strings.Repeat("a,", 80), ",")...), make([]byte, 60000)} {
		if err := unix.Sendmsg(fd, p, unix.UnixRights(int(null.Fd())), to, 0); err != nil {
			t.Fatal(err)
		}
	}
	for range 300 {
		if err := unix.Sendto(fd, []byte("noise"), 0, to); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Sendto(fd, packet("cmd", "stop", "vassal", "shop.ini"), 0, to); err != nil {
		t.Fatal(err)
	}
	m.await("shop.ini", Suspended, "")
	zeros := 0
	for _, open := range descriptors() {
		if open == "/dev/zero" {
			zeros++
		}
	}
	if zeros != 1 {
		t.Errorf("%d descriptors of a stranger are open", zeros-1)
	}
}

func TestCommandSocketWithoutCredentialsIsAMistake(t *testing.T) {
	needRoot(t)
	for _, address := range []string{"127.0.0.1:4040", ":4040"} {
		e := &Emperor{c: &configs.Emperor{CommandSocket: address}}
		if _, err := e.listenCommands(); err == nil || !strings.Contains(err.Error(), "write a path or @name") {
			t.Errorf("%s: %v", address, err)
		}
	}
}
