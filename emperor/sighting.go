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

// look lists the vassal files of the source. A file that cannot be looked at (a dangling link, one that went away
// meanwhile) is not there. A folder that does not exist has no files; any other error keeps what was seen before.
func (s source) look(extra []string, nofollow bool) ([]sighting, error) {
	if s.glob {
		paths, err := filepath.Glob(s.pattern)
		if err != nil {
			return nil, fmt.Errorf("cannot look at %s: %w", s.pattern, err)
		}
		var seen []sighting
		for _, path := range paths {
			if v, ok := sight(unix.AT_FDCWD, path, nofollow); ok && isVassal(path, extra) {
				v.name, v.path, v.dir, v.file = path, path, s.cwd, path
				seen = append(seen, v)
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
	var seen []sighting
	for _, name := range names {
		if !isVassal(name, extra) {
			continue
		}
		if v, ok := sight(int(dir.Fd()), name, nofollow); ok {
			v.name, v.path, v.dir, v.file = name, filepath.Join(s.pattern, name), s.pattern, name
			seen = append(seen, v)
		}
	}
	return seen, nil
}

// sight stats one file, following links; with nofollow, the time of the last change is the link's own, so that
// `touch -h` reloads one of many links to the same file. Only regular files are vassals.
func sight(dir int, name string, nofollow bool) (sighting, bool) {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, 0); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return sighting{}, false
	}
	s := sighting{stamp: stampOf(&st)}
	if nofollow {
		var link unix.Stat_t
		if err := unix.Fstatat(dir, name, &link, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return sighting{}, false
		}
		s.sec, s.nsec, s.dev, s.ino = link.Mtim.Sec, link.Mtim.Nsec, link.Dev, link.Ino
	}
	return s, true
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
