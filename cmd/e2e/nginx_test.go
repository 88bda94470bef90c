package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// nginx starts a real nginx with one location per socket: /NAME/ goes to socket NAME.
func (s *site) nginx(sockets map[string]string) {
	s.t.Helper()
	var servers strings.Builder
	for name, address := range sockets {
		fmt.Fprintf(&servers, "server { listen 127.0.0.1:PORT; server_name %s.test; location / { include DIR/uwsgi_params; uwsgi_pass unix:%s; uwsgi_read_timeout 20s; } }\n", name, address)
	}
	s.nginxServing(servers.String())
}

// nginxServing starts a real nginx with these server blocks, in which PORT and DIR stand for the site's.
func (s *site) nginxServing(servers string) *program {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	servers = strings.NewReplacer("PORT", fmt.Sprint(s.port), "DIR", s.dir).Replace(servers)
	params := ""
	for _, p := range []string{"QUERY_STRING $query_string", "REQUEST_METHOD $request_method", "CONTENT_TYPE $content_type", "CONTENT_LENGTH $content_length", "REQUEST_URI $request_uri", "PATH_INFO $document_uri", "DOCUMENT_ROOT $document_root", "SERVER_PROTOCOL $server_protocol", "REQUEST_SCHEME $scheme", "HTTPS $https if_not_empty", "REMOTE_ADDR $remote_addr", "REMOTE_PORT $remote_port", "SERVER_PORT $server_port", "SERVER_NAME $server_name"} {
		params += "uwsgi_param " + p + ";\n"
	}
	s.write("uwsgi_params", params, "")
	uid, gid := ids(s.t, "www-data")
	s.mkdir("nginx", uid, gid)
	s.write("nginx.conf", fmt.Sprintf(`user www-data; daemon off; worker_processes 1; pid %[1]s/nginx/pid; error_log %[1]s/nginx/error.log warn;
events { worker_connections 512; }
http { access_log off; client_max_body_size 20m; client_body_temp_path %[1]s/nginx/body; uwsgi_temp_path %[1]s/nginx/uwsgi; proxy_temp_path %[1]s/nginx/proxy; fastcgi_temp_path %[1]s/nginx/fastcgi; scgi_temp_path %[1]s/nginx/scgi;
%[2]s}
`, s.dir, servers), "")
	p := s.start("/usr/sbin/nginx", "-p", s.dir+"/nginx", "-c", s.dir+"/nginx.conf")
	s.eventually(5*time.Second, "nginx listens", func() error {
		select {
		case <-p.done:
			return errors.New("nginx ended")
		default:
		}
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
		if err == nil {
			c.Close()
		}
		return err
	})
	return p
}

// An answer is what came back through nginx.
type answer struct {
	status int
	header http.Header
	body   string
}

var client = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Timeout:       30 * time.Second,
}

// request asks an application through nginx.
func (s *site) request(app, method, path string, body io.Reader, header ...string) (answer, error) {
	r, err := http.NewRequestWithContext(context.Background(), method, fmt.Sprintf("http://127.0.0.1:%d%s", s.port, path), body)
	if err != nil {
		return answer{}, err
	}
	r.Host = app + ".test"
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	resp, err := client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(text)}, err
}

// get wants a page.
func (s *site) get(app, path string) string {
	s.t.Helper()
	var last answer
	s.eventually(15*time.Second, "GET "+app+path, func() error {
		var err error
		if last, err = s.request(app, "GET", path, nil); err == nil && last.status != 200 {
			err = fmt.Errorf("status %d: %.300s", last.status, last.body)
		}
		return err
	})
	return last.body
}
