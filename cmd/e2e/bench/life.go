package main

import (
	"context"
	"fmt"
	"time"
)

// What part life measures, in the order of the table.
var (
	allAnswer  = measure{"start until all answer", "s", ratioAtMost(0.8)}
	memory     = measure{"memory per vassal, emperor included", "kB PSS", ratioAtMost(1.0)}
	processNum = measure{"processes", "", goal{}}
	idleCPU    = measure{"idle CPU of everything", "ms/s", atMost(2)}
	newFile    = measure{"a new file answers after", "s", atMost(0.15)}
	changed    = measure{"a changed file is live after", "s", atMost(0.3)}
	waited     = measure{"longest request meanwhile", "s", everyAtMost(0.1)}
	changeLost = measure{"requests failed meanwhile, per round", "", everyAtMost(0)}
	back       = measure{"a vassal killed -9 is back after", "s", goal{}}
	refused    = measure{"requests refused meanwhile, per round", "", everyAtMost(0)}
	cut        = measure{"requests cut meanwhile, per round", "", goal{}}
	removed    = measure{"a removed file is gone after", "s", atMost(0.1)}
	stopped    = measure{"stop of everything", "s", goal{}}
	leftOver   = measure{"processes left by the stop", "", everyAtMost(0)}
)

// A course is one emperor's way through part life.
type course struct {
	*bench
	*empire
	group string
	n     int
}

// life takes both emperors through everything that happens to vassals, in turns.
func (b *bench) life(ctx context.Context) error {
	for _, n := range b.counts {
		group := fmt.Sprintf("life, %d vassals", n)
		rounds := b.turns(3)
		for round := range rounds {
			for _, s := range sides() {
				b.say("%s: round %d of %d, %s", group, round+1, rounds, s)
				if err := b.course(ctx, s, group, n); err != nil {
					return fmt.Errorf("%d vassals, %s: %w", n, s, err)
				}
			}
		}
	}
	return nil
}

func (b *bench) course(ctx context.Context, s side, group string, n int) error {
	e, err := b.newEmpire(s)
	if e != nil {
		defer e.close()
	}
	if err != nil {
		return err
	}
	c := &course{bench: b, empire: e, group: group, n: n}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{{"start", c.begin}, {"idle", c.rest}, {"add", c.adding}, {"change", c.changing}, {"kill", c.killing}, {"remove", c.removing}, {"stop", c.stopping}} {
		err := step.do(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
		case step.name == "start" || step.name == "stop": // without it, nothing else means anything
			return fmt.Errorf("%s: %w\n%s", step.name, err, e.tail())
		default:
			b.results.note("%s, %s, %s: %v", group, s, step.name, err)
		}
	}
	return nil
}

func (c *course) add(m measure, x float64) { c.results.add(c.group, m, c.side, x) }

// begin starts the emperor on n files and waits for the last vassal.
func (c *course) begin(ctx context.Context) error {
	for i := range c.n {
		if err := c.empire.write(hello(fmt.Sprintf("app%d", i), "1")); err != nil {
			return err
		}
	}
	began := time.Now()
	if err := c.empire.start(); err != nil {
		return err
	}
	for i := range c.n {
		name := fmt.Sprintf("app%d", i)
		if _, err := await(ctx, 3*time.Minute, 5*time.Millisecond, func() error { return c.answers(name) }); err != nil {
			return fmt.Errorf("%s does not answer: %w", name, err)
		}
	}
	c.add(allAnswer, time.Since(began).Seconds())
	return pause(ctx, c.settle)
}

// hello is a vassal with one worker.
func hello(name, gen string) vassal { return vassal{name: name, app: "hello", gen: gen, processes: 1} }

// rest watches what the vassals cost while nobody asks them.
func (c *course) rest(ctx context.Context) error {
	all := c.processes()
	c.add(memory, pss(all)/float64(c.n))
	c.add(processNum, float64(len(all)))
	began, before := time.Now(), cpu(all)
	if err := pause(ctx, c.idle); err != nil {
		return err
	}
	used, took := cpu(all)-before, time.Since(began)
	c.add(idleCPU, used.Seconds()*1000/took.Seconds())
	if now := c.processes(); len(now) != len(all) {
		return fmt.Errorf("there were %d processes, and %d after %s in which nobody asked", len(all), len(now), c.idle)
	}
	return nil
}

// stopping asks the emperor to stop.
func (c *course) stopping(ctx context.Context) error {
	took, left, err := c.stop(ctx)
	if err != nil {
		return err
	}
	c.add(stopped, took.Seconds())
	c.add(leftOver, float64(left))
	return nil
}
