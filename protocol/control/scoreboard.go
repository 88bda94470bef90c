package control

import (
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"
)

// SlotSize is the size in bytes of one worker's slot. The scoreboard is as many slots as there are processes, in a
// shared memfd. A slot is eight unsigned 64-bit words in the machine's byte order:
//
//	0 state       1 idle, 2 reading a request or the rest of its body, 3 in the application; 0 no worker
//	1 pid
//	2 requests    answered by the application, well or badly
//	3 exceptions  that left the application
//	4 start       of the current state if it is 2, of the request if it is 3, in nanoseconds of CLOCK_MONOTONIC
//	5 busy        nanoseconds from accept to close, summed
//	6 bytes       of bodies sent
//	7 watched     set by the worker when it reports "active", cleared by vassald when it stops looking
const SlotSize = 64

// A WorkerState says what a worker is doing.
type WorkerState uint64

// The states of a slot.
const (
	Vacant  WorkerState = 0
	Idle    WorkerState = 1
	Reading WorkerState = 2
	Running WorkerState = 3
)

// A Slot is one worker at one moment. The words are read one by one while the worker writes them, so they can be of
// different requests.
type Slot struct {
	State      WorkerState
	PID        int
	Requests   uint64
	Exceptions uint64
	Start      time.Duration // since the zero of CLOCK_MONOTONIC; meaningful when State is Reading or Running
	Busy       time.Duration
	Bytes      uint64
	Watched    bool
}

// A Scoreboard reads the shared memory of one host's workers. What stands there is the workers' word: an application
// can write any nonsense into it.
type Scoreboard struct{ words []uint64 }

// NewScoreboard returns the scoreboard in memory, which must be a mapping of whole slots.
func NewScoreboard(memory []byte) (*Scoreboard, error) {
	if len(memory) == 0 || len(memory)%SlotSize != 0 || uintptr(unsafe.Pointer(&memory[0]))%8 != 0 {
		return nil, fmt.Errorf("a scoreboard of %d bytes does not hold whole slots", len(memory))
	}
	return &Scoreboard{unsafe.Slice((*uint64)(unsafe.Pointer(&memory[0])), len(memory)/8)}, nil
}

// Len returns how many slots there are.
func (b *Scoreboard) Len() int { return len(b.words) * 8 / SlotSize }

// Slot reads slot n.
func (b *Scoreboard) Slot(n int) Slot {
	word := func(i int) uint64 { return atomic.LoadUint64(&b.words[n*SlotSize/8+i]) }
	return Slot{
		State: WorkerState(word(0)), PID: int(int32(word(1))), Requests: word(2), Exceptions: word(3),
		Start: time.Duration(word(4)), Busy: time.Duration(word(5)), Bytes: word(6), Watched: word(7) != 0,
	}
}

// Unwatch tells the worker of slot n that nobody looks at its slot any more: its next request is reported as "active".
func (b *Scoreboard) Unwatch(n int) {
	atomic.StoreUint64(&b.words[n*SlotSize/8+7], 0)
}
