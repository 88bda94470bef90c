package api

import "time"

// A Status is the whole empire at one moment.
type Status struct {
	Version string    `json:"version"` // of emperord
	PID     int       `json:"pid"`
	Tyrant  bool      `json:"tyrant"`
	Sources []string  `json:"sources"` // the folders and globs that are watched
	Started time.Time `json:"started"`
	// Goroutines of the emperor: their number is the same whenever the same vassals are at rest.
	Goroutines int      `json:"goroutines"`
	Vassals    []Vassal `json:"vassals"` // those that the asking peer may see, by name
}

// A State says where a vassal is in its life. Why it is there is its Reason.
type State string

// The states of a vassal.
const (
	Absent    State = "absent"    // no file, no process
	Refused   State = "refused"   // the file or the policy is at fault; waits for a change of the file
	Suspended State = "suspended" // stopped by an operator; waits for the command to start
	Resolving State = "resolving" // its file is being read
	Starting  State = "starting"  // a process exists and does not accept yet
	Accepting State = "accepting" // serves
	Reloading State = "reloading" // the old generation serves while a new one starts
	Stopping  State = "stopping"  // told to stop
	Backoff   State = "backoff"   // failed; NextTry says when it is started again
	Waiting   State = "waiting"   // on demand: the first connection to its sockets starts it
)

// A Role is what a generation of a vassal is doing.
type Role string

// The roles of a generation.
const (
	Serving Role = "serving" // requests go to it
	Coming  Role = "coming"  // started, not accepting yet
	Leaving Role = "leaving" // told to finish and stop
)

// A Vassal is one vassal at one moment.
type Vassal struct {
	Name        string       `json:"name"` // the file's name in its folder, the whole path for a glob
	File        string       `json:"file"` // absolute path
	State       State        `json:"state"`
	Since       time.Time    `json:"since"`            // when State began
	Reason      string       `json:"reason,omitempty"` // why it is not well: cause, then remedy
	PID         int          `json:"pid,omitempty"`    // of the serving generation's vassald
	UID         int          `json:"uid"`              // rights under which it runs, or would run; -1 while not known
	GID         int          `json:"gid"`
	User        string       `json:"user,omitempty"` // names of UID and GID, the numbers where they have none
	Group       string       `json:"group,omitempty"`
	RunsAsRoot  bool         `json:"runs_as_root,omitempty"`
	Sockets     []Socket     `json:"sockets,omitempty"`
	Restarts    int          `json:"restarts"`              // how often it was started again after it died by itself
	Starts      int          `json:"starts"`                // how often a process of it was started, for whatever reason
	NextTry     *time.Time   `json:"next_try,omitempty"`    // set in Backoff
	Notices     []string     `json:"notices,omitempty"`     // options not yet honoured, overrides
	Generations []Generation `json:"generations,omitempty"` // the processes that exist now; two during a reload
	Signs       Signs        `json:"signs"`                 // when it last said what
	Attributes  []Attribute  `json:"attributes,omitempty"`  // that emperor-collect-attribute names, in the order of the vassal file
}

// Signs are when a vassal last gave a sign of life, whichever of its generations it was; nil: never. They outlive its processes.
type Signs struct {
	Ready     *time.Time `json:"ready,omitempty"`     // the application is loaded
	Accepting *time.Time `json:"accepting,omitempty"` // a worker takes requests
	Loyal     *time.Time `json:"loyal,omitempty"`     // a generation has served its first request
	Heartbeat *time.Time `json:"heartbeat,omitempty"` // only with heartbeat in its file
}

// An Attribute is what a vassal says of itself in the section [emperor] of its file. Both are the tenant's words.
type Attribute struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// A Socket is a listener that the emperor holds for a vassal.
type Socket struct {
	Address string `json:"address"`         // absolute path, @abstract, host:port, [v6]:port
	Mode    string `json:"mode,omitempty"`  // octal, four digits, as chmod takes it: "0660"; empty where there is no file
	Owner   string `json:"owner,omitempty"` // names, or numbers where they have none
	Group   string `json:"group,omitempty"`
}

// A Generation is one running vassald of a vassal.
type Generation struct {
	PID   int       `json:"pid"`
	Role  Role      `json:"role"`
	Since time.Time `json:"since"` // when it was started

	Ready     bool `json:"ready"`     // it has loaded the application
	Accepting bool `json:"accepting"` // it takes requests
	Loyal     bool `json:"loyal"`     // it has served a request
}

// A Why is all that is remembered of why a vassal is as it is.
type Why struct {
	Vassal
	Failures int      `json:"failures"`                 // in a row; they set the delay before the next try
	Refused  *Refusal `json:"refused_reload,omitempty"` // the last reload, if it was refused
	Exits    []Exit   `json:"exits,omitempty"`          // the last ends of its processes, newest first
	Lines    []Line   `json:"lines,omitempty"`          // the last lines of its standard output and error, oldest first
}

// A Refusal is a reload that did not come to serve; the old generation went on.
type Refusal struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"` // cause, then remedy
}

// An Exit is the end of one vassald (or of the program that emperor-wrapper names).
type Exit struct {
	Generation  uint64    `json:"generation"` // as in Line
	PID         int       `json:"pid"`
	Role        Role      `json:"role"` // when it ended
	Started     time.Time `json:"started"`
	At          time.Time `json:"at"`
	Text        string    `json:"text"`                    // "exit code 1", "killed by SIGSEGV, core dumped"
	Code        *int      `json:"code,omitempty"`          // nil: a signal ended it
	Signal      string    `json:"signal,omitempty"`        // "SIGKILL"
	Core        bool      `json:"core,omitempty"`          // the kernel wrote a core dump
	OutOfMemory bool      `json:"out_of_memory,omitempty"` // the kernel killed it at the vassal's memory limit
	Asked       bool      `json:"asked,omitempty"`         // the emperor had told it to stop, or killed it
	Reason      string    `json:"reason,omitempty"`        // its own words
}

// A Line is one line that a vassal wrote, cut to a bearable length and without control characters.
type Line struct {
	Generation uint64    `json:"generation"` // the attempt that wrote it; each start and each reload counts one up
	At         time.Time `json:"at"`
	Text       string    `json:"text"`
}

// An Upgrade is the exec of another emperord in place of the running one.
type Upgrade struct {
	Number  int          `json:"number"` // counts the tries from 1; 0: there was none
	State   UpgradeState `json:"state,omitempty"`
	At      time.Time    `json:"at,omitzero"`       // when it was begun
	From    string       `json:"from,omitempty"`    // versions
	To      string       `json:"to,omitempty"`      // as far as it is known
	Program string       `json:"program,omitempty"` // the path of the new one
	Reason  string       `json:"reason,omitempty"`  // why not: cause, then remedy
}

// An UpgradeState says what has become of an Upgrade.
type UpgradeState string

// The states of an upgrade.
const (
	Upgrading   UpgradeState = "upgrading" // under way: Upgrade again tells more
	Upgraded    UpgradeState = "upgraded"  // who answers is the new program
	NotUpgraded UpgradeState = "refused"   // the program before goes on, as if nothing had been asked
)

// An Answer says what has been done. OK is true; what has not been done is a Failure.
type Answer struct {
	OK      bool   `json:"ok"`
	Message string `json:"message,omitempty"` // for the operator: "shop.ini: reloading"
}

// A Failure says why something has not been done.
type Failure struct {
	Error string `json:"error"` // cause, then remedy
}
