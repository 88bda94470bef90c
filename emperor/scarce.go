package emperor

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// scarce adds what helps to an error of the kernel that says what the emperor has run out of.
func scarce(err error) error {
	switch {
	case errors.Is(err, unix.EMFILE):
		var limit unix.Rlimit
		_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) // cannot fail
		more, needs := max(2*limit.Max, 65536), " (with CAP_SYS_RESOURCE)"
		if limit.Cur < limit.Max {
			more, needs = limit.Max, ""
		}
		return fmt.Errorf("%w; emperord may have %d: prlimit --pid %d --nofile=%d:%[4]d gives it more at once%s, LimitNOFILE=%[4]d below [Service] (systemctl edit emperord) from the next start on", err, limit.Cur, os.Getpid(), more, needs)
	case errors.Is(err, unix.ENFILE):
		return fmt.Errorf("%w; that is the whole machine: sysctl fs.file-max raises it, fs.file-nr shows how many there are", err)
	}
	return err
}
