package emperor

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/configs"
)

// A sighting is a vassal file as it was seen by one look at its folder.
type sighting struct {
	name string // the vassal's name: the file's name in a folder, the whole path for a glob
	path string // absolute
	dir  string // the working folder of the vassal
	base string // the folder that the source names
	file string // how the vassal's command line names the file, from dir
	// monitor is the folder or glob that the file was found by, absolute
	monitor string
	// maker answers for the vassal: the owner of the file, or who has made a link on the way to it, if that is not root.
	// Otherwise links to somebody else's file would use up what that one may have.
	maker uint32
	// beside tells one state of the file that holds the socket's name (emperor-on-demand-extension) from another; empty: there is none
	beside string
	stamp
}

// A stamp changes when the file does. It is compared, never ordered: an older file moved into place is a change too.
type stamp struct {
	dev, ino  uint64
	size      int64
	sec, nsec int64 // of the last modification
	mode      uint32
	uid, gid  uint32
}

// news says in which way a file differs from what was seen of it before.
func (v sighting) news(old sighting) string {
	switch {
	case v.path != old.path:
		return "it is " + v.path + " now, and was " + old.path
	case v.uid != old.uid || v.gid != old.gid:
		return fmt.Sprintf("it belongs to uid %d, gid %d now, and to uid %d, gid %d before", v.uid, v.gid, old.uid, old.gid)
	case v.dev != old.dev || v.ino != old.ino:
		return "another file is in its place"
	case v.size != old.size:
		return "it was written"
	case v.sec != old.sec || v.nsec != old.nsec:
		return "it was touched or written"
	case v.mode != old.mode:
		return fmt.Sprintf("its mode is %04o now, and was %04o", v.mode, old.mode)
	case v.beside != old.beside:
		return "the file with the name of its socket was made, written or removed"
	}
	return "it was touched or written again"
}

// A source is one `emperor = …`: a folder or a glob.
type source struct {
	pattern string // absolute
	glob    bool
	cwd     string // for globs: where their vassals start
}

// newSource reads one `emperor = …` as uWSGI does: a folder, dir://, a glob, glob://. The path of one file is a glob.
func newSource(text, cwd string) (source, error) {
	s := source{pattern: text, cwd: cwd}
	if rest, ok := strings.CutPrefix(text, "dir://"); ok {
		s.pattern = rest
	} else if rest, ok := strings.CutPrefix(text, "glob://"); ok {
		s.pattern, s.glob = rest, true
	} else if scheme, _, ok := strings.Cut(text, "://"); ok {
		return s, fmt.Errorf("cannot watch %s: emperord watches folders and globs, and %s:// is neither; write a folder such as /etc/uwsgi-emperor/vassals", text, scheme)
	}
	if s.pattern == "" {
		return s, errors.New("cannot watch an empty path; write a folder such as /etc/uwsgi-emperor/vassals")
	}
	if !filepath.IsAbs(s.pattern) {
		s.pattern = filepath.Join(cwd, s.pattern)
	}
	if strings.ContainsAny(s.pattern, "*?[") {
		s.glob = true
	} else if st, err := os.Stat(s.pattern); err == nil && !st.IsDir() {
		s.glob = true
	}
	if s.glob {
		if _, err := filepath.Match(s.pattern, ""); err != nil {
			return s, fmt.Errorf("cannot watch %s: the pattern is broken: %w", text, err)
		}
	}
	return s, nil
}

// base is the longest part of a source that is a plain folder.
func (s source) base() string {
	dir := s.pattern
	if s.glob {
		dir = filepath.Dir(dir)
	}
	for strings.ContainsAny(dir, "*?[") {
		dir = filepath.Dir(dir)
	}
	return dir
}

// maxNames is how many vassal files of one folder a look takes. It bounds what a tenant with a folder of its own can make
// us remember.
const maxNames = 20000

// A view is what one look at a source has found.
type view struct {
	scout  *scout
	seen   []sighting
	blind  []blindSpot
	passed []blindSpot // files that would be vassals by their names, and why they are none
	packed []string    // folders that hold more than maxNames
	silent []string    // like blind: files and folders whose file system has not answered in time
}

// A blindSpot is a file, or a folder with all that is below it, of which nothing could be found out. What was seen
// there before counts as unchanged: a tenant who makes a file or folder of its own unreadable in some way must blind us
// for nothing else.
type blindSpot struct {
	path string
	err  error
}

// look lists the vassal files of the source. A file that is not there any more, or a link that leads nowhere, is left
// out. A folder that does not exist has no files. An error means that nothing is known of the whole source: a machine
// that is out of descriptors must not look like one whose vassals were removed.
func (s source) look(p *scout, extra []string, of links) (view, error) {
	v := view{scout: p}
	if s.glob {
		paths, err := s.expand(&v, extra)
		if err != nil {
			return view{}, fmt.Errorf("cannot look at %s: %w", s.pattern, err)
		}
		all, base := make([]sighting, len(paths)), s.base()
		for i, path := range paths {
			all[i] = sighting{name: path, path: path, dir: s.cwd, file: path, base: base, monitor: s.pattern}
		}
		v.seen = make([]sighting, 0, len(all))
		v.sight(all, of)
		return v, nil
	}
	found, answered := ask(p, "list", s.pattern, func() listing { return list(s.pattern, extra, of.beside) })
	switch {
	case !answered:
		return v, fmt.Errorf("cannot look at the vassals in %s: %w", s.pattern, errSilent)
	case errors.Is(found.err, fs.ErrNotExist):
		return v, nil
	case found.err != nil:
		return v, fmt.Errorf("cannot look at the vassals: %w", found.err)
	}
	if found.full {
		v.packed = append(v.packed, s.pattern)
	}
	v.passed = found.passed
	v.seen = make([]sighting, 0, len(found.entries))
	var elsewhere []sighting
	folder := strings.TrimSuffix(filepath.Clean(s.pattern), "/") + "/"
	for _, e := range found.entries {
		shown := sighting{name: e.name, path: folder + e.name, dir: s.pattern, file: e.name, base: s.pattern, monitor: s.pattern}
		if e.link || e.err != nil {
			elsewhere = append(elsewhere, shown)
			continue
		}
		shown.stamp, shown.maker, shown.beside = e.stamp, e.stamp.uid, e.beside
		v.seen = append(v.seen, shown)
	}
	v.sight(elsewhere, of)
	return v, nil
}

// A listing is what a folder holds, itself looked at and nothing behind its links.
type listing struct {
	entries []entry
	full    bool
	passed  []blindSpot
	err     error
}

type entry struct {
	name   string
	link   bool
	stamp  stamp
	beside string
	err    error
}

func list(folder string, extra []string, beside string) (l listing) {
	dir, err := openFolder(folder)
	if err != nil {
		return listing{err: err}
	}
	defer dir.Close()
	names, full, err := vassalsIn(dir, func(name string) bool { return configs.IsVassal(name, extra) })
	if err != nil {
		return listing{err: err}
	}
	l.full, l.entries = full, make([]entry, 0, len(names))
	for _, name := range names {
		var st unix.Stat_t
		err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
		switch kind := st.Mode & unix.S_IFMT; {
		case leadsNowhere(err):
		case err == nil && kind != unix.S_IFREG && kind != unix.S_IFLNK:
			l.passed = append(l.passed, passing(filepath.Join(folder, name), noVassal(kindName(kind))))
		default:
			e := entry{name: name, link: kind == unix.S_IFLNK, stamp: stampOf(&st), err: err}
			if !e.link && beside != "" {
				e.beside = besideOf(int(dir.Fd()), name+beside)
			}
			l.entries = append(l.entries, e)
		}
	}
	return l
}

// errSilent says that a file system has not answered in time.
var errSilent = errors.New("the file system does not answer")

// A glimpse is what was found out about one file.
type glimpse struct {
	stamp  stamp
	maker  uint32
	beside string
	err    error
}

// sight looks at files that may be anywhere, and notes what it finds.
func (v *view) sight(all []sighting, of links) {
	askEach(v.scout, "file", all, func(shown sighting) string { return shown.path }, func(shown sighting) (g glimpse) {
		if g.stamp, g.err = sight(unix.AT_FDCWD, shown.path, of); g.err == nil {
			g.maker = makerOf(shown.base, shown.path, g.stamp.uid)
			if of.beside != "" {
				g.beside = besideOf(unix.AT_FDCWD, shown.path+of.beside)
			}
		}
		return g
	}, func(shown sighting, g glimpse) {
		switch {
		case g.err == nil:
			shown.stamp, shown.maker, shown.beside = g.stamp, g.maker, g.beside
			v.seen = append(v.seen, shown)
		case errors.As(g.err, new(noVassal)):
			if g.err != gone {
				v.passed = append(v.passed, passing(shown.path, g.err))
			}
		default:
			v.blind = append(v.blind, blindSpot{shown.path, fmt.Errorf("cannot look at %s: %w", shown.path, g.err)})
		}
	}, func(shown sighting) { v.silent = append(v.silent, shown.path) })
}

// makerOf returns who has made the first link below base on the way to path, if that is not root, or else owner.
func makerOf(base, path string, owner uint32) uint32 {
	at := strings.TrimSuffix(base, "/")
	rest, below := strings.CutPrefix(path, at+"/")
	if !below {
		return owner
	}
	for _, name := range strings.Split(rest, "/") {
		at += "/" + name
		var st unix.Stat_t
		if unix.Lstat(at, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK && st.Uid != 0 {
			return st.Uid
		}
	}
	return owner
}

// openFolder opens a folder to list it. What is no folder, such as a FIFO in the place of one, never holds us.
func openFolder(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// vassalsIn returns the names in a folder that fit, at most maxNames, and whether there are more.
func vassalsIn(dir *os.File, fits func(string) bool) (names []string, full bool, err error) {
	for {
		some, err := dir.Readdirnames(1024)
		for _, name := range some {
			if !fits(name) {
				continue
			}
			if len(names) == maxNames {
				return names, true, nil
			}
			names = append(names, name)
		}
		if errors.Is(err, io.EOF) {
			return names, false, nil
		}
		if err != nil {
			return nil, false, err
		}
	}
}

// expand returns the paths of vassals that match the source's pattern. It does not take a folder that cannot be read
// for an empty one. A folder that its owner does not let us read, and a name that its owner has made lead nowhere, has
// nothing for us.
func (s source) expand(v *view, extra []string) ([]string, error) {
	return expand(s.pattern, v, func(path string) bool { return configs.IsVassal(path, extra) })
}

func expand(pattern string, v *view, fits func(path string) bool) ([]string, error) {
	dir, last := filepath.Split(pattern)
	dir = filepath.Clean(dir)
	folders := []string{dir}
	if strings.ContainsAny(dir, "*?[") {
		var err error
		if folders, err = expand(dir, v, nil); err != nil {
			return nil, err
		}
	}
	var paths []string
	for _, folder := range folders {
		if !strings.ContainsAny(last, "*?[") {
			if path := filepath.Join(folder, last); fits == nil || fits(path) {
				paths = append(paths, path)
			}
			continue
		}
		found, answered := ask(v.scout, "match "+last+" in", folder, func() (l listing) {
			var names []string
			names, l.full, l.err = matches(folder, last, fits)
			for _, name := range names {
				l.entries = append(l.entries, entry{name: name})
			}
			return l
		})
		err := found.err
		switch {
		case !answered:
			v.silent = append(v.silent, folder)
			continue
		case outOfMeans(err), errors.Is(err, filepath.ErrBadPattern):
			return nil, err
		case errors.Is(err, fs.ErrPermission):
			v.passed = append(v.passed, blindSpot{folder, fmt.Errorf("cannot look into %s: %w; %s", folder, err, mayNot())})
			continue
		case leadsNowhere(err):
			continue
		case err != nil:
			v.blind = append(v.blind, blindSpot{folder, fmt.Errorf("cannot look into %s: %w", folder, err)})
			continue
		}
		if found.full {
			v.packed = append(v.packed, folder)
		}
		for _, e := range found.entries {
			paths = append(paths, filepath.Join(folder, e.name))
		}
	}
	return paths, nil
}

// matches returns the names in a folder that match a pattern without slashes, in order.
func matches(folder, pattern string, fits func(path string) bool) ([]string, bool, error) {
	dir, err := openFolder(folder)
	if err != nil {
		return nil, false, err
	}
	defer dir.Close()
	names, full, err := vassalsIn(dir, func(name string) bool {
		matched, _ := filepath.Match(pattern, name) // a broken pattern was refused when it was read
		return matched && (fits == nil || fits(filepath.Join(folder, name)))
	})
	slices.Sort(names)
	return names, full, err
}

// outOfMeans tells whether it is this machine or process that lacks something, not what was looked at.
func outOfMeans(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}

// leadsNowhere tells whether a name, or the link that stands there, names nothing that could ever be looked at.
func leadsNowhere(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENAMETOOLONG)
}

// noVassal says why a name is no vassal.
type noVassal string

func (n noVassal) Error() string { return string(n) }

// gone is why nothing is said of a name that is not there.
const gone = noVassal("it is not there")

// mayNot says what an emperor that is not root needs.
func mayNot() string {
	return fmt.Sprintf("the emperor runs as uid %d: it needs the right x on every folder of the way, and r on those that it lists", os.Geteuid())
}

func passing(path string, why error) blindSpot {
	return blindSpot{path, fmt.Errorf("cannot take %s for a vassal: %w", path, why)}
}

// kindName says what is no regular file.
func kindName(kind uint32) string {
	switch kind {
	case unix.S_IFDIR:
		return "it is a folder"
	case unix.S_IFIFO:
		return "it is a FIFO"
	case unix.S_IFSOCK:
		return "it is a socket"
	}
	return "it is a device"
}

// nowhere says why a name leads to nothing. Links whose names begin with .# are the locks of an editor, and lead nowhere on
// purpose.
func nowhere(dir int, name string, err error) noVassal {
	var link unix.Stat_t
	if unix.Fstatat(dir, name, &link, unix.AT_SYMLINK_NOFOLLOW) != nil || strings.HasPrefix(filepath.Base(name), ".#") {
		return gone
	}
	if link.Mode&unix.S_IFMT != unix.S_IFLNK {
		return noVassal(err.Error())
	}
	to := make([]byte, unix.PathMax)
	n, _ := unix.Readlinkat(dir, name, to)
	remedy := "mend or remove the link"
	if errors.Is(err, unix.EACCES) {
		remedy = mayNot()
	}
	return noVassal(fmt.Sprintf("it is a link to %s: %s; %s", to[:max(n, 0)], err, remedy))
}

// besideOf looks at a file that belongs to a vassal file. Its rights do not count here: who judges them says what is wrong.
func besideOf(dir int, name string) string {
	var st unix.Stat_t
	if unix.Fstatat(dir, name, &st, 0) != nil {
		return ""
	}
	return fmt.Sprint(stampOf(&st))
}

// links says what is taken of a symbolic link itself, and not of the file that it leads to; and what is looked at beside it.
type links struct {
	beside string // emperor-on-demand-extension: a file with this ending beside a vassal's counts too

	time  bool // emperor-nofollow: the last change, so that `touch -h` reloads one of many links to the same file
	owner bool // in tyrant mode, with either of the options
	roots bool // of a link of root's too: emperor-tyrant-nofollow
}

// sight stats one file. Only regular files are vassals.
func sight(dir int, name string, of links) (stamp, error) {
	var st, link unix.Stat_t
	err := unix.Fstatat(dir, name, &st, 0)
	if err == nil && (of.time || of.owner) {
		err = unix.Fstatat(dir, name, &link, unix.AT_SYMLINK_NOFOLLOW)
	}
	switch {
	case leadsNowhere(err), errors.Is(err, unix.EACCES):
		return stamp{}, nowhere(dir, name, err)
	case err != nil:
		return stamp{}, err
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return stamp{}, noVassal(kindName(st.Mode & unix.S_IFMT))
	}
	s := stampOf(&st)
	if of.time { // all but the owner, who decides about rights: otherwise an edited skeleton would reload all at once
		uid, gid := s.uid, s.gid
		s = stampOf(&link)
		s.uid, s.gid = uid, gid
	}
	if of.owner && (link.Uid != 0 || of.roots) {
		s.uid, s.gid = link.Uid, link.Gid
	}
	return s, nil
}

func stampOf(st *unix.Stat_t) stamp {
	return stamp{dev: st.Dev, ino: st.Ino, size: st.Size, sec: st.Mtim.Sec, nsec: st.Mtim.Nsec, mode: st.Mode & 0o7777, uid: st.Uid, gid: st.Gid}
}
