package check

import (
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// A fake is a machine of the test's own: its answers are the same wherever the test runs.
type fake struct {
	nodes  map[string]node
	users  []User
	groups []Group
}

type node struct {
	Entry
	text, link string
}

// newFake has root, www-data (nginx's user), shop and blog, and /srv/vassals.
func newFake() *fake {
	f := &fake{nodes: map[string]node{},
		users:  []User{{"root", 0, 0, []int{0}, "/root"}, {"www-data", 33, 33, []int{33}, "/var/www"}, {"shop", 1000, 1000, []int{1000}, "/home/shop"}, {"blog", 1001, 1001, []int{1001}, "/home/blog"}},
		groups: []Group{{"root", 0}, {"www-data", 33}, {"shop", 1000}, {"blog", 1001}, {"db", 200}}}
	f.dir("/", 0o755, 0, 0)
	f.dir("/srv/vassals", 0o755, 0, 0)
	f.dir("/run/uwsgi", 0o755, 0, 0)
	f.dir("/srv/shop", 0o755, 1000, 1000)
	f.file("/srv/shop/shop.py", "", 0o644, 1000, 1000)
	return f
}

func (f *fake) put(name string, n node) {
	f.nodes[name] = n
	for dir := path.Dir(name); ; dir = path.Dir(dir) {
		if _, there := f.nodes[dir]; !there {
			f.nodes[dir] = node{Entry: Entry{Mode: fs.ModeDir | 0o755}}
		}
		if dir == "/" {
			return
		}
	}
}

func (f *fake) dir(name string, mode fs.FileMode, uid, gid int) {
	f.put(name, node{Entry: Entry{Mode: fs.ModeDir | mode, UID: uid, GID: gid}})
}

func (f *fake) file(name, text string, mode fs.FileMode, uid, gid int) {
	f.put(name, node{Entry: Entry{Mode: mode, UID: uid, GID: gid, Size: int64(len(text))}, text: text})
}

func (f *fake) symlink(name, target string) {
	f.put(name, node{Entry: Entry{Mode: fs.ModeSymlink | 0o777}, link: target})
}

func (f *fake) Lstat(name string) (Entry, error) {
	n, ok := f.nodes[path.Clean(name)]
	if !ok {
		return Entry{}, &fs.PathError{Op: "lstat", Path: name, Err: syscall.ENOENT}
	}
	return n.Entry, nil
}

func (f *fake) Readlink(name string) (string, error) {
	n := f.nodes[path.Clean(name)]
	if n.link == "" {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: syscall.EINVAL}
	}
	return n.link, nil
}

func (f *fake) Open(name string) (io.ReadCloser, error) {
	n, ok := f.nodes[path.Clean(name)]
	for range 5 {
		if n.link == "" {
			break
		}
		target := n.link
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(name), target)
		}
		n, ok = f.nodes[target]
	}
	switch {
	case !ok:
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.ENOENT}
	case !n.Mode.IsRegular():
		return nil, errNoFile
	}
	return io.NopCloser(strings.NewReader(n.text)), nil
}

func (f *fake) List(dir string, most int) ([]string, bool, error) {
	dir = path.Clean(dir)
	if _, ok := f.nodes[dir]; !ok {
		return nil, false, &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOENT}
	}
	var names []string
	for name := range f.nodes {
		if name != "/" && path.Dir(name) == dir {
			names = append(names, path.Base(name))
		}
	}
	slices.Sort(names)
	return names[:min(most, len(names))], len(names) > most, nil
}

func (f *fake) User(text string) (User, bool) {
	for _, u := range f.users {
		if u.Name == text || strconv.Itoa(u.UID) == text {
			return u, true
		}
	}
	n, err := strconv.Atoi(text)
	return User{Name: text, UID: n, GID: n, Groups: []int{n}}, err == nil
}

func (f *fake) Group(text string) (Group, bool) {
	for _, g := range f.groups {
		if g.Name == text || strconv.Itoa(g.GID) == text {
			return g, true
		}
	}
	n, err := strconv.Atoi(text)
	return Group{text, n}, err == nil
}
