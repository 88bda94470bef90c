package configs

import (
	"io/fs"
	"time"
)

// A Vassal is one application's settings, typed. Relative paths are still as written. A tag names the option that fills
// the field as its row in the table says; the other fields are put together from several.
type Vassal struct {
	Plugins []string // as written: "python3", "http"; empty with autoload or none

	Module   string   `option:"module"`     // module, wsgi: "pkg.mod", "pkg.mod:callable", "pkg.mod:factory()"
	File     string   `option:"wsgi-file"`  // wsgi-file, file
	Callable string   `option:"callable"`   // empty: "application"
	Home     string   `option:"home"`       // home, virtualenv, venv, pyhome
	Path     []string `option:"pythonpath"` // pythonpath, in order of the file

	Chdir  string `option:"chdir"`  // before loading
	Chdir2 string `option:"chdir2"` // after loading

	Processes  int  `option:"processes"` // workers; 1 when not set
	LazyApps   bool `option:"lazy-apps"`
	NeedApp    bool `option:"need-app"`
	EnvChanges []EnvChange

	LimitAS    int `option:"limit-as"`    // MiB of address space of the host and of each worker; 0: no limit
	LimitNproc int `option:"limit-nproc"` // processes and threads of the user, above which a fork fails; 0: no limit

	Sockets     []SocketWish
	Umask       *fs.FileMode  `option:"umask"`
	BufferSize  int           `option:"buffer-size"`
	Heartbeat   time.Duration `option:"heartbeat"`      // how often the emperor is told that all is well; 0: never
	SockTimeout time.Duration `option:"socket-timeout"` // socket-timeout: header and block of a request; 4 s when not set

	Log            LogFile
	DisableLogging bool          `option:"disable-logging"`
	Mercy          time.Duration // reload-mercy / worker-reload-mercy: how long a stopping worker may finish its request; 60 s when not set
	ReloadMercy    time.Duration `option:"reload-mercy"`        // reload-mercy itself; 0 when not set
	WorkerMercy    time.Duration `option:"worker-reload-mercy"` // worker-reload-mercy itself; 0 when not set
	Vacuum         bool          `option:"vacuum"`
	SOS            time.Duration `option:"vassal-sos"`         // reinforcements when all workers have been busy for so long; 0: never
	SOSBacklog     int           `option:"vassal-sos-backlog"` // and when more connections wait; 0: never
	Reinforcement  bool          // zerg: it serves the listeners of the vassal that it reinforces, and Sockets may be empty
	Procname       string        `option:"procname"`
	ProcnameMaster string        `option:"procname-master"`
	AutoProcname   bool          `option:"auto-procname"`
	ProcnamePrefix string        `option:"procname-prefix"`
	ProcnameSpaced string        `option:"procname-prefix-spaced"`
	ProcnameAppend string        `option:"procname-append"`
	Pidfile        string        `option:"pidfile"`  // relative to where vassald starts
	Pidfile2       string        `option:"pidfile2"` // this and the following relative to chdir, as in uWSGI
	SafePidfile    string        `option:"safe-pidfile"`
	SafePidfile2   string        `option:"safe-pidfile2"`
	UID            string        `option:"uid"`
	GID            string        `option:"gid"`
	OnDemand       *bool         // emperor-on-demand: the first connection starts it; nil: as the emperor says

	Idle      time.Duration `option:"idle"`        // without a request for so long, the workers are stopped; 0: never
	DieOnIdle bool          `option:"die-on-idle"` // and everything else too
	Cheap     bool          `option:"cheap"`       // the first worker is started by the first request
}

// An EnvChange is one env or unenv setting. uWSGI's `env = NAME` without "=" removes NAME.
type EnvChange struct {
	Name   string
	Value  string
	Remove bool
}
