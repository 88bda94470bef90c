// Package procname changes what ps shows as a process's command line. The kernel shows the memory in which the program
// was given its arguments, so the new text goes there, and is cut to the length that they had.
package procname

import (
	"os"
	"strings"
	"unsafe"
)

// A Title is the memory of the arguments.
type Title struct {
	area []byte // with the NUL behind the last argument
}

// Take finds the memory of os.Args and puts copies there instead, because Go's arguments are that memory. It has to be called
// before anybody has looked at os.Args.
func Take() *Title {
	t := &Title{}
	if len(os.Args) == 0 || os.Args[0] == "" {
		return t
	}
	start, length := unsafe.StringData(os.Args[0]), 0
	for i, arg := range os.Args {
		if arg != "" && unsafe.Pointer(unsafe.StringData(arg)) != unsafe.Add(unsafe.Pointer(start), length) {
			return t // not as the kernel has laid them out: a test, perhaps
		}
		length += len(arg) + 1
		os.Args[i] = strings.Clone(arg)
	}
	t.area = unsafe.Slice(start, length)
	return t
}

// Set shows text, as much of it as there is room for. A text that is empty changes nothing.
func (t *Title) Set(text string) {
	if t == nil || len(t.area) < 3 || text == "" {
		return
	}
	text, _, _ = strings.Cut(text, "\x00")
	last := len(t.area) - 1
	n := copy(t.area[:last-1], text)
	clear(t.area[n:last])
	t.area[last] = 1 // with something else than NUL at the end, the kernel shows what stands before the first one (proc_pid_cmdline(5))
}

// Room returns how many bytes Set can show.
func (t *Title) Room() int {
	if t == nil || len(t.area) < 3 {
		return 0
	}
	return len(t.area) - 2
}

// A Name is what uWSGI's options say of a vassal's name. One of them is enough for a name to be shown, as in uWSGI.
type Name struct {
	Name   string // procname
	Master string // procname-master: for the main process
	Auto   bool   // auto-procname: what the process is, where there is no name
	Prefix string // procname-prefix
	Spaced string // procname-prefix-spaced, which counts more
	Append string // procname-append
}

// Of returns what to show for the main process, whose part is role; empty: nothing is to be changed.
func (n Name) Of(role string) string {
	if n.Master != "" {
		role, n.Name = n.Master, ""
	}
	return n.OfOther(role)
}

// OfOther returns what to show for a process beside the main one; empty: nothing is to be changed.
func (n Name) OfOther(role string) string {
	if n == (Name{}) {
		return ""
	}
	if n.Name != "" {
		role = n.Name
	}
	prefix := n.Prefix
	if n.Spaced != "" {
		prefix = n.Spaced + " "
	}
	return prefix + role + n.Append
}
