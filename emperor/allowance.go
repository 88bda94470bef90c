package emperor

import "time"

// How many lines about the vassals of one user the log takes: so many at once, as when a machine with a thousand vassals
// boots, and then so many in a second. A tenant can make its own vassals fail as often as it likes; it must not be able
// to push everybody else's lines out of the log, or to fill the disk.
const (
	linesAtOnce  = 4000
	linesASecond = 10
)

// An allowance is what one user may still make us say.
type allowance struct {
	left float64
	at   time.Time // when left was counted
	lost int       // lines that were left out since the last one
}

// allowances are those of all users that were heard of, by uid.
type allowances map[uint32]*allowance

// take asks for one line about something of uid. If it may be said, lost tells how many were left out before.
func (all allowances) take(uid uint32, now time.Time) (may bool, lost int) {
	a := all[uid]
	if a == nil {
		a = &allowance{left: linesAtOnce, at: now}
		all[uid] = a
	}
	if passed := now.Sub(a.at); passed > 0 {
		a.left = min(linesAtOnce, a.left+passed.Seconds()*linesASecond)
		a.at = now
	}
	if a.left < 1 {
		a.lost++
		return false, 0
	}
	a.left--
	lost, a.lost = a.lost, 0
	return true, lost
}
