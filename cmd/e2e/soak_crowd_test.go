package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A door lets clients in to one vassal while its file is there.
type door struct {
	mu sync.RWMutex
	is bool
}

func (d *door) open() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.is = true
}

// close returns when everybody has left.
func (d *door) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.is = false
}

// enter tells whether the door is open; then leave must be called.
func (d *door) enter() bool {
	d.mu.RLock()
	if !d.is {
		d.mu.RUnlock()
		return false
	}
	return true
}

func (d *door) leave() { d.mu.RUnlock() }

// A crowd is a number of clients that ask all vassals through nginx.
type crowd struct {
	site   *site
	town   []*citizen
	gate   sync.RWMutex // held by who wants quiet
	quiet  bool
	stop   chan struct{}
	wg     sync.WaitGroup
	ok     atomic.Int64
	worst  atomic.Int64
	mu     sync.Mutex
	failed []failure
}

// newCrowd makes clients that wait for resume.
func newCrowd(s *site, town []*citizen, clients int) *crowd {
	c := &crowd{site: s, town: town, stop: make(chan struct{}), quiet: true}
	c.gate.Lock()
	for n := range clients {
		c.wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-c.stop:
					return
				default:
				}
				c.gate.RLock()
				c.ask(town[rand.IntN(len(town))], fmt.Sprintf("c%d-%d", n, i))
				c.gate.RUnlock()
			}
		})
	}
	return c
}

func (c *crowd) ask(v *citizen, name string) {
	if !v.door.enter() {
		return
	}
	defer v.door.leave()
	begin := time.Now()
	a, err := c.site.request(v.name, "GET", "/slow?"+name, nil)
	if err == nil && a.status != 200 {
		err = fmt.Errorf("%s: status %d", v.name, a.status)
	}
	took := time.Since(begin)
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.failed = append(c.failed, failure{name: name, begin: begin, end: begin.Add(took), description: err.Error()})
		return
	}
	c.ok.Add(1)
	for worst := c.worst.Load(); int64(took) > worst && !c.worst.CompareAndSwap(worst, int64(took)); worst = c.worst.Load() {
	}
}

// pause returns when no client asks any more.
func (c *crowd) pause() {
	if !c.quiet {
		c.gate.Lock()
		c.quiet = true
	}
}

func (c *crowd) resume() {
	if c.quiet {
		c.quiet = false
		c.gate.Unlock()
	}
}

func (c *crowd) end() {
	close(c.stop)
	c.resume()
	c.wg.Wait()
}

func (c *crowd) answered() int64        { return c.ok.Load() }
func (c *crowd) slowest() time.Duration { return time.Duration(c.worst.Load()) }

// readNotes adds to holder which worker began which request.
func readNotes(t *testing.T, path string, holder map[string]int) {
	t.Helper()
	notes, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(notes)) {
		var what, name string
		var pid int
		if _, err := fmt.Sscan(line, &what, &name, &pid); err == nil && what == "begin" {
			holder[name] = pid
		}
	}
}

// explainFailures wants every failed request to have been in flight in a killed worker.
func explainFailures(t *testing.T, failed []failure, holder map[string]int, killed []kill) {
	t.Helper()
	for _, f := range failed {
		why := false
		for _, k := range killed {
			pid, begun := holder[f.name]
			inTime := k.at.After(f.begin.Add(-20*time.Millisecond)) && k.at.Before(f.end.Add(100*time.Millisecond))
			why = why || begun && pid == k.pid || !begun && inTime // it was accepted, but the worker had not come to it
		}
		if f.refused || !why {
			t.Errorf("request %s failed (refused: %v) without having been in a killed worker: %s, held by %d", f.name, f.refused, f.description, holder[f.name])
		}
	}
}
