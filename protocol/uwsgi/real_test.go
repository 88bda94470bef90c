package uwsgi

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// need returns the path of a program. A missing one skips the test on a laptop and fails it in CI.
func need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is not installed, and CI must have it: %v", program, err)
	}
	t.Skipf("%s is not installed: %v", program, err)
	return ""
}

// shortDir is a folder whose path leaves room for a socket name: a socket's path has at most 107 bytes.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "uw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// A syncBuffer takes the output of a child while the test reads it.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// start runs a program until the test ends and waits until ready answers true.
func start(t *testing.T, cmd *exec.Cmd, ready func() bool) {
	t.Helper()
	var out syncBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("%s said:\n%s", cmd.Path, out.String())
		}
	})
	deadline := time.Now().Add(20 * time.Second)
	for !ready() {
		select {
		case <-ended:
			t.Fatalf("%s ended at once:\n%s", cmd.Path, out.String())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not ready after 20 s:\n%s", cmd.Path, out.String())
		}
	}
}

func answersAt(network, address string) func() bool {
	return func() bool {
		c, err := net.Dial(network, address)
		if err != nil {
			return false
		}
		c.Close()
		return true
	}
}

// nginxTest is the address of an nginx that hands everything to the uwsgi socket, with the parameters of its package.
func nginxTest(t *testing.T, socket string) string {
	t.Helper()
	nginx := need(t, "nginx")
	dir := shortDir(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	conf := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log stderr;
events { worker_connections 64; }
http {
	access_log off;
	client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
	large_client_header_buffers 8 64k; client_max_body_size 64m;
	uwsgi_buffers 8 64k; uwsgi_buffer_size 64k;
	server {
		listen %[2]s; server_name shop.example; root /srv/shop;
		location / { include /etc/nginx/uwsgi_params; uwsgi_pass unix:%[3]s; }
	}
}
`, dir, address, socket)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, exec.Command(nginx, "-p", dir, "-c", file), answersAt("tcp", address))
	return address
}

// noKeepAlive is a client that leaves no connection behind.
func noKeepAlive() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
}
