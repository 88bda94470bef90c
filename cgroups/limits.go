package cgroups

import (
	"errors"
	"fmt"
	"strconv"
)

// The controllers that limits need.
const (
	Memory = "memory"
	PIDs   = "pids"
	CPU    = "cpu"
)

// controllers lists them all.
var controllers = []string{Memory, PIDs, CPU}

// Limits are what the processes of one group may use together; nil is no limit.
type Limits struct {
	Memory    *uint64 // bytes
	PIDs      *uint64 // processes and threads
	CPU       *uint64 // thousandths of a processor
	CPUWeight *uint64 // 1 to 10000; nil is 100
}

// period is that of cpu.max, in microseconds.
const period = 100_000

// A file is one value for the kernel.
type file struct{ controller, name, value string }

// files says what to write. Memory may be swapped out up to the same size again: idle applications should be, and more would let
// one tenant wear out the disk of all. One process out of memory is killed alone (memory.oom.group = 0): workers are replaced one by
// one, and the requests of the others should not be lost with it.
func (l Limits) files() []file {
	text := func(n *uint64, none string) string {
		if n == nil {
			return none
		}
		return strconv.FormatUint(*n, 10)
	}
	quota := "max"
	if l.CPU != nil {
		quota = strconv.FormatUint(max(*l.CPU*(period/1000), 1000), 10)
	}
	return []file{
		{Memory, "memory.max", text(l.Memory, "max")},
		{Memory, "memory.swap.max", text(l.Memory, "max")}, // not there without swap accounting
		{Memory, "memory.oom.group", "0"},
		{PIDs, "pids.max", text(l.PIDs, "max")},
		{CPU, "cpu.weight", text(l.CPUWeight, "100")},
		{CPU, "cpu.max", fmt.Sprintf("%s %d", quota, period)},
	}
}

// Events are counters of a group: how often a limit was met.
type Events struct {
	OOM      uint64 // memory.max was reached and nothing could be freed
	OOMKill  uint64 // processes that the kernel killed for want of memory, whoever's limit was reached
	PIDsFull uint64 // forks refused by pids.max
}

// events reads memory.events and pids.events. A controller that is not there counts nothing.
func (f folder) events() Events {
	var e Events
	if text, err := readSome(f.path+"/memory.events", maxFlat); err == nil {
		numbers := flat(text)
		e.OOM, e.OOMKill = numbers["oom"], numbers["oom_kill"]
	}
	if text, err := readSome(f.path+"/pids.events", maxFlat); err == nil {
		e.PIDsFull = flat(text)["max"]
	}
	return e
}

// limit writes the limits of the controllers that are there, and only what differs from what was written last.
func (f folder) limit(l Limits, have map[string]bool, written map[string]string) error {
	var all []error
	for _, w := range l.files() {
		if !have[w.controller] || written[w.name] == w.value {
			continue
		}
		err := f.write(w.name, w.value)
		if err != nil && optional(w.name) {
			err = nil
		}
		if err == nil {
			written[w.name] = w.value
		}
		all = append(all, err)
	}
	return errors.Join(all...)
}

// optional names files that a kernel may lack though it has the controller.
func optional(name string) bool { return name == "memory.swap.max" || name == "memory.oom.group" }
