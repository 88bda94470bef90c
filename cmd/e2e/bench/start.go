package main

import (
	"context"
	"fmt"
	"time"
)

// What part start measures.
var (
	firstByte    = measure{"start of the emperor until the vassal answers", "s", goal{}}
	vassalMemory = measure{"memory of the vassal", "kB PSS", goal{}}
	ownMemory    = measure{"memory of the emperor", "kB PSS", goal{}}
)

// start starts an emperor with one vassal, again and again.
func (b *bench) start(ctx context.Context) error {
	for _, workers := range []int{1, 4} {
		group := fmt.Sprintf("start, one vassal, processes = %d", workers)
		rounds := b.turns(10)
		b.say("%s: %d rounds", group, rounds)
		for range rounds {
			for _, s := range sides() {
				if err := b.startOnce(ctx, group, s, workers); err != nil {
					return fmt.Errorf("processes = %d, %s: %w", workers, s, err)
				}
			}
		}
	}
	return nil
}

func (b *bench) startOnce(ctx context.Context, group string, s side, workers int) error {
	e, err := b.newEmpire(s)
	if e != nil {
		defer e.close()
	}
	if err != nil {
		return err
	}
	if err := e.write(vassal{name: "app", app: "hello", gen: "1", processes: workers}); err != nil {
		return err
	}
	began := time.Now()
	if err := e.start(); err != nil {
		return err
	}
	if _, err := await(ctx, time.Minute, time.Millisecond, func() error { return e.answers("app") }); err != nil {
		return fmt.Errorf("%w\n%s", err, e.tail())
	}
	b.results.add(group, firstByte, s, time.Since(began).Seconds())
	if err := pause(ctx, min(b.settle, time.Second)); err != nil {
		return err
	}
	all := e.processes()
	b.results.add(group, vassalMemory, s, pss(all[1:]))
	b.results.add(group, ownMemory, s, pss(all[:1]))
	_, _, err = e.stop(ctx)
	return err
}
