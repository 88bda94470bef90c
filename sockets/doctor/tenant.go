package doctor

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/configs/check"
	"github.com/emperord/emperord/shell"
	"github.com/emperord/emperord/sockets/access"
)

// tenant lets package check look at the file for this user, and keeps what stops the application or makes it lose something: what it
// says of lines and style is `emperorctl check`'s. Sockets are examined as they are, not as they will be.
func (x *Examiner) tenant(ctx context.Context, t Tenant) []Finding {
	who := t.User.Name
	if who != "" {
		who = strconv.Itoa(t.User.UID)
	}
	report, err := check.Run(ctx, []string{t.File}, check.Options{System: &machine{user: t.User}, Tyrant: x.Tyrant, User: who, EmperorFile: x.EmperorFile, Mend: commands})
	if err != nil {
		return []Finding{{Code: CannotLook, Subject: t.Vassal, Place: t.File, Cause: err.Error(), Note: "run it as root, and see: emperorctl check " + shell.Quote(t.File)}}
	}
	var list []Finding
	for _, file := range report.Files {
		for _, f := range file.Findings {
			if !matters(f) {
				continue
			}
			one := Finding{Code: string(f.Code), Subject: t.Vassal, Place: f.Place.String(), Cause: f.What, Why: f.Why, Note: f.Mend}
			if f.Place.File == configs.Printable(t.File) || f.Place.File == "" {
				one.Place = (Socket{File: t.File, Line: f.Place.Line}).place()
			}
			if f.Runs {
				one.Commands, one.Note = []string{f.Mend}, ""
			}
			list = append(list, one)
		}
	}
	return list
}

// matters tells what is the doctor's business.
func matters(f check.Finding) bool {
	switch f.Code {
	case check.CannotLook:
		return true
	case check.NoAccess, check.MissingFolder, check.MissingFile:
		return f.Level != check.Note
	case check.SocketNginx, check.SocketFolder, check.SocketShared, check.SocketLong:
		return false
	}
	return f.Level == check.Error
}

// commands are what package check prints for what a user may not: the same as for a web server.
func commands(u access.User, path string, want access.Right) string {
	if want&access.Write != 0 {
		return setAside(u, path)
	}
	obstacles, err := access.Walk(u, path, want)
	if err != nil {
		return ""
	}
	var list []string
	for _, o := range obstacles {
		if len(o.Commands) == 0 {
			return ""
		}
		list = append(list, o.Commands...)
	}
	return strings.Join(list, " && ")
}

// setAside is for a file that an application writes, such as a log, and may not. To give it the file is a trap where the application's
// user chose the path and can change what it means: chown would give away what a link leads to. There the user moves
// the file out of its own way, and makes a new one. Empty: chown is safe, or there is no safe command.
func setAside(u access.User, path string) string {
	if u.UID == 0 || access.Trusted(path) {
		return ""
	}
	as := fmt.Sprintf("setpriv --reuid=%d --regid=%d --clear-groups ", u.UID, u.GID)
	return as + "mv -T " + shell.Quote(path) + " " + shell.Quote(path+".not-writable")
}

// A machine is this one, with the users that only a directory service knows, and the examined user with the groups that it really has.
type machine struct {
	check.Machine
	user access.User
}

// User finds a user.
func (m *machine) User(text string) (check.User, bool) {
	found, ok := m.Machine.User(text)
	_, bad := strconv.Atoi(text)
	if unknown := !ok || bad == nil && found.Name == text; unknown { // a number that /etc/passwd does not know is its own name
		u, err := access.Lookup(text)
		if err != nil {
			return check.User{}, false
		}
		found = check.User{Name: u.Name, UID: u.UID, GID: u.GID, Groups: u.Groups, Home: found.Home}
	}
	if m.user.Name != "" && found.UID == m.user.UID {
		found.GID, found.Groups = m.user.GID, slices.Clone(m.user.Groups)
		if !slices.Contains(found.Groups, found.GID) {
			found.Groups = append(found.Groups, found.GID)
		}
	}
	return found, true
}
