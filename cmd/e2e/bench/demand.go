package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// What part demand measures, in the order of the table.
var (
	demandBound  = measure{"start until all sockets are there", "s", everyAtMost(5)}
	demandMemory = measure{"memory of the emperor", "MB PSS", everyAtMost(100)}
	demandFDs    = measure{"descriptors per vassal", "", everyAtMost(1.01)}
	demandKids   = measure{"processes beside the emperor", "", everyAtMost(0)}
	demandIdle   = measure{"idle CPU of everything", "ms/s", goal{}}
	demandFirst  = measure{"the first request is answered after", "s", goal{}}
	demandStop   = measure{"stop of everything", "s", goal{}}
)

// demand has both emperors wait for the first connections to many vassals. The name of the socket comes from the emperor's
// configuration, which both know; a third course is ours alone: the socket lines of the vassal files, of many users.
func (b *bench) demand(ctx context.Context) error {
	n := pick(b.quick, 200, 10000)
	if limit, err := descriptorLimit(); err != nil {
		return err
	} else if limit < uint64(n+1000) {
		b.results.note("part demand was left out: %d vassals need as many descriptors and some more, and the limit is %d; run: ulimit -Hn %d", n, limit, n+1000)
		return nil
	}
	rounds := b.turns(3)
	for round := range rounds {
		for _, c := range []struct {
			side  side
			group string
			lines bool
		}{
			{ours, fmt.Sprintf("on demand, %d vassals, emperor-on-demand-directory", n), false},
			{theirs, fmt.Sprintf("on demand, %d vassals, emperor-on-demand-directory", n), false},
			{ours, fmt.Sprintf("on demand, %d vassals of 10 users, emperor-on-demand and socket lines", n), true},
		} {
			b.say("%s: round %d of %d, %s", c.group, round+1, rounds, c.side)
			if err := b.demandOnce(ctx, c.side, c.group, n, c.lines); err != nil {
				return fmt.Errorf("%s, %s: %w", c.group, c.side, err)
			}
		}
	}
	return nil
}

func descriptorLimit() (uint64, error) {
	var limit unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	return limit.Max, err
}

func (b *bench) demandOnce(ctx context.Context, s side, group string, n int, lines bool) error {
	e, err := b.newEmpire(s)
	if e != nil {
		defer e.close()
	}
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp(inMemory(), "emperord-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	if err := os.Chmod(folder, 0o755); err != nil {
		return err
	}
	e.extra = []string{"--emperor-on-demand-directory", folder}
	if lines {
		e.extra = []string{"--emperor-on-demand", "--emperor-tyrant", "--emperor-max-vassals-per-user", fmt.Sprint(n), "--emperor-socket-root", folder}
	}
	socket := func(i int) string { return fmt.Sprintf("%s/app%05d.socket", folder, i) }
	for i := range n {
		text := fmt.Sprintf("[uwsgi]\nplugin = python3\nchdir = %s/app\nwsgi-file = hello.py\nmaster = true\nenv = GEN=1\n", e.dir)
		if lines {
			text += "socket = " + socket(i) + "\nchmod-socket = 666\n"
		}
		name := filepath.Join(e.dir, "v", fmt.Sprintf("app%05d.ini", i))
		err := os.WriteFile(name, []byte(text), 0o644)
		if lines {
			err = errors.Join(err, os.Chown(name, 61290+i%10, 61290+i%10))
		}
		if err != nil {
			return err
		}
	}
	began := time.Now()
	if err := e.start(); err != nil {
		return err
	}
	if _, err := await(ctx, 3*time.Minute, 100*time.Millisecond, func() error { return holds(folder, n) }); err != nil {
		return fmt.Errorf("%w\n%s", err, e.tail())
	}
	b.results.add(group, demandBound, s, time.Since(began).Seconds())
	if err := pause(ctx, b.settle); err != nil {
		return err
	}
	all := e.processes()
	b.results.add(group, demandMemory, s, pss(all[:1])*1024/1e6)
	names, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", all[0].pid))
	if err != nil {
		return err
	}
	b.results.add(group, demandFDs, s, float64(len(names))/float64(n))
	b.results.add(group, demandKids, s, float64(len(all)-1))
	before := cpu(all)
	if err := pause(ctx, b.idle); err != nil {
		return err
	}
	b.results.add(group, demandIdle, s, (cpu(all)-before).Seconds()*1000/b.idle.Seconds())
	for _, i := range []int{0, n / 2, n - 1} {
		asked := time.Now()
		if _, err := ask(socket(i), time.Minute); err != nil {
			return fmt.Errorf("the first request of vassal %d: %w\n%s", i, err, e.tail())
		}
		b.results.add(group, demandFirst, s, time.Since(asked).Seconds())
	}
	took, _, err := e.stop(ctx)
	b.results.add(group, demandStop, s, took.Seconds())
	return err
}

// inMemory is a folder whose file system is in memory, as /run is where systemd is. In some containers /run is on a disk: to make as
// many files there as were just removed measures that disk, not an emperor.
func inMemory() string {
	var fs unix.Statfs_t
	for _, folder := range []string{"/run", "/dev/shm"} {
		if err := unix.Statfs(folder, &fs); err == nil && fs.Type == unix.TMPFS_MAGIC {
			return folder
		}
	}
	return "/run"
}

// holds tells whether a folder has so many entries.
func holds(folder string, n int) error {
	names, err := os.ReadDir(folder)
	if err == nil && len(names) < n {
		err = fmt.Errorf("%d sockets of %d", len(names), n)
	}
	return err
}
