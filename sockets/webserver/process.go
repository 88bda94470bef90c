package webserver

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A process is what /proc says of one.
type process struct {
	pid, parent int
	title       string
	uid         int
	began       int64 // clock ticks after boot
}

// The words that nginx writes over its command line.
const (
	masterTitle = "nginx: master process "
	workerTitle = "nginx: worker process"
)

// running finds the nginx instances by their processes. Anybody may give a process of its own nginx's name, so only the masters of
// root and of whoever asks count, and only their own children.
func running(b build) []Server {
	all := nginxes()
	var found []Server
	for _, m := range all {
		if !strings.HasPrefix(m.title, masterTitle) || m.uid != 0 && m.uid != os.Geteuid() {
			continue
		}
		s := Server{Program: b.program, Prefix: b.prefix, Conf: b.conf, Master: m.pid, Unit: unit(m.pid)}
		s.options(strings.Fields(strings.TrimPrefix(m.title, masterTitle)), b)
		for _, w := range all {
			if w.parent == m.pid && strings.TrimSpace(w.title) == workerTitle { // not one that "is shutting down"
				s.Workers = append(s.Workers, w.pid)
			}
		}
		found = append(found, s)
	}
	slices.SortFunc(found, func(a, b Server) int { return a.Master - b.Master })
	return found
}

// options reads -p and -c of the command line that the master's title shows. A word of it may hold no blank.
func (s *Server) options(args []string, b build) {
	if len(args) > 0 && filepath.IsAbs(args[0]) {
		s.Program = args[0]
	}
	conf := ""
	for i := 1; i < len(args); i++ {
		for _, option := range []string{"-p", "-c"} {
			value, is := strings.CutPrefix(args[i], option)
			if !is {
				continue
			}
			if value == "" && i+1 < len(args) {
				i++
				value = args[i]
			}
			if option == "-p" {
				s.Prefix = value
			} else {
				conf = value
			}
			break
		}
	}
	if conf == "" && s.Prefix != b.prefix {
		if rel, err := filepath.Rel(b.prefix, b.conf); err == nil && !strings.HasPrefix(rel, "..") {
			conf = rel // built with a path below its prefix, which -p moves
		}
	}
	if conf != "" {
		s.Conf = under(s.Prefix, conf)
	}
}

// nginxes are the processes that look like nginx's.
func nginxes() []process {
	names, _ := filepath.Glob("/proc/[0-9]*")
	var all []process
	for _, dir := range names {
		comm, err := os.ReadFile(dir + "/comm")
		if err != nil || strings.TrimSpace(string(comm)) != "nginx" {
			continue
		}
		title, err := os.ReadFile(dir + "/cmdline")
		if err != nil {
			continue
		}
		p := process{title: string(bytes.TrimRight(bytes.ReplaceAll(title, []byte{0}, []byte{' '}), " "))}
		if p.pid, err = strconv.Atoi(filepath.Base(dir)); err != nil || !p.stat(dir) {
			continue
		}
		all = append(all, p)
	}
	return all
}

// stat reads parent, begin and owner of a process.
func (p *process) stat(dir string) bool {
	text, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return false
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])) // proc_pid_stat(5), from the third field
	if len(fields) < 20 {
		return false
	}
	p.parent, _ = strconv.Atoi(fields[1])
	p.began, _ = strconv.ParseInt(fields[19], 10, 64)
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return false
	}
	p.uid = -1
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "Uid:"); ok {
			if f := strings.Fields(rest); len(f) == 4 {
				p.uid, _ = strconv.Atoi(f[0])
			}
		}
	}
	return p.uid >= 0
}

// ticks is the kernel's USER_HZ, which is 100 wherever Go runs on Linux.
const ticks = 100

// began is when a process began, to about a second; the zero time where that cannot be told.
func began(pid int) time.Time {
	p := process{}
	if !p.stat(fmt.Sprintf("/proc/%d", pid)) {
		return time.Time{}
	}
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return time.Time{}
	}
	for line := range strings.Lines(string(stat)) {
		if rest, ok := strings.CutPrefix(line, "btime "); ok {
			boot, err := strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
			if err != nil {
				return time.Time{}
			}
			return time.Unix(boot, 0).Add(time.Duration(p.began) * time.Second / ticks)
		}
	}
	return time.Time{}
}

// unit is the systemd unit that a process belongs to; empty: none, or not known.
func unit(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if name := filepath.Base(strings.TrimSpace(line)); strings.HasPrefix(name, "nginx") && strings.HasSuffix(name, ".service") {
			return name
		}
	}
	return ""
}

// elsewhere tells whether a process sees another file at a path than we do, or none. What cannot be told, such as by an
// ordinary user, is no.
func elsewhere(pid int, path string) bool {
	ours, err := os.Stat(path)
	if err != nil {
		return false
	}
	root := fmt.Sprintf("/proc/%d/root", pid)
	if _, err := os.Stat(root + "/"); err != nil {
		return false
	}
	theirs, err := os.Stat(root + path)
	return errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(ours, theirs)
}

func groupID(name string) (int, error) {
	if g, err := user.LookupGroup(name); err == nil {
		return strconv.Atoi(g.Gid)
	}
	return strconv.Atoi(name)
}
