package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// params are what Debian's uwsgi_params hands on, so that both sides parse what they would in service.
const params = `QUERY_STRING $query_string
REQUEST_METHOD $request_method
CONTENT_TYPE $content_type
CONTENT_LENGTH $content_length
REQUEST_URI $request_uri
PATH_INFO $document_uri
DOCUMENT_ROOT $document_root
SERVER_PROTOCOL $server_protocol
REQUEST_SCHEME $scheme
HTTPS $https if_not_empty
REMOTE_ADDR $remote_addr
REMOTE_PORT $remote_port
SERVER_PORT $server_port
SERVER_NAME $server_name`

// A front is a running nginx with one port for each side.
type front struct {
	dir   string
	ports [2]int
	cmd   *exec.Cmd
	done  chan struct{}
}

// newFront starts nginx before two sockets and waits until it listens. close must be called.
func (b *bench) newFront(ctx context.Context, sockets [2]string) (*front, error) {
	dir, err := os.MkdirTemp(b.dir, "nginx-")
	if err != nil {
		return nil, err
	}
	f := &front{dir: dir, done: make(chan struct{})}
	if err := f.write(sockets); err != nil {
		return nil, err
	}
	f.cmd = exec.Command(b.tools.nginx, "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", filepath.Join(dir, "error.log"))
	f.cmd.Env = environment()
	f.cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true} // Ctrl-C is for us, not for it
	if err := f.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(f.done)
		_ = f.cmd.Wait()
	}()
	for _, port := range f.ports {
		if _, err := await(ctx, 5*time.Second, 2*time.Millisecond, func() error { return listens(port) }); err != nil {
			log, _ := os.ReadFile(filepath.Join(dir, "error.log"))
			f.close()
			return nil, fmt.Errorf("nginx: %w\n%s", err, log)
		}
	}
	return f, nil
}

// write writes nginx's configuration with two free ports.
func (f *front) write(sockets [2]string) error {
	var servers strings.Builder
	for i, socket := range sockets {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close() // after both are known, so that they differ
		f.ports[i] = l.Addr().(*net.TCPAddr).Port
		fmt.Fprintf(&servers, "server { listen 127.0.0.1:%d; location / { include %s/uwsgi_params; uwsgi_pass unix:%s; } }\n", f.ports[i], f.dir, socket)
	}
	var temp, lines strings.Builder
	for _, kind := range []string{"client_body", "uwsgi", "proxy", "fastcgi", "scgi"} {
		fmt.Fprintf(&temp, "%s_temp_path %s/%s;\n", kind, f.dir, kind)
	}
	for param := range strings.Lines(params) {
		fmt.Fprintf(&lines, "uwsgi_param %s;\n", strings.TrimSpace(param))
	}
	// keepalive_requests: wrk keeps its connections, and nginx would end each after a thousand requests.
	conf := fmt.Sprintf(`daemon off;
worker_processes 1;
pid %[1]s/pid;
error_log %[1]s/error.log warn;
events { worker_connections 1024; }
http {
access_log off;
keepalive_requests 1000000000;
%[2]s%[3]s}
`, f.dir, temp.String(), servers.String())
	return errors.Join(os.WriteFile(filepath.Join(f.dir, "uwsgi_params"), []byte(lines.String()), 0o644),
		os.WriteFile(filepath.Join(f.dir, "nginx.conf"), []byte(conf), 0o644))
}

func listens(port int) error {
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err == nil {
		c.Close()
	}
	return err
}

func (f *front) url(s side) string { return fmt.Sprintf("http://127.0.0.1:%d/", f.ports[s]) }

// serves asks once and wants a page.
func (f *front) serves(s side) error {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get(f.url(s))
	if err != nil {
		return err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<16))
	if err != nil {
		return err
	}
	if r.StatusCode != http.StatusOK || !strings.HasPrefix(string(body), "1 ") {
		return fmt.Errorf("nginx answers %s: %.80q", r.Status, body)
	}
	return nil
}

// close ends nginx and removes its folder.
func (f *front) close() {
	kill(tree(f.cmd.Process.Pid))
	<-f.done
	_ = os.RemoveAll(f.dir)
}
