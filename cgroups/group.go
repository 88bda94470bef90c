package cgroups

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// A Group is that of one vassal.
type Group struct {
	tree    *Tree
	folder  folder
	written map[string]string
	leaves  int
	gone    bool
}

// A Leaf is the group of one generation, or of one resolver.
type Leaf struct {
	folder folder
	group  *Group
	open   *os.File
}

// Group makes or finds the group of a vassal. It has no processes of its own.
func (t *Tree) Group(vassal string) (*Group, error) {
	g := &Group{tree: t, folder: folder{filepath.Join(t.base.path, groupName(vassal))}, written: map[string]string{}}
	if err := g.folder.make(); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, explain(err)
	}
	return g, nil
}

// Limit sets what the group may use. Only what has changed is written.
func (g *Group) Limit(l Limits) error {
	return g.folder.limit(l, g.tree.have, g.written)
}

// Events reads how often the group has met a limit since it was made.
func (g *Group) Events() Events { return g.folder.events() }

// EventFiles returns the files that the kernel notifies inotify of when Events changes.
func (g *Group) EventFiles() []string {
	var files []string
	for controller, name := range map[string]string{Memory: "memory.events", PIDs: "pids.events"} {
		if g.tree.have[controller] {
			files = append(files, filepath.Join(g.folder.path, name))
		}
	}
	return files
}

// Spare removes the group if no generation is in it.
func (g *Group) Spare() {
	if g.leaves == 0 && g.folder.remove() == nil {
		g.gone = true
	}
}

// Gone tells whether the group has been removed, with its last leaf.
func (g *Group) Gone() bool { return g.gone }

// Leaf makes a group for one start. Numbers are not used twice, so that what an emperor before us has left is not mixed up with it.
func (g *Group) Leaf() (*Leaf, error) {
	for range 10_000 {
		g.tree.next++
		at := folder{filepath.Join(g.folder.path, "g"+strconv.Itoa(g.tree.next))}
		err := at.make()
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, explain(err)
		}
		open, err := os.OpenFile(at.path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, errors.Join(err, at.remove())
		}
		g.leaves++
		return &Leaf{folder: at, group: g, open: open}, nil
	}
	return nil, fmt.Errorf("%s holds ten thousand groups that were left behind", g.folder.path)
}

// explain adds what to do to errors of mkdir.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EAGAIN):
		return fmt.Errorf("%w: there are as many control groups as cgroup.max.descendants above it allows; raise it", err)
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w: somebody has removed the control group of the emperor; restart emperord", err)
	}
	return err
}

// Folder returns the group's open folder, for CLONE_INTO_CGROUP, until Started. That of no group is nil.
func (l *Leaf) Folder() *os.File {
	if l == nil {
		return nil
	}
	return l.open
}

// Started closes what only the start needs.
func (l *Leaf) Started() {
	if l.open != nil {
		l.open.Close()
		l.open = nil
	}
}

// Kill ends every process in the group, whatever session it is in.
func (l *Leaf) Kill() error { return l.folder.kill() }

// Empty tells whether no process is alive in it. An error counts as empty: then there is no group.
func (l *Leaf) Empty() bool {
	some, err := l.folder.populated()
	return err != nil || !some
}

// EventFile returns the file that the kernel notifies inotify of when Empty changes.
func (l *Leaf) EventFile() string { return filepath.Join(l.folder.path, "cgroup.events") }

// Path names the group for a log.
func (l *Leaf) Path() string { return l.folder.path }

// Remove removes the group, and with the last one the vassal's. The error is EBUSY as long as a process is in it.
func (l *Leaf) Remove() error {
	l.Started()
	if err := l.folder.remove(); err != nil {
		return err
	}
	l.group.leaves--
	l.group.Spare()
	return nil
}
