package cgroups

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A Snapshot is what is known of a Tree but the descriptor of its lock. The lock belongs to the open file, not to the
// process: whoever gets the descriptor holds it, and RestoreTree makes the Tree again.
type Snapshot struct {
	Base   string   `json:"base"`
	Have   []string `json:"have,omitempty"`
	Seated bool     `json:"seated,omitempty"`
	Made   bool     `json:"made,omitempty"`
	Next   int      `json:"next"`
}

// A GroupSnapshot is what is known of a vassal's group. How many leaves it has, the leaves tell.
type GroupSnapshot struct {
	Path    string            `json:"path"`
	Written map[string]string `json:"written,omitempty"`
}

// Snapshot returns what RestoreTree needs, and the lock whose descriptor goes with it.
func (t *Tree) Snapshot() (Snapshot, *os.File) {
	s := Snapshot{Base: t.base.path, Seated: t.seated, Made: t.made, Next: t.next}
	for c, has := range t.have {
		if has {
			s.Have = append(s.Have, c)
		}
	}
	slices.Sort(s.Have)
	return s, t.lock
}

// Snapshot returns what Tree.RestoreGroup needs.
func (g *Group) Snapshot() GroupSnapshot { return GroupSnapshot{g.folder.path, g.written} }

// GroupSnapshot returns what Tree.RestoreGroup needs for the leaf's group.
func (l *Leaf) GroupSnapshot() GroupSnapshot { return l.group.Snapshot() }

// RestoreTree makes a Tree again. lock is the descriptor that Snapshot's lock has now; it is verified to be the base's
// folder, and to be locked by nobody else. The caller keeps it after an error.
func RestoreTree(s Snapshot, lock int) (*Tree, error) {
	var have, there unix.Stat_t
	if err := unix.Fstat(lock, &have); err != nil {
		return nil, fmt.Errorf("the lock of the control group %s is not open: %w", s.Base, err)
	}
	if err := unix.Stat(s.Base, &there); err != nil {
		return nil, fmt.Errorf("cannot use the control group %s: %w", s.Base, err)
	}
	if have.Dev != there.Dev || have.Ino != there.Ino {
		return nil, fmt.Errorf("descriptor %d is not the lock of the control group %s", lock, s.Base)
	}
	if err := unix.Flock(lock, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("the control group %s is not locked: %w", s.Base, err)
	}
	t := &Tree{base: folder{s.Base}, have: map[string]bool{}, seated: s.Seated, made: s.Made, next: s.Next, lock: os.NewFile(uintptr(lock), s.Base)}
	for _, c := range s.Have {
		t.have[c] = true
	}
	return t, nil
}

// Check tells whether a snapshot can be one of a Tree.
func (s Snapshot) Check() error {
	if !filepath.IsAbs(s.Base) || filepath.Clean(s.Base) != s.Base {
		return fmt.Errorf("the control group's folder %q is no plain absolute path", s.Base)
	}
	return nil
}

// Check tells whether a snapshot can be one of a Group below the tree's base.
func (g GroupSnapshot) Check(t Snapshot) error {
	if filepath.Clean(g.Path) != g.Path || filepath.Dir(g.Path) != t.Base || !isVassal(filepath.Base(g.Path)) {
		return fmt.Errorf("%q is no vassal's control group below %s", g.Path, t.Base)
	}
	return nil
}

// RestoreGroup makes a Group of this tree again.
func (t *Tree) RestoreGroup(g GroupSnapshot) *Group {
	if g.Written == nil {
		g.Written = map[string]string{}
	}
	return &Group{tree: t, folder: folder{g.Path}, written: g.Written}
}

// RestoreLeaf makes a Leaf of this group again from its Path.
func (g *Group) RestoreLeaf(path string) (*Leaf, error) {
	if filepath.Dir(path) != g.folder.path || !strings.HasPrefix(filepath.Base(path), "g") {
		return nil, fmt.Errorf("%q is no generation's control group below %s", path, g.folder.path)
	}
	g.leaves++
	return &Leaf{folder: folder{path}, group: g}, nil
}
