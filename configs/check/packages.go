package check

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// packages are the folders of Python's own and installed modules. sure is false where Python may look in more.
func (s *subject) packages(home string) (places []string, sure bool) {
	sure = true
	base, own := []string{"/usr/lib", "/usr/local/lib"}, []string(nil)
	shared := true // whether the base's installed packages count
	if home != "" {
		var made string
		made, shared = s.environmentOf(home)
		if made != "" && made != "/usr/lib" && made != "/usr/local/lib" {
			base = append(base, made)
		}
		own = []string{filepath.Join(home, "lib"), filepath.Join(home, "lib64")}
	}
	for _, root := range append(slices.Clone(own), base...) {
		list, _, err := s.System.List(root, 10000)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			sure = false
		}
		slices.Sort(list)
		for _, name := range list {
			if !strings.HasPrefix(name, "python3") {
				continue
			}
			for _, kind := range []string{"", "site-packages", "dist-packages"} {
				if kind != "" && !shared && !slices.Contains(own, root) {
					continue
				}
				dir := filepath.Join(root, name, kind)
				inside, more, err := s.System.List(dir, 10000)
				if err != nil {
					continue
				}
				places = append(places, dir)
				if more || slices.ContainsFunc(inside, func(n string) bool {
					return strings.HasSuffix(n, ".pth") && !strings.HasPrefix(n, "distutils-precedence") || strings.HasSuffix(n, ".egg-link")
				}) {
					sure = false
				}
			}
		}
	}
	return places, sure && (home != "" || len(places) > 0)
}

// environmentOf says where the interpreter of a virtual environment comes from (the folder lib beside its bin), and
// whether its installed packages count as well.
func (s *subject) environmentOf(home string) (lib string, shared bool) {
	t := s.read(filepath.Join(home, "pyvenv.cfg"))
	if t.err != nil {
		return "", true // an older kind, or an installation of its own
	}
	for line := range strings.Lines(string(t.raw)) {
		name, value, _ := strings.Cut(line, "=")
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "home":
			if filepath.IsAbs(value) {
				lib = filepath.Join(filepath.Dir(value), "lib")
			}
		case "include-system-site-packages":
			shared = strings.EqualFold(value, "true")
		}
	}
	return lib, shared
}

// glob returns what a pattern matches, sorted; the text itself where it is no pattern or nothing does.
func (s *subject) glob(pattern string) []string {
	if !strings.ContainsAny(pattern, "*?[") {
		return []string{pattern}
	}
	found := []string{"/"}
	for part := range strings.SplitSeq(strings.Trim(filepath.Clean(pattern), "/"), "/") {
		var next []string
		for _, dir := range found {
			if !strings.ContainsAny(part, "*?[") {
				next = append(next, filepath.Join(dir, part))
				continue
			}
			list, _, _ := s.System.List(dir, 10000)
			slices.Sort(list)
			for _, name := range list {
				if ok, err := filepath.Match(part, name); ok && err == nil && (name[0] != '.' || part[0] == '.') {
					next = append(next, filepath.Join(dir, name))
				}
			}
		}
		if found = next; len(found) > 1000 {
			found = found[:1000]
		}
	}
	found = slices.DeleteFunc(found, func(p string) bool { _, err := s.follow(p); return err != nil })
	if len(found) == 0 {
		return []string{pattern}
	}
	return found
}
