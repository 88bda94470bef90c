package main

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/protocol/api"
)

// Limits of what is read of the kernel's log: records, and bytes of one (the kernel's own limit is below that).
const (
	maxRecords = 1 << 16
	maxRecord  = 8 << 10
)

// killed is how vassald says that a worker or a language host was ended by a signal.
var killed = regexp.MustCompile(`\(pid (\d{1,10})\) ended: killed by`)

// kernelSays returns what the kernel's log says of processes that ended by a signal: those of the emperor, and those that
// vassald tells of in its last lines. Who may not read the kernel's log learns nothing.
func kernelSays(exits []api.Exit, lines []api.Line) []string {
	var pids []int
	for _, e := range exits {
		if e.Signal != "" && !e.Asked {
			pids = append(pids, e.PID)
		}
	}
	for _, l := range lines {
		if m := killed.FindStringSubmatch(l.Text); m != nil {
			if pid, err := strconv.Atoi(m[1]); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	if len(pids) == 0 {
		return nil
	}
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	var found []string
	buf := make([]byte, maxRecord)
	for range maxRecords {
		n, err := unix.Read(fd, buf) // one record each
		if err == unix.EPIPE || err == unix.EINTR {
			continue // records were overwritten while we read
		}
		if err != nil || n <= 0 {
			break
		}
		if line := aboutOneOf(string(buf[:n]), pids); line != "" {
			found = append(found, line)
		}
	}
	return found[max(0, len(found)-10):]
}

// deaths are the kernel's words for the end of a process: the out-of-memory killer's, and those of a fault.
var deaths = regexp.MustCompile(`(?:Killed process (\d+)|\[(\d+)\]:? (?:segfault|general protection|bad frame|trap|potentially unexpected fatal signal))`)

// aboutOneOf returns the text of a record of /dev/kmsg ("priority,sequence,time,flags;text") if it tells the end of one
// of the processes.
func aboutOneOf(record string, pids []int) string {
	_, line, ok := strings.Cut(record, ";")
	if !ok {
		return ""
	}
	line, _, _ = strings.Cut(line, "\n") // what follows are the record's properties
	for _, m := range deaths.FindStringSubmatch(line) {
		if slices.ContainsFunc(pids, func(pid int) bool { return m == strconv.Itoa(pid) }) {
			return line
		}
	}
	return ""
}
