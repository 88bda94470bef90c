package vassal

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// becomeEmperor runs emperord, which stands beside us, in the place of this process: the file is an emperor's. What an
// emperor has handed over goes with it.
func (s *supervisor) becomeEmperor(o Options) error {
	refuse := func(err error) error {
		return &Refusal{fmt.Sprintf("the file names vassals of its own, so it is for emperord, which cannot be started: %v; run: emperord --ini %s", err, absolute(o))}
	}
	self, err := os.Executable()
	if err != nil {
		return refuse(err)
	}
	for _, f := range []*os.File{s.in.pipe, s.in.board, s.in.settings} {
		if f == nil {
			continue
		}
		if _, err := unix.FcntlInt(f.Fd(), unix.F_SETFD, 0); err != nil {
			return refuse(err)
		}
	}
	if s.in.settings != nil {
		if _, err := s.in.settings.Seek(0, io.SeekStart); err != nil { // it has been read
			return refuse(err)
		}
	}
	program := filepath.Join(filepath.Dir(self), "emperord")
	s.say("the file names vassals of its own; %s takes over", program)
	return refuse(&os.PathError{Op: "exec", Path: program, Err: syscall.Exec(program, append([]string{"emperord"}, o.Args...), o.Env)})
}
