package emperor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// A watcher asks inotify for the monitor. One that is blind has none: nothing ever comes from it.
type watcher struct {
	*fsnotify.Watcher
	watched map[string]bool
	none    bool
	rounds  int
}

// renewal is how often, in looks, the watches of a glob's many folders are asked for again. They are lost with their folder,
// which is seen; only who mounts something over one says nothing.
const renewal = 10

// newWatcher returns a watcher, a blind one where the kernel gives none, which is said.
func (m *monitor) newWatcher() *watcher {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		m.complain("watch", fmt.Errorf("cannot watch folders: %w; changes are found every %s%s", err, m.freq, instanceRemedy(err)))
		return &watcher{Watcher: &fsnotify.Watcher{Events: make(chan fsnotify.Event), Errors: make(chan error)}, none: true}
	}
	delete(m.wrong, "watch")
	return &watcher{Watcher: w, watched: map[string]bool{}}
}

func (w *watcher) blind() bool { return w.none }

func (w *watcher) close() {
	if !w.none {
		w.Close()
	}
}

// watch asks inotify for every folder that it should: those of the sources, and for globs those of the pattern and
// of its matches. Where a folder is missing, the nearest one above it that is there is watched instead, so that its
// coming is seen.
func (m *monitor) watch(w *watcher) {
	if w.none {
		return
	}
	want := map[string]bool{}
	for _, s := range m.sources {
		want[s.base()] = true
		m.sayRemote(s)
		if !s.glob {
			continue
		}
		dirs, _ := expand(filepath.Dir(s.pattern), &view{scout: m.scout}, nil) // what is wrong with them, look says
		for i, d := range dirs {
			if i == maxFolders {
				m.complain("folders "+s.pattern, fmt.Errorf("cannot watch all folders of %s: there are %d, and at most %d are watched; changes in the others are found every %s", s.pattern, len(dirs), maxFolders, m.freq))
				break
			}
			want[d] = true
		}
	}
	for dir := range w.watched { // before the others: a link to a folder has the same watch as the folder
		if !want[dir] {
			_ = w.Remove(dir) // it may have gone with its folder
			delete(w.watched, dir)
		}
	}
	full := 0
	w.rounds++
	for dir := range want {
		if w.watched[dir] && w.rounds%renewal != 0 && len(want) > renewal {
			continue
		}
		err, answered := m.add(w, dir)
		switch {
		case !answered:
		case err == nil:
			delete(m.wrong, dir)
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
			if !m.isGlob(dir) {
				m.complain(dir, fmt.Errorf("cannot watch %s: it does not exist; make it: mkdir -p %s", dir, dir))
			}
			m.awaitFolder(w, dir)
		case errors.Is(err, unix.ENOSPC):
			full++
		default:
			m.complain(dir, fmt.Errorf("cannot watch %s: %w; changes there are found every %s", dir, err, m.freq))
		}
	}
	if full > 0 {
		m.complain("full", fmt.Errorf("cannot watch %d of %d folders: uid %d has used up its inotify watches; changes there are found every %s; %s", full, len(want), os.Geteuid(), m.freq, raise("watches")))
	} else {
		delete(m.wrong, "full")
	}
}

// add watches a folder, again each time: one that was removed and made again, or has another one mounted over it, has lost
// its watch. It is looked at first, because fsnotify lets nobody else in while it waits.
func (m *monitor) add(w *watcher, dir string) (err error, answered bool) {
	err, answered = ask(m.scout, "watch", dir, func() error {
		if st, err := os.Stat(dir); err != nil {
			return err
		} else if !st.IsDir() {
			return &os.PathError{Op: "watch", Path: dir, Err: unix.ENOTDIR}
		}
		return w.Add(dir)
	})
	if answered && err == nil {
		w.watched[dir] = true
	}
	return err, answered
}

// awaitFolder watches the nearest folder above one that is missing, and that one itself should it come meanwhile.
func (m *monitor) awaitFolder(w *watcher, dir string) {
	below := dir
	for above := filepath.Dir(dir); above != below; below, above = above, filepath.Dir(above) {
		if err, answered := m.add(w, above); !answered || err != nil {
			continue
		}
		for at := below; ; at = filepath.Join(at, strings.SplitN(strings.TrimPrefix(dir, at+"/"), "/", 2)[0]) { // made since it was looked for
			if err, answered := m.add(w, at); !answered || err != nil || at == dir {
				return
			}
		}
	}
}

// isGlob tells whether a folder is only one that globs match, or the beginning of one: it need not be there.
func (m *monitor) isGlob(dir string) bool {
	for _, s := range m.sources {
		if !s.glob && s.pattern == dir {
			return false
		}
	}
	return true
}

// raise says how to have more of what inotify limits, "watches" or "instances". The limit is per user, and a container with
// users of its own may have a lower one.
func raise(what string) string {
	number := func(path string) int {
		text, err := readLimited(path, 64)
		n, wrong := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || wrong != nil {
			return -1
		}
		return n
	}
	name, limit := "fs.inotify.max_user_"+what, number("/proc/sys/fs/inotify/max_user_"+what)
	if own := number("/proc/sys/user/max_inotify_" + what); own >= 0 && own < limit {
		name, limit = "user.max_inotify_"+what, own
	}
	return fmt.Sprintf("the limit is %d; raise it: sysctl -w %s=%d", limit, name, 2*max(limit, 64))
}

// instanceRemedy says what an inotify instance was wanting. The kernel has one answer for two limits (inotify_init(2)).
func instanceRemedy(err error) string {
	if !errors.Is(err, unix.EMFILE) {
		return ""
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		return "; this process may have no more descriptors: raise LimitNOFILE, or ulimit -n"
	}
	f.Close()
	return "; " + raise("instances")
}

// remotes are the file systems whose files others may change without this kernel, by their number in statfs(2).
var remotes = map[int64]string{
	unix.NFS_SUPER_MAGIC: "NFS", unix.SMB_SUPER_MAGIC: "SMB", unix.CIFS_SUPER_MAGIC: "SMB", unix.SMB2_SUPER_MAGIC: "SMB", unix.V9FS_MAGIC: "9p",
	unix.CEPH_SUPER_MAGIC: "Ceph", unix.AFS_SUPER_MAGIC: "AFS", unix.AFS_FS_MAGIC: "AFS", unix.CODA_SUPER_MAGIC: "Coda", unix.FUSE_SUPER_MAGIC: "FUSE",
	unix.OCFS2_SUPER_MAGIC: "OCFS2", 0x01161970: "GFS2", 0x0bd00bd0: "Lustre", 0x786f4256: "vboxsf", 0x47504653: "GPFS",
}

// sayRemote says once that changes may come which inotify does not tell of.
func (m *monitor) sayRemote(s source) {
	kind, answered := ask(m.scout, "kind", s.base(), func() string {
		var st unix.Statfs_t
		if unix.Statfs(s.base(), &st) != nil {
			return ""
		}
		return remotes[int64(st.Type)]
	})
	if answered && kind != "" {
		m.complain("remote "+s.base(), fmt.Errorf("%s is on %s, where the kernel tells only of what this machine changes; what others change there is found every %s, or when emperord is asked to look (emperor-trigger-socket, SIGWINCH)", s.base(), kind, m.freq))
	}
}
