package configs

import (
	"io/fs"
	"time"
)

// A Vassal is one application's settings, typed. Relative paths are still as written.
type Vassal struct {
	Plugins []string // as written: "python3", "http"; empty with autoload or none

	Module   string   // module, wsgi: "pkg.mod", "pkg.mod:callable", "pkg.mod:factory()"
	File     string   // wsgi-file, file
	Callable string   // empty: "application"
	Home     string   // home, virtualenv, venv, pyhome
	Path     []string // pythonpath, in order of the file

	Chdir  string // before loading
	Chdir2 string // after loading

	Processes  int // workers; 1 when not set
	LazyApps   bool
	NeedApp    bool
	EnvChanges []EnvChange

	Sockets     []SocketWish
	Umask       *fs.FileMode
	BufferSize  int
	SockTimeout time.Duration // socket-timeout: header and block of a request; 4 s when not set

	DisableLogging bool
	Mercy          time.Duration // reload-mercy / worker-reload-mercy: how long a stopping worker may finish its request; 60 s when not set
	ReloadMercy    time.Duration // reload-mercy itself; 0 when not set
	WorkerMercy    time.Duration // worker-reload-mercy itself; 0 when not set
	Vacuum         bool
	UID, GID       string
}

// An EnvChange is one env or unenv setting. uWSGI's `env = NAME` without "=" removes NAME.
type EnvChange struct {
	Name   string
	Value  string
	Remove bool
}
