package access

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// needRoot skips a test of rights, never where CI is set.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("the tests of rights need root")
	}
	t.Skip("the tests of rights need root")
}

// asUser runs f on a thread that has this user's rights and then ends. Nothing can be given back by mistake.
func asUser(u User, f func()) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()              // never unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() { // but this one never ends, and /proc/PID would show the user for ever
			result <- asUser(u, f) // on another thread, since we hold this one
			runtime.UnlockOSThread()
			return
		}
		err := become(u)
		if err == nil {
			f()
		}
		result <- err
	}()
	return <-result
}

func become(u User) error {
	groups := make([]uint32, len(u.Groups)+1) // one more, so that there is a first
	for i, g := range u.Groups {
		groups[i] = uint32(g)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(u.Groups)), uintptr(unsafe.Pointer(&groups[0])), 0); errno != 0 {
		return fmt.Errorf("setgroups: %w", errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(u.GID), uintptr(u.GID), uintptr(u.GID)); errno != 0 {
		return fmt.Errorf("setresgid: %w", errno)
	}
	if u.UID != 0 {
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(u.UID), uintptr(u.UID), uintptr(u.UID)); errno != 0 {
			return fmt.Errorf("setresuid: %w", errno)
		}
	}
	if u.Caps == nil {
		return nil
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{{Effective: uint32(*u.Caps), Permitted: uint32(*u.Caps)}, {Effective: uint32(*u.Caps >> 32), Permitted: uint32(*u.Caps >> 32)}}
	return unix.Capset(&header, &data[0])
}

// kernel asks the kernel itself, as the calling thread, by doing it: open, connect, and access(2) with the effective rights for the rest.
func kernel(path string, want Right) error {
	if want&Enter != 0 {
		path += "/"
	}
	p, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall6(unix.SYS_FACCESSAT2, ^uintptr(99), uintptr(unsafe.Pointer(p)), uintptr(want.bits()), unix.AT_EACCESS, 0, 0); errno != 0 {
		err = errno
	}
	if did := try(path, want); did != nil && !errors.Is(did.err, err) {
		return fmt.Errorf("access(2) says %v, and trying it says %v", err, did.err)
	}
	return err
}

// An outcome is a system call's.
type outcome struct{ err error }

// try does it where that leaves no trace; nil where it was not tried.
func try(path string, want Right) *outcome {
	var st unix.Stat_t
	done := func(fd int, err error) *outcome {
		if err == nil {
			unix.Close(fd)
		}
		return &outcome{err}
	}
	err := unix.Stat(path, &st)
	switch kind := st.Mode & unix.S_IFMT; {
	case err != nil:
		return nil
	case want == Write && kind == unix.S_IFSOCK && len(path) < 100:
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return &outcome{err}
		}
		defer unix.Close(fd)
		return &outcome{unix.Connect(fd, &unix.SockaddrUnix{Name: path})}
	case want == Write && kind == unix.S_IFREG:
		return done(unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0))
	case want == Read|Write && kind == unix.S_IFREG:
		return done(unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0))
	case want == Read && (kind == unix.S_IFREG || kind == unix.S_IFDIR):
		return done(unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0))
	}
	return nil
}

// A forest grows random trees.
type forest struct {
	*rand.Rand
	t       *testing.T
	root    string
	folders []string
	all     []string
}

const baseID = 61500

func (f *forest) id() int {
	if f.IntN(6) == 0 {
		return 0
	}
	return baseID + f.IntN(4)
}

func (f *forest) group() int {
	if f.IntN(8) == 0 {
		return 0
	}
	return baseID + 10 + f.IntN(4)
}

// mode is mostly of the kind that people choose.
func (f *forest) mode() uint32 {
	switch f.IntN(4) {
	case 0:
		return []uint32{0o755, 0o750, 0o700, 0o711, 0o644, 0o660, 0o1777, 0o2750, 0o705, 0o070}[f.IntN(10)]
	case 1:
		return uint32(f.IntN(0o1000)) | 0o111
	}
	return uint32(f.IntN(0o1000))
}

func (f *forest) acl() []byte {
	list := ACL{{Tag: TagOwner, Perm: Perm(f.IntN(8))}}
	users, groups := f.IntN(3), f.IntN(3)
	perm := func() Perm { return Perm(f.IntN(8)) | Perm(f.IntN(2)) }
	for i := range users {
		list = append(list, Entry{TagUser, perm(), baseID + i*2 + f.IntN(2)})
	}
	list = append(list, Entry{Tag: TagOwningGroup, Perm: perm()})
	for i := range groups {
		list = append(list, Entry{TagGroup, perm(), baseID + 10 + i*2 + f.IntN(2)})
	}
	if users+groups > 0 || f.IntN(2) == 0 {
		list = append(list, Entry{Tag: TagMask, Perm: perm()})
	}
	return encode(append(list, Entry{Tag: TagOther, Perm: Perm(f.IntN(8))}))
}

// encode is what ParseACL reads.
func encode(list ACL) []byte {
	raw := binary.LittleEndian.AppendUint32(nil, aclVersion)
	for _, e := range list {
		id := uint32(0xffffffff)
		if e.Tag == TagUser || e.Tag == TagGroup {
			id = uint32(e.ID)
		}
		raw = binary.LittleEndian.AppendUint16(raw, uint16(e.Tag))
		raw = binary.LittleEndian.AppendUint16(raw, uint16(e.Perm))
		raw = binary.LittleEndian.AppendUint32(raw, id)
	}
	return raw
}

func (f *forest) check(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// plant makes a tree of folders, files, sockets and links; dress gives them owners, modes and ACLs.
func plant(t *testing.T, seed uint64) *forest {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "emperord-access-")
	if err != nil {
		t.Fatal(err)
	}
	f := &forest{Rand: rand.New(rand.NewPCG(seed, 61500)), t: t, root: dir, folders: []string{dir}}
	t.Cleanup(f.fell)
	f.check(os.Chmod(dir, 0o755))
	for range 2 + f.IntN(5) {
		f.folders = append(f.folders, f.put(func(p string) error { return os.Mkdir(p, 0o700) }))
	}
	for range 1 + f.IntN(3) {
		f.put(func(p string) error { return os.WriteFile(p, nil, 0o600) })
	}
	if f.IntN(2) == 0 {
		f.put(func(p string) error {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			f.check(err)
			t.Cleanup(func() { unix.Close(fd) })
			f.check(unix.Bind(fd, &unix.SockaddrUnix{Name: p}))
			return unix.Listen(fd, 4000)
		})
	}
	for range f.IntN(5) {
		f.put(func(p string) error { return os.Symlink(f.target(), p) })
	}
	for _, p := range f.all {
		f.dress(p)
	}
	return f
}

func (f *forest) put(make func(path string) error) string {
	p := filepath.Join(f.folders[f.IntN(len(f.folders))], string(rune('a'+f.IntN(26)))+fmt.Sprint(len(f.all)))
	f.check(make(p))
	f.all = append(f.all, p)
	return p
}

// target is where a link leads: to something, nowhere, in a circle, up and down.
func (f *forest) target() string {
	p := f.all[f.IntN(len(f.all))]
	switch f.IntN(6) {
	case 0:
		return "nowhere"
	case 1:
		return filepath.Base(p)
	case 2:
		return p + "/"
	case 3:
		return "../" + filepath.Base(f.root) + strings.TrimPrefix(p, f.root)
	}
	return p
}

func (f *forest) dress(p string) {
	f.check(os.Lchown(p, f.id(), f.group()))
	fi, err := os.Lstat(p)
	f.check(err)
	if fi.Mode()&os.ModeSymlink != 0 {
		return
	}
	f.check(unix.Chmod(p, f.mode()))
	if f.IntN(3) == 0 {
		f.check(unix.Lsetxattr(p, "system.posix_acl_access", f.acl(), 0))
	}
}

func (f *forest) fell() { _ = os.RemoveAll(f.root) }

// user is one of the forest's, root now and then, also with less than its usual powers.
func (f *forest) user() User {
	u := User{UID: f.id(), GID: f.group()}
	for range f.IntN(3) {
		u.Groups = append(u.Groups, f.group())
	}
	if u.UID == 0 && f.IntN(3) > 0 {
		caps := []uint64{0, 1 << dacReadSearch, 1 << dacOverride}[f.IntN(3)]
		u.Caps = &caps
	}
	u.Name = fmt.Sprint(u.UID)
	return u
}

// path is a way through the tree as somebody may have written it.
func (f *forest) path() string {
	p := f.all[f.IntN(len(f.all))]
	switch f.IntN(8) {
	case 0:
		p += "/" + filepath.Base(f.all[f.IntN(len(f.all))])
	case 1:
		p += "/../" + filepath.Base(p)
	case 2:
		p = filepath.Dir(p) + "/./" + filepath.Base(p)
	case 3:
		p += "/"
	case 4:
		p += "/."
	case 5:
		p = strings.Replace(p, "/", "//", 2)
	}
	return p
}

func (f *forest) right(path string) Right {
	if fi, err := os.Stat(path); err == nil && fi.IsDir() {
		return []Right{Enter, Enter, Read, Write | Enter, Read | Enter, Write, Read | Write | Enter, 0}[f.IntN(8)]
	}
	return []Right{Read, Write, Read | Write, Run, Read | Run, 0, Enter}[f.IntN(7)]
}

// A question to both.
type question struct {
	path  string
	want  Right
	said  error      // the kernel
	found []Obstacle // ours
}

func TestWalkSaysWhatTheKernelSays(t *testing.T) {
	needRoot(t)
	trees := 150
	if testing.Short() {
		trees = 40
	}
	var asked, granted, refused int
	for seed := range uint64(trees) {
		f := plant(t, seed)
		for range 4 {
			u := f.user()
			var list []question
			for range 15 {
				p := f.path()
				list = append(list, question{path: p, want: f.right(p)})
			}
			interview(t, u, list)
			for _, q := range list {
				asked++
				if q.said == nil {
					granted++
				} else {
					refused++
				}
				if (q.said == nil) != (len(q.found) == 0) {
					t.Errorf("seed %d: %s as uid %d gid %d groups %v caps %v, to %s: the kernel says %v, Walk says %s\n%s", seed, q.path, u.UID, u.GID, u.Groups, u.Caps, q.want, q.said, causes(q.found), f.list())
				} else if len(q.found) == 1 {
					f.sameReason(q, seed)
				}
			}
		}
		f.fell()
		if t.Failed() {
			return
		}
	}
	t.Logf("%d questions: %d granted, %d refused", asked, granted, refused)
	if granted < asked/10 || refused < asked/10 {
		t.Errorf("of %d questions the kernel granted %d and refused %d: the trees prove little", asked, granted, refused)
	}
}

// interview asks both the kernel, as the user, and Walk, as root.
func interview(t *testing.T, u User, list []question) {
	t.Helper()
	err := asUser(u, func() {
		for i := range list {
			list[i].said = kernel(list[i].path, list[i].want)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range list {
		if list[i].found, err = Walk(u, list[i].path, list[i].want); err != nil {
			t.Fatal(err)
		}
	}
}

// sameReason compares the kernel's error with an only obstacle.
func (f *forest) sameReason(q question, seed uint64) {
	f.t.Helper()
	o := q.found[0]
	var want error
	switch {
	case o.Missing:
		want = unix.ENOENT
	case strings.Contains(o.Cause, "circle"):
		want = unix.ELOOP
	case strings.Contains(o.Cause, "is no folder"):
		want = unix.ENOTDIR
	case o.Lacks != 0:
		want = unix.EACCES
	}
	if !errors.Is(q.said, want) {
		f.t.Errorf("seed %d: %s to %s: the kernel says %v, Walk says %q", seed, q.path, q.want, q.said, o.Cause)
	}
}

func causes(list []Obstacle) string {
	var words []string
	for _, o := range list {
		words = append(words, o.Cause)
	}
	return "[" + strings.Join(words, "; ") + "]"
}

// list shows the tree, for who has to find out why a test failed.
func (f *forest) list() string {
	var b strings.Builder
	for _, p := range f.all {
		n, err := Look(p)
		target, _ := os.Readlink(p)
		fmt.Fprintf(&b, "\t%s %d:%d %v %s %v %v\n", letters(n.Mode), n.UID, n.GID, n.ACL, p, target, err)
	}
	return b.String()
}
