package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// adding puts new files in place at different moments of the emperor's second.
func (c *course) adding(ctx context.Context) error {
	for i := range c.repeats {
		name := fmt.Sprintf("new%d", i)
		if err := c.empire.write(hello(name, "1")); err != nil {
			return err
		}
		took, err := await(ctx, time.Minute, time.Millisecond, func() error { return c.answers(name) })
		if err != nil {
			return err
		}
		c.add(newFile, took.Seconds())
		if err := pause(ctx, time.Duration(300+700*i)*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// changing replaces the file of a vassal that one client asks without a break.
func (c *course) changing(ctx context.Context) error {
	longest, lost := time.Duration(0), 0
	for i := range c.repeats {
		l := startLoad(c.socket("app0"))
		took, err := c.change(ctx, fmt.Sprintf("r%d", i))
		l.end()
		if err != nil {
			return err
		}
		c.add(changed, took.Seconds())
		longest, lost = max(longest, l.longest), lost+l.refused+l.cut
		if l.firstCut != nil {
			c.results.note("%s, %s: a request was cut by a changed file: %v", c.group, c.side, l.firstCut)
		}
	}
	c.add(waited, longest.Seconds())
	c.add(changeLost, float64(lost))
	return nil
}

// change waits until the new generation answers, and a second longer. The second before makes the new file's mtime
// differ in whole seconds, which uWSGI needs.
func (c *course) change(ctx context.Context, gen string) (time.Duration, error) {
	if err := pause(ctx, 1100*time.Millisecond); err != nil {
		return 0, err
	}
	if err := c.empire.write(hello("app0", gen)); err != nil {
		return 0, err
	}
	took, err := await(ctx, time.Minute, time.Millisecond, func() error {
		a, err := ask(c.socket("app0"), 2*time.Second)
		if err == nil && a.gen != gen {
			err = fmt.Errorf("generation %q answers", a.gen)
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return took, pause(ctx, time.Second)
}

// killing ends everything below the emperor that belongs to one vassal, again and again, while one client asks. A request is
// refused if nobody took its connection, cut if the one who took it died with it.
func (c *course) killing(ctx context.Context) error {
	socket := c.socket("app1")
	noAnswer, halfAnswer := 0, 0
	for range c.repeats {
		before, err := ask(socket, 3*time.Second)
		if err != nil {
			return err
		}
		top, err := below(c.cmd.Process.Pid, before.pid)
		if err != nil {
			return err
		}
		l := startLoad(socket)
		took, err := c.killOnce(ctx, socket, top, before.pid)
		l.end()
		if err != nil {
			return err
		}
		c.add(back, took.Seconds())
		noAnswer, halfAnswer = noAnswer+l.refused, halfAnswer+l.cut
		if err := pause(ctx, 2*time.Second); err != nil {
			return err
		}
	}
	c.add(refused, float64(noAnswer))
	c.add(cut, float64(halfAnswer))
	return nil
}

// killOnce kills from top down and waits for another worker's answer, and half a second longer.
func (c *course) killOnce(ctx context.Context, socket string, top, worker int) (time.Duration, error) {
	if err := pause(ctx, 300*time.Millisecond); err != nil {
		return 0, err
	}
	kill(tree(top))
	took, err := await(ctx, time.Minute, time.Millisecond, func() error {
		a, err := ask(socket, 3*time.Second)
		if err == nil && a.pid == worker {
			err = fmt.Errorf("worker %d answers, which was killed", worker)
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return took, pause(ctx, 500*time.Millisecond)
}

// removing takes a file away and waits until nobody answers.
func (c *course) removing(ctx context.Context) error {
	if err := os.Remove(c.file("app2")); err != nil {
		return err
	}
	took, err := await(ctx, time.Minute, time.Millisecond, func() error {
		if _, err := ask(c.socket("app2"), time.Second); err == nil {
			return errors.New("it answers still")
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.add(removed, took.Seconds())
	return nil
}
