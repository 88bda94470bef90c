package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emperord/emperord/protocol/api"
)

// shortDir is a folder whose path leaves room for a socket name: a socket's path has at most 107 bytes.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ec")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// emperorTest answers on a control socket as an emperor does that knows the vassals of court, and returns its path.
func emperorTest(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	reply := func(w http.ResponseWriter, code int, doc any) {
		w.WriteHeader(code)
		json.NewEncoder(w).Encode(doc)
	}
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) { reply(w, 200, court()) })
	mux.HandleFunc("POST /v1/reload", func(w http.ResponseWriter, r *http.Request) {
		reply(w, 200, api.Answer{OK: true, Message: "reloading 4 vassals"})
	})
	mux.HandleFunc("GET /v1/vassals/{name}", func(w http.ResponseWriter, r *http.Request) { reply(w, 200, court().Vassals[3]) })
	mux.HandleFunc("GET /v1/why/{name...}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("name") != "blog.ini" {
			reply(w, 404, api.Failure{Error: "there is no vassal " + r.PathValue("name")})
			return
		}
		reply(w, 200, trouble().Why)
	})
	mux.HandleFunc("POST /v1/vassals/{name}/{verb}", func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("name")
		if name != "shop.ini" && name != "blog.ini" {
			reply(w, 404, api.Failure{Error: "there is no vassal \x1b" + name})
			return
		}
		reply(w, 200, api.Answer{OK: true, Message: name + ": " + r.PathValue("verb")})
	})
	socket := filepath.Join(shortDir(t), "c")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ln) }()
	t.Cleanup(func() {
		server.Close()
		<-ended
	})
	return socket
}

// ctl runs one command line and returns exit code, standard output and standard error.
func ctl(t *testing.T, stdin string, args ...string) (code int, out, err string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(context.Background(), args, streams{strings.NewReader(stdin), &o, &e})
	return code, o.String(), e.String()
}

func TestVerbs(t *testing.T) {
	socket := emperorTest(t)
	for _, c := range []struct {
		args     string
		code     int
		out, err string
	}{
		{"reload shop.ini blog.ini", 0, "shop.ini: reload\nblog.ini: reload\n", ""},
		{"stop shop.ini", 0, "shop.ini: stop\n", ""},
		{"start shop.ini", 0, "shop.ini: start\n", ""},
		{"reload --all", 0, "reloading 4 vassals\n", ""},
		{"stop nope.ini shop.ini", 1, "shop.ini: stop\n", "emperorctl: nope.ini: there is no vassal ?nope.ini\n"},
		{"reload", 2, "", "emperorctl: reload takes names of vassals, or --all; see emperorctl reload --help\n"},
		{"reload --all shop.ini", 2, "", "emperorctl: reload takes names of vassals, or --all; see emperorctl reload --help\n"},
		{"stop", 2, "", "emperorctl: stop takes the names of vassals; see emperorctl stop --help\n"},
		{"status a b", 2, "", "emperorctl: status takes one name of a vassal, or none; see emperorctl status --help\n"},
		{"status --jsno", 2, "", "emperorctl: unknown flag: --jsno; see emperorctl status --help\n"},
		{"statsu", 2, "", "emperorctl: there is no verb \"statsu\"; see emperorctl --help\n"},
		{"", 2, "", "emperorctl: no verb; see emperorctl --help\n"},
		{"demo --port 70000", 2, "", "emperorctl: --port 70000 is no port; write one from 1 to 65535\n"},
	} {
		t.Run(c.args, func(t *testing.T) {
			code, out, err := ctl(t, "", append([]string{"--socket", socket}, strings.Fields(c.args)...)...)
			if code != c.code || out != c.out || err != c.err {
				t.Errorf("got  %d %q %q\nwant %d %q %q", code, out, err, c.code, c.out, c.err)
			}
		})
	}
}

func TestStatusAsJSONIsTheEmperorsAnswer(t *testing.T) {
	socket := emperorTest(t)
	code, out, _ := ctl(t, "", "--socket", socket, "status", "--json")
	var s api.Status
	if err := json.Unmarshal([]byte(out), &s); err != nil || code != 0 || len(s.Vassals) != len(court().Vassals) || s.Vassals[3].Sockets[0].Mode != "0660" {
		t.Errorf("got %d %s %v", code, out, err)
	}
	code, out, _ = ctl(t, "", "status", "shop.ini", "--json", "--socket="+socket)
	var v api.Vassal
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != 0 || v.Name != "shop.ini" {
		t.Errorf("got %d %s %v", code, out, err)
	}
	if code, out, _ := ctl(t, "", "--socket", socket, "status"); code != 0 || !strings.HasPrefix(out, "VASSAL ") {
		t.Errorf("got %d %s", code, out)
	}
}

func TestNoEmperor(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "none.sock")
	code, out, err := ctl(t, "", "--socket", socket, "status")
	if want := "emperorctl: cannot reach an emperor at " + socket + ": there is no such socket; start emperord, or name its emperor-control-socket with --socket\n"; code != 1 || out != "" || err != want {
		t.Errorf("got %d %q %q", code, out, err)
	}
}
