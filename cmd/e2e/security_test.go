package e2e

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// securityTable reads the table of docs/security.md: row → role → cell.
func securityTable(t *testing.T) (roles []string, cells map[string]map[string]string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n| what | ")
	if !found {
		t.Fatal("docs/security.md has no table of processes")
	}
	split := func(line string) []string {
		all := strings.Split(strings.Trim(line, "| "), " | ")
		for i := range all {
			all[i] = strings.TrimSpace(all[i])
		}
		return all
	}
	lines := strings.Split(rest, "\n")
	for _, r := range split(lines[0]) {
		roles = append(roles, strings.Trim(r, "`"))
	}
	cells = map[string]map[string]string{}
	for _, line := range lines[2:] {
		if !strings.HasPrefix(line, "|") {
			break
		}
		row := split(line)
		if len(row) != len(roles)+1 {
			t.Fatalf("the row %q has %d cells, want %d", row[0], len(row), len(roles)+1)
		}
		cells[row[0]] = map[string]string{}
		for i, r := range roles {
			cells[row[0]][r] = row[i+1]
		}
	}
	return roles, cells
}

// A kept is a process of a role, as /proc shows it.
type kept struct {
	t      *testing.T
	pid    int
	status map[string]string
	vars   map[string]string
	parent int
}

func look(t *testing.T, p process) kept {
	k := kept{t: t, pid: p.pid, parent: p.ppid, status: map[string]string{}, vars: map[string]string{}}
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	for _, line := range strings.Split(string(text), "\n") {
		name, value, _ := strings.Cut(line, ":")
		k.status[name] = strings.TrimSpace(value)
	}
	text, _ = os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.pid))
	for _, kv := range strings.Split(string(text), "\x00") {
		name, value, _ := strings.Cut(kv, "=")
		k.vars[name] = value
	}
	return k
}

// limits returns /proc/PID/limits.
func (k kept) limits() string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/limits", k.pid))
	return string(text)
}

// descriptors names the kind of each open descriptor with the words of docs/security.md.
func (k kept) descriptors(own string) []string {
	var kinds []string
	names, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", k.pid))
	listeners := listeningInodes()
	target := func(fd string) string {
		to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", k.pid, fd))
		return to
	}
	for _, n := range names {
		to := target(n.Name())
		path, listening := listeners[to]
		kind := n.Name() + " → " + to
		switch {
		case to == "":
			continue
		case to == "/dev/null":
			kind = "null"
		case n.Name() == "2" && strings.HasPrefix(to, "pipe:"):
			kind = "log"
		case strings.HasPrefix(to, "pipe:") && to == target("2"):
			kind = "log"
		case strings.HasPrefix(to, "pipe:") && n.Name() == "1":
			kind = "answer"
		case strings.HasPrefix(to, "pipe:"):
			kind = "pipe"
		case to == "anon_inode:[eventpoll]", to == "anon_inode:[eventfd]":
			kind = "go"
		case strings.HasPrefix(to, "/memfd:scoreboard"):
			kind = "scoreboard"
		case strings.HasPrefix(to, "/memfd:emperord-board"):
			kind = "board"
		case strings.HasPrefix(to, "/memfd:emperord-settings"):
			kind = "settings"
		case listening && path == own:
			kind = "listener"
		case listening:
			kind = "a listener of somebody else: " + path
		case strings.HasPrefix(to, "socket:") && n.Name() == k.vars["UWSGI_EMPEROR_FD"]:
			kind = "emperor pipe"
		case strings.HasPrefix(to, "socket:") && unnamedPair(to):
			kind = "control"
		case n.Name() == k.vars["EMPERORD_FILE_FD"]:
			kind = "file"
		}
		if !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// unnamedPair tells whether a socket is a connected Unix socket without a name.
func unnamedPair(inode string) bool {
	text, _ := os.ReadFile("/proc/net/unix")
	for _, line := range strings.Split(string(text), "\n") {
		f := strings.Fields(line)
		if len(f) >= 7 && "socket:["+f[6]+"]" == inode {
			return len(f) == 7 && f[5] == "03" // SS_CONNECTED
		}
	}
	return false
}

// TestProcessesHaveWhatTheSecurityPageSays reads /proc/PID/status, fd, environ and limits of a process of every role and
// compares them with the table in docs/security.md.
func TestProcessesHaveWhatTheSecurityPageSays(t *testing.T) {
	roles, table := securityTable(t)
	s := newSite(t)
	uid, gid := ids(t, shop)
	s.mkdir("srv/plain", uid, gid)
	s.write("srv/plain/plain.py", `import subprocess
child = subprocess.Popen(["/bin/sleep", "1818"], close_fds=False)
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"ok"]
`, shop)
	s.vassal("plain.ini", shop, plainVassal)
	s.vassal("slow.ini", shop, "env = READ=@(exec://exec /bin/sleep 8; true)\nmodule = plain:application\nsocket = DIR/run/slow.sock\n")
	secrets := []string{"NOTIFY_SOCKET=/run/systemd/notify", "WATCHDOG_PID=1", "WATCHDOG_USEC=9000000", "LISTEN_FDS=0", "LISTEN_PID=1", "LISTEN_FDNAMES=a", "CREDENTIALS_DIRECTORY=/run/credentials/emperord.service",
		"INVOCATION_ID=1", "JOURNAL_STREAM=8:1", "SUDO_USER=admin", "SSH_AUTH_SOCK=/tmp/agent", "XDG_RUNTIME_DIR=/run/user/0", "UWSGI_EMPEROR=" + s.dir + "/vassals"}
	args := append(secrets, "/usr/bin/prlimit", "--nofile=1234:5678", "--core=0:1000", bin+"/emperord", "--emperor-control-socket", s.dir+"/control.sock", "--emperor-socket-root", s.dir+"/run", "--emperor-tyrant")
	e := &emperor{s.start("/usr/bin/env", args...), s}
	t.Cleanup(e.audit)
	s.nginx(map[string]string{"plain": s.dir + "/run/plain.sock"})
	if body := s.get("plain", "/"); body != "ok" {
		t.Fatalf("the application answers %q", body)
	}

	self := look(t, process{pid: os.Getpid()})
	found := map[string][]kept{}
	s.eventually(10*time.Second, "a process of every role", func() error {
		clear(found)
		all := processes()
		byPID := map[int]kept{}
		for _, p := range all {
			byPID[p.pid] = look(t, p)
		}
		for _, p := range all {
			if role := roleOf(p, byPID, e.cmd.Process.Pid); role != "" {
				found[role] = append(found[role], byPID[p.pid])
			}
		}
		for _, r := range roles {
			if len(found[r]) == 0 {
				return fmt.Errorf("no %s", r)
			}
		}
		return nil
	})
	for row, cells := range table {
		for _, role := range roles {
			for _, p := range found[role] {
				compare(t, row, role, cells[role], p, self, uid, gid, s.dir+"/run/plain.sock")
			}
		}
	}
	for _, role := range []string{"emperord", "what it executes", "language host", "worker", "what the application executes"} {
		for _, p := range found[role] { // our own programs may sleep late, those of others may not
			if have, start := slack(p.pid), slack(self.pid); have != start || have == "" {
				t.Errorf("timer slack of %s is %q, at the start %q", role, have, start)
			}
		}
	}
}

// slack is how late the kernel may wake a process's first thread, in nanoseconds.
func slack(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/timerslack_ns", pid))
	return strings.TrimSpace(string(text))
}

// roleOf names the role of a process of the site, with the words of docs/security.md.
func roleOf(p process, all map[int]kept, emperor int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid))
	line := strings.ReplaceAll(string(text), "\x00", " ")
	above := func(pid int) string {
		if k, ok := all[pid]; ok {
			text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", k.pid))
			return strings.ReplaceAll(string(text), "\x00", " ")
		}
		return ""
	}
	switch {
	case p.pid == emperor:
		return "emperord"
	case !descends(p.pid, emperor, all): // other tests run at the same time
		return ""
	case p.ppid == emperor && strings.HasPrefix(line, "vassald --resolve"):
		return "vassald --resolve"
	case strings.HasPrefix(above(p.ppid), "vassald --resolve") && strings.Contains(line, "sleep"):
		return "what it executes"
	case p.ppid == emperor && strings.HasPrefix(line, "vassald --ini"):
		return "vassald"
	case strings.HasPrefix(line, "/bin/sleep 1818"):
		return "what the application executes"
	case strings.Contains(line, "python3") && strings.HasPrefix(above(p.ppid), "vassald --ini"):
		return "language host"
	case strings.Contains(line, "python3") && strings.Contains(above(p.ppid), "python3"):
		return "worker"
	}
	return ""
}

// descends tells whether a process is a descendant of another one.
func descends(pid, from int, all map[int]kept) bool {
	for range 10 {
		pid = all[pid].parent
		if pid == from {
			return true
		}
	}
	return false
}

func compare(t *testing.T, row, role, want string, got, self kept, uid, gid int, socket string) {
	t.Helper()
	if want == "–" {
		return
	}
	wrong := func(have string) {
		t.Errorf("%s of %s (pid %d): %s; docs/security.md says %s", row, role, got.pid, have, want)
	}
	four := func(id int) string { return strings.TrimSpace(strings.Repeat(strconv.Itoa(id)+"\t", 4)) }
	number := func(name string, id int) {
		if want == "root" {
			id = 0
		} else if want != "tenant" {
			t.Errorf("%s of %s: the table says %q", row, role, want)
		}
		if got.status[name] != four(id) {
			wrong(got.status[name])
		}
	}
	caps := func(names ...string) {
		for _, name := range names {
			expect := "0000000000000000"
			if want == "start" {
				expect = self.status[name]
			}
			if got.status[name] != expect {
				wrong(name + " " + got.status[name])
			}
		}
	}
	start := func(have, before string) {
		if want != "start" || have != before {
			wrong(have + ", at the start " + before)
		}
	}
	ticked := regexp.MustCompile("`([^`]+)`")
	switch row {
	case "uid: real, effective, saved, file system":
		number("Uid", uid)
	case "gid: the same four":
		number("Gid", gid)
	case "supplementary groups":
		expect := strconv.Itoa(gid)
		if want == "start" {
			expect = self.status["Groups"]
		}
		if got.status["Groups"] != expect {
			wrong(got.status["Groups"])
		}
	case "capabilities: permitted, effective":
		caps("CapPrm", "CapEff")
	case "capabilities: inheritable, ambient":
		caps("CapInh", "CapAmb")
	case "capabilities: bounding":
		caps("CapBnd")
	case "no_new_privs":
		if got.status["NoNewPrivs"] != want {
			wrong(got.status["NoNewPrivs"])
		}
	case "umask":
		start(got.status["Umask"], self.status["Umask"])
	case "limits (`/proc/PID/limits`)":
		start(regexp.MustCompile(` +`).ReplaceAllString(got.limits(), " "), limitsOfStart(self))
	case "descriptors":
		allowed := strings.Split(want, ", ")
		for _, kind := range got.descriptors(socket) {
			if !slices.Contains(allowed, kind) {
				wrong(kind)
			}
		}
	case "variables that are there":
		for _, m := range ticked.FindAllStringSubmatch(want, -1) {
			if _, there := got.vars[m[1]]; !there {
				wrong("no " + m[1])
			}
		}
		if got.vars["USER"] != shop && strings.Contains(want, "`USER`") || got.vars["HOME"] == "/root" {
			wrong("USER=" + got.vars["USER"] + " HOME=" + got.vars["HOME"])
		}
	case "variables that are not":
		for _, m := range ticked.FindAllStringSubmatch(want, -1) {
			if _, there := got.vars[m[1]]; there {
				wrong(m[1] + "=" + got.vars[m[1]])
			}
		}
	default:
		t.Errorf("docs/security.md has the row %q, which is not tested", row)
	}
}

// limitsOfStart is what the emperor was started with: this process's limits, but for those that prlimit set. The soft
// limit of open files of this process is Go's doing.
func limitsOfStart(self kept) string {
	text := regexp.MustCompile(` +`).ReplaceAllString(self.limits(), " ")
	text = regexp.MustCompile(`Max open files \S+ \S+ `).ReplaceAllString(text, "Max open files 1234 5678 ")
	return regexp.MustCompile(`Max core file size \S+ \S+ `).ReplaceAllString(text, "Max core file size 0 1000 ")
}
