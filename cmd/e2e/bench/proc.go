package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A process is one line of the process table.
type process struct {
	pid, ppid int
	comm      string
	dead      bool          // a zombie: it has ended and nobody has asked for its exit code
	cpu       time.Duration // user and system time, in steps of 10 ms
}

// parseStat reads /proc/PID/stat. The name of the program may hold spaces and parentheses: proc_pid_stat(5).
func parseStat(text string) (process, error) {
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return process{}, fmt.Errorf("no process table line: %.60q", text)
	}
	fields := strings.Fields(text[end+1:]) // the third field of the line is the first here
	if len(fields) < 13 {
		return process{}, fmt.Errorf("a short process table line: %.60q", text)
	}
	p := process{comm: text[open+1 : end], dead: fields[0] == "Z" || fields[0] == "X"}
	var errs [4]error
	p.pid, errs[0] = strconv.Atoi(strings.TrimSpace(text[:open]))
	p.ppid, errs[1] = strconv.Atoi(fields[1])
	user, err := strconv.Atoi(fields[11])
	errs[2] = err
	system, err := strconv.Atoi(fields[12])
	errs[3] = err
	p.cpu = time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100 on every port of Linux that Go has
	return p, errors.Join(errs[:]...)
}

// processes reads the process table.
func processes() []process {
	names, _ := filepath.Glob("/proc/[0-9]*/stat")
	all := make([]process, 0, len(names))
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended meanwhile
		}
		if p, err := parseStat(string(text)); err == nil {
			all = append(all, p)
		}
	}
	return all
}

// tree returns a process and everything below it that lives, parents before children.
func tree(root int) []process {
	kids := make(map[int][]process)
	var found []process
	for _, p := range processes() {
		if p.dead {
			continue
		}
		kids[p.ppid] = append(kids[p.ppid], p)
		if p.pid == root {
			found = append(found, p)
		}
	}
	for i := 0; i < len(found); i++ {
		found = append(found, kids[found[i].pid]...)
	}
	return found
}

// leaves returns those that have no children among all: the workers of a vassal.
func leaves(all []process) []process {
	parent := make(map[int]bool)
	for _, p := range all {
		parent[p.ppid] = true
	}
	return slices.DeleteFunc(slices.Clone(all), func(p process) bool { return parent[p.pid] })
}

// below returns the ancestor of pid, or pid itself, whose parent is top.
func below(top, pid int) (int, error) {
	parent := make(map[int]int)
	for _, p := range processes() {
		parent[p.pid] = p.ppid
	}
	for p := pid; p > 1; p = parent[p] {
		if parent[p] == top {
			return p, nil
		}
	}
	return 0, fmt.Errorf("process %d is not below process %d", pid, top)
}

// pss sums the proportional set sizes in the kernel's kB, 1024 bytes: a page that n processes share counts 1/n in each.
// Strangers that run the same interpreter share too, so a busy machine makes both sides look small.
func pss(all []process) (kb float64) {
	for _, p := range all {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.pid))
		if err != nil {
			continue // it has ended meanwhile
		}
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "Pss:" {
				n, _ := strconv.Atoi(fields[1])
				kb += float64(n)
			}
		}
	}
	return kb
}

// cpu sums the CPU time of processes in nanoseconds: the first number of each thread's schedstat (the kernel's
// sched-stats.rst), or the process table's coarse one where the kernel keeps none. It counts threads that live; neither
// side ends threads while it is measured.
func cpu(all []process) (sum time.Duration) {
	for _, p := range all {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.pid))
		if len(threads) == 0 {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
			if now, parseErr := parseStat(string(text)); err == nil && parseErr == nil {
				sum += now.cpu
			}
			continue
		}
		for _, name := range threads {
			text, _ := os.ReadFile(name)
			first, _, _ := bytes.Cut(text, []byte(" "))
			ns, _ := strconv.ParseInt(string(first), 10, 64)
			sum += time.Duration(ns)
		}
	}
	return sum
}

// alive counts those of all that still run.
func alive(all []process) (n int) {
	now := make(map[int]process)
	for _, p := range processes() {
		now[p.pid] = p
	}
	for _, p := range all {
		if q, there := now[p.pid]; there && !q.dead {
			n++
		}
	}
	return n
}

// kill ends processes at once, in order.
func kill(all []process) {
	for _, p := range all {
		_ = unix.Kill(p.pid, unix.SIGKILL)
	}
}

// adoptOrphans makes this process the parent of everything below it whose own parent ends, so that sweep finds it.
func adoptOrphans() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot become the parent of orphans: %w", err)
	}
	return nil
}

// sweep kills and reaps what is left below this process, and names it. Nothing may be running that is waited for
// elsewhere.
func sweep() (left []string) {
	for range 50 {
		found := tree(os.Getpid())[1:]
		for _, p := range found {
			if name := fmt.Sprintf("%d (%s)", p.pid, p.comm); !slices.Contains(left, name) {
				left = append(left, name)
			}
		}
		kill(found)
		for {
			if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
		if len(found) == 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return left
}
