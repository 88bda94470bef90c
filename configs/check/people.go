package check

import (
	"io"
	"strconv"
	"strings"
)

// user finds a user by name or number; nil: there is none.
func (r *run) user(text string) *User {
	if u, ok := r.users[text]; ok {
		return u
	}
	r.users[text] = nil
	if u, ok := r.System.User(text); ok {
		r.users[text] = &u
	}
	return r.users[text]
}

// group finds a group by name or number; nil: there is none.
func (r *run) group(text string) *Group {
	if g, ok := r.gids[text]; ok {
		return g
	}
	r.gids[text] = nil
	if g, ok := r.System.Group(text); ok {
		r.gids[text] = &g
	}
	return r.gids[text]
}

func (r *run) userName(uid int) string {
	if u := r.user(strconv.Itoa(uid)); u != nil {
		return u.Name
	}
	return strconv.Itoa(uid)
}

func (r *run) groupName(gid int) string {
	if g := r.group(strconv.Itoa(gid)); g != nil {
		return g.Name
	}
	return strconv.Itoa(gid)
}

// findNginx tells who nginx connects as: the user of its configuration, else the one that the distributions make for it.
func (r *run) findNginx() *User {
	if f, err := r.System.Open("/etc/nginx/nginx.conf"); err == nil {
		raw, _ := io.ReadAll(io.LimitReader(f, maxFile))
		f.Close()
		for line := range strings.Lines(string(raw)) {
			words := strings.Fields(strings.NewReplacer(";", " ; ").Replace(line))
			if len(words) >= 3 && words[0] == "user" {
				if u := r.user(words[1]); u != nil {
					return r.withGroup(u, words[2])
				}
			}
		}
	}
	for _, name := range []string{"www-data", "nginx", "http"} {
		if u := r.user(name); u != nil {
			return u
		}
	}
	return nil
}

// withGroup gives a user another primary group, as `user NAME GROUP;` does. The others stay: nginx calls initgroups.
func (r *run) withGroup(u *User, name string) *User {
	if name == ";" {
		return u
	}
	g := r.group(name)
	if g == nil {
		return u
	}
	again := *u
	again.GID, again.Groups = g.GID, append([]int{g.GID}, u.Groups...)
	return &again
}
