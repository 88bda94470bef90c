package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/emperord/emperord/protocol/api"
)

const (
	firstPort = 8080
	lastPort  = 8180

	// settleTime is how long the demo waits for its vassals to accept or to fail.
	settleTime = 30 * time.Second
)

func newDemo(o *options) *cobra.Command {
	var port int
	var keep bool
	c := &cobra.Command{
		Use:   "demo",
		Short: "Run an emperor with example vassals, reachable by HTTP, until Ctrl-C",
		Long: `demo makes a temporary folder with three example vassals, runs an emperor on it, and puts a small HTTP server in front.
As root it runs in tyrant mode, with two users that every system has. Ctrl-C stops everything and removes the folder.

It needs emperord and vassald beside emperorctl, and python3.`,
		Args: between(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, args []string) error {
			if port < 0 || port > 65535 {
				return usageError{fmt.Errorf("--port %d is no port; write one from 1 to 65535", port)}
			}
			return runDemo(c.Context(), o.streams, port, keep)
		},
	}
	c.Flags().IntVar(&port, "port", 0, "port of the HTTP server on 127.0.0.1 (the first free one from 8080)")
	c.Flags().BoolVar(&keep, "keep", false, "keep the folder when the demo ends")
	return c
}

// runDemo returns when ctx ends or something breaks, and leaves nothing behind.
func runDemo(ctx context.Context, s streams, port int, keep bool) (err error) {
	listener, err := listenDemo(port)
	if err != nil {
		return err
	}
	defer listener.Close()
	d, err := newDemoFolder(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if keep {
			fmt.Fprintf(s.out, "kept %s\n", d.path)
			return
		}
		err = errors.Join(err, d.remove())
	}()
	court, err := startDemoEmperor(d)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, court.stop()) }()
	client := api.NewClient(d.control)
	status, err := settle(ctx, client, len(d.vassals), court.ended)
	if err != nil {
		return demoEnd(ctx, court, err)
	}
	front := &http.Server{Handler: newFront(client), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- front.Serve(listener) }()
	defer func() {
		_ = front.Close()
		<-served
	}()
	printDemo(s.out, d, "http://"+listener.Addr().String(), status, keep)
	select {
	case <-ctx.Done():
		fmt.Fprintln(s.out, "\nstopping")
		return nil
	case <-court.ended:
		return demoEnd(ctx, court, errors.New("emperord ended"))
	case err := <-served:
		served <- err
		return fmt.Errorf("the HTTP server of the demo ended: %w", err)
	}
}

// demoEnd says why the demo did not come up: because it was asked to end, or with what emperord said last.
func demoEnd(ctx context.Context, court *demoEmperor, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("%w; its log ends with:\n%s", err, text(court.lastWords()))
}

func listenDemo(port int) (net.Listener, error) {
	if port != 0 {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return nil, fmt.Errorf("cannot listen for HTTP: %w; choose another --port", err)
		}
		return l, nil
	}
	var first error
	for p := firstPort; p <= lastPort; p++ {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p)))
		if err == nil {
			return l, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, fmt.Errorf("none of the ports %d to %d is free (%w); choose another with --port", firstPort, lastPort, first)
}

// settle waits until each of n vassals accepts or has failed.
func settle(ctx context.Context, client *api.Client, n int, ended <-chan struct{}) (api.Status, error) {
	deadline := time.After(settleTime)
	for {
		status, err := client.Status(ctx)
		if err == nil && len(status.Vassals) >= n && !stirring(status.Vassals) {
			return status, nil
		}
		select {
		case <-ctx.Done():
			return status, ctx.Err()
		case <-ended:
			return status, errors.New("emperord ended at once")
		case <-deadline:
			if err != nil {
				return status, err
			}
			return status, nil // the table shows which one is slow
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func stirring(vassals []api.Vassal) bool {
	for _, v := range vassals {
		switch v.State {
		case api.Accepting, api.Refused, api.Backoff, api.Suspended, api.Waiting:
		default:
			return true
		}
	}
	return false
}

func printDemo(w io.Writer, d *demoFolder, base string, status api.Status, keep bool) {
	fmt.Fprintf(w, "An emperor (pid %d) governs %s\n\n", status.PID, d.vassalFolder)
	printStatus(w, status, time.Now())
	fmt.Fprintf(w, "\n  %s/\n", base)
	for _, v := range d.vassals {
		fmt.Fprintf(w, "  %s/%s/\n", base, v.name)
	}
	first := d.vassals[0]
	removes := " and removes the folder"
	if keep {
		removes = " and keeps the folder"
	}
	fmt.Fprintf(w, `
Try, in another terminal:

  # a new generation, no request is lost
  touch %[1]s/%[2]s.ini
  # mended: it runs
  sed -i 's/plian/plain/' %[1]s/broken.ini
  # a bad release: the old generation serves on, and status says why
  sed -i 's/= plain/= plian/' %[1]s/%[2]s.ini
  # killed: back at once
  kill -9 %[3]d
  # what became of it
  %[4]s --socket %[5]s status
  %[4]s request %[6]s/%[2]s.sock /
  less %[7]s

Ctrl-C stops everything%[8]s.
`, d.vassalFolder, first.name, pidOf(status, first.name+".ini"), d.emperorctl, d.control, d.sockets, d.log, removes)
}

func pidOf(s api.Status, name string) int {
	for _, v := range s.Vassals {
		if v.Name == name {
			return v.PID
		}
	}
	return 0
}
