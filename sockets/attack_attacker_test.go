package sockets

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// roleVariable makes the test binary an attacker.
const roleVariable = "SOCKETS_ATTACKER"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(misbehave(role, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// An attacker is a process with a tenant's rights that races with us.
type attacker struct {
	t       *testing.T
	process *os.Process
	board   []byte // shared: how often it acted
}

// unleash starts an attacker and waits until it has acted once.
func unleash(t *testing.T, who Identity, role string, args ...string) *attacker {
	t.Helper()
	memory, err := unix.MemfdCreate("attacker", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(memory), "attacker")
	defer file.Close()
	if err := file.Truncate(8); err != nil {
		t.Fatal(err)
	}
	board, err := unix.Mmap(memory, 0, 8, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	// The test binary's own folder is nobody else's to enter; the descriptor leads past it.
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	p, err := os.StartProcess("/proc/self/fd/4", append([]string{"attacker"}, args...), &os.ProcAttr{
		Dir: "/", Env: []string{roleVariable + "=" + role, "GORACE=atexit_sleep_ms=0"}, Files: []*os.File{nil, nil, os.Stderr, file, self},
		Sys: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(who.UID), Gid: uint32(who.GID)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	a := &attacker{t: t, process: p, board: board}
	t.Cleanup(func() { a.end() })
	for end := time.Now().Add(30 * time.Second); a.count() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the attacker %s does nothing", role)
		}
	}
	return a
}

func (a *attacker) count() uint64 {
	return atomic.LoadUint64((*uint64)(unsafe.Pointer(&a.board[0])))
}

// end stops the attacker, which never ends by itself, and tells how often it acted.
func (a *attacker) end() uint64 {
	if a.process == nil {
		return 0
	}
	_ = a.process.Kill()
	if state, err := a.process.Wait(); err != nil || state.Exited() {
		a.t.Errorf("the attacker ended by itself: %v, %v", state, err)
	}
	a.process = nil
	n := a.count()
	_ = unix.Munmap(a.board)
	return n
}

// roles are what an attacker does again and again.
var roles = map[string]func(args []string) error{
	// exchange swaps two names of a folder.
	"exchange": func(args []string) error {
		_ = unix.Renameat2(unix.AT_FDCWD, args[0], unix.AT_FDCWD, args[1], unix.RENAME_EXCHANGE)
		return nil
	},
	// replace puts a decoy in the place of a socket as soon as there is one, and takes it away again.
	"replace": func(args []string) error {
		path, decoy := args[0], args[1]
		plain := func() bool {
			st, err := lstat(path)
			return err == nil && st.Mode&unix.S_IFMT == unix.S_IFSOCK && st.Nlink == 1
		}
		if plain() {
			_ = unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, decoy, unix.RENAME_EXCHANGE)
			for range 200 { // decoy is the socket now, path what was decoy
				_, _ = lstat(path)
			}
		}
		if !plain() {
			_ = unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, decoy, unix.RENAME_EXCHANGE)
		}
		return nil
	},
	// unlink removes a socket as soon as there is one and puts a FIFO, a folder or a link there instead.
	"unlink": func(args []string) error {
		path := args[0]
		_ = unix.Unlink(path)
		_ = unix.Mkfifo(path, 0o666)
		_ = unix.Unlink(path)
		_ = unix.Mkdir(path, 0o777)
		_ = unix.Rmdir(path)
		_ = os.Symlink(args[1], path)
		_ = unix.Unlink(path)
		return nil
	},
	// link makes second names of a socket as soon as there is one.
	"link": func(args []string) error {
		_ = unix.Link(args[0], args[1])
		_ = unix.Unlink(args[1])
		return nil
	},
	// close opens and closes a folder to everybody but its owner, and to its owner too.
	"chmod": func(args []string) error {
		for _, mode := range []uint32{0, 0o777, 0o500, 0o1777, 0o755} {
			_ = unix.Chmod(args[0], mode)
		}
		return nil
	},
	// burrow takes a folder that was made for it away and leaves a link in its place.
	"burrow": func(args []string) error {
		made, inner, target := args[0], args[1], args[2]
		_ = unix.Unlink(filepath.Join(made, inner, "a.sock"))
		_ = unix.Rmdir(filepath.Join(made, inner))
		_ = os.Symlink(target, filepath.Join(made, inner))
		_ = unix.Unlink(filepath.Join(made, inner))
		_ = unix.Rmdir(made) // its parent is root's
		return nil
	},
	// squat wants the port too, with every option that could let it in, and serves who comes.
	"squat": func(args []string) error {
		var port int
		if _, err := fmt.Sscan(args[0], &port); err != nil {
			return err
		}
		for _, host := range [][4]byte{{}, {127, 0, 0, 1}} {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			if unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: host}) == nil {
				_ = unix.Listen(fd, 8)
			}
			_ = unix.Close(fd)
		}
		return nil
	},
}

// misbehave plays a role until it is killed, or its parent has gone.
func misbehave(role string, args []string) int {
	board, err := unix.Mmap(3, 0, 8, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		fmt.Fprintln(os.Stderr, "attacker:", err)
		return 1
	}
	unix.Umask(0)
	for parent := os.Getppid(); os.Getppid() == parent; {
		if err := roles[role](args); err != nil {
			fmt.Fprintln(os.Stderr, "attacker:", err)
			return 1
		}
		atomic.AddUint64((*uint64)(unsafe.Pointer(&board[0])), 1)
	}
	return 0
}
