package emperor

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/protocol/pipe"
)

// settingsFile returns a sealed memfd that holds the encoded resolution, positioned at its start.
func settingsFile(document []byte) (*os.File, error) {
	return memfd("settings", unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE|unix.F_SEAL_SEAL, func(f *os.File) error {
		_, err := f.WriteAt(document, 0)
		return err
	})
}

// boardFile returns an empty notice board: a memfd whose size nobody can change. What is never written costs no memory.
func boardFile() (*os.File, error) {
	return memfd("board", unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL, func(f *os.File) error {
		return f.Truncate(pipe.BoardSize + pipe.TailSize)
	})
}

func memfd(name string, seals int, fill func(*os.File) error) (*os.File, error) {
	fd, err := unix.MemfdCreate("emperord-"+name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("cannot make a memory file: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if err := fill(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot fill a memory file: %w", err)
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot seal a memory file: %w", err)
	}
	return f, nil
}
