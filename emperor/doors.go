package emperor

import (
	"go.uber.org/zap"

	"github.com/emperord/emperord/sockets"
)

// doors are the emperor's own sockets beside the control socket.
type doors struct {
	statistics []*statisticsServer
	commands   *sockets.Datagram // nil: there is none
	trigger    *sockets.Datagram // nil: there is none
}

// openDoors makes them. An address that is none is an error; one that cannot be had is said, and the emperor governs
// without it.
func (e *Emperor) openDoors() (err error) {
	if e.doors.statistics, err = e.listenStatistics(); err == nil {
		e.doors.commands, err = e.listenCommands()
	}
	if err != nil {
		e.closeDoors()
		return err
	}
	e.doors.trigger = e.listenTrigger()
	return nil
}

// serveDoors lets them in; look wants a look at all sources.
func (e *Emperor) serveDoors(look chan<- struct{}) {
	for _, s := range e.doors.statistics {
		e.helpers.Go(s.serve)
	}
	if d := e.doors.commands; d != nil {
		e.helpers.Go(func() { e.takeCommands(d) })
	}
	if d := e.doors.trigger; d != nil {
		e.helpers.Go(func() { triggered(d, look) })
	}
}

// closeDoors removes them.
func (e *Emperor) closeDoors() {
	for _, s := range e.doors.statistics {
		s.close()
	}
	for _, d := range []*sockets.Datagram{e.doors.commands, e.doors.trigger} {
		if d == nil {
			continue
		}
		if err := d.Remove(); err != nil {
			e.log.Warn("a socket of the emperor's own is left", zap.Error(err))
		}
	}
}
