package uwsgi

import (
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// RequestVars returns the variables that nginx sends for r with the uwsgi_params file of its packages, in the same order,
// followed by the header fields as HTTP_* in the order of their names. length is the size of the body, -1 if there is
// none. The peer is r.RemoteAddr, as a server sets it.
//
// As nginx does, it leaves out header fields whose names hold an underscore: X_Real_Ip and X-Real-Ip would become the
// same variable. Proxy is left out too, because HTTP_PROXY means something else to many programs (CVE-2016-5385).
func RequestVars(r *http.Request, length int64) []Var {
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	scheme := r.URL.Scheme
	if scheme == "" {
		scheme = "http"
		if r.TLS != nil {
			scheme = "https"
		}
	}
	name, port := splitHost(host, scheme)
	remote, remotePort, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		remote, remotePort = r.RemoteAddr, ""
	}
	contentLength := ""
	if length >= 0 {
		contentLength = strconv.FormatInt(length, 10)
	}
	method := r.Method
	if method == "" {
		method = http.MethodGet
	}
	proto := r.Proto
	if proto == "" {
		proto = "HTTP/1.1"
	}
	vars := []Var{
		{Name: "QUERY_STRING", Value: r.URL.RawQuery},
		{Name: "REQUEST_METHOD", Value: method},
		{Name: "CONTENT_TYPE", Value: r.Header.Get("Content-Type")},
		{Name: "CONTENT_LENGTH", Value: contentLength},
		{Name: "REQUEST_URI", Value: r.URL.RequestURI()},
		{Name: "PATH_INFO", Value: r.URL.Path},
		{Name: "DOCUMENT_ROOT", Value: ""},
		{Name: "SERVER_PROTOCOL", Value: proto},
		{Name: "REQUEST_SCHEME", Value: scheme},
	}
	if scheme == "https" {
		vars = append(vars, Var{Name: "HTTPS", Value: "on"})
	}
	vars = append(vars,
		Var{Name: "REMOTE_ADDR", Value: remote},
		Var{Name: "REMOTE_PORT", Value: remotePort},
		Var{Name: "SERVER_PORT", Value: port},
		Var{Name: "SERVER_NAME", Value: name},
	)
	return append(vars, headerVars(r.Header, host)...)
}

func headerVars(h http.Header, host string) []Var {
	h = h.Clone()
	removeHopByHop(h)
	var vars []Var
	if host != "" {
		vars = append(vars, Var{Name: "HTTP_HOST", Value: host})
	}
	var names []string
	for name := range h {
		switch name {
		case "Host", "Content-Type", "Content-Length", "Proxy":
			continue
		}
		if isToken(name) && !strings.Contains(name, "_") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		separator := ", "
		if name == "Cookie" {
			separator = "; "
		}
		variable := "HTTP_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		vars = append(vars, Var{Name: variable, Value: strings.Join(h[name], separator)})
	}
	return vars
}

// splitHost returns the name and the port of a Host field; the port is the scheme's where none is written.
func splitHost(host, scheme string) (name, port string) {
	name, port, err := net.SplitHostPort(host)
	if err == nil {
		return name, port
	}
	if scheme == "https" {
		return strings.Trim(host, "[]"), "443"
	}
	return strings.Trim(host, "[]"), "80"
}

// SetVar returns vars with the variable name set to value: in place if it is there, else at the end.
func SetVar(vars []Var, name, value string) []Var {
	for i := range vars {
		if vars[i].Name == name {
			vars[i].Value = value
			return vars
		}
	}
	return append(vars, Var{Name: name, Value: value})
}
