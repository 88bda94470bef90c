package configs

import "io/fs"

// Limits of a resolution document. The document comes from a tenant's process and is read by root.
const (
	MaxResolution = 1 << 20 // bytes of JSON
	MaxSettings   = 20000   // settings
	MaxSockets    = 64      // sockets of one vassal
)

// A Resolution is what `vassald --resolve` answers: everything the emperor has to know of a vassal file, and the
// settings that it hands on to the vassal without looking at them.
type Resolution struct {
	Version  int          `json:"version"`           // 1
	Error    string       `json:"error,omitempty"`   // why the file cannot be used; then the rest is empty
	Passing  bool         `json:"passing,omitempty"` // Error lies outside the file: what it names is missing, or does not answer; it may be good later
	Notices  []string     `json:"notices,omitempty"` // said once at start: options not yet honoured, overrides
	Settings Settings     `json:"settings"`
	Sockets  []SocketWish `json:"sockets"`
	UID      string       `json:"uid,omitempty"` // the file's own uid and gid settings, as written: name or number
	GID      string       `json:"gid,omitempty"`
	Mercy    int          `json:"mercy,omitempty"` // seconds: the longer of reload-mercy and worker-reload-mercy; 0 is not set
	Vacuum   bool         `json:"vacuum,omitempty"`
	OnDemand *bool        `json:"on_demand,omitempty"` // the file's own emperor-on-demand; nil is not set
	Emperor  bool         `json:"emperor,omitempty"`   // the file is an emperor's: emperord is started for it, and it has no sockets

	Attributes []Attribute `json:"attributes,omitempty"` // of the section [emperor] of an INI file, in its order
}

// A SocketWish is one listener that a vassal asks for.
type SocketWish struct {
	Protocol string       `json:"protocol"` // "uwsgi"
	Address  string       `json:"address"`  // absolute path, @abstract, host:port, [v6]:port
	Mode     *fs.FileMode `json:"mode,omitempty"`
	Owner    string       `json:"owner,omitempty"` // user, name or number
	Group    string       `json:"group,omitempty"`
	Backlog  int          `json:"backlog,omitempty"` // 0: not set
	Place    Place        `json:"place"`
}
