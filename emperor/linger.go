package emperor

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/protocol/pipe"
	"github.com/emperord/emperord/sockets"
)

// A farewell is the word to leave that a generation gets when nobody waits any more on the sockets that leave with it.
// Those who do have connected while it served; told at once, it would close the socket and they would be reset.
type farewell struct {
	a     *attempt
	word  pipe.Word
	files []int           // of the listeners that nobody else has; duplicates, because the vassal's are closed now
	gone  []chan struct{} // closed when the files of these listeners are removed, so that nobody can connect any more
	until time.Time
}

// lastServed bounds how long who waits on a leaving socket is served before the word to leave is said.
const lastServed = 5 * time.Second

// takeLeave says the word to leave, or prepares a farewell for it.
func (e *Emperor) takeLeave(v *vassal, a *attempt, w pipe.Word) {
	f := farewell{a: a, word: w, until: time.Now().Add(lastServed)}
	for _, l := range v.life.Leaving {
		if l.ID == a.id && !l.KillAt.IsZero() { // its requests need time too
			f.until = time.Now().Add(min(lastServed, time.Until(l.KillAt)/3))
		}
	}
	served := append(e.leadersListeners(v), v.listeners...) // by somebody who stays
	for _, l := range a.listeners {
		if !a.accepting || slices.Contains(served, l) {
			continue
		}
		if fd, err := unix.FcntlInt(l.File.Fd(), unix.F_DUPFD_CLOEXEC, 3); err == nil {
			f.files = append(f.files, fd)
			if l.Address.Kind == sockets.TCP && !l.Given() { // systemd's is not ours to change
				_ = shutOut(fd) // without it who connects while the port is closed is reset
			}
		}
	}
	if len(f.files) == 0 {
		e.word(v, a, w)
		return
	}
	a.told = true
	v.farewells = append(v.farewells, f)
}

// shutOut has the kernel drop who comes newly to a listening port, and keep who waits there or is about to: what belongs to a
// handshake under way, or are the first bytes of who connected with TCP_DEFER_ACCEPT, comes through. A path is removed for that,
// but nothing else takes a port from clients before it is closed, and closing resets those who wait. A client whose first packet was
// dropped sends it again after a second, and is refused if the port is closed by then. Sockets that are accepted later inherit the
// filter, and never see such a packet.
func shutOut(fd int) error {
	const flags, syn, ack = 13, 0x02, 0x10 // of the TCP header, where the packet begins (RFC 9293, 3.1)
	newcomers := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: flags},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: syn | ack},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: syn, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0}, // bytes that are let through
		{Code: unix.BPF_RET | unix.BPF_K, K: 1<<32 - 1},
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(newcomers)), Filter: &newcomers[0]})
}

// farewell carries the farewells out, after the sockets that nobody needs have been removed.
func (e *Emperor) farewell(v *vassal) {
	all := v.farewells
	v.farewells = nil
	for _, f := range all {
		for _, l := range f.a.listeners {
			if gone := e.removing[e.canonical(l.Address)]; gone != nil {
				f.gone = append(f.gone, gone)
			}
		}
		e.async(func() func() {
			f.wait()
			return func() {
				if v.attempts[f.a.id] == f.a {
					e.word(v, f.a, f.word)
				}
			}
		})
	}
}

// wait returns when nobody waits any more on the sockets, or the time for that is over.
func (f *farewell) wait() {
	defer func() {
		for _, fd := range f.files {
			unix.Close(fd)
		}
	}()
	for _, gone := range f.gone {
		select {
		case <-gone:
		case <-time.After(time.Until(f.until)):
		}
	}
	for time.Now().Before(f.until) {
		poll := make([]unix.PollFd, len(f.files))
		for i, fd := range f.files {
			poll[i] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
		}
		if n, err := unix.Poll(poll, 0); n == 0 && err == nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}
