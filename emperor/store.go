package emperor

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/notify"
	"github.com/emperord/emperord/sockets"
)

// A store is what the loop knows of systemd's store of descriptors (FileDescriptorStoreMax=): each listener is put there,
// so that it outlives a killed emperor and connections wait until the next one has taken it over.
type store struct {
	register *os.File // nil: there is no store
	slots    map[*sockets.Listener]int
	free     []int
	next     int                 // the lowest slot that was never used
	most     int                 // listeners that systemd takes, as far as it says so
	queue    []*sockets.Listener // to be put there
	pushAt   time.Time
	full     bool            // which has been said
	left     []*leftListener // of a killed emperor, that no vassal has taken yet
	leftAt   time.Time       // when to look at them again
	given    []*sockets.Given
}

// A leftListener is one that a killed emperor has left in the store.
type leftListener struct {
	listener *sockets.Listener
	vassal   string
	slot     int
	busy     bool // an attempt is about to take it
}

// meetService finds out who has started us, and takes what was kept for us.
func (e *Emperor) meetService() {
	var err error
	s := &e.service
	if s.socket, err = notify.Open(e.o.Env); err != nil {
		e.log.Warn("systemd is not notified", zap.Error(err))
	}
	if s.socket != nil {
		s.began, s.progress = time.Now(), time.Now()
		if s.watchdog, err = notify.Watchdog(e.o.Env, os.Getpid()); err != nil {
			e.log.Warn("systemd's watchdog is not served", zap.Error(err))
		}
		e.store.most = storeMost(e.o.Env)
	}
	all, err := notify.Inherited(e.o.Env, os.Getpid())
	if err != nil {
		e.log.Warn("descriptors that systemd passes are ignored; the unit may be at fault: systemctl cat emperord", zap.Error(err))
	}
	e.takeInherited(all)
	if s.socket != nil && e.store.register == nil && e.store.most > 1 {
		if e.store.register, err = newRegister(); err != nil {
			e.log.Warn("listeners are not kept in systemd's store", zap.Error(err))
			return
		}
		if sent, err := s.socket.Offer(int(e.store.register.Fd()), "FDSTORE=1", "FDPOLL=0", "FDNAME="+registerName); err != nil || !sent {
			e.log.Warn("listeners are not kept in systemd's store, which does not answer", zap.Error(err))
			e.store.register.Close()
			e.store.register = nil
		}
	}
}

// storeMost returns how many descriptors the unit's store takes: systemd says so from version 254 on (FDSTORE).
func storeMost(env []string) int {
	for _, kv := range env {
		if text, found := strings.CutPrefix(kv, "FDSTORE="); found {
			if n, err := strconv.ParseUint(text, 10, 31); err == nil {
				return int(n)
			}
		}
	}
	return maxSlots + 1
}

// takeInherited sorts what we were started with: the register, the listeners that it knows, and sockets of socket units.
func (e *Emperor) takeInherited(all []notify.Descriptor) {
	st := &e.store
	st.slots = map[*sockets.Listener]int{}
	for _, d := range all {
		if d.Name == registerName && st.register == nil && isRegister(d.FD) {
			st.register = os.NewFile(uintptr(d.FD), "register")
		}
	}
	for _, d := range all {
		switch slot, kept := slotOf(d.Name); {
		case st.register != nil && uintptr(d.FD) == st.register.Fd():
		case kept:
			l, err := e.takeLeft(d.FD, slot)
			if err != nil {
				e.log.Warn("a listener of a killed emperor is given up", zap.String("name", d.Name), zap.Error(err))
				_ = unix.Close(d.FD)
				e.say("FDSTOREREMOVE=1", "FDNAME="+d.Name)
				continue
			}
			st.left = append(st.left, l)
			st.slots[l.listener] = slot
			st.next = max(st.next, slot+1)
		default:
			g, err := sockets.NewGiven(d.FD, d.Name)
			if err != nil {
				e.log.Warn("a descriptor that systemd passes is not used", zap.String("name", d.Name), zap.Error(err))
				_ = unix.Close(d.FD)
				continue
			}
			st.given = append(st.given, g)
		}
	}
	used := map[int]bool{}
	for _, slot := range st.slots {
		used[slot] = true
	}
	for slot := range st.next {
		if !used[slot] {
			st.free = append(st.free, slot)
		}
	}
	if len(st.left) > 0 {
		e.log.Info("taking over the listeners that the emperor before this one has left in systemd's store", zap.Int("listeners", len(st.left)))
	}
}

func (e *Emperor) takeLeft(fd, slot int) (*leftListener, error) {
	if e.store.register == nil {
		return nil, errors.New("the register is not there")
	}
	r, err := readRecord(e.store.register, slot)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, false); err != nil { // as the processes that inherit it expect
		return nil, err
	}
	l, err := sockets.Restore(fd, r.Listener)
	if err != nil {
		return nil, err
	}
	return &leftListener{listener: l, vassal: r.Vassal, slot: slot}, nil
}

// keep puts a vassal's listener into the store, soon.
func (e *Emperor) keep(v *vassal, l *sockets.Listener) {
	st := &e.store
	if st.register == nil || l.Given() {
		return
	}
	slot, known := st.slots[l]
	if !known {
		if len(st.slots)+1 >= min(st.most, maxSlots) {
			if !st.full {
				e.log.Warn("systemd's store takes no more listeners: clients of the others are refused for a moment should emperord be killed", zap.String(fieldVassal, v.name),
					zap.Int("listeners", len(st.slots)), zap.String("remedy", fmt.Sprintf("raise FileDescriptorStoreMax= of the unit; emperord uses %d at most", maxSlots)))
				st.full = true
			}
			return
		}
		if n := len(st.free); n > 0 {
			slot, st.free = st.free[n-1], st.free[:n-1]
		} else {
			slot, st.next = st.next, st.next+1
		}
	}
	if err := writeRecord(st.register, slot, record{Vassal: v.name, Listener: l.Snapshot()}); err != nil {
		e.about(v).Warn("a listener is not kept in systemd's store", zap.String(fieldVassal, v.name), zap.Error(err))
		if !known {
			st.free = append(st.free, slot)
		}
		return
	}
	if !known {
		st.slots[l] = slot
		st.queue = append(st.queue, l)
	}
}

// renote writes down what has changed of a listener.
func (e *Emperor) renote(v *vassal, l *sockets.Listener) {
	if _, kept := e.store.slots[l]; kept {
		e.keep(v, l)
	}
}

// forget takes a listener out of the store, before it is closed.
func (e *Emperor) forget(l *sockets.Listener) {
	st := &e.store
	slot, kept := st.slots[l]
	if !kept {
		return
	}
	delete(st.slots, l)
	st.free = append(st.free, slot)
	_ = clearRecord(st.register, slot) // what is not cleared is another listener's at the latest when the slot is used again
	if i := slices.Index(st.queue, l); i >= 0 {
		st.queue = slices.Delete(st.queue, i, i+1)
		return
	}
	e.say("FDSTOREREMOVE=1", "FDNAME="+slotName(slot))
}

// systemd compares each new descriptor with all that it has: 0.7 to 1.2 µs each (252, on two cores), which makes 50 s for
// 10,000 of them. It is given four times as long, so that it does its other work meanwhile.
const (
	pushBatch   = 64
	perStored   = 5 * time.Microsecond
	pushRest    = time.Millisecond
	pushBlocked = 20 * time.Millisecond
)

// push puts the next listeners into the store.
func (e *Emperor) push(now time.Time) {
	st := &e.store
	if len(st.queue) == 0 || now.Before(st.pushAt) {
		return
	}
	n := 0
	for ; n < min(pushBatch, len(st.queue)); n++ {
		l := st.queue[n]
		sent, err := e.service.socket.Offer(fdOf(l), "FDSTORE=1", "FDPOLL=0", "FDNAME="+slotName(st.slots[l]))
		if err != nil {
			e.unheard(err)
			n, st.queue = 0, nil // nobody is there who would keep them
			break
		}
		if !sent {
			break
		}
	}
	st.queue = slices.Delete(st.queue, 0, n)
	st.pushAt = now.Add(pushRest + time.Duration(n*len(st.slots))*perStored)
	if n == 0 {
		st.pushAt = now.Add(pushBlocked)
	}
}

// fdOf is the number of a listener's descriptor, which stays in blocking mode.
func fdOf(l *sockets.Listener) int { return int(l.File.Fd()) }

// wantsLeft finds what a killed emperor has left for these wishes of a vassal, and marks it.
func (e *Emperor) wantsLeft(wishes []configs.SocketWish) (found []*leftListener) {
	if len(e.store.left) == 0 {
		return nil
	}
	for _, w := range wishes {
		address, err := sockets.ParseAddress(w.Address)
		if err != nil {
			continue
		}
		for _, l := range e.store.left {
			if !l.busy && l.listener.Address == address {
				l.busy = true
				found = append(found, l)
			}
		}
	}
	return found
}

// took says which of what was marked has become a vassal's, or is gone; the rest is free again.
func (e *Emperor) took(v *vassal, marked []*leftListener, all, removed []*sockets.Listener) {
	for _, m := range marked {
		m.busy = false
		switch {
		case slices.Contains(removed, m.listener):
			e.forget(m.listener)
			e.leftovers.Gone(m.listener)
		case v != nil && slices.Contains(all, m.listener):
			v.held = append(v.held, m.listener)
			e.keep(v, m.listener) // the record may name another vassal
			e.about(v).Info("socket taken over", zap.String(fieldVassal, v.name), zap.String(fieldSocket, m.listener.Address.String()))
		default:
			continue
		}
		e.store.left = slices.DeleteFunc(e.store.left, func(l *leftListener) bool { return l == m })
	}
}

// served tells whether a vassal had a listener before the emperor was killed.
func (e *Emperor) served(name string) bool {
	return slices.ContainsFunc(e.store.left, func(l *leftListener) bool { return l.vassal == name })
}

// dropLeft removes what a killed emperor has left and nobody wants: after the first look, what belongs to no vassal that
// is still on its way; all, at the end.
func (e *Emperor) dropLeft(now time.Time, all bool) {
	st := &e.store
	if len(st.left) == 0 || !all && now.Before(st.leftAt) {
		return
	}
	st.leftAt = now.Add(time.Second)
	st.left = slices.DeleteFunc(st.left, func(l *leftListener) bool {
		if v := e.vassals[l.vassal]; !all && (l.busy || v != nil && (unsettled(v.life.State) || v.life.State == Backoff)) {
			return false
		}
		e.log.Info("no vassal wants a socket that the emperor before this one has left; removing it", zap.String(fieldVassal, l.vassal), zap.String(fieldSocket, l.listener.Address.String()))
		e.forget(l.listener)
		e.removeFile(l.vassal, l.listener)
		return true
	})
}

// closeStore gives up what is left at the end.
func (e *Emperor) closeStore() {
	for _, g := range e.store.given {
		_ = g.Close()
	}
	if e.store.register != nil {
		e.store.register.Close()
	}
	e.service.socket.Close()
}
