package emperor

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// all makes a system call in all threads.
func all(what string, number uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	_, _, errno := syscall.AllThreadsSyscall6(number, a[0], a[1], a[2], a[3], a[4], a[5])
	if errno == unix.ENOTSUP {
		return fmt.Errorf("cannot %s: this emperord was built with cgo, which cannot do it for all threads; build it with CGO_ENABLED=0, as make build does", what)
	}
	if errno != 0 {
		return fmt.Errorf("cannot %s: %w", what, errno)
	}
	return nil
}

// allCapset sets the capabilities of all threads: those that they have, and those that they could hand on.
func allCapset(have, inheritable uint64) error {
	header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	sets := &[2]unix.CapUserData{
		{Effective: uint32(have), Permitted: uint32(have), Inheritable: uint32(inheritable)},
		{Effective: uint32(have >> 32), Permitted: uint32(have >> 32), Inheritable: uint32(inheritable >> 32)},
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(header)
	pin.Pin(sets)
	return all("set capabilities", unix.SYS_CAPSET, uintptr(unsafe.Pointer(header)), uintptr(unsafe.Pointer(sets)))
}

// pointer is for system calls that copy what they are given.
func pointer(text []byte) unsafe.Pointer { return unsafe.Pointer(&text[0]) }

// verifyThreads reads back what all threads of this process may do and could hand on: exactly that, and who they are.
func verifyThreads(keep, inheritable uint64) error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("cannot list the own threads: %w", err)
	}
	want := map[string]string{"Uid": fmt.Sprintf("%d\t%[1]d\t%[1]d\t%[1]d", os.Getuid()), "Gid": fmt.Sprintf("%d\t%[1]d\t%[1]d\t%[1]d", os.Getgid()), "CapInh": fmt.Sprintf("%016x", inheritable),
		"CapPrm": fmt.Sprintf("%016x", keep), "CapEff": fmt.Sprintf("%016x", keep), "CapAmb": fmt.Sprintf("%016x", 0)}
	for _, t := range threads {
		text, err := readLimited("/proc/self/task/"+t.Name()+"/status", 16<<10)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a thread that has ended
		}
		if err != nil {
			return fmt.Errorf("cannot read what the own threads may do: %w", err)
		}
		for line := range linesOf(text) {
			name, value, _ := strings.Cut(line, ":\t")
			if expected, asked := want[name]; asked && value != expected {
				return fmt.Errorf("a thread has %s %q, not %q; emperord does not start", name, value, expected)
			}
		}
	}
	return nil
}

func readLimited(path string, limit int64) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit))
	return string(text), err
}

func linesOf(text string) iter.Seq[string] { return strings.SplitSeq(text, "\n") }
