package emperor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// extensions are the endings of vassal files (uWSGI's list).
var extensions = []string{".ini", ".xml", ".yml", ".yaml", ".js", ".json"}

// A sighting is a vassal file as it was seen by one look at its folder.
type sighting struct {
	name string // the vassal's name: the file's name in a folder, the whole path for a glob
	path string // absolute
	dir  string // the working folder of the vassal
	base string // the folder that the source names
	file string // how the vassal's command line names the file, from dir
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

// look lists the vassal files of the source. A file that is not there any more, or a link that leads nowhere, is left
// out. A folder that does not exist has no files. Any other error means that nothing is known: a machine that is out
// of descriptors must not look like one whose vassals were removed.
func (s source) look(extra []string, nofollow bool) ([]sighting, error) {
	var seen []sighting
	one := func(at int, shown sighting, name string) error {
		v, err := sight(at, name, nofollow)
		if err == nil {
			shown.stamp = v
			seen = append(seen, shown)
		}
		if err == nil || errors.Is(err, errNoVassal) {
			return nil
		}
		return fmt.Errorf("cannot look at %s: %w", shown.path, err)
	}
	if s.glob {
		paths, err := expand(s.pattern)
		if err != nil {
			return nil, fmt.Errorf("cannot look at %s: %w", s.pattern, err)
		}
		for _, path := range paths {
			if isVassal(path, extra) {
				if err := one(unix.AT_FDCWD, sighting{name: path, path: path, dir: s.cwd, file: path, base: s.base()}, path); err != nil {
					return nil, err
				}
			}
		}
		return seen, nil
	}
	dir, err := os.Open(s.pattern)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look at the vassals: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("cannot look at the vassals in %s: %w", s.pattern, err)
	}
	for _, name := range names {
		if isVassal(name, extra) {
			if err := one(int(dir.Fd()), sighting{name: name, path: filepath.Join(s.pattern, name), dir: s.pattern, file: name, base: s.pattern}, name); err != nil {
				return nil, err
			}
		}
	}
	return seen, nil
}

// expand returns the paths that match an absolute pattern, like filepath.Glob, but does not take a folder that cannot
// be read for an empty one. A folder that its owner does not let us read has nothing for us.
func expand(pattern string) ([]string, error) {
	dir, last := filepath.Split(pattern)
	dir = filepath.Clean(dir)
	folders := []string{dir}
	if strings.ContainsAny(dir, "*?[") {
		var err error
		if folders, err = expand(dir); err != nil {
			return nil, err
		}
	}
	var paths []string
	for _, folder := range folders {
		if !strings.ContainsAny(last, "*?[") {
			paths = append(paths, filepath.Join(folder, last))
			continue
		}
		entries, err := os.ReadDir(folder)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR), errors.Is(err, fs.ErrPermission):
			continue
		case err != nil:
			return nil, err
		}
		for _, e := range entries {
			matched, err := filepath.Match(last, e.Name())
			if err != nil {
				return nil, err
			}
			if matched {
				paths = append(paths, filepath.Join(folder, e.Name()))
			}
		}
	}
	return paths, nil
}

// errNoVassal says that a name is no vassal: it is gone, leads nowhere, or is not a regular file.
var errNoVassal = errors.New("not a vassal file")

// sight stats one file, following links; with nofollow, the time of the last change is the link's own, so that
// `touch -h` reloads one of many links to the same file. Only regular files are vassals.
func sight(dir int, name string, nofollow bool) (stamp, error) {
	var st, link unix.Stat_t
	err := unix.Fstatat(dir, name, &st, 0)
	if err == nil && nofollow {
		err = unix.Fstatat(dir, name, &link, unix.AT_SYMLINK_NOFOLLOW)
	}
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP), errors.Is(err, unix.EACCES):
		return stamp{}, errNoVassal
	case err != nil:
		return stamp{}, err
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return stamp{}, errNoVassal
	}
	s := stampOf(&st)
	if nofollow {
		s.sec, s.nsec, s.dev, s.ino = link.Mtim.Sec, link.Mtim.Nsec, link.Dev, link.Ino
	}
	return s, nil
}

func stampOf(st *unix.Stat_t) stamp {
	return stamp{dev: st.Dev, ino: st.Ino, size: st.Size, sec: st.Mtim.Sec, nsec: st.Mtim.Nsec, mode: st.Mode & 0o7777, uid: st.Uid, gid: st.Gid}
}

func isVassal(name string, extra []string) bool {
	if len(filepath.Base(name)) > 254 {
		return false
	}
	for _, list := range [][]string{extensions, extra} {
		for _, ending := range list {
			if ending != "" && strings.HasSuffix(name, ending) {
				return true
			}
		}
	}
	return false
}
