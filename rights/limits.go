package rights

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Unlimited is a Limit without end (RLIM_INFINITY).
const Unlimited = ^uint64(0)

// limitNames are the resources by their names in limits.conf(5), and the numbers of all architectures but mips.
var limitNames = map[string]int{
	"as": unix.RLIMIT_AS, "core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA, "fsize": unix.RLIMIT_FSIZE,
	"locks": unix.RLIMIT_LOCKS, "memlock": unix.RLIMIT_MEMLOCK, "msgqueue": unix.RLIMIT_MSGQUEUE, "nice": unix.RLIMIT_NICE, "nofile": unix.RLIMIT_NOFILE,
	"nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS, "rtprio": unix.RLIMIT_RTPRIO, "rttime": unix.RLIMIT_RTTIME, "sigpending": unix.RLIMIT_SIGPENDING, "stack": unix.RLIMIT_STACK,
}

// Resource returns the number of the resource with a name of limits.conf(5), such as nofile.
func Resource(name string) (int, bool) {
	n, known := limitNames[name]
	return n, known
}

func limitName(resource int) string {
	for name, n := range limitNames {
		if n == resource {
			return name
		}
	}
	return strconv.Itoa(resource)
}

func limitText(n uint64) string {
	if n == Unlimited {
		return "unlimited"
	}
	return strconv.FormatUint(n, 10)
}

// crowded says what to do when the kernel does not run a program because its user has too many processes (execve(2),
// EAGAIN: it looks at the limit nproc when the user changes, and refuses when the program is run).
func (p *plan) crowded() string {
	limit := "its limit"
	i := slices.IndexFunc(p.spec.Rights.Limits, func(l Limit) bool { return l.Resource == unix.RLIMIT_NPROC })
	var now unix.Rlimit
	if i >= 0 {
		limit = limitText(p.spec.Rights.Limits[i].Soft)
	} else if unix.Prlimit(0, unix.RLIMIT_NPROC, nil, &now) == nil {
		limit = limitText(now.Cur)
	}
	uid := os.Geteuid()
	if u := p.spec.Rights.User; u != nil {
		uid = u.UID
	}
	return fmt.Sprintf("uid %d has more processes and threads than the limit nproc allows, which is %s; see them: ps -L -U %[1]d; end some, or raise it: emperor-limit = nproc=NUMBER", uid, limit)
}

// withOpenFiles adds the limit of open files that this program was started with, as ForkExec would restore it, if there
// is no other one among the limits.
func withOpenFiles(limits []Limit) []Limit {
	if slices.ContainsFunc(limits, func(l Limit) bool { return l.Resource == unix.RLIMIT_NOFILE }) {
		return limits
	}
	original, err := OpenFiles()
	var now unix.Rlimit
	if err != nil || unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &now) != nil {
		return limits
	}
	return append(slices.Clone(limits), Limit{unix.RLIMIT_NOFILE, min(original.Soft, now.Max), now.Max}) // the hard one may have been lowered since
}

// OpenFiles returns the limit of open files that this program was started with. Package syscall raises the soft one when
// a Go program starts, before any code of ours, and keeps the old one to itself for its own ForkExec and Exec. Exec
// puts it back and, where it fails, returns: one that cannot succeed therefore tells what it was.
var OpenFiles = sync.OnceValues(func() (Limit, error) {
	var raised, original unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &raised); err != nil {
		return Limit{}, err
	}
	_ = syscall.Exec("", []string{""}, nil) // always fails: there is no program without a name (execve(2), ENOENT)
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &original); err != nil {
		return Limit{}, err
	}
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &raised, nil); err != nil {
		return Limit{}, err
	}
	return Limit{unix.RLIMIT_NOFILE, original.Cur, original.Max}, nil
})
