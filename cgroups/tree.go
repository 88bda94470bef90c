package cgroups

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// seat is the group that the emperor itself sits in.
const seat = "emperord"

// A Tree is the group that was handed to this program, and what it makes below.
type Tree struct {
	base   folder
	have   map[string]bool // controllers that the vassals' groups have
	lock   *os.File        // of the base: one emperor only
	seated bool            // we moved into the seat
	made   bool            // we made the base
	next   int             // number of the next generation
	old    []*Leaf         // that a killed emperor has left, with processes in them
}

// A Refusal says why there is no tree, and how to mend it.
type Refusal struct{ Cause, Remedy string }

// Error returns cause and remedy.
func (r *Refusal) Error() string { return r.Cause + "; " + r.Remedy }

// Take finds the base and makes it ready. explicit is a group's path in the hierarchy, or its folder; empty: the own group, where it
// is delegated. What it changes, Release undoes.
func Take(explicit string) (*Tree, error) {
	view, err := Look()
	if err != nil {
		return nil, err
	}
	base, err := choose(view, explicit)
	if err != nil {
		return nil, err
	}
	return take(view, base)
}

// choose picks the base.
func choose(view View, explicit string) (string, error) {
	if explicit != "" {
		if rest, below := strings.CutPrefix(explicit, strings.TrimSuffix(view.Mount, "/")+"/"); below {
			explicit = rest
		}
		return filepath.Join(view.Mount, explicit), nil
	}
	if parent := filepath.Dir(view.Own); filepath.Base(view.Own) == seat && delegated(view, parent) { // DelegateSubgroup=emperord
		return parent, nil
	}
	if delegated(view, view.Own) {
		return view.Own, nil
	}
	name := "/" + strings.TrimPrefix(strings.TrimPrefix(view.Own, view.Mount), "/")
	return "", &Refusal{"the control group " + name + " is not delegated to emperord",
		"write Delegate=yes into [Service] of its unit (systemctl edit emperord), or name a group that nobody else uses: emperor-cgroup = /emperord"}
}

// delegated tells whether a group is ours to divide: systemd says so by an attribute, and the root of a namespace is its container's.
// The root of the machine is nobody's: it has no cgroup.events.
func delegated(view View, dir string) bool {
	if attribute(dir, "trusted.delegate") == "1" || attribute(dir, "user.delegate") == "1" {
		return true
	}
	_, err := os.Stat(filepath.Join(dir, "cgroup.events"))
	return dir == view.Mount && err == nil
}

// take makes a base ready.
func take(view View, base string) (*Tree, error) {
	t := &Tree{base: folder{base}, have: map[string]bool{}}
	err := t.prepare(view)
	if err == nil {
		return t, nil
	}
	t.Release()
	var r *Refusal
	switch {
	case errors.As(err, &r):
	case errors.Is(err, unix.EROFS):
		err = &Refusal{base + " is mounted read-only", "let whoever starts the container mount it writable"}
	case errors.Is(err, fs.ErrPermission):
		err = &Refusal{fmt.Sprintf("%s may not be written by uid %d", base, os.Geteuid()), "start emperord as root, or let systemd hand the group over: User= and Delegate=yes in the unit"}
	case errors.Is(err, fs.ErrNotExist):
		err = &Refusal{fmt.Sprintf("cannot use %s: %v", base, err), "make the groups above it, or write a path directly below the root: emperor-cgroup = /emperord"}
	default:
		err = &Refusal{fmt.Sprintf("cannot use %s: %v", base, err), "name another group: emperor-cgroup = /emperord"}
	}
	return nil, err
}

func (t *Tree) prepare(view View) error {
	if err := t.base.make(); err == nil {
		t.made = true
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	t.made = t.made || t.base.ours() // by an emperor that was killed
	lock, err := os.Open(t.base.path)
	if err != nil {
		return err
	}
	t.lock = lock
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.made = false
		return &Refusal{"another emperor governs the control group " + t.base.path, "give each one a group of its own with emperor-cgroup"}
	}
	if view.Own == t.base.path {
		if err := t.sit(); err != nil {
			return err
		}
	}
	probe := folder{filepath.Join(t.base.path, seat)} // a base that may not be written is found now
	if err := probe.make(); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	} else if err == nil {
		defer probe.remove()
	}
	t.hand(view)
	return t.clear()
}

// sit moves this process into a group of its own: one that hands controllers down may hold none.
func (t *Tree) sit() error {
	s := folder{filepath.Join(t.base.path, seat)}
	if err := s.make(); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	t.seated = true
	return s.write("cgroup.procs", strconv.Itoa(os.Getpid()))
}

// hand enables the controllers for the groups of the vassals, one by one: one that is missing must not keep the others away.
func (t *Tree) hand(view View) {
	there, _ := t.base.words("cgroup.controllers")
	for _, c := range controllers {
		if slices.Contains(there, c) {
			_ = t.base.write("cgroup.subtree_control", "+"+c) // Lacks looks at what has come of it
		}
	}
	enabled, _ := t.base.words("cgroup.subtree_control")
	for _, c := range controllers {
		t.have[c] = slices.Contains(enabled, c)
	}
}

// Lacks says why a controller is not there; nil if it is.
func (t *Tree) Lacks(controller string) *Refusal {
	if t.have[controller] {
		return nil
	}
	there, err := t.base.words("cgroup.controllers")
	view, _ := Look()
	switch {
	case err == nil && slices.Contains(there, controller):
		if pids, err := t.base.pids(); err == nil && len(pids) > 0 {
			return &Refusal{fmt.Sprintf("processes that are not emperord's are in the control group %s (the first is %d), so it cannot hand the controller %s down", t.base.path, pids[0], controller),
				"start emperord alone in its group (in a script: exec emperord …), or name another one with emperor-cgroup"}
		}
		return &Refusal{fmt.Sprintf("the control group %s does not hand the controller %s down", t.base.path, controller), "name another group with emperor-cgroup"}
	case slices.Contains(view.V1, controller):
		return &Refusal{fmt.Sprintf("control groups of version 1 hold the controller %s", controller), "boot with cgroup_no_v1=all (with systemd: systemd.unified_cgroup_hierarchy=1)"}
	}
	return &Refusal{fmt.Sprintf("the control group %s has not got the controller %s", t.base.path, controller),
		fmt.Sprintf("let the groups above it hand it down: echo +%s >%s/cgroup.subtree_control", controller, filepath.Dir(t.base.path))}
}

// Base returns the folder of the base.
func (t *Tree) Base() string { return t.base.path }

// clear removes what a killed emperor has left. Only what carries our mark is touched.
func (t *Tree) clear() error {
	entries, err := os.ReadDir(t.base.path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		g := folder{filepath.Join(t.base.path, e.Name())}
		if !e.IsDir() || !isVassal(e.Name()) || !g.ours() {
			continue
		}
		leaves, _ := os.ReadDir(g.path)
		old := &Group{tree: t, folder: g, written: map[string]string{}}
		for _, l := range leaves {
			at := folder{filepath.Join(g.path, l.Name())}
			if l.IsDir() && at.ours() && at.remove() != nil {
				old.leaves++
				t.old = append(t.old, &Leaf{folder: at, group: old})
			}
		}
		if old.leaves == 0 {
			_ = g.remove() // somebody else's group in it keeps it
		}
	}
	return nil
}

// Left returns the generations of a killed emperor that still have processes. Whoever asked kills and removes them.
func (t *Tree) Left() []*Leaf { return t.old }

// Release gives the base back as it was found. The groups of the vassals must have been removed.
func (t *Tree) Release() {
	if t.seated {
		for _, c := range controllers {
			if t.have[c] {
				_ = t.base.write("cgroup.subtree_control", "-"+c)
			}
		}
		if t.base.write("cgroup.procs", strconv.Itoa(os.Getpid())) == nil {
			_ = folder{filepath.Join(t.base.path, seat)}.remove()
		}
	}
	if t.made {
		_ = t.base.remove()
	}
	if t.lock != nil {
		t.lock.Close()
	}
}
