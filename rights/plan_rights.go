package rights

import (
	"fmt"
	"os"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxCapabilities is how many capabilities there can be: the sets have 64 bits.
const maxCapabilities = 64

// Bounding returns the bounding set of the calling thread, and how many capabilities the kernel knows.
func Bounding() (set uint64, known int) {
	for known < maxCapabilities {
		on, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(known), 0, 0, 0)
		if err != nil {
			break
		}
		set |= uint64(on) << known
		known++
	}
	return set, known
}

// mounts keeps what is mounted in the child's own mount namespace to it, and the other way round. In a new pid
// namespace /proc has to be mounted anew, or it would show the parent's processes by other numbers.
func (p *plan) mounts() {
	none, root := []byte("none\x00"), []byte("/\x00")
	p.do("keep its mounts to itself", unix.SYS_MOUNT, held(p, none), held(p, root), 0, unix.MS_REC|unix.MS_PRIVATE, 0)
	if p.spec.Namespaces&unix.CLONE_NEWPID != 0 {
		proc, at := []byte("proc\x00"), []byte("/proc\x00")
		p.do("mount its own /proc", unix.SYS_MOUNT, held(p, proc), held(p, at), held(p, proc), unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, 0)
	}
}

// limits sets umask and resource limits, while the child may still raise a limit.
func (p *plan) limits() {
	r := &p.spec.Rights
	if r.Umask != nil {
		mask := uintptr(r.Umask.Perm())
		p.do("set the umask", unix.SYS_UMASK, mask)
	}
	r.Limits = withOpenFiles(r.Limits)
	for _, l := range r.Limits {
		name := limitName(l.Resource)
		set := held(p, []uint64{l.Soft, l.Hard})
		s := p.do(fmt.Sprintf("set the limit %s to %s:%s", name, limitText(l.Soft), limitText(l.Hard)), unix.SYS_PRLIMIT64, 0, uintptr(l.Resource), set, 0)
		s.remedy = "a hard limit can only be raised with CAP_SYS_RESOURCE: raise the limit of emperord itself (LimitNOFILE= and others in its unit, or ulimit), or write a lower one"
	}
}

// identity takes the user, in the order of every drop: bounding set, groups, gid, uid, capabilities.
func (p *plan) identity() {
	r := &p.spec.Rights
	if r.Bounding != nil {
		s := p.do("drop capabilities from the bounding set", unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, 0, 0, 0, 0)
		s.count, s.bits, s.remedy = p.known, p.bounding&^*r.Bounding, "this needs CAP_SETPCAP"
	}
	if u := r.User; u != nil {
		groups := make([]uint32, 0, len(u.Groups)+1)
		for _, g := range u.Groups {
			groups = append(groups, uint32(g))
		}
		slices.Sort(groups)
		groups = slices.Compact(groups)
		p.spec.Rights.User = &User{u.UID, u.GID, nil}
		for _, g := range groups {
			p.spec.Rights.User.Groups = append(p.spec.Rights.User.Groups, int(g))
		}
		keep := "this needs CAP_SETGID: start emperord as root, and write cap = setgid,setuid where it gives up root"
		p.number(len(groups), "take %d supplementary groups", unix.SYS_SETGROUPS, uintptr(len(groups)), held(p, groups)).remedy = keep
		gid, uid := uintptr(u.GID), uintptr(u.UID)
		p.number(u.GID, "take gid %d", unix.SYS_SETRESGID, gid, gid, gid).remedy = keep
		p.number(u.UID, "take uid %d", unix.SYS_SETRESUID, uid, uid, uid).remedy = "this needs CAP_SETUID: start emperord as root, and write cap = setgid,setuid where it gives up root"
	}
	for c := range 64 {
		if r.User == nil && r.Keep>>c&1 == 1 {
			p.do(fmt.Sprintf("keep capability %d", c), unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(c), 0, 0)
		}
	}
	if p.unprivileged() {
		header := held(p, []uint32{unix.LINUX_CAPABILITY_VERSION_3, 0})
		p.do("give up all capabilities", unix.SYS_CAPSET, header, held(p, make([]uint32, 6)))
		p.do("keep its memory from other processes", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0) // it is a copy of ours until the exec
	}
	if r.NoNewPrivs {
		p.do("set no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
}

// unprivileged tells whether the child must have no capabilities. Where the user does not change and is not root, an
// exec would drop them too, if they were not ambient.
func (p *plan) unprivileged() bool {
	if u := p.spec.Rights.User; u != nil {
		return u.UID != 0
	}
	return syscall.Geteuid() != 0 && p.spec.Rights.Keep == 0
}

// tie enters the folder, with the child's own rights, and ties the child to its parent's life: credentials that
// change clear the parent-death signal (prctl(2)), so it comes after them.
func (p *plan) tie() error {
	if p.spec.Dir != "" {
		dir, err := p.bytes(p.spec.Dir)
		if err != nil {
			return err
		}
		p.do("enter "+p.spec.Dir, unix.SYS_CHDIR, dir)
	}
	if p.spec.Death != 0 {
		p.do("ask for a signal when its parent ends", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(p.spec.Death), 0, 0, 0)
	}
	return nil
}

// verify reads back what was set.
func (p *plan) verify() {
	r := &p.spec.Rights
	if u := r.User; u != nil {
		p.ids("uid", u.UID, unix.SYS_GETRESUID)
		p.ids("gid", u.GID, unix.SYS_GETRESGID)
		p.groups(u.Groups)
	}
	if p.unprivileged() {
		got := moved(p, make([]uint32, 6))
		s := p.do("read its capabilities", unix.SYS_CAPGET, held(p, []uint32{unix.LINUX_CAPABILITY_VERSION_3, 0}), at(got))
		s.got32, s.want32, s.after = got, moved(p, make([]uint32, 6)), "giving up all capabilities"
		s.labels = []string{"effective capabilities", "permitted capabilities", "inheritable capabilities", "effective capabilities (upper half)", "permitted capabilities (upper half)", "inheritable capabilities (upper half)"}
		p.expect("see whether others may look at its memory", "keeping its memory from other processes", 0, "dumpable", unix.SYS_PRCTL, unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	}
	if r.Bounding != nil {
		s := p.expect("read its bounding set", "setting the bounding set", 0, "capability %d in the bounding set", unix.SYS_PRCTL, unix.PR_CAPBSET_READ, 0, 0, 0, 0)
		s.count, s.bits = p.known, p.bounding&*r.Bounding
	}
	if r.NoNewPrivs {
		p.expect("read no_new_privs", "setting no_new_privs", 1, "no_new_privs", unix.SYS_PRCTL, unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	}
	if r.Umask != nil {
		mask := uintptr(r.Umask.Perm())
		p.expect("read the umask", "setting the umask", mask, "umask", unix.SYS_UMASK, mask) // it answers what was
	}
	for _, l := range r.Limits {
		got, name := moved(p, make([]uint64, 2)), limitName(l.Resource)
		s := p.do("read the limit "+name, unix.SYS_PRLIMIT64, 0, uintptr(l.Resource), 0, at(got))
		s.got64, s.want64, s.after, s.labels = got, moved(p, []uint64{l.Soft, l.Hard}), "setting the limit "+name, []string{"soft limit", "hard limit"}
	}
	if p.spec.Death != 0 { // too late for the signal?
		poll := uintptr(unsafe.Pointer(place(p, pollFd{fd: int32(p.status[1])})))
		p.expect("see whether its parent lives", "asking for a signal when its parent ends", 0, "ends of the pipe closed", unix.SYS_PPOLL, poll, 1, held(p, make([]uint64, 2)), 0, 8)
		if p.spec.Namespaces&unix.CLONE_NEWPID == 0 { // there it is 0; and another child of ours may hold a copy of the pipe's end for a moment
			p.expect("see whose child it is", "asking for a signal when its parent ends", uintptr(os.Getpid()), "pid of its parent", unix.SYS_GETPPID)
		}
	}
}

// pollFd is a struct pollfd. Without events poll(2) tells only that the reading end of the pipe is closed.
type pollFd struct {
	fd              int32
	events, revents int16
}

func (p *plan) ids(what string, id int, number uintptr) {
	got, n := moved(p, make([]uint32, 3)), uint32(id)
	first := at(got)
	s := p.do("read its "+what, number, first, first+4, first+8)
	s.got32, s.want32, s.after, s.n = got, moved(p, []uint32{n, n, n}), "taking "+what+" %d", id
	s.labels = []string{"real " + what, "effective " + what, "saved " + what}
}

// groups compares the supplementary groups, which the kernel keeps sorted.
func (p *plan) groups(ids []int) {
	got, want := moved(p, make([]uint32, len(ids)+1)), moved(p, make([]uint32, len(ids)+1))
	for i, g := range ids {
		want[i] = uint32(g)
	}
	s := p.expect("read its groups", "taking its groups", uintptr(len(ids)), "number of groups", unix.SYS_GETGROUPS, uintptr(len(got)), at(got))
	s.got32, s.want32, s.labels = got, want, []string{"a group"}
}
