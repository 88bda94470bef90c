package sockets

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Anyone is the UID or GID of a Request that leaves the choice to Bind.
const Anyone = -1

// A Request says which socket is wanted.
type Request struct {
	Address Address
	Mode    *fs.FileMode // permission bits; nil: 0755, uWSGI's 0777 less the usual umask
	UID     int          // owner of the socket file, or Anyone
	GID     int          // group of the socket file, or Anyone
	Backlog int          // connections that may wait; 0: min(4096, net.core.somaxconn)
}

// An Identity is a user with the rights that its processes have.
type Identity struct {
	Name   string // for messages; the number as text where the user has no name
	UID    int
	GID    int
	Groups []int // supplementary groups
}

// A Policy says what is allowed. The zero Policy allows what the process itself may do, as befits configuration that
// is the word of who runs it.
type Policy struct {
	Tenant *Identity // the stranger who asks; nil: nobody's word needs to be doubted
	Roots  []string  // runtime roots: a tenant's socket may be here and below, missing folders are made here only
	Names  []string  // where not nil: a tenant's new entry in a runtime root must carry one of them
	Groups []int     // groups that a tenant's socket may have without the tenant being in them: the web servers'
}

// owner decides on the owner, group and mode of a socket file.
func (p Policy) owner(r Request) (uid, gid int, mode fs.FileMode, err error) {
	mode = 0o755
	if r.Mode != nil {
		mode = r.Mode.Perm()
	}
	uid, gid = r.UID, r.GID
	t := p.Tenant
	if t == nil {
		return uid, gid, mode, nil
	}
	if MayChown() {
		if uid == Anyone {
			uid = t.UID
		}
		if gid == Anyone {
			gid = t.GID
		}
	}
	if uid != Anyone && uid != t.UID {
		return 0, 0, 0, &Error{Address: r.Address.String(), Policy: true,
			Cause:  fmt.Sprintf("chown-socket asks for the owner with uid %d, and the vassal's user is %s (uid %d)", uid, t.Name, t.UID),
			Remedy: fmt.Sprintf("write chown-socket = %s:GROUP with the web server's group", t.Name)}
	}
	if gid != Anyone && gid != t.GID && !slices.Contains(t.Groups, gid) && !slices.Contains(p.Groups, gid) {
		return 0, 0, 0, &Error{Address: r.Address.String(), Policy: true,
			Cause:  fmt.Sprintf("chown-socket asks for the group with gid %d, which %s is not in and which emperor-socket-groups does not name", gid, t.Name),
			Remedy: "write a group of emperor-socket-groups, or have root add this one to it"}
	}
	return uid, gid, mode, nil
}

// named obeys Names for a path below root of whose folders so many are missing. What counts is the way down to the first
// entry that is new: with another name in the way, a folder "blog.sock" would keep the blog from its socket.
func (p Policy) named(path, root string, missing int) error {
	if p.Tenant == nil || p.Names == nil {
		return nil
	}
	parts := split(strings.TrimPrefix(path, root))
	for _, part := range parts[:max(1, len(parts)-missing)] {
		if slices.Contains(p.Names, strings.TrimSuffix(strings.TrimSuffix(part, ".sock"), ".socket")) {
			return nil
		}
	}
	return &Error{Address: path, Policy: true,
		Cause:  fmt.Sprintf("emperor-socket-policy = own-name wants what is made in %s to be called %s", root, strings.Join(p.Names, " or ")),
		Remedy: fmt.Sprintf("write for example %s/%s.sock", root, firstOf(p.Names))}
}

// root returns the runtime root that path is below.
func (p Policy) root(path string) (string, bool) {
	for _, root := range p.Roots {
		root = filepath.Clean(root)
		if strings.HasPrefix(path, strings.TrimSuffix(root, "/")+"/") {
			return root, true
		}
	}
	return "", false
}

// elsewhere refuses a path that is neither below a runtime root nor in a folder of the tenant's.
func (p Policy) elsewhere(path string) error {
	return &Error{Address: path, Policy: true,
		Cause: fmt.Sprintf("emperord makes sockets for %s below %s, or in folders that %s may write; %s is neither",
			p.Tenant.Name, strings.Join(p.Roots, ", "), p.Tenant.Name, filepath.Dir(path)),
		Remedy: "write a path below " + firstOf(p.Roots) + ", or have root add emperor-socket-root = " + filepath.Dir(path)}
}

// sees tells whether the tenant itself finds out what is wrong with a path outside the runtime roots: what is in folders
// that are closed to it, it must not learn from a message of ours.
func (p Policy) sees(path string, wrong error) bool {
	return errors.Is(withRights(*p.Tenant, func() error { var st unix.Stat_t; return unix.Stat(path, &st) }), wrong)
}
