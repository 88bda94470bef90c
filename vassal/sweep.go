package vassal

import (
	"context"
	"errors"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/configs"
)

// sweepKids asks all children of this process to end, kills those that are left at the deadline, and returns how many that
// were. Children of theirs become ours when they end, and are swept with them.
func sweepKids(deadline time.Time) (killed int) {
	gone := deadline.Add(orphanMercy) // what hangs in the kernel is left to who reaps for us
	asked := map[int]bool{}
	for step := time.Millisecond; ; step = min(2*step, 20*time.Millisecond) {
		children.Reap()
		kids, err := children.Kids()
		now := time.Now()
		if err != nil || len(kids) == 0 || now.After(gone) {
			return killed
		}
		late := !now.Before(deadline)
		for _, pid := range kids {
			switch { // not reaped yet, so it is still our child
			case late:
				_ = syscall.Kill(pid, unix.SIGKILL)
			case !asked[pid]:
				_ = syscall.Kill(pid, unix.SIGTERM)
			}
			asked[pid] = true
		}
		if late && killed == 0 {
			killed = len(kids)
		}
		time.Sleep(step)
	}
}

// resolveSwept is resolve for an emperor, which has TERM sent when it ends: then the programs that the configuration runs are
// ended too. None of them outlives this process.
func resolveSwept(ctx context.Context, o Options) (*configs.Resolution, error) {
	if err := children.BecomeSubreaper(); err != nil {
		return nil, err
	}
	ctx, done := signal.NotifyContext(ctx, unix.SIGTERM)
	defer done()
	type answer struct {
		r   *configs.Resolution
		err error
	}
	read := make(chan answer, 1)
	go func() {
		runtime.LockOSThread() // a program is ended with the thread that has started it
		defer runtime.UnlockOSThread()
		children.Punctually(o.Env)
		r, err := resolve(ctx, o, true, nil, nil)
		read <- answer{r, err}
	}()
	var a answer
	select {
	case a = <-read:
	case <-ctx.Done():
		select { // it ends its programs
		case <-read:
		case <-time.After(giveUpTime / 2):
		}
		a.err = errGivenUp
	}
	sweepKids(time.Now())
	if a.err == nil && ctx.Err() != nil {
		a.err = errors.New("was told to end")
	}
	return a.r, a.err
}
