// Package sources opens what a configuration names and is not a file: programs, descriptors, addresses. It does so with the
// rights of the process that calls it, and every source has a limit and a deadline.
package sources
