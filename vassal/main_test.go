package vassal

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain makes the test binary be vassald where VASSALD_UNDER_TEST is set.
func TestMain(m *testing.M) {
	if os.Getenv("VASSALD_UNDER_TEST") != "" {
		err := Run(context.Background(), FromSystem())
		if err != nil {
			fmt.Fprintln(os.Stderr, "vassald:", err)
		}
		os.Exit(ExitCode(err))
	}
	os.Exit(m.Run())
}

// A daemon is a vassald under test, in a session of its own.
type daemon struct {
	t      *testing.T
	cmd    *exec.Cmd
	dir    string
	socket string
	log    string
	ended  chan error
	over   bool
}

// configure writes a vassal file with a socket and the test applications' folder as chdir.
func configure(t *testing.T, lines ...string) (dir, socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "vassal")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	apps, err := filepath.Abs("testdata/apps")
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "s")
	text := "[uwsgi]\nplugin = python3\nvacuum = true\nsocket = " + socket + "\n"
	if !strings.Contains(strings.Join(lines, "\n"), "chdir =") {
		text += "chdir = " + apps + "\n"
	}
	text += strings.Join(lines, "\n") + "\n"
	if err := os.WriteFile(filepath.Join(dir, "app.ini"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir, socket
}

// launch starts vassald alone with a file of these lines, and does not wait for it.
func launch(t *testing.T, lines ...string) *daemon {
	t.Helper()
	dir, socket := configure(t, lines...)
	d := &daemon{t: t, dir: dir, socket: socket, log: filepath.Join(dir, "log")}
	d.run(nil)
	return d
}

// run starts the process. prepare may change the command.
func (d *daemon) run(prepare func(*exec.Cmd)) {
	d.t.Helper()
	log, err := os.OpenFile(d.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		d.t.Fatal(err)
	}
	defer log.Close()
	d.cmd = exec.Command("/proc/self/exe", "--ini", "app.ini")
	d.cmd.Dir = d.dir
	d.cmd.Env = append(without(os.Environ(), "PATH"), "VASSALD_UNDER_TEST=1", "PATH="+defaultPath, "GORACE=atexit_sleep_ms=0") // else every exit takes a second
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if prepare != nil {
		prepare(d.cmd)
	}
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.ended, d.over = make(chan error, 1), false
	go func() { d.ended <- d.cmd.Wait() }()
	d.t.Cleanup(d.audit)
}

// serve starts vassald and waits until it accepts.
func start(t *testing.T, lines ...string) *daemon {
	t.Helper()
	d := launch(t, lines...)
	d.await("accepts requests")
	return d
}

// await waits for a text in the log.
func (d *daemon) await(text string) {
	d.t.Helper()
	d.eventually("the log says "+strconv.Quote(text), func() bool { return strings.Contains(d.said(), text) })
}

func (d *daemon) eventually(what string, is func() bool) {
	d.t.Helper()
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if is() {
			return
		}
	}
	d.t.Fatalf("waited in vain until %s; the log is:\n%s", what, d.said())
}

func (d *daemon) said() string {
	text, _ := os.ReadFile(d.log)
	return string(text)
}

// stop sends a signal and returns the exit code.
func (d *daemon) stop(sig syscall.Signal) int {
	d.t.Helper()
	if err := d.cmd.Process.Signal(sig); err != nil {
		d.t.Fatal(err)
	}
	return d.wait()
}

func (d *daemon) wait() int {
	d.t.Helper()
	if !d.over {
		select {
		case <-d.ended:
			d.over = true
		case <-time.After(15 * time.Second):
			d.t.Fatalf("vassald does not end; the log is:\n%s", d.said())
		}
	}
	return d.cmd.ProcessState.ExitCode()
}

// audit ends vassald and checks that nothing of its session is left.
func (d *daemon) audit() {
	if !d.over {
		_ = d.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-d.ended:
		case <-time.After(15 * time.Second):
			d.t.Errorf("vassald does not end; the log is:\n%s", d.said())
			_ = d.cmd.Process.Kill()
			<-d.ended
		}
		d.over = true
	}
	var left []string
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if left = session(d.cmd.Process.Pid); len(left) == 0 {
			return
		}
	}
	d.t.Errorf("left behind: %v; the log is:\n%s", left, d.said())
	for _, l := range left {
		pid, _ := strconv.Atoi(strings.Fields(l)[0])
		_ = syscall.Kill(pid, syscall.SIGKILL) // of the session that this test has made
	}
}

// session lists the processes of a session: "pid command state parent".
func session(id int) []string {
	var all []string
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
		if open < 0 || end < 0 {
			continue
		}
		f := strings.Fields(string(text[end+1:]))
		if len(f) > 3 && f[3] == strconv.Itoa(id) {
			all = append(all, fmt.Sprintf("%s %s %s %s", strings.TrimSpace(string(text[:open])), text[open+1:end], f[0], f[1]))
		}
	}
	return all
}

// family returns the pids of the host and of its workers.
func (d *daemon) family() (host int, workers []int) {
	lines := session(d.cmd.Process.Pid)
	for _, l := range lines {
		f := strings.Fields(l)
		if f[len(f)-1] == strconv.Itoa(d.cmd.Process.Pid) && strings.HasPrefix(f[1], "python") {
			host, _ = strconv.Atoi(f[0])
		}
	}
	for _, l := range lines {
		f := strings.Fields(l)
		if f[len(f)-1] == strconv.Itoa(host) {
			pid, _ := strconv.Atoi(f[0])
			workers = append(workers, pid)
		}
	}
	return host, workers
}

// An answer is what came back on a connection.
type answer struct {
	raw, status, head, body string
}

// packet encodes variables, "NAME=value".
func packet(modifier byte, vars ...string) []byte {
	var block []byte
	for _, v := range vars {
		name, value, _ := strings.Cut(v, "=")
		block = binary.LittleEndian.AppendUint16(block, uint16(len(name)))
		block = append(block, name...)
		block = binary.LittleEndian.AppendUint16(block, uint16(len(value)))
		block = append(block, value...)
	}
	head := []byte{modifier, byte(len(block)), byte(len(block) >> 8), 0}
	return append(head, block...)
}

// request encodes a request as nginx sends it.
func request(method, uri, body string, more ...string) []byte {
	path, query, _ := strings.Cut(uri, "?")
	length := ""
	if body != "" {
		length = strconv.Itoa(len(body))
	}
	vars := append([]string{
		"QUERY_STRING=" + query, "REQUEST_METHOD=" + method, "CONTENT_TYPE=", "CONTENT_LENGTH=" + length, "REQUEST_URI=" + uri, "PATH_INFO=" + path,
		"DOCUMENT_ROOT=/usr/share/nginx/html", "SERVER_PROTOCOL=HTTP/1.1", "REQUEST_SCHEME=http", "REMOTE_ADDR=127.0.0.1", "REMOTE_PORT=40000",
		"SERVER_PORT=80", "SERVER_NAME=localhost", "HTTP_HOST=localhost",
	}, more...)
	return append(packet(0, vars...), body...)
}

// send sends bytes to a socket and reads to the end.
func send(socket string, bytes []byte) (answer, error) {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return answer{}, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Write(bytes); err != nil {
		return answer{}, err
	}
	raw, err := io.ReadAll(c)
	return parse(string(raw)), err
}

func parse(raw string) answer {
	head, body, _ := strings.Cut(raw, "\r\n\r\n")
	line, head, _ := strings.Cut(head, "\r\n")
	a := answer{raw: raw, head: head, body: body}
	if f := strings.SplitN(line, " ", 2); len(f) == 2 {
		a.status = f[1]
	}
	return a
}

// get sends a GET that must be answered.
func (d *daemon) get(uri string, more ...string) answer {
	d.t.Helper()
	a, err := send(d.socket, request("GET", uri, "", more...))
	if err != nil {
		d.t.Fatalf("GET %s: %v; the log is:\n%s", uri, err, d.said())
	}
	return a
}

// pythons returns the interpreters to test with, by version: the system's, and those of ~/.pyenv where there are any.
func pythons(t *testing.T) map[string]string {
	found := map[string]string{}
	candidates, _ := filepath.Glob("/usr/bin/python3.*")
	more, _ := filepath.Glob(os.Getenv("HOME") + "/.pyenv/versions/*/bin/python3")
	for _, c := range append(candidates, more...) {
		if !regexp.MustCompile(`/python3(\.\d+)?$`).MatchString(c) {
			continue
		}
		out, err := exec.Command(c, "-I", "-S", "-c", "import sys; print('%d.%d' % sys.version_info[:2], sys.version_info >= (3, 9))").Output()
		if f := strings.Fields(string(out)); err == nil && len(f) == 2 && f[1] == "True" && found[f[0]] == "" {
			found[f[0]] = c
		}
	}
	if len(found) == 0 {
		t.Fatal("there is no CPython 3.9 or later in /usr/bin; apt install python3")
	}
	return found
}
