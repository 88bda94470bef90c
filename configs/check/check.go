// Package check looks over vassal files for people: each finding has a place, what is wrong, why it matters and how to
// mend it. It reads files and asks for users and folders; it never runs anything that a file names, changes nothing
// and asks no emperor.
//
// What a user may do is computed from owners, groups and mode bits, not tried out: the answer is the same whoever asks, as far
// as he may look. What he may not look at is said.
package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/sockets/access"
)

// Options say under which circumstances files are checked. The zero value knows nothing of the emperor.
type Options struct {
	System System // where files and users are looked up; nil: this machine

	// Sources returns what opens exec://, http:// and the like for one reading, in a working folder and an environment. Nil
	// opens none of them: each is shown as a finding and taken for empty.
	Sources func(dir string, env []string) func(scheme, rest string) (io.ReadCloser, error)

	EmperorFile string   // the emperor's own file: tyrant mode, socket folders and groups, what every vassal includes
	Tyrant      bool     // tyrant mode, where EmperorFile does not say so
	User        string   // who the applications run as, name or number; empty: told by each file
	Env         []string // the emperor's environment, "NAME=value"; what is not in it counts as not set
	NginxUser   string   // who nginx connects as; empty: from /etc/nginx/nginx.conf, else www-data, nginx or http
	// Mend returns the command that gives a user the wanted rights at the end of a path, and on the way there; empty where it
	// knows no better one than a change of mode or owner. Nil: that is named.
	Mend func(u access.User, path string, want access.Right) string

	Follow bool // an emperor's own file among the paths: check its vassals too
}

// Limits of one run.
const (
	maxFile    = 1 << 20 // bytes of one file, as configs has it
	maxCache   = 64 << 20
	maxEntries = 100000 // of one folder
	maxFiles   = 100000 // of one run
	maxFaults  = 64     // wrong values of one file
)

// A BadPath is an argument that names nothing to check.
type BadPath struct {
	Path  string
	Cause string
}

func (e *BadPath) Error() string { return fmt.Sprintf("cannot check %s: %s", e.Path, e.Cause) }

// A run is one check of all the paths, and what has been looked up on the way.
type run struct {
	Options
	ctx     context.Context
	report  *Report
	emperor *configs.Emperor // nil: nothing is known of it
	tyrant  bool
	known   bool // whether it is tyrant mode is known
	roots   []string
	groups  []int // gids of SocketGroups

	nginx   *User
	entries map[string]looked
	users   map[string]*User
	gids    map[string]*Group
	texts   map[string]text
	cached  int
	taken   map[string][]claim // canonical socket path, name or port → who has it
	said    map[string]bool    // findings in files that several vassals include
	done    map[string]bool    // files checked
}

// Run checks files, folders, globs and FILE:SECTION. An error means that the question makes no sense; what is wrong with
// the files stands in the report.
func Run(ctx context.Context, paths []string, o Options) (*Report, error) {
	if o.System == nil {
		o.System = Machine{}
	}
	if o.Env == nil {
		o.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	}
	r := &run{Options: o, ctx: ctx, report: &Report{Version: Version, Files: []File{}},
		entries: map[string]looked{}, users: map[string]*User{}, gids: map[string]*Group{}, texts: map[string]text{},
		taken: map[string][]claim{}, said: map[string]bool{}, done: map[string]bool{}}
	if err := r.circumstances(); err != nil {
		return nil, err
	}
	for _, path := range paths {
		if err := r.path(path); err != nil {
			return nil, err
		}
	}
	r.report.count()
	return r.report, ctx.Err()
}

// circumstances finds out about emperor, nginx and user.
func (r *run) circumstances() error {
	if r.EmperorFile != "" {
		dir, err := filepath.Abs(filepath.Dir(r.EmperorFile))
		if err != nil {
			return err
		}
		settings, err := configs.Read(configs.Reading{Args: []string{"--ini", filepath.Base(r.EmperorFile)}, Env: r.Env, Dir: dir, Open: r.opener(dir, nil), Source: r.sources(dir)})
		if settings == nil {
			return fmt.Errorf("--emperor-ini %s: %w", r.EmperorFile, err)
		}
		var wrong error
		r.emperor, _, wrong = configs.ParseEmperor(settings)
		if err = configs.Join(settings, err, wrong); err != nil {
			return fmt.Errorf("--emperor-ini %s: %w", r.EmperorFile, err)
		}
	}
	r.obey(r.emperor)
	if r.User != "" && r.user(r.User) == nil {
		return fmt.Errorf("--uid %s: there is no such user; see: getent passwd", r.User)
	}
	if r.NginxUser != "" {
		if r.nginx = r.user(r.NginxUser); r.nginx == nil {
			return fmt.Errorf("--nginx-user %s: there is no such user; see: getent passwd", r.NginxUser)
		}
	} else {
		r.nginx = r.findNginx()
	}
	if r.nginx != nil {
		r.report.Nginx = r.nginx.Name
	}
	return nil
}

// sources opens what the emperor's file names, if anything is to be opened.
func (r *run) sources(dir string) func(scheme, rest string) (io.ReadCloser, error) {
	if r.Sources != nil {
		return r.Sources(dir, r.Env)
	}
	return func(scheme, rest string) (io.ReadCloser, error) {
		return nil, fmt.Errorf("%s://%s is not opened without --exec", scheme, rest)
	}
}

// obey takes an emperor's settings for those of the vassals that are checked next.
func (r *run) obey(e *configs.Emperor) {
	r.emperor, r.tyrant, r.known = e, r.Tyrant, r.Tyrant || e != nil
	r.roots = []string{"/run/uwsgi", "/var/run/uwsgi", "/run/emperord"}
	names := []string{"www-data", "nginx", "http", "apache"}
	if e != nil {
		r.tyrant = r.tyrant || e.Tyrant
		r.roots, names = e.SocketRoots, e.SocketGroups
	}
	r.groups = nil
	for _, name := range names {
		if g := r.group(name); g != nil {
			r.groups = append(r.groups, g.GID)
		}
	}
}

// path checks one argument.
func (r *run) path(arg string) error {
	if arg == "" {
		return &BadPath{arg, "the name is empty"}
	}
	arg = strings.TrimPrefix(strings.TrimPrefix(arg, "dir://"), "glob://")
	full, err := filepath.Abs(arg)
	if err != nil {
		return err
	}
	entry, err := r.follow(full)
	switch {
	case err == nil && entry.Mode.IsDir():
		return r.folder(arg)
	case err == nil:
		r.file(arg, "")
		return nil
	}
	if _, err := r.System.Lstat(full); err == nil { // a link that leads nowhere
		r.file(arg, "")
		return nil
	}
	if colon := strings.LastIndexByte(arg, ':'); colon > 0 && !strings.Contains(arg[colon:], "/") {
		if e, err := r.follow(full[:len(full)-len(arg[colon:])]); err == nil && e.Mode.IsRegular() {
			r.file(arg[:colon], arg[colon+1:])
			return nil
		}
	}
	if strings.ContainsAny(arg, "*?[") {
		found, globErr := filepath.Glob(arg)
		if globErr != nil {
			return &BadPath{arg, "the pattern is broken"}
		}
		if len(found) > 0 {
			for _, f := range found {
				if configs.IsVassal(f, r.extra()) {
					r.file(f, "")
				} else {
					r.ignore(f)
				}
			}
			return nil
		}
		return &BadPath{arg, "nothing matches it"}
	}
	return &BadPath{arg, reason(err)}
}

// folder checks what the emperor would take for vassals.
func (r *run) folder(arg string) error {
	names, more, err := r.System.List(arg, maxEntries)
	if err != nil {
		return &BadPath{arg, reason(err)}
	}
	if more {
		return &BadPath{arg, fmt.Sprintf("the folder has more than %d entries; name the files, or a pattern", maxEntries)}
	}
	slices.Sort(names)
	for _, name := range names {
		path := filepath.Join(arg, name)
		entry, err := r.System.Lstat(path)
		switch {
		case err == nil && entry.Mode.IsDir():
		case !configs.IsVassal(name, r.extra()), err == nil && !entry.Mode.IsRegular() && entry.Mode.Type() != linkMode:
			r.ignore(path)
		default:
			r.file(path, "")
		}
	}
	return nil
}

func (r *run) extra() []string {
	if r.emperor == nil {
		return nil
	}
	return r.emperor.ExtraExtensions
}

func (r *run) ignore(path string) { r.report.Ignored = append(r.report.Ignored, path) }

// failed returns the faults of an error: one, or a list of them.
func failed(err error) []error {
	var list interface{ Unwrap() []error }
	if errors.As(err, &list) {
		var all []error
		for _, e := range list.Unwrap() {
			all = append(all, failed(e)...)
		}
		return all
	}
	return []error{err}
}
