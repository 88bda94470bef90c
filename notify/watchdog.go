package notify

import (
	"fmt"
	"strconv"
	"time"
)

// maxWatchdog bounds the interval that is believed.
const maxWatchdog = 24 * time.Hour

// Watchdog returns how often this process, whose id is pid, has to prove that it lives (WATCHDOG_USEC, sd_watchdog_enabled(3));
// 0: never. Who says WATCHDOG=1 twice as often is never late.
func Watchdog(env []string, pid int) (time.Duration, error) {
	text := variable(env, "WATCHDOG_USEC")
	if text == "" {
		return 0, nil
	}
	if of := variable(env, "WATCHDOG_PID"); of != "" && of != strconv.Itoa(pid) {
		return 0, nil // meant for another process
	}
	usec, err := strconv.ParseUint(text, 10, 63)
	if err != nil || usec == 0 {
		return 0, fmt.Errorf("WATCHDOG_USEC=%q is no number of microseconds", Line(text, 40))
	}
	return time.Duration(min(usec, uint64(maxWatchdog/time.Microsecond))) * time.Microsecond, nil
}
