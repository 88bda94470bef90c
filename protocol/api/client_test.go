package api

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// serve runs handler on a unix socket until the test ends and returns a client of it.
func serve(t *testing.T, handler http.Handler) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "control.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: handler}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	t.Cleanup(func() {
		srv.Close()
		<-done
	})
	return NewClient(path)
}

func reply(w http.ResponseWriter, code int, doc any) {
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(doc)
}

func TestEveryQuestionArrivesUnderItsPattern(t *testing.T) {
	const (
		reload    = "POST /v1/vassals/{name}/reload"
		stop      = "POST /v1/vassals/{name}/stop"
		start     = "POST /v1/vassals/{name}/start"
		reloadAll = "POST /v1/reload"
	)
	mux := http.NewServeMux()
	for _, pattern := range []string{reload, stop, start, reloadAll} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			reply(w, 200, Answer{OK: true, Message: fmt.Sprintf("%s|%s", r.Pattern, r.PathValue("name"))})
		})
	}
	mux.HandleFunc("GET /v1/vassals/{name}", func(w http.ResponseWriter, r *http.Request) { reply(w, 200, Vassal{Name: r.PathValue("name")}) })
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) { reply(w, 200, Status{PID: 7}) })
	c := serve(t, mux)
	ctx := context.Background()

	for _, name := range []string{"shop.ini", "/srv/a b/uwsgi.d/shop.ini", "100%.ini", "ä?#&.ini", "a//b.ini", "/srv/./x/../shop.ini"} {
		for pattern, ask := range map[string]func(context.Context, string) (Answer, error){
			reload: c.Reload, stop: c.Stop, start: c.Start,
		} {
			got, err := ask(ctx, name)
			if err != nil || !got.OK || got.Message != pattern+"|"+name {
				t.Errorf("%s of %q: got %+v, %v", pattern, name, got, err)
			}
		}
		if v, err := c.Vassal(ctx, name); err != nil || v.Name != name {
			t.Errorf("Vassal(%q): got %q, %v", name, v.Name, err)
		}
	}
	if a, err := c.ReloadAll(ctx); err != nil || a.Message != reloadAll+"|" {
		t.Errorf("ReloadAll: got %+v, %v", a, err)
	}
	if s, err := c.Status(ctx); err != nil || s.PID != 7 {
		t.Errorf("Status: got %+v, %v", s, err)
	}
}

func TestARefusalKeepsItsCodeAndWords(t *testing.T) {
	c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reply(w, 409, Failure{"shop.ini is stopping; wait until it has ended"})
	}))
	_, err := c.Start(context.Background(), "shop.ini")
	var r *RefusedError
	if !errors.As(err, &r) || r.Code != 409 || r.Reason != "shop.ini is stopping; wait until it has ended" {
		t.Fatalf("got %#v", err)
	}
}

func TestWhatIsNoEmperorIsSaid(t *testing.T) {
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"html":     {func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<html>") }, "is no emperor's"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/v1/x", http.StatusFound) }, "302 Found without a reason"},
		"cut": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "{")
		}, "may just have ended"},
	} {
		t.Run(name, func(t *testing.T) {
			cl := serve(t, c.handler)
			_, err := cl.Status(context.Background())
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), cl.socket) {
				t.Fatalf("got %v, want %q and the socket's path", err, c.want)
			}
		})
	}
}

func TestConnectErrorsNameSocketCauseAndRemedy(t *testing.T) {
	dir := t.TempDir()
	dead := filepath.Join(dir, "dead.sock")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		socket, want string
		err          error
	}{
		"missing":      {filepath.Join(dir, "none.sock"), "no such socket; start emperord", syscall.ENOENT},
		"below a file": {filepath.Join(file, "x.sock"), "no such socket; start emperord", syscall.ENOTDIR},
		"dead":         {dead, "nobody listens on it; the emperor that made it has gone", syscall.ECONNREFUSED},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewClient(c.socket).Status(context.Background())
			var ce *ConnectError
			if !errors.As(err, &ce) || !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.socket) {
				t.Fatalf("got %v, want %q, %q and %v", err, c.socket, c.want, c.err)
			}
		})
	}
	denied := NewClient("/x.sock").connectError(context.Background(), &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EACCES)})
	if !strings.Contains(denied.Error(), "permission denied for uid") {
		t.Errorf("got %v", denied)
	}
}

func TestAHangingEmperorIsNotWaitedForForEver(t *testing.T) {
	release := make(chan struct{})
	c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-release }))
	defer close(release)
	c.http.Timeout = 50 * time.Millisecond
	_, err := c.Status(context.Background())
	if err == nil || !strings.Contains(err.Error(), "no answer within 50ms") {
		t.Fatalf("got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.Status(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: got %v", err)
	}
}

// FuzzAnswer feeds whatever a peer may send through the client's decoders.
func FuzzAnswer(f *testing.F) {
	f.Add(200, `{"version":"1","pid":1,"vassals":[{"name":"a.ini","state":"accepting"}]}`)
	f.Add(404, `{"error":"no vassal x.ini"}`)
	f.Add(500, `null`)
	f.Add(200, `[]`)
	f.Fuzz(func(t *testing.T, code int, text string) {
		if err := refused("/s", code, []byte(text)); err == nil || err.Error() == "" {
			t.Fatalf("a refusal without words: %#v", err)
		}
		var s Status
		if json.Unmarshal([]byte(text), &s) != nil {
			return
		}
		again, err := json.Marshal(s)
		if err != nil {
			return // years beyond 9999 decode and do not encode
		}
		var s2 Status
		if err := json.Unmarshal(again, &s2); err != nil {
			t.Fatalf("%s does not come back: %v", again, err)
		}
	})
}

// TestTheDocumentsKeepTheirKeys fails when a key of the wire changes without a new Version.
func TestTheDocumentsKeepTheirKeys(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	doc := Status{Version: "0.1", PID: 1, Tyrant: true, Sources: []string{"/v"}, Started: at, Goroutines: 9, Vassals: []Vassal{{
		Name: "shop.ini", File: "/v/shop.ini", State: Backoff, Since: at, Reason: "why", PID: 2, UID: 3, GID: 4, User: "shop", Group: "www",
		RunsAsRoot: true, Sockets: []Socket{{"/run/uwsgi/shop.sock", "0660", "shop", "www-data"}}, Restarts: 5, NextTry: &at, Notices: []string{"n"},
		Generations: []Generation{{PID: 2, Role: Serving, Since: at, Ready: true, Loyal: true}},
	}}}
	got, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	const golden = "testdata/status.golden.json"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("got %s\nwant %s\nif this is meant: go test ./protocol/api -update", got, want)
	}
	var back Status
	if err := json.Unmarshal(got, &back); err != nil || !reflect.DeepEqual(back, doc) {
		t.Errorf("does not come back: %+v, %v", back, err)
	}
}
