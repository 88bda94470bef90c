package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// A scene is one case of part serve: what is served, and by how many.
type scene struct {
	vassal
	title string
}

// scenes are all cases, the most important first.
func (b *bench) scenes() []scene {
	var all []scene
	for _, log := range []bool{false, true} {
		for _, app := range []string{"hello", "page"} {
			for _, n := range []int{1, 2, 4} {
				title := fmt.Sprintf("serve %s, processes = %d, %s", pick(app == "hello", "hello-world", "a Flask page"), n, pick(log, "request log", "disable-logging"))
				all = append(all, scene{vassal{name: "app", app: app, gen: "1", processes: n, log: log}, title})
			}
		}
	}
	if b.quick { // one of each kind
		return slices.DeleteFunc(all, func(s scene) bool {
			return s.log != (s.app == "page") || s.processes != pick(s.app == "page", 2, 1)
		})
	}
	return all
}

// measures are what one scene is measured by. The goals differ between a bare application, where all is the server's
// cost, and a framework.
func (s scene) measures() (rate, p99, worker, all measure) {
	page := s.app == "page"
	return measure{"requests", "1/s", ratioAtLeast(pick(page, 1.05, 1.0))},
		measure{"99 % are answered within", "ms", goal{}},
		measure{"CPU of the workers per request", "µs", ratioAtMost(pick(page, 0.97, 1.0))},
		measure{"CPU of everything per request", "µs", goal{}}
}

// serve lets nginx ask the same application of both sides in turns. Both stay up meanwhile.
func (b *bench) serve(ctx context.Context) error {
	for _, s := range b.scenes() {
		if err := b.play(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s.title, err)
		}
	}
	return nil
}

func (b *bench) play(ctx context.Context, s scene) error {
	var empires [2]*empire
	var sockets [2]string
	for _, side := range sides() {
		e, err := b.newEmpire(side)
		if e != nil {
			defer e.close()
		}
		if err != nil {
			return err
		}
		if err := errors.Join(e.write(s.vassal), e.start()); err != nil {
			return err
		}
		empires[side], sockets[side] = e, e.socket("app")
	}
	f, err := b.newFront(ctx, sockets)
	if err != nil {
		return err
	}
	defer f.close()
	rounds := b.turns(5)
	b.say("%s: %d rounds", s.title, rounds)
	for _, side := range sides() {
		if _, err := await(ctx, time.Minute, 10*time.Millisecond, func() error { return f.serves(side) }); err != nil {
			return fmt.Errorf("%s: %w\n%s", side, err, empires[side].tail())
		}
		if _, err := b.wrk(ctx, f.url(side), time.Second); err != nil { // to warm it up
			return err
		}
	}
	for range rounds {
		for _, side := range sides() {
			if err := b.turn(ctx, s, empires[side], f.url(side)); err != nil {
				return fmt.Errorf("%s: %w\n%s", side, err, empires[side].tail())
			}
		}
	}
	return nil
}

// turn is one burst at one side.
func (b *bench) turn(ctx context.Context, s scene, e *empire, url string) error {
	all := e.processes()
	workers := leaves(all)
	if len(workers) != s.processes {
		return fmt.Errorf("there are %d workers instead of %d: %v", len(workers), s.processes, all)
	}
	allBefore, workersBefore := cpu(all), cpu(workers)
	u, err := b.wrk(ctx, url, b.burst)
	if err != nil {
		return err
	}
	workersUsed, allUsed := cpu(workers)-workersBefore, cpu(all)-allBefore
	if now := leaves(e.processes()); !slices.EqualFunc(now, workers, func(a, b process) bool { return a.pid == b.pid }) {
		return fmt.Errorf("the workers were %v, and are %v after a burst of requests", workers, now)
	}
	if u.requests == 0 {
		return errors.New("no request was answered in a whole burst")
	}
	if u.failed > 0 {
		b.results.note("%s, %s: %d of %d requests failed in one burst", s.title, e.side, u.failed, u.requests)
	}
	rate, p99, worker, everything := s.measures()
	b.results.add(s.title, rate, e.side, u.perSecond)
	b.results.add(s.title, p99, e.side, u.p99.Seconds()*1e3)
	b.results.add(s.title, worker, e.side, workersUsed.Seconds()*1e6/float64(u.requests))
	b.results.add(s.title, everything, e.side, allUsed.Seconds()*1e6/float64(u.requests))
	return os.Truncate(e.log(), 0) // it holds a line for each request
}
