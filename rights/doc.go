// Package rights starts a program with exactly the rights that it is meant to have, or not at all.
//
// syscall.ForkExec shares the parent's memory with the child until exec, cannot set all that a tenant's process needs,
// verifies nothing, and does not say which step failed. Start forks instead: the child shares no memory with us, so
// whoever may already signal it can hold up nobody, and
// one that is slow is left to go on beside the caller (Pending). Everything it does is a list of system calls that was prepared
// before the fork (plan.go): it takes the rights, reads them back from the kernel, compares, and only then runs the
// program. The first step that fails, or that the kernel answers otherwise than expected, ends the child, and the
// error of Start names that step in words; errors.Is finds the errno.
//
// Like package children it is for a program with one goroutine, locked to one thread that never ends, which starts
// every child and is the only one that waits: the parent-death signal follows the thread that forked.
package rights
