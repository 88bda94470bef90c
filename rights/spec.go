package rights

import (
	"io/fs"
	"os"
	"syscall"
)

// A Spec says what to start.
type Spec struct {
	Path       string   // the program; not searched for
	Args       []string // with argv[0]
	Env        []string
	Dir        string         // working folder, entered with the child's own rights; empty: the parent's
	Files      []uintptr      // the child's descriptor i is Files[i]; nothing else is open in it
	Rights     Rights         // the zero Rights leave everything as it is in the parent
	Setsid     bool           // the child leads a session of its own
	Death      syscall.Signal // what the child gets when the thread that called Start ends; 0: nothing
	Namespaces uintptr        // CLONE_NEW… flags (namespaces(7)): the child is the first process of new ones
	Cgroup     *os.File       // folder of a cgroup v2, open for reading, that the child is born into; nil: the parent's
}

// Rights are what a child may do.
type Rights struct {
	User       *User        // nil: who the parent is
	Bounding   *uint64      // capabilities (bit N for number N, capabilities(7)) that stay in the bounding set; nil: it stays as it is
	NoNewPrivs bool         // no program that it runs gives it more rights (PR_SET_NO_NEW_PRIVS)
	Umask      *fs.FileMode // nil: the parent's
	Limits     []Limit      // the others are the parent's
	Keep       uint64       // capabilities of a parent that is not root, inheritable in its thread, that a child without User keeps; 0: none
}

// A User is who a child is. Its capability sets are empty unless its UID is 0.
type User struct {
	UID, GID int
	Groups   []int // supplementary groups, all of them
}

// A Limit is a resource limit (setrlimit(2)).
type Limit struct {
	Resource   int // RLIMIT_…
	Soft, Hard uint64
}
