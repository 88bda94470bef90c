package access

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/shell"
)

// An Obstacle is one reason why a user does not get what it wants at a path.
type Obstacle struct {
	Path     string   // where it is: a folder on the way, behind all links, or the end
	Lacks    Right    // what the user lacks there; 0 where it is not a matter of rights
	Missing  bool     // there is nothing of that name
	Unseen   bool     // whoever asks may not look there, so nothing can be said: ask as root
	Cause    string   // "www-data may not enter /srv/shop (drwx------ shop:shop)"
	Commands []string // what mends it, for sh as root, in this order; empty where no command is known
	Note     string   // what else there is to know of the commands; may be empty
}

// maxLinks bounds the links followed on one way, as the kernel does (path_resolution(7)).
const maxLinks = 40

// Walk goes to an absolute path as the kernel would for this user, and returns everything that is in its way to the wanted
// rights there, from the outside in; nothing if it gets them. It goes on behind an obstacle as far as the caller itself may look. What
// the caller may not see is an Obstacle too, never silence. An error means that the question makes no sense.
func Walk(u User, path string, want Right) ([]Obstacle, error) {
	if !strings.HasPrefix(path, "/") || strings.IndexByte(path, 0) >= 0 {
		return nil, fmt.Errorf("%q is no absolute path", path)
	}
	k := walker{user: u, want: want, tools: installed, guarded: linksGuarded()}
	k.walk(path)
	return k.obstacles, nil
}

// A walker is on its way.
type walker struct {
	user    User
	want    Right
	tools   func(string) bool // whether a command is installed
	guarded bool              // links in sticky folders

	way       []step // folders passed
	obstacles []Obstacle
	refused   map[string]refusal
	seen      map[string]bool // what has been said, since links lead through one folder twice
}

type step struct {
	path string
	found
}

func (k *walker) walk(path string) {
	k.refused, k.seen = make(map[string]refusal), make(map[string]bool)
	root, err := look("/")
	if err != nil {
		k.blind("/", err)
		return
	}
	names := strings.Split(path, "/")
	here := step{"/", root}
	link, links := "", 0
	for len(names) > 0 {
		name := names[0]
		names = names[1:]
		if name == "" {
			if len(names) == 0 && here.path != "/" && !here.Mode.IsDir() { // a slash at the end
				k.notFolder(here, link)
				return
			}
			continue
		}
		if !here.Mode.IsDir() {
			k.notFolder(here, link)
			return
		}
		k.ask(here, Enter)
		k.way = append(k.way, here)
		switch name {
		case ".":
			continue
		case "..":
			name = filepath.Dir(here.path)
		default:
			name = filepath.Join(here.path, name)
		}
		next, err := look(name)
		if err != nil {
			k.absent(name, link, err)
			return
		}
		if next.Mode.Type() != fs.ModeSymlink {
			here = step{name, next}
			continue
		}
		if links++; links > maxLinks {
			k.add(Obstacle{Path: name, Cause: fmt.Sprintf("the links on the way to %s lead in a circle (more than %d of them)", path, maxLinks)})
			return
		}
		if k.guarded && last(names) {
			k.guard(here, step{name, next})
		}
		target, err := os.Readlink(name)
		if err != nil {
			k.blind(name, err)
			return
		}
		link = name
		names = append(strings.Split(target, "/"), names...)
		if strings.HasPrefix(target, "/") {
			here = step{"/", root}
		}
	}
	if k.want&Enter != 0 && !here.Mode.IsDir() {
		k.notFolder(here, link)
		return
	}
	k.ask(here, k.want)
}

// last tells whether nothing but slashes is left of the way.
func last(names []string) bool {
	for _, n := range names {
		if n != "" {
			return false
		}
	}
	return true
}

// ask judges one file or folder.
func (k *walker) ask(at step, want Right) {
	if at.damaged != nil {
		k.add(Obstacle{Path: at.path, Unseen: true, Cause: at.damaged.Error()})
		return
	}
	if want&Write != 0 {
		k.frozen(at)
	}
	if at.Lacks(k.user, want) == 0 {
		return
	}
	before, again := k.refused[at.path] // a folder that is passed, and wanted itself: one obstacle, one command
	want |= before.want
	lacks := at.Lacks(k.user, want)
	o := Obstacle{Path: at.path, Lacks: lacks, Cause: fmt.Sprintf("%s may not %s %s (%s)", k.user.Name, lacks, at.path, at.Inode)}
	if at.Mode.Type() == fs.ModeSocket && lacks == Write {
		o.Cause = fmt.Sprintf("%s may not connect to %s (%s)", k.user.Name, at.path, at.Inode)
	}
	o.Commands, o.Note = k.mend(at, want, lacks)
	if again {
		k.obstacles[before.index] = o
	} else {
		before.index = len(k.obstacles)
		k.obstacles = append(k.obstacles, o)
	}
	k.refused[at.path] = refusal{want, before.index}
}

// A refusal is what was wanted of a path, and where its obstacle stands.
type refusal struct {
	want  Right
	index int
}

// frozen looks for what no right helps against.
func (k *walker) frozen(at step) {
	switch {
	case at.readOnly:
		k.add(Obstacle{Path: at.path, Lacks: Write, Cause: fmt.Sprintf("%s is on a file system that is mounted read-only", at.path),
			Note: "if that is not on purpose (a full or broken disk does it too, see dmesg): mount -o remount,rw " + shell.Quote(mountPoint(at.path))})
	case at.immutable:
		k.add(Obstacle{Path: at.path, Lacks: Write, Cause: fmt.Sprintf("%s is immutable (lsattr shows i): nobody may write it, root neither", at.path), Commands: []string{"chattr -i " + shell.Quote(at.path)},
			Note: "somebody made it so on purpose: ask why first"})
	}
}

// guard says that the kernel will not follow this last link.
func (k *walker) guard(folder, link step) {
	if folder.Mode&fs.ModeSticky == 0 || folder.Mode.Perm()&0o002 == 0 || link.UID == k.user.UID || link.UID == folder.UID {
		return
	}
	k.add(Obstacle{Path: link.path, Lacks: Enter, Commands: []string{fmt.Sprintf("chown -h %d %s", folder.UID, shell.Quote(link.path))},
		Cause: fmt.Sprintf("%s may not follow the link %s: in the sticky folder %s only links of its owner %s count, and this one is %s's (fs.protected_symlinks)", k.user.Name, link.path, folder.path, UserName(folder.UID), UserName(link.UID))})
}

func (k *walker) notFolder(at step, link string) {
	what := at.path + " is no folder"
	if link != "" {
		what += ", and the link " + link + " leads there"
	}
	k.add(Obstacle{Path: at.path, Cause: what})
}

// absent says that there is no such name, or that the caller cannot tell.
func (k *walker) absent(path, link string, err error) {
	if !errors.Is(err, fs.ErrNotExist) {
		k.blind(path, err)
		return
	}
	what := path + " is not there"
	if link != "" {
		what = fmt.Sprintf("the link %s leads nowhere: %s", link, what)
	}
	k.add(Obstacle{Path: path, Missing: true, Cause: what})
}

// blind says that the caller cannot look.
func (k *walker) blind(path string, err error) {
	cause := err
	if p := new(fs.PathError); errors.As(err, &p) {
		cause = p.Err
	}
	o := Obstacle{Path: path, Unseen: true, Cause: fmt.Sprintf("cannot look at %s: %v", path, cause)}
	if errors.Is(err, fs.ErrPermission) {
		o.Cause += " for uid " + strconv.Itoa(os.Geteuid())
		o.Note = "run it as root: nothing is known of what lies behind"
	}
	if errors.Is(err, unix.ENAMETOOLONG) || errors.Is(err, unix.ENOTDIR) {
		o.Unseen = false
	}
	k.add(o)
}

// add notes an obstacle that is not a matter of rights, once.
func (k *walker) add(o Obstacle) {
	if k.seen[o.Cause] {
		return
	}
	k.seen[o.Cause] = true
	k.obstacles = append(k.obstacles, o)
}

// String writes mode and owner as ls does, with a + where there is an ACL.
func (n Inode) String() string {
	plus := ""
	if n.ACL != nil {
		plus = "+"
	}
	return fmt.Sprintf("%s%s %s:%s", letters(n.Mode), plus, UserName(n.UID), GroupName(n.GID))
}

// letters is fs.FileMode.String with ls's letters for the type and the sticky bit.
func letters(m fs.FileMode) string {
	kind := "-"
	switch {
	case m.IsDir():
		kind = "d"
	case m&fs.ModeSymlink != 0:
		kind = "l"
	case m&fs.ModeSocket != 0:
		kind = "s"
	case m&fs.ModeNamedPipe != 0:
		kind = "p"
	case m&fs.ModeCharDevice != 0:
		kind = "c"
	case m&fs.ModeDevice != 0:
		kind = "b"
	}
	text := []byte(kind + m.Perm().String()[1:])
	if m&fs.ModeSticky != 0 {
		text[9] = map[byte]byte{'x': 't', '-': 'T'}[text[9]]
	}
	return string(text)
}

// mountPoint is where the file system of a path begins: the last folder on the way up that is on the same device.
func mountPoint(path string) string {
	var here, up unix.Stat_t
	for unix.Lstat(path, &here) == nil && path != "/" && unix.Lstat(filepath.Dir(path), &up) == nil && here.Dev == up.Dev {
		path = filepath.Dir(path)
	}
	return path
}
