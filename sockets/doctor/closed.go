package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/emperord/emperord/protocol/api"
	"github.com/emperord/emperord/sockets/access"
)

// webGroups are the groups that emperord lets tenants give sockets to where emperor-socket-groups says nothing.
var webGroups = []string{"www-data", "nginx", "http", "apache"}

// closed is a finding about a socket that does not let the web server in. Owner and mode of a socket last until whoever made it
// starts again, so where its vassal file is known the file is changed: chmod-socket and chown-socket.
func (x *Examiner) closed(s Socket, o access.Obstacle, n access.Inode, web access.User) Finding {
	f := Finding{Code: SocketClosed, Subject: s.subject(), Place: o.Path, Cause: o.Cause, Why: denied, Commands: o.Commands, Note: o.Note}
	if s.File == "" {
		f.Note = join(f.Note, "it lasts until the application starts again; chmod-socket = 660 and chown-socket = USER:GROUP in its configuration make it last")
		return f
	}
	if i := slices.IndexFunc(x.Webs, func(u access.User) bool { return u.UID != web.UID && n.Lacks(u, access.Write) == 0 }); i >= 0 {
		f.Note = join(f.Note, fmt.Sprintf("it lasts until the socket is made again; %s connects here too, and another chown-socket would shut it out: a group that both are in, named in chown-socket, makes it last", x.Webs[i].Name))
		return f
	}
	v := x.vassal(s.Vassal)
	lines, note := x.lasting(s, n, web, v)
	if lines == nil {
		f.Note = join(note, f.Note)
		return f
	}
	command, cannot := s.edit(lines...)
	if command == "" {
		f.Note = join(cannot, f.Note)
		return f
	}
	// emperord gives the socket its new owner and mode when it sees the file change. Others do so when they bind again.
	now := f.Commands
	f.Commands = []string{command}
	if f.Note = note; v == nil || v.State != api.Accepting {
		f.Commands = append(f.Commands, now...)
		f.Note = join(note, "the first command makes it last, the others count until the application starts again")
	}
	return f
}

// lasting are the lines for the vassal file. No lines: no line is of use.
func (x *Examiner) lasting(s Socket, n access.Inode, web access.User, v *api.Vassal) (lines []option, note string) {
	mode := option{"chmod-socket", "660"}
	in := func(u access.User, gid int) bool { return u.GID == gid || slices.Contains(u.Groups, gid) }
	if web.UID == n.UID || in(web, n.GID) {
		return []option{mode}, ""
	}
	if n.Mode.Perm()&0o020 == 0 || n.ACL != nil {
		lines = append(lines, mode)
	}
	owner := access.UserName(n.UID)
	lines = append(lines, option{"chown-socket", owner + ":" + access.GroupName(web.GID)})
	switch tenant := s.Owner; {
	case tenant.Name == "" || tenant.UID == 0 || in(tenant, web.GID):
	case v != nil && x.grants(web.GID):
	case v != nil || x.Tyrant: // only a group that the tenant is in. In the web server's it could connect to every other tenant's socket.
		return nil, fmt.Sprintf("it lasts until the socket is made again; with emperor-socket-groups = %s in the emperor's configuration, chown-socket = %s:%s in this file makes it last", access.GroupName(web.GID), owner, access.GroupName(web.GID))
	default:
		note = fmt.Sprintf("a uWSGI that binds as %s can give the socket only to groups %s is in; then also: usermod -aG %s %s", tenant.Name, tenant.Name, access.GroupName(web.GID), tenant.Name)
	}
	return lines, note
}

// grants tells whether the emperor lets every tenant give a socket to this group.
func (x *Examiner) grants(gid int) bool {
	names := x.Groups
	if names == nil {
		names = webGroups
	}
	return slices.ContainsFunc(names, func(name string) bool { return name == access.GroupName(gid) || name == strconv.Itoa(gid) })
}

func join(notes ...string) string {
	return strings.Join(slices.DeleteFunc(notes, func(s string) bool { return s == "" }), "; ")
}
