package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/emperord/emperord/protocol/uwsgi"
)

// A request is the command line of `emperorctl request`.
type request struct {
	method  string
	data    string
	hasData bool
	headers []string
	vars    []string
	include bool
	verbose bool
}

func newRequest(o *options) *cobra.Command {
	var q request
	c := &cobra.Command{
		Use:   "request SOCKET PATH",
		Short: "Send one request to a uwsgi socket, as nginx would",
		Long: `request sends one request to a socket that speaks the uwsgi protocol, with the variables that nginx sends, and prints
the body of the answer. SOCKET is written as in a vassal file: a path, @name for an abstract socket, or host:port.

Exit codes: 0 for an answer below status 400, 22 for one of 400 and above, 1 if there is no answer, 2 usage.`,
		Example: `  emperorctl request /run/uwsgi/shop.sock '/cart?item=7'
  emperorctl request -i -H 'Host: shop.example' /run/uwsgi/shop.sock /
  emperorctl request -d @order.json -H 'Content-Type: application/json' 127.0.0.1:3031 /orders
  emperorctl request -v --var HTTPS=on --var REMOTE_USER=jo /run/uwsgi/shop.sock /`,
		Args: between(2, 2, "a socket and a path"),
		RunE: func(c *cobra.Command, args []string) error {
			q.hasData = c.Flags().Changed("data")
			return q.send(c.Context(), o.streams, args[0], args[1])
		},
	}
	f := c.Flags()
	f.StringVarP(&q.method, "request", "X", "", "method (GET; POST with -d)")
	f.StringVarP(&q.data, "data", "d", "", "body of the request; @FILE reads a file, @- standard input")
	f.StringArrayVarP(&q.headers, "header", "H", nil, "header field, 'Name: value'; repeatable")
	f.StringArrayVar(&q.vars, "var", nil, "variable, NAME=VALUE; replaces the one that would be sent; repeatable")
	f.BoolVarP(&q.include, "include", "i", false, "print status line and header before the body")
	f.BoolVarP(&q.verbose, "verbose", "v", false, "show the variables that are sent and the header that comes back, on standard error")
	return c
}

func (q *request) send(ctx context.Context, s streams, socket, path string) error {
	address, err := parseAddress(socket)
	if err != nil {
		return err
	}
	r, err := q.build(ctx, s.in, path)
	if err != nil {
		return err
	}
	extra, err := q.variables()
	if err != nil {
		return err
	}
	transport := &uwsgi.Transport{
		Dial: func(ctx context.Context) (net.Conn, error) { return connect(ctx, address) },
		Vars: func(r *http.Request, length int64) []uwsgi.Var {
			vars := uwsgi.RequestVars(r, length)
			for _, v := range extra {
				vars = uwsgi.SetVar(vars, v.Name, v.Value)
			}
			if q.verbose {
				for _, v := range vars {
					fmt.Fprintf(s.err, "> %s = %s\n", oneLine(v.Name), oneLine(v.Value))
				}
			}
			return vars
		},
	}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if q.verbose {
		writeHead(s.err, resp, "< ")
	}
	if q.include {
		writeHead(s.out, resp, "")
		fmt.Fprintln(s.out)
	}
	if _, err := io.Copy(s.out, resp.Body); err != nil {
		return fmt.Errorf("the answer broke off: %w", err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return silent{exitAnswer}
	}
	return nil
}

// build makes the request. Its peer is 127.0.0.1, so that applications that look at REMOTE_ADDR find an address.
func (q *request) build(ctx context.Context, in io.Reader, path string) (*http.Request, error) {
	if !strings.HasPrefix(path, "/") {
		return nil, usageError{fmt.Errorf("the path %q does not begin with /", path)}
	}
	target, err := url.ParseRequestURI(path)
	if err != nil {
		return nil, usageError{fmt.Errorf("the path %q is none: %w; write special characters as %%XX", path, err)}
	}
	method := q.method
	var body io.Reader
	if q.hasData {
		data, err := q.body(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
		if method == "" {
			method = http.MethodPost
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://localhost/", body)
	if err != nil {
		return nil, usageError{err}
	}
	r.URL.Path, r.URL.RawPath, r.URL.RawQuery = target.Path, target.RawPath, target.RawQuery
	r.RemoteAddr = "127.0.0.1:0"
	r.Header.Set("User-Agent", "emperorctl")
	if q.hasData {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, line := range q.headers {
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return nil, usageError{fmt.Errorf("-H %q is no header field; write 'Name: value'", line)}
		}
		name, value = http.CanonicalHeaderKey(strings.TrimSpace(name)), strings.TrimSpace(value)
		switch {
		case name == "Host":
			r.Host = value
		case name == "User-Agent" || name == "Content-Type":
			r.Header.Set(name, value)
		default:
			r.Header.Add(name, value)
		}
	}
	return r, nil
}

func (q *request) body(in io.Reader) ([]byte, error) {
	file, isFile := strings.CutPrefix(q.data, "@")
	switch {
	case !isFile:
		return []byte(q.data), nil
	case file == "-":
		data, err := io.ReadAll(in)
		if err != nil {
			return nil, fmt.Errorf("cannot read the body from standard input: %w", err)
		}
		return data, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read the body: %w", err)
	}
	return data, nil
}

func (q *request) variables() ([]uwsgi.Var, error) {
	var vars []uwsgi.Var
	for _, v := range q.vars {
		name, value, ok := strings.Cut(v, "=")
		if !ok || name == "" {
			return nil, usageError{fmt.Errorf("--var %q is no variable; write NAME=VALUE", v)}
		}
		if name == "CONTENT_LENGTH" {
			return nil, usageError{errors.New("--var CONTENT_LENGTH would contradict the body; it is set from -d")}
		}
		vars = append(vars, uwsgi.Var{Name: name, Value: value})
	}
	return vars, nil
}

// writeHead prints the status line and the header, sorted by name.
func writeHead(w io.Writer, resp *http.Response, prefix string) {
	fmt.Fprintf(w, "%s%s %s\n", prefix, resp.Proto, oneLine(resp.Status))
	var names []string
	for name := range resp.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range resp.Header[name] {
			fmt.Fprintf(w, "%s%s: %s\n", prefix, name, oneLine(value))
		}
	}
}
