package emperor

import (
	"bytes"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emperord/emperord/sockets"
)

// A directory knows users and groups. Those of /etc/passwd and /etc/group it reads itself. Those of LDAP, SSSD and the like
// only the C library can find, which this program is not linked with: the loop asks getent for them (consult) before they
// are needed, and the directory remembers the answers. Any goroutine may use it.
type directory struct {
	remote bool // /etc/nsswitch.conf names more than the files
	getent string
	mu     sync.Mutex
	known  map[question]answer
}

// A question is one for getent(1).
type question struct {
	database string // passwd, group or initgroups
	key      string // a name; of passwd and group a number too
}

type answer struct {
	person  person // of passwd
	gid     int    // of group
	groups  []int  // of initgroups
	found   bool
	expires time.Time
}

// A person is a user of the system.
type person struct {
	name     string
	uid, gid int
	home     string
}

// How long answers of getent are believed. A user who is not there may be made at any moment. A directory that does not
// answer costs each attempt seconds: the next ones must have the time for what else they do.
const (
	believed   = time.Minute
	disbelieve = 5 * time.Second
	unanswered = 30 * time.Second
)

// localServices of nsswitch.conf(5) know nobody whom the files do not know, but for systemd's own dynamic users, who own no
// vassal files.
var localServices = []string{"files", "compat", "db", "systemd", "altfiles", "nis+"}

// newDirectory reads nsswitch.conf(5): without another service than the files nobody has to be asked.
func newDirectory(nsswitch []byte) *directory {
	d := &directory{getent: getent, known: map[question]answer{}}
	for _, line := range strings.Split(string(nsswitch), "\n") {
		line, _, _ = strings.Cut(line, "#")
		database, services, _ := strings.Cut(line, ":")
		if !slices.Contains([]string{"passwd", "group", "initgroups"}, strings.TrimSpace(database)) {
			continue
		}
		for _, s := range strings.Fields(services) {
			if !strings.HasPrefix(s, "[") && !strings.HasSuffix(s, "]") && !strings.Contains(s, "=") && !slices.Contains(localServices, s) {
				d.remote = true
			}
		}
	}
	return d
}

// user finds a user by name or number.
func (d *directory) user(key string) (person, bool) {
	u, err := user.LookupId(key)
	if err != nil {
		u, err = user.Lookup(key)
	}
	if err == nil {
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err1 == nil && err2 == nil {
			return person{u.Username, uid, gid, u.HomeDir}, true
		}
	}
	a := d.recall(question{"passwd", key})
	return a.person, a.found
}

// group finds the number of a group by its name.
func (d *directory) group(name string) (int, bool) {
	if g, err := user.LookupGroup(name); err == nil {
		gid, err := strconv.Atoi(g.Gid)
		return gid, err == nil
	}
	a := d.recall(question{"group", name})
	return a.gid, a.found
}

// groups returns the groups of a user as initgroups(3) would set them, without its primary one.
func (d *directory) groups(p person) []int {
	var all []int
	u := &user.User{Username: p.name, Uid: strconv.Itoa(p.uid), Gid: strconv.Itoa(p.gid)}
	if list, err := u.GroupIds(); err == nil {
		for _, text := range list {
			if g, err := strconv.Atoi(text); err == nil && g != p.gid {
				all = append(all, g)
			}
		}
	}
	for _, g := range d.recall(question{"initgroups", p.name}).groups {
		if g != p.gid && !slices.Contains(all, g) {
			all = append(all, g)
		}
	}
	return all
}

// named tells whether a name that the configuration holds is that of a user whom only another service than the files knows:
// such a name could not be looked up at the start.
func (d *directory) named(name string, who sockets.Identity) bool {
	return d != nil && d.remote && name != "" && name == who.Name
}

func (d *directory) recall(q question) answer {
	if d == nil {
		return answer{}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.known[q] // one that has expired is better than none
}

// open returns the questions that only getent can answer, and has not answered lately.
func (d *directory) open(all ...question) []question {
	if !d.remote {
		return nil
	}
	var ask []question
	for _, q := range all {
		d.mu.Lock()
		a, asked := d.known[q]
		d.mu.Unlock()
		if asked && time.Now().Before(a.expires) || !askable(q.key) || slices.Contains(ask, q) {
			continue
		}
		local := false
		switch q.database {
		case "passwd":
			if _, err := user.LookupId(q.key); err == nil {
				local = true
			} else if _, err := user.Lookup(q.key); err == nil {
				local = true
			}
		case "group":
			_, err := user.LookupGroup(q.key)
			_, number := strconv.Atoi(q.key)
			local = err == nil || number == nil
		}
		if !local {
			ask = append(ask, q)
		}
	}
	return ask
}

// maxName bounds the names that are asked for; useradd allows 32 bytes, directories more.
const maxName = 256

// askable tells whether a text may be an argument of getent: tenants write it.
func askable(key string) bool {
	return key != "" && len(key) <= maxName && key[0] != '-' && !strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r == 0x7f || r == ':' || r == '\n' })
}

// learn takes what getent has printed.
func (d *directory) learn(q question, text []byte, now time.Time) {
	a := answer{expires: now.Add(disbelieve)}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	switch fields := strings.Split(string(line), ":"); {
	case q.database == "passwd" && len(fields) == 7:
		uid, err1 := strconv.ParseUint(fields[2], 10, 31)
		gid, err2 := strconv.ParseUint(fields[3], 10, 31)
		a.person = person{fields[0], int(uid), int(gid), fields[5]}
		a.found = err1 == nil && err2 == nil && askable(fields[0]) && (strings.EqualFold(fields[0], q.key) || fields[2] == q.key)
	case q.database == "group" && len(fields) == 4:
		gid, err := strconv.ParseUint(fields[2], 10, 31)
		a.gid, a.found = int(gid), err == nil && strings.EqualFold(fields[0], q.key)
	case q.database == "initgroups" && len(fields) == 1:
		words := strings.Fields(fields[0])
		a.found = len(words) > 0 && strings.EqualFold(words[0], q.key)
		for i := 1; a.found && i < len(words); i++ {
			if gid, err := strconv.ParseUint(words[i], 10, 31); err == nil {
				a.groups = append(a.groups, int(gid))
			}
		}
	}
	if a.found {
		a.expires = now.Add(believed)
	} else {
		a = answer{expires: a.expires}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known[q] = a
	if len(d.known) > maxKnown {
		for old, a := range d.known {
			if a.expires.Before(now) {
				delete(d.known, old)
			}
		}
	}
}

// forget keeps an answer that could not be asked for again, for a moment.
func (d *directory) forget(q question, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.known[q]
	a.expires = now.Add(unanswered)
	d.known[q] = a
}

// maxKnown is how many answers are kept before those that have expired go.
const maxKnown = 10_000

// readNsswitch returns /etc/nsswitch.conf, nothing where there is none.
func readNsswitch() []byte {
	text, err := os.ReadFile("/etc/nsswitch.conf")
	if err != nil {
		return nil
	}
	return text
}
