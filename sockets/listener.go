package sockets

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A Listener is a listening socket and, for a Unix path, the file that stands for it. It is in blocking mode, as the
// processes that inherit it expect.
type Listener struct {
	File     *os.File
	Address  Address
	Warnings []string // said once: what could not be had as asked, such as the backlog

	dev, ino uint64
	tenant   *Identity // whose rights remove the file; nil: ours
}

// Intact tells whether the path still leads to this listener. A socket whose file was deleted or replaced goes on
// listening, but nobody can reach it.
func (l *Listener) Intact() bool {
	if l.Address.Kind != Unix {
		return true
	}
	var st unix.Stat_t
	if err := unix.Lstat(l.Address.Path, &st); err != nil {
		return false
	}
	return st.Dev == l.dev && st.Ino == l.ino
}

// Close closes the descriptor and leaves the file, for a process that has inherited the listener.
func (l *Listener) Close() error { return l.File.Close() }

// Remove closes the descriptor and removes the file if it is still this listener's.
func (l *Listener) Remove() error {
	closed := l.File.Close()
	if l.Address.Kind != Unix {
		return closed
	}
	remove := func() error {
		dir, err := unix.Open(filepath.Dir(l.Address.Path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return err
		}
		defer unix.Close(dir)
		var st unix.Stat_t
		base := filepath.Base(l.Address.Path)
		if err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil || st.Dev != l.dev || st.Ino != l.ino {
			return nil // not ours any more
		}
		return unix.Unlinkat(dir, base, 0)
	}
	var err error
	if l.tenant != nil {
		err = withRights(*l.tenant, remove)
	} else {
		err = remove()
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("cannot remove the socket %s: %w", l.Address.Path, err)
	}
	return closed
}
