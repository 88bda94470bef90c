package webserver

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emperord/emperord/sockets/doctor"
	"github.com/emperord/emperord/sockets/nginxconf"
)

// wide is the largest buffer-size that uWSGI takes: its packets are no larger (65,535 bytes).
const wide = 65535

// second is how exact the log's times are.
const second = time.Second

// resets finds real uWSGIs that do not read what nginx sends: a request whose variables, cookies among them, are larger than
// uWSGI's buffer-size (4096 unless set) is dropped with a reset. vassald takes every packet.
func (x *examination) resets(at map[string]time.Time) {
	for _, address := range slices.Sorted(maps.Keys(at)) {
		name := ""
		i := slices.IndexFunc(x.Facts.Targets, func(t nginxconf.Target) bool {
			return t.Protocol == nginxconf.UWSGI && slices.ContainsFunc(t.Endpoints, func(e nginxconf.Endpoint) bool {
				name = e.String()
				return key(name) == address
			})
		})
		pid := uwsgiAt(address)
		if i < 0 || pid == 0 || at[address].Add(second).Before(began(pid)) {
			continue
		}
		f := doctor.Finding{Code: RequestTooBig, Subject: name, Place: place(x.Facts.Targets[i].File, x.Facts.Targets[i].Line), Why: reset,
			Cause: fmt.Sprintf("uWSGI (process %d) cut off a request that nginx had sent to %s: most often its header, with its cookies, is larger than uWSGI's buffer-size (4096 unless set)", pid, name),
			Note:  fmt.Sprintf("uWSGI's log says it: invalid request block size; write buffer-size = %d into its configuration, and start it again", wide)}
		if known := x.byKey[address]; len(known) > 0 {
			f.Subject = known[0].name()
			if info, err := os.Stat(known[0].File); err == nil && info.ModTime().After(at[address].Add(second)) {
				continue // changed since
			}
			command, note := doctor.Socket{File: known[0].File, Line: known[0].Line}.Set("buffer-size", strconv.Itoa(wide))
			switch {
			case command != "":
				f.Commands = []string{command}
				f.Note = "uWSGI's log says it: invalid request block size; under an emperor the change reloads it, else start it again"
			case note != "":
				f.Note = note
			case known[0].File != "":
				continue // it is as large as can be
			}
		}
		x.find(f)
	}
}

const reset = "nginx answers 502: recv() failed (104: Connection reset by peer) while reading response header from upstream"

// uwsgiAt is the first process of a real uWSGI (uwsgi, and uwsgi-core of Debian's emperor) that listens at an address; 0: none, or none that may be seen.
func uwsgiAt(address string) int {
	inodes := listeners(address)
	if len(inodes) == 0 {
		return 0
	}
	var pids []int
	comms, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, name := range comms {
		if text, err := os.ReadFile(name); err == nil && strings.HasPrefix(string(text), "uwsgi") {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	slices.Sort(pids)
	for _, pid := range pids {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && slices.Contains(inodes, to) {
				return pid
			}
		}
	}
	return 0
}

// listeners are the sockets that listen at an address (a key), as /proc/PID/fd names them.
func listeners(address string) (inodes []string) {
	read := func(name string, take func(f []string)) {
		text, err := os.ReadFile(name)
		if err != nil {
			return
		}
		for line := range strings.Lines(string(text)) {
			take(strings.Fields(line))
		}
	}
	if strings.HasPrefix(address, "/") {
		read("/proc/net/unix", func(f []string) {
			if len(f) >= 8 && f[3] == "00010000" && key(f[7]) == address { // __SO_ACCEPTCON
				inodes = append(inodes, "socket:["+f[6]+"]")
			}
		})
		return inodes
	}
	_, port, _ := cutPort(address)
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil
	}
	for _, name := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		read(name, func(f []string) {
			if len(f) > 9 && f[3] == "0A" && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", n)) {
				inodes = append(inodes, "socket:["+f[9]+"]")
			}
		})
	}
	return inodes
}
