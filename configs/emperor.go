package configs

import (
	"io/fs"
	"path/filepath"
	"strings"
	"time"
)

// An Emperor is the emperor's own settings, typed. A tag names the options that fill the field as their rows in the table
// say.
type Emperor struct {
	Sources []string // emperor: a folder, dir://FOLDER, a glob, glob://PATTERN or one file; as written

	Tyrant           bool   `option:"emperor-tyrant"`
	TyrantNoFollow   bool   `option:"emperor-tyrant-nofollow"`   // the owner of a link counts
	NoFollow         bool   `option:"emperor-nofollow"`          // the link itself is watched
	MagicExec        bool   `option:"emperor-magic-exec"`        // executable vassal files are run, and what they print is read
	TyrantInitgroups bool   `option:"emperor-tyrant-initgroups"` // supplementary groups; true when not set
	UID              string `option:"uid"`
	GID              string `option:"gid"`

	Freq        time.Duration `option:"emperor-freq"`         // the slow look at everything; 3 s when not set
	Throttle    time.Duration `option:"emperor-throttle"`     // growth of the wait before a restart; 1 s when not set
	MaxThrottle time.Duration `option:"emperor-max-throttle"` // its end; 180 s when not set
	Mercy       time.Duration `option:"reload-mercy"`         // reload-mercy: until vassals that do not stop are killed; 30 s when not set

	MercySaid     bool          // reload-mercy is set; else PID 1 ends sooner: see EndMercy
	StartTimeout  time.Duration `option:"emperor-start-timeout"`      // until a process that does not accept is given up; 120 s when not set, 0 is no limit
	Heartbeat     time.Duration `option:"emperor-required-heartbeat"` // until a vassal whose heartbeats stay away is killed; 30 s when not set, 0 is no limit
	Curse         time.Duration `option:"emperor-curse-tolerance"`    // until a vassal that was told to stop is killed; 0 when not set: Mercy, or the vassal's own reload-mercy if that is longer
	NoBlacklist   bool          `option:"emperor-no-blacklist"`
	WaitCommand   bool          `option:"emperor-wait-for-command"`
	WaitCommandNo []string      `option:"emperor-wait-for-command-ignore"` // names of vassals that do not wait

	MaxPerUser int `option:"emperor-max-vassals-per-user"` // vassal files of one user other than root; 1000 when not set, 0 is no limit

	ControlSocket string   // absolute path
	SocketRoots   []string // absolute paths
	SocketGroups  []string
	SocketPolicy  SocketPolicy

	Keep         *Capabilities // cap: what the emperor keeps when it takes uid and gid; nil: nothing
	NoNewPrivs   *bool         // emperor-no-new-privs; nil: in tyrant mode
	NewPrivsFor  []string      `option:"emperor-new-privs-for"` // users
	VassalsKeep  *Capabilities // emperor-cap: what stays in the vassals' bounding set; nil: not said
	Namespaces   uintptr       // emperor-use-clone: CLONE_NEW… flags
	Limits       []ResourceLimit
	Umask        *fs.FileMode `option:"umask"`
	KeepVariable []string     // emperor-keep-env: names of variables that vassals get; empty: all that do not concern the emperor itself
	Cgroup       string       // the control group below which vassals get theirs: a path of the hierarchy, or a folder; empty: the own one, where it is delegated
	MemoryMax    []Limit      // of each vassal, in the order of the file: see LimitFor
	PIDsMax      []Limit
	CPUWeight    []Limit
	CPUMax       []Limit

	OnDemand          bool   `option:"emperor-on-demand"`           // vassals are started by the first connection, unless their file says otherwise
	OnDemandExtension string `option:"emperor-on-demand-extension"` // a file with this ending beside the vassal's holds the name of its socket
	OnDemandDirectory string // emperor-on-demand-directory: absolute path; a vassal's socket is NAME.socket in it, without the file's ending
	OnDemandExec      string `option:"emperor-on-demand-exec"` // a command that prints the name of the socket of the vassal that its argument names

	Hooks       Hooks
	HookTimeout time.Duration `option:"emperor-hook-timeout"` // then a hook is killed; 60 s when not set

	Collect     []string `option:"emperor-collect-attribute"` // names of attributes that the status shows
	WrapperAttr string   `option:"emperor-wrapper-attr"`      // the attribute that names a vassal's program
	ChdirAttr   string   `option:"emperor-chdir-attr"`        // the attribute that names the folder that a vassal starts in

	Wrapper         string   `option:"emperor-wrapper"`          // empty: vassald beside emperord
	WrapperOverride []string `option:"emperor-wrapper-override"` // programs that are tried before Wrapper, in this order
	WrapperFallback []string `option:"emperor-wrapper-fallback"` // programs that are tried after it
	ExtraExtensions []string `option:"emperor-extra-extension"`
	VassalSet       []string // NAME=VALUE
	InheritBefore   []string `option:"vassals-inherit-before"`
	IncludeBefore   []string `option:"vassals-include-before"`
	Inherit         []string `option:"vassals-inherit"`
	Include         []string `option:"vassals-include"`

	Daemonize string `option:"daemonize,daemonize2"` // the file of the log; empty: stay in the foreground

	TriggerSocket string `option:"emperor-trigger-socket"` // a datagram there makes the emperor look at once; empty: none

	Procname       string `option:"emperor-procname"`
	Pidfile        string `option:"pidfile"`
	EmperorPidfile string `option:"emperor-pidfile"`
	Pidfile2       string `option:"pidfile2"`
	SafePidfile    string `option:"safe-pidfile"`
	SafePidfile2   string `option:"safe-pidfile2"`

	Log     LogFile
	LogJSON bool // log-format = json: each line is a JSON object

	Broodlord int `option:"emperor-broodlord"` // reinforcements of all vassals together; 0: none

	CommandSocket string `option:"emperor-command-socket"` // a path or @name

	StatsServer string       `option:"emperor-stats"` // the address that serves the emperor's statistics
	Stats       string       `option:"stats"`         // another such address: an emperor has no workers to serve the figures of
	StatsHTTP   bool         `option:"stats-http"`    // both with an HTTP header
	SocketMode  *fs.FileMode `option:"chmod-socket"`  // of the sockets of the emperor's own but the control socket; nil: its user alone
}

// A SocketPolicy says which names of a shared folder a vassal may take.
type SocketPolicy string

const (
	FirstCome SocketPolicy = ""         // the first vassal has the name
	OwnName   SocketPolicy = "own-name" // and it carries the vassal's name or its user's
)

// Defaults of an emperor: times as observed on uWSGI 2.0.21, the others our own.
const (
	defaultControlSocket = "/run/emperord/control.sock"
	defaultFreq          = 3 * time.Second
	defaultThrottle      = time.Second
	defaultMaxThrottle   = 180 * time.Second
	defaultMercy         = 30 * time.Second
	defaultStartTimeout  = 120 * time.Second
	defaultHeartbeat     = 30 * time.Second
	defaultMaxPerUser    = 1000
	defaultHookTimeout   = time.Minute
)

// ParseEmperor reads the emperor's settings. The notices say, with file and line, what is known but not honoured, what
// has no effect in an emperor, and what is not known at all. The error is an *Error, or Errors where there are several.
func ParseEmperor(settings Settings) (*Emperor, []string, error) {
	p := &emperorParser{parser: parser{settings: settings, party: ByEmperor | ByReader}}
	p.e = &Emperor{
		TyrantInitgroups: true,
		Freq:             defaultFreq, Throttle: defaultThrottle, MaxThrottle: defaultMaxThrottle,
		StartTimeout: defaultStartTimeout, Heartbeat: defaultHeartbeat,
		MaxPerUser:    defaultMaxPerUser,
		HookTimeout:   defaultHookTimeout,
		ControlSocket: defaultControlSocket,
	}
	p.fields, p.rest = fieldsOf(p.e, &p.e.Log), p.standing
	for _, s := range settings {
		opt, known := Lookup(s.Key)
		if name, ok := strings.CutPrefix(s.Key, "vassal-"); !known && ok && s.Place.File == environment {
			p.say(s, "is for the vassals: each gets it as UWSGI_%s (uWSGI 2.0.21 loses it)", strings.ReplaceAll(strings.ToUpper(name), "-", "_"))
			continue
		}
		if !known {
			p.unknown(s)
			continue
		}
		p.fault(p.apply(opt, s))
	}
	if len(p.e.Sources) == 0 && !p.elsewhere {
		p.fault(&Error{Place: p.file(), Cause: "no vassals are named", Remedy: "add --emperor /etc/uwsgi-emperor/vassals, or a line emperor = … to the file"})
	}
	if err := p.err(); err != nil {
		return nil, p.notices, err
	}
	e := p.e
	e.Hooks.finish()
	e.MercySaid = e.Mercy != 0
	if !e.MercySaid {
		e.Mercy = defaultMercy
	}
	if e.Throttle > e.MaxThrottle {
		e.MaxThrottle = e.Throttle
	}
	if e.SocketRoots == nil {
		e.SocketRoots = []string{"/run/uwsgi", "/var/run/uwsgi", "/run/emperord"}
	}
	if e.SocketGroups == nil {
		e.SocketGroups = []string{"www-data", "nginx", "http", "apache"}
	}
	return e, p.notices, nil
}

// containerMercy is less than the 10 s after which docker stop and podman stop kill a container.
const containerMercy = 8 * time.Second

// EndMercy returns how long vassals may take to stop when the emperor itself ends; pid is its process id. Where reload-mercy is
// not set, the first process of a container has less time than any other.
func (e *Emperor) EndMercy(pid int) time.Duration {
	if pid == 1 && !e.MercySaid {
		return containerMercy
	}
	return e.Mercy
}

type emperorParser struct {
	parser
	e         *Emperor
	elsewhere bool // vassals are named in a way that is at fault already
}

// apply takes one setting of a known option: in a way of its own, or by its kind.
func (p *emperorParser) apply(opt Option, s Setting) error {
	if read := p.special(opt.First()); read != nil {
		return read(s)
	}
	return p.take(opt, s)
}

// special returns how to read an option that is not just a value in a field; nil for all others.
func (p *emperorParser) special(first string) func(Setting) error {
	switch first {
	case "emperor":
		return p.source
	case "emperor-control-socket":
		return p.controlSocket
	case "emperor-socket-root":
		return p.socketRoot
	case "emperor-socket-groups":
		return p.socketGroups
	case "emperor-socket-policy":
		return p.socketPolicy
	case "vassals-set":
		return p.vassalSet
	case "cap":
		return func(s Setting) (err error) { p.e.Keep, err = capabilitySet(s); return err }
	case "emperor-cap":
		return func(s Setting) (err error) { p.e.VassalsKeep, err = capabilitySet(s); return err }
	case "emperor-use-clone":
		return p.namespaces
	case "emperor-limit":
		return p.resourceLimit
	case "emperor-no-new-privs":
		return p.noNewPrivs
	case "emperor-keep-env":
		return p.keepVariable
	case "emperor-on-demand-directory":
		return func(s Setting) (err error) { p.e.OnDemandDirectory, err = plainPath(s); return err }
	case "emperor-log-format", "log-format":
		return p.logFormat
	case "vassals-start-hook", "vassals-stop-hook", "hook-emperor-start", "hook-as-emperor-before-vassal", "hook-as-vassal-before-drop", "hook-as-vassal", "exec-as-vassal", "hook-as-emperor", "hook-as-on-demand-vassal", "exec-as-emperor":
		return func(s Setting) error { return p.e.Hooks.add(first, s) }
	case "logto", "logto2":
		return func(s Setting) error { p.logto(&p.e.Log, s); return nil }
	case "log-socket":
		return func(s Setting) error { p.logSocket(&p.e.Log, s); return nil }
	case "log-syslog":
		return func(s Setting) error { p.logSyslog(&p.e.Log, s); return nil }
	case "emperor-cgroup":
		return p.cgroup
	case "emperor-memory-max", "emperor-pids-max", "emperor-cpu-weight", "emperor-cpu-max":
		return p.limit(first)
	}
	return nil
}

func (p *emperorParser) controlSocket(s Setting) (err error) {
	p.e.ControlSocket, err = plainPath(s)
	return err
}

func (p *emperorParser) socketRoot(s Setting) error {
	root, err := plainPath(s)
	if root == "/" {
		err = wrong(s, "would let tenants have sockets everywhere", "write a folder such as /run/uwsgi")
	}
	if err != nil {
		return err
	}
	p.e.SocketRoots = append(p.e.SocketRoots, root)
	return nil
}

func (p *emperorParser) socketGroups(s Setting) error {
	for name := range strings.SplitSeq(s.Value, ",") {
		name = strings.TrimSpace(name)
		if name == "" || !isName(name) {
			return wrong(s, "is not a list of groups", "write for example emperor-socket-groups = www-data,nginx")
		}
		p.e.SocketGroups = append(p.e.SocketGroups, name)
	}
	return nil
}

func (p *emperorParser) socketPolicy(s Setting) error {
	switch policy := SocketPolicy(s.Value); policy {
	case FirstCome, OwnName:
		p.e.SocketPolicy = policy
		return nil
	}
	return wrong(s, "is not a policy", "write emperor-socket-policy = own-name, or leave the line out")
}

func (p *emperorParser) noNewPrivs(s Setting) error {
	on := p.bool(s)
	p.e.NoNewPrivs = &on
	return nil
}

func (p *emperorParser) keepVariable(s Setting) error {
	for name := range strings.SplitSeq(s.Value, ",") {
		name = strings.TrimSpace(name)
		if name == "" || strings.ContainsAny(name, "= \t") {
			return wrong(s, "is not a list of variables", "write their names with commas, for example "+s.Key+" = PATH,LANG,TZ")
		}
		p.e.KeepVariable = append(p.e.KeepVariable, name)
	}
	return nil
}

// logFormat reads how lines are written. The option log-format is uWSGI's, for requests, which an emperor has none of.
func (p *emperorParser) logFormat(s Setting) error {
	switch s.Value {
	case "json", "text":
		p.e.LogJSON = s.Value == "json"
	default:
		if s.Key == "emperor-log-format" {
			return wrong(s, "is no format", "write json or text")
		}
		p.say(s, "has no effect in an emperor, which has no requests to log: json and text are the formats of its own lines")
	}
	return nil
}

func (p *emperorParser) vassalSet(s Setting) error {
	if strings.IndexByte(s.Value, '=') < 1 {
		return wrong(s, "has no equals sign", "write "+s.Key+" = NAME=VALUE")
	}
	p.e.VassalSet = append(p.e.VassalSet, s.Value)
	return nil
}

// source reads emperor = …; schemes that are plugins of uWSGI are refused.
func (p *emperorParser) source(s Setting) error {
	p.elsewhere = true
	if s.Value == "" {
		return wrong(s, "names no vassals", "write for example emperor = /etc/uwsgi-emperor/vassals")
	}
	if scheme, _, ok := strings.Cut(s.Value, "://"); ok && scheme != "dir" && scheme != "glob" {
		return notYet(s, "names vassals that are not files: "+scheme+":// is not supported yet", "name a folder or a glob")
	}
	p.e.Sources = append(p.e.Sources, s.Value)
	return nil
}

// plainPath reads an absolute path.
func plainPath(s Setting) (string, error) {
	if !filepath.IsAbs(s.Value) {
		return "", wrong(s, "is not an absolute path", "write one that begins with /")
	}
	return filepath.Clean(s.Value), nil
}

// standing says what becomes of an option that ParseEmperor does not read. What belongs to a vassal and is harmless
// in an emperor's file (people have master, plugin, log-date in theirs) is passed over in silence only where the table gives
// a reason.
func (p *emperorParser) standing(opt Option, s Setting) {
	switch {
	case opt.Standing == Accepted, opt.Obeys&ByReader != 0 && opt.Standing == Honoured:
	case opt.Standing == Never:
		p.say(s, "has no effect: %s", opt.Reason)
	case opt.Obeys&ByEmperor != 0 && opt.Standing == NotYet:
		p.notYet(opt, s)
	case idle(opt.First()):
	default:
		p.say(s, "has no effect in an emperor: it belongs into the vassals' files")
	}
}

// idle reports whether an option does nothing in an emperor that anybody could miss: files written for uWSGI carry it, but
// an emperor has nothing to load, no workers and no sockets of its own, and its log always carries the time.
func idle(first string) bool {
	switch first {
	case "plugins", "need-plugins", "processes", "vacuum", "logdate", "disable-logging", "listen", "buffer-size", "socket-timeout", "lazy-apps", "need-app":
		return true
	}
	return false
}

// Arguments returns the command line, without the program, that starts the vassal of a file, in uWSGI's order. The ending of
// the file tells the option. uWSGI gives other files to its plugins, with --config; vassald has none, and reads them as
// INI. section is empty for the usual one.
func (e *Emperor) Arguments(file, section string) []string {
	name := file
	if section != "" {
		name += ":" + section
	}
	return e.arguments(file, name)
}

// ExecArguments returns the same for an executable file, where emperor-magic-exec lets it print the configuration. uWSGI leaves
// it to the shell to find it by PATH, and to cut its name at blanks.
func (e *Emperor) ExecArguments(file string) []string {
	path := file
	if !strings.Contains(path, "/") {
		path = "./" + path
	}
	if strings.ContainsFunc(path, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("/._-+@", r)
	}) {
		path = "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
	}
	return e.arguments(file, "exec://"+path)
}

// arguments is the command line for a file that it names so.
func (e *Emperor) arguments(file, name string) []string {
	var args []string
	add := func(option string, values ...string) {
		for _, value := range values {
			args = append(args, option, value)
		}
	}
	add("--inherit", e.InheritBefore...)
	add("--include", e.IncludeBefore...)
	add("--set", e.VassalSet...)
	option := "--ini"
	if e.Wrapper != "" {
		option = "--config"
	}
	switch filepath.Ext(file) {
	case ".ini":
		option = "--ini"
	case ".xml":
		option = "--xml"
	case ".yml", ".yaml":
		option = "--yaml"
	case ".js", ".json":
		option = "--json"
	}
	add(option, name)
	add("--inherit", e.Inherit...)
	add("--include", e.Include...)
	return args
}
