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
	"unsafe"

	"golang.org/x/sys/unix"
)

// allCapset sets the capabilities of all threads.
func allCapset(all func(what string, number uintptr, args ...uintptr) error, header *unix.CapUserHeader, sets *[2]unix.CapUserData) error {
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(header)
	pin.Pin(sets)
	return all("give up the other capabilities", unix.SYS_CAPSET, uintptr(unsafe.Pointer(header)), uintptr(unsafe.Pointer(sets)))
}

// verifyThreads reads back what all threads of this process may do: exactly keep, and not as root.
func verifyThreads(keep uint64) error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("cannot list the own threads: %w", err)
	}
	want := map[string]string{"Uid": fmt.Sprintf("%d\t%[1]d\t%[1]d\t%[1]d", os.Getuid()), "Gid": fmt.Sprintf("%d\t%[1]d\t%[1]d\t%[1]d", os.Getgid()), "CapInh": fmt.Sprintf("%016x", 0),
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
				return fmt.Errorf("after giving up root a thread has %s %q, not %q; emperord does not start", name, value, expected)
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
