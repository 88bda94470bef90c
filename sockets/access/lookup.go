package access

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"
)

// patience bounds one question to getent or id: a directory service that does not answer must not hold us.
const patience = 5 * time.Second

// maxAnswer bounds what getent or id may say, in bytes.
const maxAnswer = 1 << 20

// Lookup finds a user by name or number, with the groups that its processes get. /etc/passwd and /etc/group are read; what
// they do not know, getent and id are asked, which know LDAP and SSSD. A number that nobody has is a user without name and
// groups, whose gid is the same number. The error says that there is no such user.
func Lookup(nameOrUID string) (User, error) {
	line, err := passwd(nameOrUID)
	if err != nil {
		n, bad := strconv.ParseUint(nameOrUID, 10, 31)
		if bad != nil {
			return User{}, err
		}
		return User{Name: nameOrUID, UID: int(n), GID: int(n)}, nil
	}
	line.Groups = groupsOf(line)
	return line, nil
}

// passwd finds a user's line.
func passwd(nameOrUID string) (User, error) {
	if u, err := user.Lookup(nameOrUID); err == nil {
		return fromUser(u)
	}
	if u, err := user.LookupId(nameOrUID); err == nil {
		return fromUser(u)
	}
	none := fmt.Errorf("there is no user %q; see: getent passwd", nameOrUID)
	if nameOrUID == "" || strings.HasPrefix(nameOrUID, "-") {
		return User{}, none
	}
	text, err := ask("getent", "passwd", nameOrUID)
	if err != nil {
		return User{}, none
	}
	fields := strings.Split(strings.TrimSpace(text), ":")
	if len(fields) < 4 {
		return User{}, none
	}
	return fromUser(&user.User{Username: fields[0], Uid: fields[2], Gid: fields[3]})
}

func fromUser(u *user.User) (User, error) {
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2); err != nil {
		return User{}, fmt.Errorf("the user %s has no proper numbers: %w", u.Username, err)
	}
	return User{Name: u.Username, UID: uid, GID: gid}, nil
}

// groupsOf are the groups that initgroups(3) would give. id asks all services that nsswitch.conf names, which a statically linked
// program cannot; without it /etc/group counts.
func groupsOf(u User) []int {
	var fields []string
	if text, err := ask("id", "-G", "--", u.Name); err == nil {
		fields = strings.Fields(text)
	} else if known, err := user.Lookup(u.Name); err == nil {
		fields, _ = known.GroupIds() // without them the primary one counts
	}
	groups := []int{u.GID}
	for _, f := range fields {
		if n, err := strconv.Atoi(f); err == nil && !slices.Contains(groups, n) {
			groups = append(groups, n)
		}
	}
	return groups
}

// ask runs a command of the system's and returns what it says.
func ask(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	c.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	c.WaitDelay = time.Second
	out := &bounded{}
	c.Stdout = out
	if err := c.Run(); err != nil {
		return "", err
	}
	return string(out.text), nil
}

// bounded keeps the first maxAnswer bytes.
type bounded struct{ text []byte }

func (b *bounded) Write(p []byte) (int, error) {
	b.text = append(b.text, p[:min(len(p), maxAnswer-len(b.text))]...)
	return len(p), nil
}

// OfProcess returns the rights that a running process has with files: fsuid, fsgid and effective capabilities of its
// /proc/PID/status (proc_pid_status(5)).
func OfProcess(pid int) (User, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return User{}, fmt.Errorf("cannot look at the process %d: %w", pid, err)
	}
	u, err := parseStatus(string(raw))
	if err != nil {
		return User{}, fmt.Errorf("/proc/%d/status: %w", pid, err)
	}
	u.PID = pid
	u.Name = UserName(u.UID)
	return u, nil
}

func parseStatus(text string) (User, error) {
	u := User{UID: -1, GID: -1}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		fields := strings.Fields(value)
		switch name {
		case "Uid", "Gid": // real, effective, saved, file system
			if len(fields) != 4 {
				return u, fmt.Errorf("%s has %d numbers, not 4", name, len(fields))
			}
			n, err := strconv.Atoi(fields[3])
			if err != nil {
				return u, err
			}
			if name == "Uid" {
				u.UID = n
			} else {
				u.GID = n
			}
		case "Groups":
			for _, f := range fields {
				n, err := strconv.Atoi(f)
				if err != nil {
					return u, err
				}
				u.Groups = append(u.Groups, n)
			}
		case "CapEff":
			n, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			if err != nil {
				return u, err
			}
			u.Caps = &n
		}
	}
	if u.UID < 0 || u.GID < 0 {
		return u, errors.New("it has no Uid or no Gid")
	}
	return u, nil
}

// UserName is the name of a uid in /etc/passwd, else the number.
func UserName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return strconv.Itoa(uid)
}

// GroupName is the name of a gid in /etc/group, else the number.
func GroupName(gid int) string {
	if g, err := user.LookupGroupId(strconv.Itoa(gid)); err == nil {
		return g.Name
	}
	return strconv.Itoa(gid)
}
