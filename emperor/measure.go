package emperor

import (
	"sync"
	"time"
)

// How many bytes of a vassal's own output the log takes: so many at once, a traceback in every request of a busy hour,
// and then so many in a second, which is a line for each of 5,000 requests. What is more would push everybody else's
// lines out of the log, or fill the disk.
const (
	bytesAtOnce  = 16 << 20
	bytesASecond = 1 << 20
)

// A measure is what one vassal may still write, in all its generations: a reload does not fill it up again. Any
// goroutine may use it. The zero value is a full one.
type measure struct {
	mu    sync.Mutex
	spent float64   // of bytesAtOnce
	at    time.Time // when spent was counted
}

// take asks for n bytes at the time now. All of them may be written, or none.
func (m *measure) take(n int, now time.Time) bool {
	if m == nil {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if passed := now.Sub(m.at); passed > 0 {
		m.spent = max(0, m.spent-passed.Seconds()*bytesASecond)
		m.at = now
	}
	if m.spent+float64(n) > bytesAtOnce {
		return false
	}
	m.spent += float64(n)
	return true
}
