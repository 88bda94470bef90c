package emperor

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/emperord/emperord/cgroups"
	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/protocol/api"
	"github.com/emperord/emperord/sockets"
)

// The document that one emperord hands to the next. The rule of its versions:
//
//   - A field that may be left out by who does not know it is simply added. Who reads a document without it gets its zero
//     value, which must mean what was true before there was the field; who does not know it skips it.
//   - A field that must not be left out, because the next program would do harm without it, is added with a name in
//     documentNeeds while it is in use. A reader refuses a document that needs what it does not know.
//   - What cannot be said in this way raises documentFormat. A reader refuses any but its own.
//
// So an upgrade and the way back work between versions that agree about what is in use at that moment, and a refusal comes
// from the dry run, before anything has happened.
const documentFormat = 1

// documentKnows are the needs that this version can fulfil.
var documentKnows = []string{needPhase, needLeft}

const (
	needPhase = "phase" // READY=1 is still to be said, or systemd gives the unit up
	needLeft  = "left"  // sockets that a killed emperor has left, or their vassals lose them
)

// maxDocument bounds a document in bytes: 10,000 vassals with all that is remembered of each stay below it.
const maxDocument = 512 << 20

// A document is everything that must survive the exec. What is not in it is remade, or kept in the descriptors that are;
// handover_test.go has a line for every field of the emperor's structs.
type document struct {
	Format  int      `json:"format"`
	Needs   []string `json:"needs,omitempty"`
	Version string   `json:"version"` // of who wrote it
	Program string   `json:"program"` // who is to read it
	Before  string   `json:"before"`  // who wrote it
	Old     int      `json:"old"`     // a descriptor of that program, to go back to

	Upgrade   api.Upgrade      `json:"upgrade"`
	Reload    bool             `json:"reload,omitempty"` // all vassals are to be reloaded afterwards
	Must      settled          `json:"must"`
	Settings  configs.Settings `json:"settings"` // for the way back
	Powers    uint64           `json:"powers"`
	Started   moment           `json:"started"`
	Strangers []int            `json:"strangers,omitempty"`
	Control   *listenerIn      `json:"control,omitempty"`

	Own       ownIn                      `json:"own"`
	Vassals   []vassalIn                 `json:"vassals"`
	Remnants  []remnantIn                `json:"remnants,omitempty"`
	Leftovers []sockets.LeftoverSnapshot `json:"leftovers,omitempty"`
	Lines     map[uint32]allowanceIn     `json:"lines,omitempty"`
	Groups    *groupsIn                  `json:"groups,omitempty"`
}

// settled is what an upgrade cannot change, because it was done once at the start, or belongs to what goes on.
type settled struct {
	Tyrant  bool   `json:"emperor-tyrant"`
	UID     string `json:"uid"`
	GID     string `json:"gid"`
	Keep    string `json:"cap"`
	Control string `json:"emperor-control-socket"`
	Pidfile string `json:"pidfile"`
	Cgroup  string `json:"emperor-cgroup"`
}

func settledIn(c *configs.Emperor) settled {
	s := settled{Tyrant: c.Tyrant, UID: c.UID, GID: c.GID, Control: c.ControlSocket, Pidfile: c.Pidfile, Cgroup: c.Cgroup}
	if c.Keep != nil {
		s.Keep = c.Keep.String()
	}
	return s
}

// differs names the first setting that is not as it was.
func (s settled) differs(now settled) error {
	for _, o := range []struct {
		name     string
		was, now any
	}{
		{"emperor-tyrant", s.Tyrant, now.Tyrant}, {"uid", s.UID, now.UID}, {"gid", s.GID, now.GID}, {"cap", s.Keep, now.Keep},
		{"emperor-control-socket", s.Control, now.Control}, {"pidfile", s.Pidfile, now.Pidfile}, {"emperor-cgroup", s.Cgroup, now.Cgroup},
	} {
		if o.was != o.now {
			return fmt.Errorf("%s was %s when emperord was started and is %s now, and no upgrade can change that; put it back, or restart emperord", o.name, shown(o.was), shown(o.now))
		}
	}
	return nil
}

func shown(value any) string {
	if value == "" {
		return "not set"
	}
	return fmt.Sprintf("%v", value)
}

// A listenerIn is a listener with the number of its descriptor.
type listenerIn struct {
	FD     int  `json:"fd"`
	Slot   int  `json:"slot,omitempty"`   // of systemd's store, counted from 1; 0: it is not there
	Queued bool `json:"queued,omitempty"` // it is to be put there
	sockets.Snapshot
}

// A vassalIn is a vassal. Attempts refer to listeners by their place in Listeners; those that have been closed are left out.
type vassalIn struct {
	Name      string          `json:"name"`
	Sighting  sightingIn      `json:"sighting"`
	Life      json.RawMessage `json:"life"`
	Listeners []listenerIn    `json:"listeners,omitempty"`
	Own       []int           `json:"own,omitempty"`  // vassal.listeners
	Held      []int           `json:"held,omitempty"` // vassal.held
	Called    map[int]string  `json:"called,omitempty"`
	Addresses []string        `json:"addresses,omitempty"`
	Attempts  []attemptIn     `json:"attempts,omitempty"` // those that have a process
	Serving   *attemptIn      `json:"serving,omitempty"`  // vassal.serving, if it is not among the attempts any more
	ServingID Generation      `json:"serving_id,omitempty"`
	Lines     []lineIn        `json:"lines,omitempty"`
	Spent     float64         `json:"spent,omitempty"`
	SpentAt   moment          `json:"spent_at"`
	Exits     []api.Exit      `json:"exits,omitempty"`
	Refused   *api.Refusal    `json:"refused,omitempty"`
	Drift     string          `json:"drift,omitempty"`
	Up        bool            `json:"up,omitempty"`
	Failing   moment          `json:"failing,omitzero"`
	Leader    string          `json:"leader,omitempty"`
	Enough    moment          `json:"enough,omitzero"`
	Dates     Dates           `json:"dates"`
	Good      *Good           `json:"good,omitempty"`
	Starts    int             `json:"starts,omitempty"`
	Demand    string          `json:"demand,omitempty"`
	Notices   []string        `json:"notices,omitempty"`
	Lost      string          `json:"lost,omitempty"`
}

// An attemptIn is an attempt that has, or had, a process.
type attemptIn struct {
	ID        Generation          `json:"id"`
	Who       sockets.Identity    `json:"who"`
	Change    bool                `json:"change,omitempty"`
	Root      bool                `json:"root,omitempty"`
	Trusted   bool                `json:"trusted,omitempty"`
	User      uint32              `json:"user"`
	Answer    *configs.Resolution `json:"answer,omitempty"`
	Wanted    []string            `json:"wanted,omitempty"`
	Notices   []string            `json:"notices,omitempty"`
	Listeners []int               `json:"listeners,omitempty"`
	Adjust    []adjustmentIn      `json:"adjust,omitempty"`
	Turn      *moment             `json:"turn,omitempty"` // Emperor.turns

	PID        int             `json:"pid,omitempty"`
	Mark       uint64          `json:"mark,omitempty"`
	Since      moment          `json:"since"`
	Board      int             `json:"board,omitempty"`
	Pipe       int             `json:"pipe,omitempty"`
	Output     *outputIn       `json:"output,omitempty"`
	Foreign    bool            `json:"foreign,omitempty"`
	Told       bool            `json:"told,omitempty"`
	Late       string          `json:"late,omitempty"`
	Loyal      bool            `json:"loyal,omitempty"`
	Document   []byte          `json:"document,omitempty"`
	Denied     bool            `json:"denied,omitempty"`
	Restored   bool            `json:"restored,omitempty"`
	Program    bool            `json:"program,omitempty"`
	Starts     bool            `json:"starts,omitempty"`
	Dir        string          `json:"dir,omitempty"`
	Asked      bool            `json:"asked,omitempty"`
	Demand     string          `json:"demand,omitempty"`
	DemandedBy string          `json:"demanded_by,omitempty"`
	Attributes []api.Attribute `json:"attributes,omitempty"`
	Wrapper    string          `json:"wrapper,omitempty"`
	Chdir      string          `json:"chdir,omitempty"`
	Sum        []byte          `json:"sum,omitempty"`
	Killed     bool            `json:"killed,omitempty"`
	Ready      bool            `json:"ready,omitempty"`
	Accepting  bool            `json:"accepting,omitempty"`
	Leaf       string          `json:"leaf,omitempty"` // groups.leaves: the control group it was started in
}

type outputIn struct {
	FD   int    `json:"fd,omitempty"` // 0: its processes have closed it
	Rest []byte `json:"rest,omitempty"`
	Last []byte `json:"last,omitempty"`
	Lost int    `json:"lost,omitempty"`
}

type adjustmentIn struct {
	Listener int             `json:"listener"`
	Request  sockets.Request `json:"request"`
	Policy   sockets.Policy  `json:"policy"`
}

type sightingIn struct {
	Path    string `json:"path"`
	Dir     string `json:"dir"`
	Base    string `json:"base"`
	File    string `json:"file"`
	Monitor string `json:"monitor,omitempty"`
	Maker   uint32 `json:"maker"`
	Beside  string `json:"beside,omitempty"`
	Dev     uint64 `json:"dev"`
	Ino     uint64 `json:"ino"`
	Size    int64  `json:"size"`
	Sec     int64  `json:"sec"`
	Nsec    int64  `json:"nsec"`
	Mode    uint32 `json:"mode"`
	UID     uint32 `json:"uid"`
	GID     uint32 `json:"gid"`
}

type lineIn struct {
	Generation Generation `json:"generation"`
	At         time.Time  `json:"at"`
	Text       []byte     `json:"text"`
}

type remnantIn struct {
	Group  int    `json:"group"`
	UID    int    `json:"uid"`
	Vassal string `json:"vassal"`
	KillAt moment `json:"kill_at"`
}

type allowanceIn struct {
	Left float64 `json:"left"`
	At   moment  `json:"at"`
	Lost int     `json:"lost,omitempty"`
}

// groupsIn are the control groups.
type groupsIn struct {
	Tree   cgroups.Snapshot `json:"tree"`
	Lock   int              `json:"lock"`
	Bounds []boundsIn       `json:"bounds,omitempty"`
	Ended  []leafIn         `json:"ended,omitempty"` // of processes that belong to no attempt any more, and wait to be reaped
	Left   []leftoverIn     `json:"left,omitempty"`
}

type boundsIn struct {
	Vassal string                `json:"vassal"`
	Group  cgroups.GroupSnapshot `json:"group"`
	Limits cgroups.Limits        `json:"limits"`
	Seen   cgroups.Events        `json:"seen"`
	Met    uint64                `json:"met,omitempty"`
	OOM    moment                `json:"oom"`
	Own    bool                  `json:"own,omitempty"`
	Said   map[string]moment     `json:"said,omitempty"`
	Unsaid map[string]uint64     `json:"unsaid,omitempty"`
}

type leafIn struct {
	PID    int    `json:"pid"`
	Vassal string `json:"vassal"`
	Path   string `json:"path"`
}

type leftoverIn struct {
	Vassal string                `json:"vassal"`
	Group  cgroups.GroupSnapshot `json:"group"`
	Path   string                `json:"path"`
	KillAt moment                `json:"kill_at"`
	Kills  int                   `json:"kills,omitempty"`
}
