package vassal

import "time"

// Limits of respawning a process that ends again and again.
const (
	healthy    = time.Second // a process that lived this long was well
	firstPause = 500 * time.Millisecond
	maxPause   = 30 * time.Second
)

// A respawn decides when a process that has ended by itself is started again: at once if it was well or if it is the
// first time, then after pauses that double.
type respawn struct {
	failures int       // in a row
	due      time.Time // when it is started again; zero: nothing is due
}

// after takes note of an end and sets due.
func (r *respawn) after(now time.Time, lived time.Duration) {
	if lived >= healthy {
		r.failures = 0
	} else {
		r.failures++
	}
	pause := time.Duration(0)
	if r.failures > 1 {
		pause = firstPause << min(r.failures-2, 10)
	}
	r.due = now.Add(min(pause, maxPause))
}
