package webserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/emperord/emperord/sockets/access"
	"github.com/emperord/emperord/sockets/nginxconf"
)

// programs are where distributions and nginx's own Makefile put the binary.
var programs = []string{"/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/local/nginx/sbin/nginx", "/usr/bin/nginx"}

// ErrUnknown is answered where nothing tells who the web server is.
var ErrUnknown = errors.New("cannot tell who the web server is: no nginx runs here, and there is no /etc/nginx/nginx.conf; " +
	"name its user with --as USER (see: ps -eo user,args | grep -E 'nginx|apache|caddy'), or its configuration with --nginx CONF")

// Find returns the nginx instances of this machine: those that run, else the one that would. as and conf are what whoever
// asks knows better: the user, a main configuration file; either may be empty. With as alone, and no nginx, the answer
// is one Server without a configuration. The error says what to name.
func Find(ctx context.Context, as, conf string) ([]Server, error) {
	var user *access.User
	if as != "" {
		u, err := access.Lookup(as)
		if err != nil {
			return nil, fmt.Errorf("--as %s: %w", as, err)
		}
		user = &u
	}
	build := builtIn(ctx)
	found := running(build)
	if conf != "" {
		full, err := filepath.Abs(conf)
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(full); err != nil {
			return nil, fmt.Errorf("--nginx %s: %w", conf, err)
		}
		found = slices.DeleteFunc(found, func(s Server) bool { return real(s.Conf) != real(full) })
		if len(found) == 0 {
			found = []Server{{Program: build.program, Prefix: build.prefix, Conf: full}}
		}
		for i := range found {
			found[i].Given, found[i].Conf = true, full
		}
	}
	if len(found) == 0 {
		if _, err := os.Stat(build.conf); err == nil {
			found = []Server{{Program: build.program, Prefix: build.prefix, Conf: build.conf}}
		}
	}
	for i := range found {
		found[i].read()
		if user != nil {
			found[i].Users, found[i].Told = []access.User{*user}, "--as"
		} else if err := found[i].users(build); err != nil {
			return nil, err
		}
		found[i].Down = found[i].Master == 0 && user == nil && seesAll()
	}
	switch {
	case len(found) > 0:
		return found, nil
	case user != nil:
		return []Server{{Users: []access.User{*user}, Told: "--as"}}, nil
	}
	return nil, ErrUnknown
}

// seesAll tells whether we see the processes of others (proc(5), hidepid).
func seesAll() bool {
	_, err := os.ReadFile("/proc/1/cmdline")
	return err == nil
}

// real is a path without links, or the path where that cannot be told.
func real(path string) string {
	if r, err := filepath.EvalSymlinks(path); err == nil {
		return r
	}
	return path
}

// read reads the configuration.
func (s *Server) read() {
	if s.Master != 0 && elsewhere(s.Master, s.Conf) {
		s.Unread = fmt.Sprintf("nginx %d has files of its own (a container): run the command there", s.Master)
		return
	}
	config, err := nginxconf.Read(s.Conf)
	if err != nil {
		s.Unread = err.Error()
		return
	}
	s.Config, s.Facts = config, config.Facts()
}

// users finds out who connects: the workers that run, else the directive user, else what the binary was built with.
func (s *Server) users(b build) error {
	for _, pid := range s.Workers {
		u, err := access.OfProcess(pid)
		if err != nil {
			continue // it has just ended
		}
		if !slices.ContainsFunc(s.Users, func(o access.User) bool { return sameRights(o, u) }) {
			s.Users = append(s.Users, u)
			s.Told = fmt.Sprintf("its worker process %d", pid)
		}
	}
	if len(s.Users) > 0 {
		return nil
	}
	name, group := b.user, b.group
	s.Told = "nobody, as nginx does where no user is named"
	if b.user != "" {
		s.Told = "what " + b.program + " was built with"
	} else {
		name = "nobody"
	}
	if s.Facts != nil && s.Facts.User != "" {
		name, group = s.Facts.User, s.Facts.Group
		s.Told = fmt.Sprintf("%s:%d: user %s", s.Facts.UserFile, s.Facts.UserLine, name)
	}
	u, err := access.Lookup(name)
	if err != nil {
		return fmt.Errorf("%s: %w; name the web server's user with --as USER", s.Told, err)
	}
	if group != "" { // the directive's group takes the place of the primary one; the others stay, nginx calls initgroups
		if gid, err := groupID(group); err == nil {
			u.GID = gid
			u.Groups = append(u.Groups, gid)
		}
	}
	s.Users = []access.User{u}
	return nil
}

// sameRights tells whether two users may do the same.
func sameRights(a, b access.User) bool {
	return a.UID == b.UID && a.GID == b.GID && slices.Equal(groups(a), groups(b))
}

// groups are all groups of a user, sorted, each once.
func groups(u access.User) []int {
	all := append([]int{u.GID}, u.Groups...)
	slices.Sort(all)
	return slices.Compact(all)
}

// A build is what a binary was built with.
type build struct {
	program, prefix, conf, user, group, errorLog string
}

// Limits of `nginx -V`, which answers at once, in about 2 KiB.
const (
	patience  = 5 * time.Second
	maxAnswer = 64 << 10
)

// builtIn asks the first nginx that is found where it looks for its files.
func builtIn(ctx context.Context) build {
	b := build{prefix: "/etc/nginx", conf: "/etc/nginx/nginx.conf"}
	for _, p := range programs {
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			b.program = p
			break
		}
	}
	if b.program == "" {
		return b
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c := exec.CommandContext(ctx, b.program, "-V")
	c.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	c.WaitDelay = time.Second
	var out bytes.Buffer
	c.Stderr = &limited{&out}
	if c.Run() != nil {
		return b
	}
	b.parse(out.String())
	return b
}

// parse reads the line "configure arguments: …" of `nginx -V`. The defaults are those of nginx's own configure.
func (b *build) parse(text string) {
	_, args, found := strings.Cut(text, "configure arguments:")
	if !found {
		return
	}
	b.prefix, b.conf, b.errorLog = "/usr/local/nginx", "conf/nginx.conf", "logs/error.log"
	for _, arg := range strings.Fields(args) {
		name, value, _ := strings.Cut(arg, "=")
		value = strings.Trim(value, `'"`)
		switch name {
		case "--prefix":
			b.prefix = value
		case "--conf-path":
			b.conf = value
		case "--user":
			b.user = value
		case "--group":
			b.group = value
		case "--error-log-path":
			b.errorLog = value
		}
	}
	b.conf = under(b.prefix, b.conf)
}

// under is a path that may be relative to a folder.
func under(folder, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(folder, path)
}

type limited struct{ b *bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if room := maxAnswer - l.b.Len(); room > 0 {
		l.b.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}
