package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// A burst is what one run of wrk says.
type burst struct {
	requests  int     // answered in full
	perSecond float64 // answered
	p99       time.Duration
	failed    int // answers with an error status, and connections that broke
}

// wrk asks url on so many connections for so long.
func (b *bench) wrk(ctx context.Context, url string, length time.Duration) (burst, error) {
	c := exec.CommandContext(ctx, b.tools.wrk, "-t1", "-c"+strconv.Itoa(b.connections),
		fmt.Sprintf("-d%ds", int(length.Round(time.Second)/time.Second)), "--latency", url)
	c.Env = environment()
	out, err := c.CombinedOutput()
	if err != nil {
		return burst{}, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	return parseWrk(string(out))
}

// parseWrk reads what wrk 4 prints with --latency.
func parseWrk(text string) (burst, error) {
	var u burst
	total := regexp.MustCompile(`(?m)^\s*(\d+) requests in `).FindStringSubmatch(text)
	rate := regexp.MustCompile(`(?m)^Requests/sec:\s+([\d.]+)`).FindStringSubmatch(text)
	p99 := regexp.MustCompile(`(?m)^\s*99%\s+([\d.]+)(us|ms|s|m|h)\s*$`).FindStringSubmatch(text)
	if total == nil || rate == nil || p99 == nil {
		return u, fmt.Errorf("cannot read what wrk says; is it wrk 4?\n%s", text)
	}
	var errs [3]error
	u.requests, errs[0] = strconv.Atoi(total[1])
	u.perSecond, errs[1] = strconv.ParseFloat(rate[1], 64)
	u.p99, errs[2] = time.ParseDuration(p99[1] + p99[2])
	for _, err := range errs {
		if err != nil {
			return u, fmt.Errorf("cannot read what wrk says: %w\n%s", err, text)
		}
	}
	if m := regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`).FindStringSubmatch(text); m != nil {
		u.failed += atoi(m[1])
	}
	if m := regexp.MustCompile(`Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`).FindStringSubmatch(text); m != nil {
		for _, n := range m[1:] {
			u.failed += atoi(n)
		}
	}
	return u, nil
}

// atoi reads what a pattern has shown to be digits.
func atoi(digits string) int {
	n, _ := strconv.Atoi(digits)
	return n
}
