package configs

import (
	"path/filepath"
	"strings"
	"time"
)

// An Emperor is the emperor's own settings, typed.
type Emperor struct {
	Sources []string // emperor: a folder, dir://FOLDER, a glob, glob://PATTERN or one file; as written

	Tyrant           bool
	TyrantNoFollow   bool // the owner of a link counts
	NoFollow         bool // the link itself is watched
	TyrantInitgroups bool // supplementary groups; true when not set
	UID, GID         string

	Freq        time.Duration // the slow look at everything; 3 s when not set
	Throttle    time.Duration // growth of the wait before a restart; 1 s when not set
	MaxThrottle time.Duration // its end; 180 s when not set
	Mercy       time.Duration // reload-mercy: until vassals that do not stop are killed; 30 s when not set

	ControlSocket string   // absolute path
	SocketRoots   []string // absolute paths
	SocketGroups  []string
	SocketPolicy  SocketPolicy

	Wrapper         string // empty: vassald beside emperord
	ExtraExtensions []string
	VassalSet       []string // NAME=VALUE
	InheritBefore   []string
	IncludeBefore   []string
	Inherit         []string
	Include         []string

	Pidfile string
	Logto   string
	Stats   string
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
)

// ParseEmperor reads the emperor's settings. The notices say, with file and line, what is known but not honoured, what
// has no effect in an emperor, and what is not known at all. The error is an *Error.
func ParseEmperor(settings Settings) (*Emperor, []string, error) {
	p := &emperorParser{parser: parser{settings: settings}}
	p.e = &Emperor{
		TyrantInitgroups: true,
		Freq:             defaultFreq, Throttle: defaultThrottle, MaxThrottle: defaultMaxThrottle, Mercy: defaultMercy,
		ControlSocket: defaultControlSocket,
	}
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
		if err := p.apply(opt, s); err != nil {
			return nil, p.notices, err
		}
	}
	e := p.e
	if len(e.Sources) == 0 {
		return nil, p.notices, &Error{Place: p.file(), Cause: "no vassals are named", Remedy: "add --emperor /etc/uwsgi-emperor/vassals, or a line emperor = … to the file"}
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

type emperorParser struct {
	parser
	e *Emperor
}

func (p *emperorParser) apply(opt Option, s Setting) (err error) {
	e := p.e
	switch opt.First() {
	case "emperor":
		return p.source(s)
	case "emperor-tyrant":
		e.Tyrant = p.bool(s)
	case "emperor-tyrant-nofollow":
		e.TyrantNoFollow = p.bool(s)
		p.standing(opt, s)
	case "emperor-nofollow":
		e.NoFollow = p.bool(s)
	case "emperor-tyrant-initgroups":
		e.TyrantInitgroups = p.bool(s)
	case "uid":
		e.UID, err = account(s)
	case "gid":
		e.GID, err = account(s)
	case "emperor-freq":
		e.Freq, err = p.seconds(s, 1)
	case "emperor-throttle":
		var n int
		n, err = p.number(s, 1, longest)
		e.Throttle = time.Duration(n) * time.Millisecond
	case "emperor-max-throttle":
		e.MaxThrottle, err = p.seconds(s, 1)
	case "reload-mercy":
		e.Mercy, err = p.seconds(s, 1)
	case "emperor-control-socket":
		e.ControlSocket, err = plainPath(s)
	case "emperor-socket-root":
		var root string
		root, err = plainPath(s)
		if root == "/" {
			return wrong(s, "would let tenants have sockets everywhere", "write a folder such as /run/uwsgi")
		}
		e.SocketRoots = append(e.SocketRoots, root)
	case "emperor-socket-groups":
		for name := range strings.SplitSeq(s.Value, ",") {
			name = strings.TrimSpace(name)
			if name == "" || !isName(name) {
				return wrong(s, "is not a list of groups", "write for example emperor-socket-groups = www-data,nginx")
			}
			e.SocketGroups = append(e.SocketGroups, name)
		}
	case "emperor-socket-policy":
		switch policy := SocketPolicy(s.Value); policy {
		case FirstCome, OwnName:
			e.SocketPolicy = policy
		default:
			return wrong(s, "is not a policy", "write emperor-socket-policy = own-name, or leave the line out")
		}
	case "emperor-wrapper":
		e.Wrapper = s.Value
	case "emperor-extra-extension":
		e.ExtraExtensions = append(e.ExtraExtensions, s.Value)
	case "vassals-set":
		if strings.IndexByte(s.Value, '=') < 1 {
			return wrong(s, "has no equals sign", "write "+s.Key+" = NAME=VALUE")
		}
		e.VassalSet = append(e.VassalSet, s.Value)
	case "vassals-inherit":
		e.Inherit = append(e.Inherit, s.Value)
	case "vassals-inherit-before":
		e.InheritBefore = append(e.InheritBefore, s.Value)
	case "vassals-include":
		e.Include = append(e.Include, s.Value)
	case "vassals-include-before":
		e.IncludeBefore = append(e.IncludeBefore, s.Value)
	case "pidfile", "emperor-pidfile":
		e.Pidfile = s.Value
	case "logto":
		e.Logto = s.Value
		p.standing(opt, s)
	case "stats":
		e.Stats = s.Value
		p.standing(opt, s)
	default:
		p.standing(opt, s)
	}
	return err
}

// source reads emperor = …; schemes that are plugins of uWSGI are refused.
func (p *emperorParser) source(s Setting) error {
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
		p.say(s, "is not honoured yet")
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
