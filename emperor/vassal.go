package emperor

import (
	"crypto/sha256"
	"os"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/protocol/api"
	"github.com/emperord/emperord/protocol/pipe"
	"github.com/emperord/emperord/sockets"
)

// A vassal is what the loop keeps of one vassal file beside its life.
type vassal struct {
	sighting
	name      string
	life      Life
	alarm     time.Time
	attempts  map[Generation]*attempt
	listeners []*sockets.Listener // of the generation that served last, or may serve already
	held      []*sockets.Listener // all that exist, those of a coming generation too
	addresses []string            // those in Emperor.addresses

	called    map[*sockets.Listener]string // the key of a held listener in Emperor.addresses
	binding   chan struct{}                // closed when the last attempt that was begun has bound its sockets
	binders   int                          // attempts that bind, or wait until they may
	adjusting chan struct{}                // closed when the last adjustment that was begun is done
	serving   *attempt                     // the generation that served last; nil before the first
	tail      tail                         // its last lines
	may       measure                      // what it may still write to the log
	exits     []api.Exit                   // its last ends, newest first
	up        bool                         // it has had a process, or vassals-start-hook has been begun, since vassals-stop-hook
	refused   *api.Refusal                 // the last reload, if it was refused
	failing   time.Time                    // since when it fails again and again; zero: it does not
	leader    string                       // the vassal that this one reinforces; empty: none
	enough    time.Time                    // until when it gets no reinforcement
	dates     Dates
	good      *Good      // what the generation that served last was made of; nil: nothing is kept
	farewells []farewell // to be carried out at the end of the step
	caller    caller     // while its life is told what somebody asks

	bells   []bell   // at its listeners, while it waits
	demand  string   // the address whose first connection starts it; empty: it is not on demand
	starts  int      // how often a process of it was started
	notices []string // of the preparation that it waits after
	alone   bool     // to read its file takes long or fails: no reader is given it

	inspecting bool      // the files of its sockets are being looked at
	armed      time.Time // when their watches were set last
	watched    []watched
	drift      string // how the rights of a socket differ from what was given, as last said
	lost       string // the socket that was lost last, and why
}

// An attempt is one generation: first its preparation, then its process.
type attempt struct {
	id        Generation
	who       sockets.Identity
	change    bool // its processes have another user than we
	root      bool // its processes run as root
	trusted   bool // nobody but root can have written the file
	program   bool // the file is one, and prints the configuration
	file      *os.File
	output    *output
	user      uint32   // who answered for the file when this began
	resolver  int      // pid while it runs
	reply     *os.File // what it says
	ended     *children.Exit
	answer    *configs.Resolution
	answered  error
	done      bool // the answer has been read to its end
	wanted    []string
	notices   []string
	listeners []*sockets.Listener
	adjust    []adjustment
	document  []byte         // the answer, encoded, as its process gets it
	denied    bool           // refused because of the file's rights
	restored  bool           // made of what is kept, not of the file
	hooks     []configs.Hook // that its preparation has, once everything else is ready
	hooked    int            // how many of them have been begun
	starts    bool           // vassals-start-hook is among them
	dir       string         // where its processes start; empty: the vassals' folder

	ahead  bool      // its turn came before that of others because somebody waits for it
	asked  bool      // a process is wanted: it is not on demand, or somebody has asked for it
	rests  bool      // no process is wanted once its sockets are there
	judged judgement // while the name of its socket is asked for
	demand demand
	reader *reader // whose line it is in
	naming bool    // emperor-on-demand-exec runs, as the resolver
	said   string  // by it

	attributes []api.Attribute // that emperor-collect-attribute names
	wrapper    string          // the program that an attribute of the vassal names; empty: none
	chdir      string          // the folder that an attribute of the vassal names; empty: none

	pid     int               // of vassald
	mark    uint64            // in the environment of its processes
	sum     [sha256.Size]byte // of the settings
	since   time.Time
	board   *os.File
	pipe    *os.File
	hearing chan struct{} // closed when nobody listens to the pipe any more
	foreign bool          // another program than vassald
	told    bool          // it was told to stop or killed by us
	killed  bool          // it was killed by us, its time being over: what it leaves has none either
	late    error         // why its process, or its resolver, did not come to run its program

	ready     bool // it said Spawned
	accepting bool // it said Accepting
	loyal     bool // it said Loyal
}

// step tells v's life what happened, and does what it decides.
func (e *Emperor) step(v *vassal, event Event) {
	before := v.life
	policy := e.policy
	policy.WaitCommand = v.leader == "" && e.waitsForCommand(v)
	if e.leaving {
		policy.Mercy = e.c.EndMercy(os.Getpid())
	} else if e.c.Curse > 0 {
		policy.Mercy = e.c.Curse
	} else if v.serving != nil && v.serving.answer != nil {
		policy.Mercy = max(policy.Mercy, mercyOf(v.serving.answer))
	}
	life, actions := Next(before, event, time.Now(), policy)
	v.life = life
	v.noteFailing(time.Now())
	if !life.Good {
		v.good = nil
	}
	e.logStep(v, before, event)
	var failed error
	for _, a := range actions {
		if err := e.act(v, a); err != nil {
			failed = err
		}
	}
	if before.State == Waiting && v.life.State != Waiting {
		e.unhang(v)
	}
	e.prune(v)
	e.farewell(v)
	if v.life.State == Waiting {
		e.hang(v)
		if before.State != Waiting {
			e.waits(v)
		}
	}
	e.settle(v)
	e.setAlarm(v)
	if failed != nil { // the life must know before anything else happens
		e.step(v, Failed{ID: v.life.Coming, Reason: scarce(failed).Error(), Passing: true})
		return
	}
	e.dismiss(v, before, event)
	e.retire(v)
}

// maxMercy bounds what a vassal file may ask for: a second more than vassald itself grants its workers.
const maxMercy = 10 * time.Minute

func mercyOf(r *configs.Resolution) time.Duration {
	mercy := time.Minute
	if r.Mercy > 0 {
		mercy = min(time.Duration(r.Mercy)*time.Second, maxMercy)
	}
	return mercy + time.Second
}

func (e *Emperor) logStep(v *vassal, before Life, event Event) {
	log := func(level zapcore.Level, text string, fields ...zap.Field) {
		e.about(v).Log(level, text, append([]zap.Field{zap.String(fieldVassal, v.name), zap.Uint32(fieldUID, v.uid)}, fields...)...)
	}
	switch now := v.life; {
	case now.State == Waiting && before.State == Accepting:
		log(zapcore.InfoLevel, "vassal has nothing to do; ended until somebody connects", zap.Int(fieldPID, v.attempts[before.Serving].pid))
	case now.State == Waiting && before.State != Waiting:
		log(zapcore.InfoLevel, "vassal waits for a connection")
	case event == (Connected{}) && before.State == Waiting:
		log(zapcore.InfoLevel, "somebody connects; starting the vassal")
	case now.State == Refused && before.State != Refused:
		log(zapcore.ErrorLevel, "vassal refused; waiting for a change of the file", zap.String(fieldReason, now.Reason))
	case now.State == Backoff && before.State != Backoff:
		log(zapcore.ErrorLevel, "vassal failed; next try in "+time.Until(now.Deadline).Round(10*time.Millisecond).String(), zap.String(fieldReason, now.Reason), zap.Int("failures", now.Failures))
	case before.State == Reloading && now.State == Accepting && now.Serving == before.Serving && now.Reason == "": // see succeed
	case before.State == Reloading && now.State == Accepting && now.Serving == before.Serving:
		v.refused = &api.Refusal{At: time.Now(), Reason: now.Reason}
		log(zapcore.ErrorLevel, "reload refused; the old generation serves on", zap.String(fieldReason, now.Reason))
	case now.Restoring && !before.Restoring:
		v.refused = &api.Refusal{At: time.Now(), Reason: now.Refusal}
		log(zapcore.ErrorLevel, "vassal comes back with its last good settings: its file as it is now was refused", zap.String(fieldReason, now.Refusal), zap.String("before", before.Reason))
	case before.Serving != 0 && now.Serving == 0 && now.State != Stopping:
		log(zapcore.ErrorLevel, "vassal ended; starting it again", zap.String(fieldReason, now.Reason))
	case now.State == Accepting && now.Serving != before.Serving:
		a := v.attempts[now.Serving]
		accepts := "vassal accepts, with its last good settings"
		if !now.Restored {
			v.refused, accepts = nil, "vassal accepts"
		}
		log(zapcore.InfoLevel, accepts, zap.Int(fieldPID, a.pid), zap.String(fieldUser, a.who.Name), zap.Duration("after", time.Since(a.since).Round(time.Millisecond)))
		if a.root {
			log(zapcore.ErrorLevel, "VASSAL RUNS AS ROOT; write uid and gid of an own user into its file", zap.Int(fieldPID, a.pid))
		}
	case event == (SocketLost{}) && (now.State == Reloading && before.State == Accepting || before.State == Waiting && now.State != Waiting):
		log(zapcore.WarnLevel, "a socket is lost; making it again for a new generation", zap.String(fieldReason, v.lost))
	case now.State == Reloading && before.State == Accepting:
		log(zapcore.InfoLevel, "vassal reloads")
	case now.State == Stopping && before.State != Stopping:
		log(zapcore.InfoLevel, "vassal stops")
	case now.State == Suspended && before.State != Suspended:
		log(zapcore.InfoLevel, "vassal stopped; waiting for emperorctl start")
	case now.State == Absent && before.State != Absent:
		log(zapcore.InfoLevel, "vassal gone")
	}
}

// act does one thing. An error is that of a Start.
func (e *Emperor) act(v *vassal, do Action) error {
	a := v.attempts[do.ID]
	if a == nil && (do.Do == Start || do.Do == Drain || do.Do == Kill || do.Do == Adopt || do.Do == Settle) {
		e.log.DPanic("a life means a generation that is not there", zap.String(fieldVassal, v.name), zap.Stringer("do", do.Do), zap.Uint64("generation", uint64(do.ID)))
		return nil
	}
	switch do.Do {
	case Prepare, Restore:
		a = newAttempt(v, do.ID, do.Do == Restore)
		v.attempts[do.ID] = a
		e.enqueue(v, a)
	case Abandon:
		if a != nil {
			e.discard(v, a)
		}
	case Start:
		if err := e.spawn(v, a); err != nil {
			e.discard(v, a)
			return err
		}
		v.starts++
		e.after(v, a)
		a.answer.Settings, a.answer.Notices = nil, nil // the vassal has them, and they may be large
		if v.life.Serving == 0 {                       // whoever comes after it, should it have to go, has its sockets, and who waits there
			v.listeners = a.listeners
		}
	case Drain:
		w := pipe.StopGraceful
		if e.isForeign(a) && v.life.State == Stopping {
			w = pipe.Stop // a real uwsgi, asked gracefully while a worker of it is not ready yet, waits for ever
		}
		e.takeLeave(v, a, w)
	case Kill:
		why := "vassal did not stop in time; killed"
		switch {
		case !a.told:
			why = "vassal sent no heartbeat; killed"
		case len(v.life.Leaving) > maxLeaving:
			why = "vassal is reloaded faster than it stops; killed one of the generations that are leaving"
		}
		e.about(v).Warn(why, zap.String(fieldVassal, v.name), zap.Int(fieldPID, a.pid))
		e.kill(a)
	case Adopt:
		v.listeners, v.serving = a.listeners, a
		if v.life.Good && !a.restored {
			v.good = a.keep(v)
		}
		a.document = nil
		delete(e.turns, a)
		e.adjust(v, a)
		v.armed = time.Time{}
		e.inspect(v)
	case Settle:
		v.listeners, v.notices = a.listeners, a.notices
		if v.demand = a.demand.address; v.demand == "" && len(v.listeners) > 0 {
			v.demand = v.listeners[0].Address.String()
		}
		e.adjust(v, a)
		e.discard(v, a)
		a.answer = nil // somebody may still hold the attempt, and ten thousand of these are much
		v.armed = time.Time{}
		e.inspect(v)
	case Release:
		v.listeners = nil
	case Forget:
		e.prune(v)
		delete(e.vassals, v.name)
		e.unwatch(v)
	}
	return nil
}

// newAttempt is an attempt that nothing has been done for yet.
func newAttempt(v *vassal, id Generation, restored bool) *attempt {
	return &attempt{id: id, asked: v.life.Wanted || v.life.Serving != 0, restored: restored}
}

// adjust gives the sockets that a generation has taken over the owner, mode and backlog that it wants, beside the loop
// because a tenant's folder may be slow; one adjustment after the other.
func (e *Emperor) adjust(v *vassal, a *attempt) {
	todo := a.adjust
	a.adjust = nil
	if len(todo) == 0 {
		return
	}
	before, done := v.adjusting, make(chan struct{})
	v.adjusting = done
	e.async(func() func() {
		defer close(done)
		if before != nil {
			<-before
		}
		type outcome struct {
			listener *sockets.Listener
			warnings []string
			err      error
		}
		var all []outcome
		for _, j := range todo {
			warnings, err := j.listener.Adjust(j.request, j.policy)
			all = append(all, outcome{j.listener, warnings, err})
		}
		return func() { // the lines count for the tenant, who can have a socket adjusted as often as it likes
			for _, o := range all {
				a.notices = append(a.notices, o.warnings...)
				if o.err != nil {
					a.notices = append(a.notices, o.err.Error())
					e.about(v).Error("a socket stays as it was", zap.String(fieldVassal, v.name), zap.Error(o.err))
					continue
				}
				e.renote(v, o.listener)
				e.about(v).Info("socket changed", zap.String(fieldVassal, v.name), zap.String(fieldSocket, o.listener.Address.String()))
			}
		}
	})
}

// word says w to a generation. A vassal that does not read its pipe is killed when its mercy is over.
func (e *Emperor) word(v *vassal, a *attempt, w pipe.Word) {
	a.told = true
	if err := send(a, w); err != nil {
		e.about(v).Warn("vassal does not hear; it will be killed when its time is over", zap.String(fieldVassal, v.name), zap.Int(fieldPID, a.pid), zap.Error(err))
	}
}

// send says w to a generation, if it has a pipe.
func send(a *attempt, w pipe.Word) error {
	if a.pipe == nil {
		return nil
	}
	raw, err := a.pipe.SyscallConn()
	if err != nil {
		return nil //nolint: it has gone, which is seen elsewhere
	}
	_ = raw.Control(func(fd uintptr) {
		err = unix.Sendto(int(fd), []byte{byte(w)}, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
	})
	return err
}
