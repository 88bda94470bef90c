package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// commands are the options of uWSGI that signal a running instance, as observed on 2.0.21. The others of its kind, --pause
// and --resume, have no counterpart.
var commands = map[string]unix.Signal{"--reload": unix.SIGHUP, "--stop": unix.SIGINT}

// noProcess is uWSGI's exit code where the process of the pid file does not exist.
const noProcess = 255

// command does what --reload or --stop asks for, if one of them is there.
func command(args []string, stderr io.Writer) (code int, done bool) {
	for i, arg := range args {
		name, file, glued := strings.Cut(arg, "=")
		sig, known := commands[name]
		switch {
		case name == "--pause" || name == "--resume" || name == "--suspend":
			fmt.Fprintf(stderr, "uwsgi: %s is not supported; emperorctl stop NAME and emperorctl start NAME do it for one application\n", name)
			return exitFailed, true
		case !known:
			continue
		case !glued && i+1 == len(args):
			fmt.Fprintf(stderr, "uwsgi: option %q needs a pid file: uwsgi %s FILE\n", name, name)
			return exitFailed, true
		case !glued:
			file = args[i+1]
		}
		err := signalFile(file, sig)
		if err == nil {
			return exitAsked, true
		}
		fmt.Fprintln(stderr, "uwsgi:", err)
		if errors.Is(err, unix.ESRCH) {
			return noProcess, true
		}
		return exitFailed, true
	}
	return 0, false
}

// maxPidfile bounds what is read of a pid file.
const maxPidfile = 64

// signalFile signals the process that a pid file names, if it is one of ours or a real uwsgi. uWSGI signals whatever has the
// number now, and its own process group where the file holds none.
func signalFile(name string, sig unix.Signal) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("cannot read the pid file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPidfile))
	if err != nil {
		return fmt.Errorf("cannot read the pid file %s: %w", name, err)
	}
	pid, err := parsePid(text)
	if err != nil {
		return fmt.Errorf("%s holds no process id: %w; nothing was signalled", name, err)
	}
	process, err := unix.PidfdOpen(pid, 0) // from here on the number cannot come to mean another process
	if errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("%s names process %d, which does not exist; it is left of one that was killed: rm %s: %w", name, pid, name, err)
	}
	if err != nil && !errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("cannot look at process %d of %s: %w", pid, name, err)
	}
	if who := programOf(pid); !slices.Contains([]string{"emperord", "vassald"}, who) && !calledUwsgi(who) {
		return fmt.Errorf("%s names process %d, which is %s and neither emperord, vassald nor uwsgi; the file is left of one that has ended: rm %s; nothing was signalled", name, pid, who, name)
	}
	if process >= 0 && err == nil {
		defer unix.Close(process)
		err = unix.PidfdSendSignal(process, sig, nil, 0)
	} else { // a kernel before 5.3
		err = unix.Kill(pid, sig)
	}
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("cannot signal process %d: %w; run this as root, or as the user it runs as", pid, err)
	}
	if err != nil {
		return fmt.Errorf("cannot signal process %d: %w", pid, err)
	}
	return nil
}

// parsePid reads a pid file: a number of a process that is not the first one by accident, and a line feed at most.
func parsePid(text []byte) (int, error) {
	word := bytes.TrimSpace(text)
	pid, err := strconv.ParseUint(string(word), 10, 31)
	if err != nil || pid == 0 {
		return 0, fmt.Errorf("%q is not a number from 1 on", word)
	}
	return int(pid), nil
}

// programOf returns the name of the program that a process runs, without a path.
func programOf(pid int) string {
	if path, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil {
		return filepath.Base(strings.TrimSuffix(path, " (deleted)")) // replaced by an upgrade
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return "gone"
	}
	return strings.TrimSpace(string(comm)) // of another user: the signal will be refused, too
}
