package emperor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/sockets"
)

// bells tell that somebody has connected to a socket of a vassal that waits: one epoll instance watches the listeners
// themselves, so ten thousand vassals cost no descriptor more. Each bell rings once (EPOLLONESHOT) and is hung up again
// when its vassal waits again: while it is started, or fails, a connection that waits makes nothing run. A vassal that
// serves has no bell: the kernel would call it for each of its connections. All but the reading goroutine belongs to
// the loop.
type bells struct {
	epoll *os.File
	fd    int
	hung  map[int32]*vassal // by number
	last  int32
}

// A bell hangs at one listener of a vassal that waits.
type bell struct {
	listener *sockets.Listener
	number   int32
}

// maxRings is how many bells are heard at a time.
const maxRings = 256

func newBells() (*bells, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err == nil {
		if err = unix.SetNonblock(fd, true); err != nil { // so that Go's poller waits for it, and no thread
			unix.Close(fd)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot watch for connections: %w", err)
	}
	return &bells{epoll: os.NewFile(uintptr(fd), "epoll"), fd: fd, hung: map[int32]*vassal{}}, nil
}

// run tells which bells ring, until ctx ends.
func (b *bells) run(ctx context.Context, tell func(numbers []int32)) {
	defer context.AfterFunc(ctx, func() { _ = b.epoll.SetReadDeadline(time.Now()) })()
	raw, err := b.epoll.SyscallConn()
	if err != nil {
		return
	}
	events := make([]unix.EpollEvent, maxRings)
	for {
		n, failed := 0, error(nil)
		err := raw.Read(func(fd uintptr) bool {
			n, failed = unix.EpollWait(int(fd), events, 0)
			return n > 0 || failed != nil && !errors.Is(failed, unix.EINTR)
		})
		if err != nil || failed != nil || ctx.Err() != nil {
			return
		}
		numbers := make([]int32, n)
		for i := range numbers {
			numbers[i] = events[i].Fd
		}
		tell(numbers)
	}
}

// startBells begins to listen for the bells.
func (e *Emperor) startBells(ctx context.Context) error {
	b, err := newBells()
	if err != nil {
		return err
	}
	e.bells = b
	e.helpers.Go(func() {
		b.run(ctx, func(numbers []int32) { e.tell(func() { e.rung(numbers) }) })
		<-e.closing // until then the loop may hang bells
		b.epoll.Close()
	})
	return nil
}

// rung starts the vassals that somebody connects to.
func (e *Emperor) rung(numbers []int32) {
	for _, number := range numbers {
		if v := e.bells.hung[number]; v != nil { // none: an old ring of a bell that was taken down meanwhile
			e.step(v, Connected{})
		}
	}
}

// hang hangs a bell at each listener of a vassal that waits. Where that fails, the vassal is started now: better a
// process that nobody has asked for than one that nobody can ask for.
func (e *Emperor) hang(v *vassal) {
	for _, l := range v.listeners {
		if slices.ContainsFunc(v.bells, func(b bell) bool { return b.listener == l }) {
			continue
		}
		e.bells.last++
		number := e.bells.last
		err := unix.EpollCtl(e.bells.fd, unix.EPOLL_CTL_ADD, int(l.File.Fd()), &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: number})
		if err != nil {
			e.about(v).Warn("cannot wait for a connection, so the vassal is started now; see sysctl fs.epoll.max_user_watches", zap.String(fieldVassal, v.name), zap.Error(err))
			e.step(v, Connected{})
			return
		}
		e.bells.hung[number] = v
		v.bells = append(v.bells, bell{l, number})
	}
}

// unhang takes a vassal's bells down: as long as processes of the vassal have the same listener, closing it here does not.
func (e *Emperor) unhang(v *vassal) {
	for _, b := range v.bells {
		delete(e.bells.hung, b.number)
		_ = unix.EpollCtl(e.bells.fd, unix.EPOLL_CTL_DEL, int(b.listener.File.Fd()), nil) // the listener is open: see prune
	}
	v.bells = nil
}

// startRoom is how many descriptors are kept for vassals that are started, and for all else, however many wait.
const startRoom = 256

// roomToWait refuses a vassal on demand for which no descriptor is left: one more that waits, and none of them could be started.
func (e *Emperor) roomToWait() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil { // Go's runtime has raised the soft limit to the hard one
		return nil
	}
	if most := limit.Cur - min(startRoom, limit.Cur/2); uint64(len(e.bells.hung)) >= most {
		return fmt.Errorf("cannot wait for a connection: %d sockets of other vassals wait already, and emperord may have %d files open; raise the limit: systemctl edit emperord, LimitNOFILE=%d below [Service], or ulimit -Hn %[3]d before it is started", len(e.bells.hung), limit.Cur, max(2*limit.Cur, 65536))
	}
	return nil
}
