package api

import "time"

// A Status is the whole empire at one moment.
type Status struct {
	Version string    `json:"version"` // of emperord
	PID     int       `json:"pid"`
	Tyrant  bool      `json:"tyrant"`
	Sources []string  `json:"sources"` // the folders and globs that are watched
	Started time.Time `json:"started"`
	Vassals []Vassal  `json:"vassals"` // those that the asking peer may see, by name
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
	NextTry     *time.Time   `json:"next_try,omitempty"`    // set in Backoff
	Notices     []string     `json:"notices,omitempty"`     // options not yet honoured, overrides
	Generations []Generation `json:"generations,omitempty"` // the processes that exist now; two during a reload
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
}

// An Answer says what has been done. OK is true; what has not been done is a Failure.
type Answer struct {
	OK      bool   `json:"ok"`
	Message string `json:"message,omitempty"` // for the operator: "shop.ini: reloading"
}

// A Failure says why something has not been done.
type Failure struct {
	Error string `json:"error"` // cause, then remedy
}
