package guard

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A process as the kernel shows it.
type process struct {
	pid, parent, session int
	dead                 bool
	start                time.Duration // since the machine started
}

// maxStat and maxEnviron bound what is read of a process.
const (
	maxStat    = 4 << 10
	maxEnviron = 1 << 20
	tick       = time.Second / 100 // of the start times in /proc: USER_HZ
)

// processes lists all.
func processes() (map[int]process, error) {
	folder, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("cannot list the processes: %w", err)
	}
	names, err := folder.Readdirnames(-1)
	folder.Close()
	if err != nil {
		return nil, fmt.Errorf("cannot list the processes: %w", err)
	}
	all := map[int]process{}
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			if p, there := look(pid); there {
				all[pid] = p
			}
		}
	}
	return all, nil
}

// look looks at one process.
func look(pid int) (process, bool) {
	text := readSome(fmt.Sprintf("/proc/%d/stat", pid), maxStat)
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:]) // its name may hold anything
	if len(fields) < 20 {
		return process{}, false
	}
	number := func(i int) int { n, _ := strconv.Atoi(string(fields[i-3])); return n } // numbered as in proc(5)
	return process{pid: pid, parent: number(4), session: number(6), dead: fields[0][0] == 'Z' || fields[0][0] == 'X', start: time.Duration(number(22)) * tick}, true
}

func readSome(path string, limit int64) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, limit))
	return text
}

// userOf returns the real uid and gid of a process, -1 where it has gone. It is what the kernel says; no process can choose it.
func userOf(pid int) (uid, gid int) {
	text := readSome(fmt.Sprintf("/proc/%d/status", pid), maxStat)
	first := func(line string) int {
		_, after, _ := bytes.Cut(text, []byte(line))
		word, _, _ := bytes.Cut(after, []byte("\t"))
		if id, err := strconv.Atoi(string(word)); err == nil {
			return id
		}
		return -1
	}
	return first("\nUid:\t"), first("\nGid:\t")
}

// markOf returns the mark in the environment of a process.
func markOf(pid int) (mark uint64) {
	path := fmt.Sprintf("/proc/%d/environ", pid)
	f, err := os.Open(path)
	if errors.Is(err, os.ErrPermission) { // without CAP_SYS_PTRACE; it counts who opens, not who reads
		as(pid, func() { f, err = os.Open(path) })
	}
	if err != nil {
		return 0
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, maxEnviron))
	for entry := range bytes.SplitSeq(text, []byte{0}) {
		if value, ok := bytes.CutPrefix(entry, []byte(Variable+"=")); ok {
			mark, _ = strconv.ParseUint(string(value), 16, 64)
			return mark
		}
	}
	return 0
}

// as has a thread do something as the user of a process, if this program may become others. The real uid stays ours, so nobody else may
// signal the thread, and our memory is nobody's to look at.
func as(pid int, do func()) {
	uid, gid := userOf(pid)
	if uid <= 0 || gid < 0 {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the runtime ends the thread with the goroutine
		const keep = ^uintptr(0)
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, keep, uintptr(gid), keep); errno != 0 {
			return
		}
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, keep, uintptr(uid), keep); errno == 0 {
			do()
		}
	}()
	<-done
}

// inode tells one control group from another that has its name later: the kernel uses no number twice.
func inode(folder string) uint64 {
	var st unix.Stat_t
	if folder == "" || unix.Stat(folder, &st) != nil {
		return 0
	}
	return st.Ino
}

// housed returns who is in a control group.
func housed(folder string, ino uint64) (pids []int) {
	text := readSome(filepath.Join(folder, "cgroup.procs"), maxEnviron)
	if inode(folder) != ino { // what had its name before was read, or it came after: both are somebody else's
		return nil
	}
	for word := range bytes.FieldsSeq(text) {
		if pid, err := strconv.Atoi(string(word)); err == nil && pid > 1 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// killHoused kills all in a control group at once, those too that are forked meanwhile (Linux 5.14).
func killHoused(folder string, ino uint64) {
	fd, err := unix.Open(folder, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Ino != ino {
		return
	}
	if kill, err := unix.Openat(fd, "cgroup.kill", unix.O_WRONLY|unix.O_CLOEXEC, 0); err == nil {
		_, _ = unix.Write(kill, []byte("1"))
		unix.Close(kill)
	}
}

// signal sends a signal to the process that was looked at, and to no other that has its number by now.
func (p process) signal(sig syscall.Signal) {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err == nil {
		defer unix.Close(fd)
	}
	if now, there := look(p.pid); !there || now.start != p.start || now.session != p.session && now.session != p.pid {
		return
	}
	send := func() error {
		if err != nil { // a kernel before 5.3
			return syscall.Kill(p.pid, sig)
		}
		return unix.PidfdSendSignal(fd, sig, nil, 0)
	}
	if send() == unix.EPERM { // without CAP_KILL
		as(p.pid, func() { _ = send() })
	}
}
