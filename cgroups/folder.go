package cgroups

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A folder is one control group.
type folder struct{ path string }

// Limits of what is read of a group's files, in bytes.
const (
	maxProcs = 64 << 20 // cgroup.procs: a line for each process, up to four million
	maxFlat  = 64 << 10 // NAME NUMBER, one a line
)

// pids lists the processes that are in the group itself. One of another pid namespace counts as 0.
func (f folder) pids() ([]int, error) {
	text, err := readSome(filepath.Join(f.path, "cgroup.procs"), maxProcs)
	if err != nil {
		return nil, err
	}
	var pids []int
	for line := range strings.Lines(string(text)) {
		if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// populated tells whether a process lives in the group or below.
func (f folder) populated() (bool, error) {
	text, err := readSome(filepath.Join(f.path, "cgroup.events"), maxFlat)
	if err != nil {
		return false, err
	}
	return flat(text)["populated"] > 0, nil
}

// flat reads lines of NAME NUMBER. What is none is left out.
func flat(text []byte) map[string]uint64 {
	numbers := map[string]uint64{}
	for line := range strings.Lines(string(text)) {
		name, number, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if n, err := strconv.ParseUint(number, 10, 64); err == nil {
			numbers[name] = n
		}
	}
	return numbers
}

// words reads a list with blanks, as in cgroup.controllers.
func (f folder) words(name string) ([]string, error) {
	text, err := readSome(filepath.Join(f.path, name), maxFlat)
	return strings.Fields(string(text)), err
}

// write gives the kernel one value. A file of the kernel's is there or it is not: it is never made.
func (f folder) write(name, value string) error {
	file, err := os.OpenFile(filepath.Join(f.path, name), os.O_WRONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.WriteString(value); err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return fmt.Errorf("cannot write %s into %s: %w", value, file.Name(), err)
	}
	return nil
}

// kill ends every process in the group and below, without any of them being able to fork away.
func (f folder) kill() error {
	err := f.write("cgroup.kill", "1")
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return f.killOneByOne() // a kernel before 5.14
}

// killOneByOne does what cgroup.kill does where the kernel has no such file. The group is frozen first: whoever forks meanwhile gets a
// child that is frozen as well, and is found in the next round.
func (f folder) killOneByOne() error {
	if err := f.write("cgroup.freeze", "1"); err != nil {
		return err
	}
	var err error
	for found := true; found && err == nil; {
		found, err = f.killThese()
	}
	return errors.Join(err, f.write("cgroup.freeze", "0"))
}

// killThese kills what is listed now, and tells whether anything was that had not been killed before. A pid may have been given to a
// stranger since it was listed; one that is listed again when a descriptor holds it has not.
func (f folder) killThese() (bool, error) {
	pids, err := f.pids()
	if err != nil {
		return false, err
	}
	held := map[int]int{}
	defer func() {
		for _, fd := range held {
			unix.Close(fd)
		}
	}()
	for _, pid := range pids {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			held[pid] = fd
		}
	}
	again, err := f.pids()
	if err != nil {
		return false, err
	}
	found := false
	for _, pid := range again {
		if fd, ok := held[pid]; ok && pid != os.Getpid() && !dying(pid) {
			found = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil || found
		}
	}
	return found, nil
}

// dying tells whether SIGKILL is pending for a process, or it has ended.
func dying(pid int) bool {
	text, err := readSome("/proc/"+strconv.Itoa(pid)+"/status", maxFlat)
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch name {
		case "State":
			if strings.HasPrefix(value, "Z") || strings.HasPrefix(value, "X") {
				return true
			}
		case "SigPnd", "ShdPnd":
			if set, err := strconv.ParseUint(value, 16, 64); err == nil && set&(1<<(uint(unix.SIGKILL)-1)) != 0 {
				return true
			}
		}
	}
	return false
}

// remove removes the group's folder. Whoever still lives in it keeps it: EBUSY.
func (f folder) remove() error {
	err := unix.Rmdir(f.path)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return &fs.PathError{Op: "rmdir", Path: f.path, Err: err}
}

// mark is the extended attribute that our groups carry, so that nobody else's is ever taken for one.
const mark = "user.emperord"

// make makes a group of ours.
func (f folder) make() error {
	if err := os.Mkdir(f.path, 0o755); err != nil {
		return err
	}
	_ = unix.Setxattr(f.path, mark, []byte("1"), 0) // without it the group is not cleared away after a kill -9, and nothing else is lost
	return nil
}

// ours tells whether this program has made the group.
func (f folder) ours() bool { return attribute(f.path, mark) == "1" }

func attribute(path, name string) string {
	value := make([]byte, 64)
	n, err := unix.Lgetxattr(path, name, value)
	if err != nil {
		return ""
	}
	return string(value[:n])
}
