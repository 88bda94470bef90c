package configs

import (
	"fmt"
	"strings"
	"time"
)

// Defaults of a vassal, as observed on uWSGI 2.0.21.
const (
	defaultSocketTimeout = 4 * time.Second
	defaultWorkerMercy   = 60 * time.Second
	defaultBuffer        = 4096
	maxProcesses         = 1024
)

// ParseVassal reads one application's settings. The notices say, with file and line, what is known but not honoured,
// and what is not known at all. The error is an *Error.
func ParseVassal(settings Settings) (*Vassal, []string, error) {
	p := &vassalParser{parser: parser{settings: settings}}
	p.v = &Vassal{Processes: 1, BufferSize: defaultBuffer, SockTimeout: defaultSocketTimeout, Mercy: defaultWorkerMercy}
	for _, s := range settings {
		opt, known := Lookup(s.Key)
		if !known {
			p.unknown(s)
			continue
		}
		if err := p.apply(opt, s); err != nil {
			return nil, p.notices, err
		}
	}
	if err := p.finish(); err != nil {
		return nil, p.notices, err
	}
	return p.v, p.notices, nil
}

type vassalParser struct {
	parser
	v        *Vassal
	sockets  []listener
	protocol string
	abstract bool
	template SocketWish // mode, owner and backlog of all sockets
	foreign  []Setting  // sockets that speak something else
	apps     []Setting  // applications of kinds that are not honoured
}

type listener struct {
	Setting
	always bool // uwsgi whatever protocol says
}

// apply takes one setting of a known option.
func (p *vassalParser) apply(opt Option, s Setting) (err error) {
	v := p.v
	if opt.Standing == Honoured && (opt.Kind == String || opt.Kind == List) && hasReference(s.Value) {
		p.say(s, "has the value %q: what it refers to is not defined, and it stays as text", s.Value)
	}
	switch opt.First() {
	case "plugins", "need-plugins":
		return p.plugins(s, opt.First() == "need-plugins")
	case "module":
		v.Module = s.Value
	case "wsgi-file":
		v.File = s.Value
	case "callable":
		v.Callable = s.Value
	case "home":
		v.Home = s.Value
	case "pythonpath":
		v.Path = append(v.Path, s.Value)
	case "chdir":
		v.Chdir = s.Value
	case "chdir2":
		v.Chdir2 = s.Value
	case "processes":
		v.Processes, err = p.number(s, 1, maxProcesses)
	case "lazy-apps":
		v.LazyApps = p.bool(s)
	case "need-app":
		v.NeedApp = p.bool(s)
	case "env":
		return p.env(s)
	case "unenv":
		v.EnvChanges = append(v.EnvChanges, EnvChange{Name: s.Value, Remove: true})
	case "socket":
		p.sockets = append(p.sockets, listener{Setting: s})
	case "uwsgi-socket":
		p.sockets = append(p.sockets, listener{s, true})
	case "protocol":
		p.protocol = s.Value
	case "abstract-socket":
		p.abstract = p.bool(s)
	case "chmod-socket":
		mode, err := socketMode(s)
		if err != nil {
			return err
		}
		p.template.Mode = &mode
	case "chown-socket":
		p.template.Owner, p.template.Group, err = owner(s)
	case "listen":
		if hasReference(s.Value) {
			p.say(s, "holds a reference, which is not replaced in this option, as in uWSGI; the default counts")
			return nil
		}
		p.template.Backlog, err = p.number(s, 1, 65535)
	case "umask":
		mask, err := umask(s)
		if err != nil {
			return err
		}
		v.Umask = &mask
	case "buffer-size":
		v.BufferSize, err = p.number(s, 0, 1<<31-1)
	case "socket-timeout":
		v.SockTimeout, err = p.seconds(s, 1)
	case "disable-logging":
		v.DisableLogging = p.bool(s)
	case "reload-mercy":
		v.ReloadMercy, err = p.seconds(s, 1)
	case "worker-reload-mercy":
		v.WorkerMercy, err = p.seconds(s, 1)
	case "vacuum":
		v.Vacuum = p.bool(s)
	case "uid":
		v.UID, err = account(s)
	case "gid":
		v.GID, err = account(s)
	case "pidfile": // the emperor's own is honoured
		p.say(s, "is not honoured yet in a vassal")
	case "http-socket", "http11-socket", "http", "fastcgi-socket", "fastcgi-nph-socket", "scgi-socket", "scgi-nph-socket", "https", "https2",
		"https-socket", "suwsgi-socket", "raw-socket", "puwsgi-socket", "shared-socket", "undeferred-shared-socket", "zerg":
		p.foreign = append(p.foreign, s)
		p.standing(opt, s)
	case "mount", "paste", "pecan", "web3", "pump", "wsgi-lite", "eval", "ini-paste", "ini-paste-logged", "python", "psgi", "rack", "rails", "php-app", "cgi", "worker-exec", "worker-exec2":
		p.apps = append(p.apps, s)
		p.standing(opt, s)
	default:
		p.standing(opt, s)
	}
	return err
}

// standing says what becomes of an option that ParseVassal does not read.
func (p *parser) standing(opt Option, s Setting) {
	switch opt.Standing {
	case NotYet:
		p.say(s, "is not honoured yet")
	case Never:
		p.say(s, "has no effect: %s", opt.Reason)
	case Honoured:
		if opt.Obeys&(ByVassal|ByLanguage|ByReader) == 0 {
			p.say(s, "has no effect in a vassal: the emperor obeys it")
		}
	}
}

// unknown says that a key is neither an option nor asked for by anything.
func (p *parser) unknown(s Setting) {
	if closes(s.Key) || len(p.notices) > maxNotices {
		return
	}
	if p.used == nil {
		p.used = make(map[string]bool)
		for _, other := range p.settings {
			if other.Used {
				p.used[other.Key] = true
			}
		}
	}
	if p.used[s.Key] {
		return
	}
	if word, rest, found := strings.Cut(s.Key, " "); found {
		if _, known := Lookup(word); known {
			p.say(s, "is unknown: the key goes up to the first equals sign; write %s = %s", word, strings.TrimSpace(rest+"="+s.Value))
			return
		}
	}
	if near := Nearest(s.Key); near != "" {
		p.say(s, "is unknown, and nothing refers to it as %%(%s); did you mean %s?", s.Key, near)
		return
	}
	p.say(s, "is unknown, and nothing refers to it as %%(%s)", s.Key)
}

// plugins judges what the file wants loaded: a Python is told to the vassal, a feature needs nothing, another
// language cannot be hosted.
func (p *vassalParser) plugins(s Setting, needed bool) error {
	for _, written := range strings.Split(s.Value, ",") {
		name := pluginName(written)
		language := otherLanguage(name)
		switch {
		case language != "":
			return wrong(s, fmt.Sprintf("asks for %s, which cannot be hosted yet: only Python 3 can", language), "leave this vassal to uWSGI, in a folder of its own")
		case pythonPlugin(name) || feature(name):
			p.v.Plugins = append(p.v.Plugins, name)
		case needed:
			return wrong(s, fmt.Sprintf("asks for a plugin %q that does not exist", name), "write need-plugin = python3")
		case name != "":
			p.say(s, "asks for a plugin %q that does not exist; it is left out, as in uWSGI", name)
		}
	}
	return nil
}

// env reads env = NAME=value; without "=" the variable is removed. Blanks belong to both sides, as in uWSGI.
func (p *vassalParser) env(s Setting) error {
	name, value, ok := strings.Cut(s.Value, "=")
	if name == "" {
		return wrong(s, "names no variable", "write env = NAME=value")
	}
	if strings.IndexByte(s.Value, 0) >= 0 {
		return wrong(s, "holds a NUL byte", "remove it")
	}
	if strings.TrimSpace(name) != name {
		p.say(s, "sets a variable whose name ends in a blank, %q, as in uWSGI; write env = %s=%s", name, strings.TrimSpace(name), strings.TrimSpace(value))
	}
	p.v.EnvChanges = append(p.v.EnvChanges, EnvChange{Name: name, Value: value, Remove: !ok})
	return nil
}

// finish puts together what several settings say, and asks for what every vassal needs.
func (p *vassalParser) finish() error {
	switch {
	case p.v.WorkerMercy > 0:
		p.v.Mercy = p.v.WorkerMercy
	case p.v.ReloadMercy > 0:
		p.v.Mercy = p.v.ReloadMercy
	}
	if err := p.finishSockets(); err != nil {
		return err
	}
	if p.v.Module == "" && p.v.File == "" {
		if len(p.apps) > 0 {
			s := p.apps[0]
			return &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "is the file's only application, and this kind is not served yet", Remedy: "write module = package.module:callable or wsgi-file = path.py"}
		}
		return &Error{Place: p.file(), Cause: "the file names no application", Remedy: "add a line such as module = package.module:callable or wsgi-file = app.py"}
	}
	return nil
}

func (p *vassalParser) finishSockets() error {
	plain := p.protocol == "" || p.protocol == "uwsgi"
	seen := make(map[string]bool, len(p.sockets))
	for _, l := range p.sockets {
		if !plain && !l.always {
			p.foreign = append(p.foreign, l.Setting)
			p.say(l.Setting, "speaks %s here (option protocol), which is not served yet", p.protocol)
			continue
		}
		address, err := address(l.Setting, p.abstract)
		if err != nil {
			return err
		}
		if seen[address] {
			continue
		}
		seen[address] = true
		wish := p.template
		wish.Protocol, wish.Address, wish.Place = "uwsgi", address, l.Place
		p.v.Sockets = append(p.v.Sockets, wish)
	}
	switch {
	case len(p.v.Sockets) > MaxSockets:
		return &Error{Place: p.file(), Cause: fmt.Sprintf("the file asks for %d sockets", len(p.v.Sockets)), Remedy: fmt.Sprintf("ask for at most %d", MaxSockets)}
	case len(p.v.Sockets) > 0:
		return nil
	case len(p.foreign) > 0:
		s := p.foreign[0]
		return &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "is not a uwsgi socket, and the file has no other", Remedy: "add a line such as socket = /run/uwsgi/shop.sock, and let nginx uwsgi_pass to it"}
	}
	return &Error{Place: p.file(), Cause: "the file names no socket", Remedy: "add a line such as socket = /run/uwsgi/shop.sock"}
}

// hasReference reports whether a value still refers to something.
func hasReference(value string) bool {
	return strings.Contains(value, "%(") || strings.Contains(value, "$(") || strings.Contains(value, "@(")
}

// file is the place of a fault that has no line: the first file read.
func (p *parser) file() Place {
	for _, s := range p.settings {
		if s.Place.Line > 0 {
			return Place{File: s.Place.File}
		}
		if s.Key == "ini" && s.Value != "" {
			file, _ := splitSection(s.Value)
			return Place{File: file}
		}
	}
	return commandLine
}
