package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// A bench is one run: what was asked for, where it works, and what it has found.
type bench struct {
	config
	tools    tools
	dir      string // temporary; everything that is started lives in it
	progress io.Writer
	results  results
}

// A config is the command line.
type config struct {
	bin         string
	only        []string
	quick, full bool
	json        string

	counts      []int         // vassals of part life
	rounds      int           // turns of each side, in every part; 0 for each part's own
	repeats     int           // how often a course of part life adds, changes and kills
	settle      time.Duration // how long servers are left alone before memory and idle CPU are read
	idle        time.Duration // how long idle CPU is watched
	burst       time.Duration // one turn of wrk
	connections int           // of wrk
}

// A part is one group of measurements.
type part struct {
	name string
	run  func(*bench, context.Context) error
}

func parts() []part {
	return []part{{"life", (*bench).life}, {"serve", (*bench).serve}, {"start", (*bench).start}, {"demand", (*bench).demand}}
}

// parse reads the command line. The help goes to stderr.
func parse(args []string, stderr io.Writer) (config, error) {
	c := config{}
	names := []string{}
	for _, p := range parts() {
		names = append(names, p.name)
	}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&c.bin, "bin", "bin", "folder of emperord and vassald")
	only := f.String("only", "", "parts to run, with commas (default: all of "+strings.Join(names, ",")+")")
	f.BoolVar(&c.quick, "quick", false, "a smoke run of less than a minute; its numbers mean nothing")
	f.BoolVar(&c.full, "full", false, "part life with 400 vassals too")
	f.StringVar(&c.json, "json", "", "also write everything, every sample included, to this `file`")
	f.IntVar(&c.rounds, "rounds", 0, "turns of each side (default: 3 of part life and demand, 5 of serve, 10 of start; 1 with -quick)")
	n := f.Int("n", 0, "vassals of part life (default: 50; 4 with -quick)")
	f.DurationVar(&c.burst, "burst", 0, "length of one turn of wrk (default: 3s; 1s with -quick)")
	f.IntVar(&c.connections, "connections", 8, "connections of wrk")
	if err := f.Parse(args); err != nil {
		return c, err
	}
	if f.NArg() > 0 {
		return c, fmt.Errorf("%q is no flag; run: go run ./cmd/e2e/bench -help", f.Arg(0))
	}
	c.settle, c.idle, c.counts, c.repeats = 4*time.Second, 10*time.Second, []int{50}, 3
	if c.quick {
		c.settle, c.idle, c.counts, c.repeats = 500*time.Millisecond, 2*time.Second, []int{4}, 1
		c.rounds = cmp.Or(c.rounds, 1)
	}
	c.burst = cmp.Or(c.burst, pick(c.quick, time.Second, 3*time.Second))
	if *n > 0 {
		c.counts = []int{*n}
	}
	if c.full {
		c.counts = append(c.counts, 400)
	}
	if c.counts[0] < 3 {
		return c, fmt.Errorf("-n %d: part life needs 3 vassals: one to change, one to kill, one to remove", *n)
	}
	if c.rounds < 0 || c.burst < time.Second || c.connections < 1 {
		return c, errors.New("-rounds and -connections must be at least 1, -burst at least 1s, which is the shortest that wrk measures")
	}
	c.only = names
	if *only != "" {
		c.only = strings.Split(*only, ",")
	}
	for _, name := range c.only {
		if !slices.Contains(names, name) {
			return c, fmt.Errorf("-only: there is no part %q; the parts are %s", name, strings.Join(names, ", "))
		}
	}
	return c, nil
}

// turns tells how often each side has its turn.
func (b *bench) turns(standard int) int { return cmp.Or(b.rounds, standard) }

// say tells the operator what is going on.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.progress, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// run measures and prints. Whatever happens, interruption included, nothing that it started is left.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	c, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	t, err := find(c.bin)
	if err != nil {
		return err
	}
	// Not os.TempDir(): the address of a unix socket has room for 107 bytes.
	dir, err := os.MkdirTemp("/tmp", "emperord-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil { // nginx's user comes through
		return err
	}
	if err := adoptOrphans(); err != nil {
		return err
	}
	defer func() {
		if left := sweep(); len(left) > 0 {
			fmt.Fprintf(stderr, "bench: killed %d processes that were left over: %v\n", len(left), left)
		}
	}()
	b := &bench{config: c, tools: t, dir: dir, progress: stderr}
	r := report{Began: time.Now(), Quick: c.quick, Machine: machine(ctx, t)}
	failed := b.parts(ctx)
	r.Seconds, r.Figures, r.Notes = time.Since(r.Began).Seconds(), b.results.figures, b.results.notes
	if len(r.Figures) == 0 {
		return failed
	}
	failed = errors.Join(failed, r.print(stdout)) // after a failure too: what was measured until then is worth reading
	if c.json != "" {
		failed = errors.Join(failed, r.write(c.json))
	}
	return failed
}

// parts runs the parts that were asked for.
func (b *bench) parts(ctx context.Context) error {
	for _, p := range parts() {
		if !slices.Contains(b.only, p.name) {
			continue
		}
		err := p.run(b, ctx)
		if ctx.Err() != nil {
			return errors.New("interrupted; what was measured until then is all there is")
		}
		if err != nil {
			return fmt.Errorf("part %s: %w", p.name, err)
		}
	}
	return nil
}

// pick is a if first, else b.
func pick[T any](first bool, a, b T) T {
	if first {
		return a
	}
	return b
}
