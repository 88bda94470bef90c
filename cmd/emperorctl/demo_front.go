package main

import (
	"context"
	_ "embed"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"time"

	"github.com/emperord/emperord/protocol/api"
	"github.com/emperord/emperord/protocol/uwsgi"
)

//go:embed demo.html
var demoPage string

// A front is the HTTP server of the demo: /NAME/… goes to the vassal NAME.ini, / lists all.
type front struct {
	client *api.Client
	page   *template.Template
}

func newFront(client *api.Client) *front {
	page := template.New("demo").Funcs(template.FuncMap{
		"prefix": func(name string) string { return strings.TrimSuffix(name, ".ini") },
		"since":  func(t time.Time) string { return age(time.Since(t)) },
	})
	return &front{client: client, page: template.Must(page.Parse(demoPage))}
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	prefix, rest, deeper := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if prefix == "" {
		f.index(w, r)
		return
	}
	v, err := f.client.Vassal(r.Context(), prefix+".ini")
	switch {
	case err != nil:
		f.fail(w, http.StatusNotFound, err.Error())
	case !deeper:
		http.Redirect(w, r, "/"+prefix+"/", http.StatusFound)
	case !serves(v.State):
		f.fail(w, http.StatusServiceUnavailable, fmt.Sprintf("%s is %s: %s", v.Name, v.State, v.Reason))
	case len(v.Sockets) == 0:
		f.fail(w, http.StatusServiceUnavailable, v.Name+" has no socket")
	default:
		f.pass(w, r, v.Sockets[0].Address, "/"+prefix, "/"+rest)
	}
}

// serves tells whether a connection would be answered: at once, or after waiting in the backlog of a socket.
func serves(s api.State) bool {
	switch s {
	case api.Accepting, api.Reloading, api.Starting, api.Resolving, api.Waiting:
		return true
	}
	return false
}

// pass hands a request to the application at address, below the prefix script.
func (f *front) pass(w http.ResponseWriter, r *http.Request, address, script, path string) {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(*httputil.ProxyRequest) {},
		Transport: &uwsgi.Transport{
			Dial: func(ctx context.Context) (net.Conn, error) {
				a, err := parseAddress(address)
				if err != nil {
					return nil, err
				}
				return connect(ctx, a)
			},
			Vars: func(r *http.Request, length int64) []uwsgi.Var {
				vars := uwsgi.RequestVars(r, length)
				vars = uwsgi.SetVar(vars, "SCRIPT_NAME", script)
				return uwsgi.SetVar(vars, "PATH_INFO", path)
			},
		},
		FlushInterval: -1,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil {
				f.fail(w, http.StatusBadGateway, err.Error())
			}
		},
	}
	proxy.ServeHTTP(w, r)
}

func (f *front) index(w http.ResponseWriter, r *http.Request) {
	status, err := f.client.Status(r.Context())
	if err != nil {
		f.fail(w, http.StatusBadGateway, err.Error())
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := f.page.Execute(w, status); err != nil {
		panic(http.ErrAbortHandler) // the client has gone
	}
}

func (f *front) fail(w http.ResponseWriter, code int, why string) {
	http.Error(w, text(why), code)
}
