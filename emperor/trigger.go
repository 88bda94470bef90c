package emperor

import (
	"errors"
	"net"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/emperord/emperord/sockets"
)

// triggerRest is how long a datagram keeps the next ones waiting. The monitor rests after each look anyway.
const triggerRest = 20 * time.Millisecond

// listenTrigger makes emperor-trigger-socket: any datagram means that the folders shall be looked at now. A file system whose
// changes the kernel does not report, such as NFS, needs it. Where it cannot be had, the emperor works without it and says so.
func (e *Emperor) listenTrigger() *sockets.Datagram {
	if e.c.TriggerSocket == "" {
		return nil
	}
	address, err := sockets.ParseAddress(e.c.TriggerSocket)
	var d *sockets.Datagram
	if err == nil {
		if address.Kind == sockets.Unix && !filepath.IsAbs(address.Path) {
			address.Path = filepath.Join(e.o.Dir, address.Path)
		}
		d, err = sockets.BindDatagram(address, 0o600)
	}
	if err != nil {
		e.log.Warn("nothing will trigger a look; write another emperor-trigger-socket, or send SIGWINCH", zap.Error(err))
		return nil
	}
	return d
}

// triggered pokes the monitor for every datagram, until the socket is closed. What it holds does not matter.
func triggered(d *sockets.Datagram, look chan<- struct{}) {
	for buf := make([]byte, 1); ; time.Sleep(triggerRest) {
		if _, _, err := d.ReadFrom(buf); errors.Is(err, net.ErrClosed) {
			return
		} else if err != nil {
			continue
		}
		select {
		case look <- struct{}{}:
		default:
		}
	}
}
