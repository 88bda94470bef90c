package doctor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// listens says who has called listen: "uwsgi (process 312, uid 1000)".
func listens(peer *unix.Ucred) string {
	switch {
	case peer == nil:
		return "whoever listens there"
	case peer.Pid == 0:
		return fmt.Sprintf("somebody with uid %d", peer.Uid)
	}
	name := command(int(peer.Pid))
	if name == "" {
		return fmt.Sprintf("a process that has ended since (%d, uid %d)", peer.Pid, peer.Uid)
	}
	return fmt.Sprintf("%s (process %d, uid %d)", name, peer.Pid, peer.Uid)
}

// command is the name of a process; "" where there is none.
func command(pid int) string {
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(raw))
}

func alive(pid int) bool { return pid > 0 && !errors.Is(unix.Kill(pid, 0), syscall.ESRCH) }

// somaxconn is the longest queue that the kernel gives (listen(2)).
func somaxconn() int {
	raw, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	n := 4096
	if err == nil {
		_, _ = fmt.Sscan(string(raw), &n)
	}
	return n
}

// maxStopped bounds the processes that a command names.
const maxStopped = 64

// stopped returns those of a process and its descendants that a signal has stopped (proc_pid_stat(5)).
func stopped(root int) (pids []string) {
	if root <= 0 {
		return nil
	}
	parents, halted := make(map[int]int), make(map[int]bool)
	names, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range names {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		text, bad := os.ReadFile(name)
		if err != nil || bad != nil {
			continue
		}
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if len(fields) < 2 {
			continue
		}
		parents[pid], _ = strconv.Atoi(fields[1])
		halted[pid] = fields[0] == "T"
	}
	for _, name := range names {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if !halted[pid] || len(pids) == maxStopped {
			continue
		}
		for at, steps := pid, 0; at > 0 && steps < 100; at, steps = parents[at], steps+1 {
			if at == root {
				pids = append(pids, strconv.Itoa(pid))
				break
			}
		}
	}
	return pids
}
