package emperor

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"

	"github.com/emperord/emperord/cgroups"
)

// groups is what the emperor keeps of control groups. Only the loop uses it, and who starts and ends it.
type groups struct {
	tree    *cgroups.Tree // nil: there is none
	watcher *fsnotify.Watcher
	bounds  map[string]*bounds    // by the vassal's name
	leaves  map[int]*cgroups.Leaf // by the process that was started in it
	left    []leftover
	users   map[string]int // that limits name, as they were at the start
	full    bool           // the kernel takes no more watches, which has been said
}

// A leftover is the group of a process that has ended, with others still in it.
type leftover struct {
	leaf   *cgroups.Leaf
	vassal string
	killAt time.Time
	kills  int
}

// maxKills is how often a group is killed before a stopping emperor leaves it behind: a process that hangs in a file system
// does not die.
const maxKills = 5

// takeGroups finds the control group below which vassals get theirs. What does not apply is said in one line.
func (e *Emperor) takeGroups() {
	e.cg = groups{bounds: map[string]*bounds{}, leaves: map[int]*cgroups.Leaf{}, users: e.limitedUsers()}
	tree, err := cgroups.Take(e.c.Cgroup)
	if err != nil {
		lost := e.limited(func(string) bool { return true })
		if e.c.Cgroup != "" {
			lost = append(lost, "emperor-cgroup")
		}
		if len(lost) > 0 {
			e.log.Warn("without effect: "+strings.Join(lost, ", ")+"; what vassal files say themselves (limit-as, limit-nproc) applies", zap.String(fieldReason, err.Error()))
			return
		}
		e.log.Info("no control groups: a process that leaves its vassal's session is ended only with the emperor", zap.String(fieldReason, err.Error()))
		return
	}
	e.cg.tree = tree
	var reasons []string
	lost := e.limited(func(controller string) bool {
		why := tree.Lacks(controller)
		if why != nil && !slices.Contains(reasons, why.Error()) {
			reasons = append(reasons, why.Error())
		}
		return why != nil
	})
	if len(lost) > 0 {
		e.log.Warn("without effect: "+strings.Join(lost, ", ")+"; what vassal files say themselves (limit-as, limit-nproc) applies", zap.String(fieldReason, strings.Join(reasons, "; ")))
	}
	for _, leaf := range tree.Left() {
		e.cg.left = append(e.cg.left, leftover{leaf: leaf, vassal: filepath.Base(filepath.Dir(leaf.Path())), killAt: time.Now().Add(e.c.Mercy)})
	}
	e.log.Info("control groups", zap.String("base", tree.Base()))
	e.watchAllGroups()
}

// watchAllGroups begins to watch the groups that there are.
func (e *Emperor) watchAllGroups() {
	if e.cg.tree == nil {
		return
	}
	var err error
	if e.cg.watcher, err = fsnotify.NewWatcher(); err != nil {
		e.log.Warn("cannot watch control groups: processes killed for want of memory are not reported; raise fs.inotify.max_user_instances", zap.Error(err))
		e.cg.watcher = nil
		return
	}
	for i := range e.cg.left {
		e.watchGroup(e.cg.left[i].leaf.EventFile(), e.cg.left[i].vassal)
	}
	for name, b := range e.cg.bounds {
		for _, f := range b.files {
			e.watchGroup(f, name)
		}
	}
	e.helpers.Go(func() { e.watchGroups(e.cg.watcher) })
}

// leaveGroups gives back what takeGroups has taken, after the loop has ended.
func (e *Emperor) leaveGroups() {
	for _, leaf := range e.cg.leaves { // of children that the last sweep has killed and reaped
		if err := leaf.Remove(); err != nil {
			e.log.Warn("a control group is left behind; the next emperor removes it", zap.Error(err))
		}
	}
	if e.cg.watcher != nil {
		e.cg.watcher.Close()
	}
	if e.cg.tree != nil {
		e.cg.tree.Release()
	}
}

// watchGroups tells the loop which files have changed. A vassal at its limits makes them change many times a second.
func (e *Emperor) watchGroups(w *fsnotify.Watcher) {
	for {
		changed := map[string]bool{}
		select {
		case event, open := <-w.Events:
			if !open {
				return
			}
			changed[event.Name] = true
		case _, open := <-w.Errors: // an overflow: everything may have changed
			if !open {
				return
			}
		}
		for gathering := true; gathering; {
			select {
			case event, open := <-w.Events:
				gathering = open
				changed[event.Name] = true
			default:
				gathering = false
			}
		}
		e.tell(func() { e.groupsChanged(changed) })
		select { // the next look; who shouts waits for us
		case <-time.After(2 * gather):
		case <-e.closing:
			return
		}
	}
}

// groupsChanged looks at what has changed; at everything if nothing is named.
func (e *Emperor) groupsChanged(changed map[string]bool) {
	for name, b := range e.cg.bounds {
		if len(changed) == 0 || slices.ContainsFunc(b.files, func(f string) bool { return changed[f] }) {
			e.pressure(name, b)
		}
	}
	e.clearLeft()
}

// watchGroup has the kernel notify us of changes in a file of a group.
func (e *Emperor) watchGroup(file, vassal string) {
	if e.cg.watcher == nil {
		return
	}
	switch err := e.cg.watcher.Add(file); {
	case errors.Is(err, syscall.ENOSPC): // of ten thousand vassals each would say the same
		if !e.cg.full {
			e.log.Warn("cannot watch all control groups: not every process that is killed for want of memory is reported; raise sysctl fs.inotify.max_user_watches and restart emperord")
		}
		e.cg.full = true
	case err != nil && !errors.Is(err, fs.ErrNotExist): // gone already: who has it watched looks at it afterwards
		e.log.Warn("cannot watch a control group", zap.String(fieldVassal, vassal), zap.Error(err))
	}
}

func (e *Emperor) unwatchGroup(files ...string) {
	for _, f := range files {
		if e.cg.watcher != nil {
			_ = e.cg.watcher.Remove(f) // not watched (any more)
		}
	}
}

// lodge makes the group that a process of the vassal is started in; nil where there are no groups. A vassal that is to be limited is
// not started without.
func (e *Emperor) lodge(v *vassal, a *attempt) (*cgroups.Leaf, error) {
	if e.cg.tree == nil {
		return nil, nil
	}
	limits, any := e.limitsFor(v, a.who)
	leaf, err := e.newLeaf(v, limits)
	if errors.Is(err, fs.ErrNotExist) { // the vassal's group has gone with what a killed emperor had left in it, or by somebody's hand
		leaf, err = e.newLeaf(v, limits)
	}
	if err == nil {
		return leaf, nil
	}
	err = fmt.Errorf("cannot make the vassal's control group: %w", err)
	if any {
		return nil, err
	}
	e.log.Warn("the vassal runs without a control group", zap.String(fieldVassal, v.name), zap.Error(err))
	return nil, nil
}

func (e *Emperor) newLeaf(v *vassal, limits cgroups.Limits) (*cgroups.Leaf, error) {
	b := e.cg.bounds[v.name]
	if b == nil || b.group.Gone() {
		group, err := e.cg.tree.Group(v.name)
		if err != nil {
			return nil, err
		}
		b = &bounds{group: group, read: group.Events, seen: group.Events(), files: group.EventFiles()}
		e.cg.bounds[v.name] = b
		for _, f := range b.files {
			e.watchGroup(f, v.name)
		}
	}
	err := b.group.Limit(limits)
	if err == nil {
		b.limits = limits
		leaf, failed := b.group.Leaf()
		if failed == nil {
			return leaf, nil
		}
		err = failed
	}
	b.group.Spare()
	if errors.Is(err, fs.ErrNotExist) || b.group.Gone() {
		e.forgetBounds(v.name, b)
	}
	return nil, err
}

// forgetBounds forgets the group of a vassal, which is gone.
func (e *Emperor) forgetBounds(vassal string, b *bounds) {
	e.unwatchGroup(b.files...)
	delete(e.cg.bounds, vassal)
}

// lodged notes which process was started in a leaf, or gives the leaf up.
func (e *Emperor) lodged(v *vassal, leaf *cgroups.Leaf, pid int, err error) error {
	if leaf == nil {
		return err
	}
	leaf.Started()
	if err == nil {
		e.cg.leaves[pid] = leaf
		return nil
	}
	if b := e.cg.bounds[v.name]; b != nil && errors.Is(err, syscall.EAGAIN) && b.read().PIDsFull > b.seen.PIDsFull {
		err = fmt.Errorf("%w: %s", err, b.pidsText())
	}
	e.bury(leaf, v.name)
	return err
}

// killGroup ends at once all that has come of a process that we have started.
func (e *Emperor) killGroup(pid int) {
	if leaf := e.cg.leaves[pid]; leaf != nil {
		if err := leaf.Kill(); err != nil {
			e.log.Warn("cannot kill a control group", zap.Error(err))
		}
	}
}

// bury removes the group of a process that has ended. What is left in it is killed a second later, as the rest of its session is.
func (e *Emperor) bury(leaf *cgroups.Leaf, vassal string) {
	if leaf.Empty() && e.removeLeaf(leaf, vassal) {
		return
	}
	e.cg.left = append(e.cg.left, leftover{leaf: leaf, vassal: vassal, killAt: time.Now().Add(remnantMercy)})
	e.watchGroup(leaf.EventFile(), vassal)
	e.clearLeft() // it may have ended before it was watched
}

// clearLeft removes the groups that have become empty.
func (e *Emperor) clearLeft() {
	e.cg.left = slices.DeleteFunc(e.cg.left, func(l leftover) bool { return l.leaf.Empty() && e.removeLeaf(l.leaf, l.vassal) })
}

func (e *Emperor) removeLeaf(leaf *cgroups.Leaf, vassal string) bool {
	e.unwatchGroup(leaf.EventFile())
	if leaf.Remove() != nil {
		e.watchGroup(leaf.EventFile(), vassal)
		return false
	}
	if b := e.cg.bounds[vassal]; b != nil && b.group.Gone() {
		e.forgetBounds(vassal, b)
	}
	return true
}

// ringLeft kills what has had its time. It is tried again, because what did not die at once may hang in the kernel.
func (e *Emperor) ringLeft(now time.Time) {
	for i := range e.cg.left {
		l := &e.cg.left[i]
		if l.killAt.After(now) {
			continue
		}
		if l.kills++; l.kills == 1 && !l.leaf.Empty() {
			e.log.Warn("killed what was left of a vassal", zap.String(fieldVassal, l.vassal), zap.String("group", l.leaf.Path()))
		}
		if err := l.leaf.Kill(); err != nil && l.kills == 1 {
			e.log.Warn("cannot kill a control group", zap.String(fieldVassal, l.vassal), zap.Error(err))
		}
		l.killAt = now.Add(remnantMercy)
	}
	e.clearLeft()
	if e.leaving {
		e.cg.left = slices.DeleteFunc(e.cg.left, func(l leftover) bool {
			if l.kills < maxKills {
				return false
			}
			e.log.Warn("a control group is left behind; the next emperor removes it", zap.String("group", l.leaf.Path()))
			return true
		})
	}
}

// hurryLeft lets a stopping emperor wait no longer for what a killed one has left than for its own.
func (e *Emperor) hurryLeft() {
	for i := range e.cg.left {
		if soon := time.Now().Add(remnantMercy); e.cg.left[i].killAt.After(soon) {
			e.cg.left[i].killAt = soon
		}
	}
}
