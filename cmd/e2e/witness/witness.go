// Package witness remembers what a file tree looked like before an attack and tells what differs afterwards. Only tests
// use it.
package witness

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// A Snapshot is the kind, mode, owner, inode and number of names of every entry below some roots, by path. Links are
// not followed. The size and the time of the last change count for what is not a folder; content is not read.
type Snapshot struct {
	roots   []string
	entries map[string]string
}

// Look takes a snapshot. A root that does not exist is remembered as such.
func Look(t testing.TB, roots ...string) Snapshot {
	t.Helper()
	s := Snapshot{roots: roots, entries: map[string]string{}}
	for _, root := range roots {
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			var st unix.Stat_t
			if err := unix.Lstat(path, &st); err != nil {
				return nil // it went while we looked
			}
			text := fmt.Sprintf("%s mode %04o uid %d gid %d inode %d:%d", kinds[st.Mode&unix.S_IFMT], st.Mode&0o7777, st.Uid, st.Gid, st.Dev, st.Ino)
			if st.Mode&unix.S_IFMT != unix.S_IFDIR {
				text += fmt.Sprintf(" names %d size %d modified %d.%09d", st.Nlink, st.Size, st.Mtim.Sec, st.Mtim.Nsec)
			}
			s.entries[path] = text
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return s
}

var kinds = map[uint32]string{
	unix.S_IFSOCK: "socket", unix.S_IFLNK: "link", unix.S_IFREG: "file", unix.S_IFDIR: "folder",
	unix.S_IFBLK: "block device", unix.S_IFCHR: "device", unix.S_IFIFO: "fifo",
}

// Differences looks again and says, sorted, what was made, removed or changed, but for the paths that allowed tells to
// be the attacker's own business; nil allows nothing.
func (s Snapshot) Differences(t testing.TB, allowed func(path string) bool) []string {
	t.Helper()
	now := Look(t, s.roots...)
	all := maps.Clone(s.entries)
	maps.Copy(all, now.entries)
	var found []string
	for _, path := range slices.Sorted(maps.Keys(all)) {
		before, was := s.entries[path]
		after, is := now.entries[path]
		switch {
		case before == after || allowed != nil && allowed(path):
		case !was:
			found = append(found, fmt.Sprintf("%s was made: %s", path, after))
		case !is:
			found = append(found, fmt.Sprintf("%s was removed: it was a %s", path, before))
		default:
			found = append(found, fmt.Sprintf("%s was changed from %s to %s", path, before, after))
		}
	}
	return found
}

// Unchanged fails the test for every difference.
func (s Snapshot) Unchanged(t testing.TB, allowed func(path string) bool) {
	t.Helper()
	for _, d := range s.Differences(t, allowed) {
		t.Error(d)
	}
}
