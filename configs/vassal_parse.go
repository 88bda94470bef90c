package configs

import (
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// Defaults of a vassal, as observed on uWSGI 2.0.21.
const (
	defaultSocketTimeout = 4 * time.Second
	defaultWorkerMercy   = 60 * time.Second
	defaultBuffer        = 4096
)

// ParseVassal reads one application's settings. The notices say, with file and line, what is known but not honoured,
// and what is not known at all. The error is an *Error, or Errors where there are several.
func ParseVassal(settings Settings) (*Vassal, []string, error) {
	p := &vassalParser{parser: parser{settings: settings, party: ByVassal | ByLanguage | ByReader}}
	p.v = &Vassal{Processes: 1, BufferSize: defaultBuffer, SockTimeout: defaultSocketTimeout, Mercy: defaultWorkerMercy}
	p.fields, p.rest = fieldsOf(p.v, &p.all, &p.v.Log), p.standing
	for _, s := range settings {
		opt, known := Lookup(s.Key)
		if !known {
			p.unknown(s)
			continue
		}
		p.fault(p.apply(opt, s))
	}
	p.finish()
	if err := p.err(); err != nil {
		return nil, p.notices, err
	}
	return p.v, p.notices, nil
}

type vassalParser struct {
	parser
	v        *Vassal
	all      allSockets
	sockets  []listener
	foreign  []Setting // sockets that speak something else
	apps     []Setting // applications of kinds that are not honoured
	language bool      // a plugin for another language is at fault already
}

// allSockets is what a file says of all its sockets.
type allSockets struct {
	Protocol string       `option:"protocol"`
	Abstract bool         `option:"abstract-socket"`
	Mode     *fs.FileMode `option:"chmod-socket"`
	Backlog  int          `option:"listen"`

	owner, group string
}

type listener struct {
	Setting
	always bool // uwsgi whatever protocol says
}

// apply takes one setting of a known option: in a way of its own, or by its kind.
func (p *vassalParser) apply(opt Option, s Setting) error {
	if read := p.special(opt.First()); read != nil {
		return read(opt, s)
	}
	return p.take(opt, s)
}

// special returns how to read an option that is not just a value in a field; nil for all others.
func (p *vassalParser) special(first string) func(Option, Setting) error {
	switch first {
	case "plugins", "need-plugins":
		return p.plugins
	case "env", "unenv":
		return p.env
	case "socket", "uwsgi-socket":
		return p.socket
	case "chown-socket":
		return p.chown
	case "logto", "logto2", "daemonize", "daemonize2":
		return func(_ Option, s Setting) error { p.logto(&p.v.Log, s); return nil }
	case "log-socket":
		return func(_ Option, s Setting) error { p.logSocket(&p.v.Log, s); return nil }
	case "log-syslog":
		return func(_ Option, s Setting) error { p.logSyslog(&p.v.Log, s); return nil }
	case "zerg":
		return func(Option, Setting) error { p.v.Reinforcement = true; return nil }
	case "cap", "stats", "stats-http":
		return p.emperors
	case "emperor-on-demand":
		return p.onDemand
	case "http-socket", "http11-socket", "http", "fastcgi-socket", "fastcgi-nph-socket", "scgi-socket", "scgi-nph-socket", "https", "https2",
		"https-socket", "suwsgi-socket", "raw-socket", "puwsgi-socket", "shared-socket", "undeferred-shared-socket":
		return p.foreigner
	case "mount", "paste", "pecan", "web3", "pump", "wsgi-lite", "eval", "ini-paste", "ini-paste-logged", "python", "psgi", "rack", "rails", "php-app", "cgi", "worker-exec", "worker-exec2":
		return p.application
	}
	return nil
}

// socket keeps a uwsgi socket until protocol, mode and owner of all sockets are known.
func (p *vassalParser) socket(opt Option, s Setting) error {
	p.sockets = append(p.sockets, listener{s, opt.First() == "uwsgi-socket"})
	return nil
}

func (p *vassalParser) chown(_ Option, s Setting) (err error) {
	p.all.owner, p.all.group, err = owner(s)
	return err
}

// emperors is an option that is honoured in an emperor only.
func (p *vassalParser) emperors(_ Option, s Setting) error {
	p.say(s, "is not honoured yet in a vassal")
	return nil
}

// onDemand is the file's own word on when it is started.
func (p *vassalParser) onDemand(_ Option, s Setting) error {
	on := p.bool(s)
	p.v.OnDemand = &on
	return nil
}

// foreigner keeps a socket that speaks something else.
func (p *vassalParser) foreigner(opt Option, s Setting) error {
	p.foreign = append(p.foreign, s)
	return p.take(opt, s)
}

// application keeps an application of a kind that is not served.
func (p *vassalParser) application(opt Option, s Setting) error {
	p.apps = append(p.apps, s)
	return p.take(opt, s)
}

// standing says what becomes of an option that ParseVassal does not read.
func (p *parser) standing(opt Option, s Setting) {
	switch opt.Standing {
	case NotYet:
		p.notYet(opt, s)
	case Never:
		p.say(s, "has no effect: %s", opt.Reason)
	case Honoured:
		if opt.Obeys&(ByVassal|ByLanguage|ByReader) == 0 {
			p.say(s, "has no effect in a vassal: the emperor obeys it")
		}
	}
}

// notYet says that an option does nothing so far, and what to do meanwhile where the table knows.
func (p *parser) notYet(opt Option, s Setting) {
	if opt.Reason != "" {
		p.say(s, "is not honoured yet: %s", opt.Reason)
		return
	}
	p.say(s, "is not honoured yet")
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
func (p *vassalParser) plugins(opt Option, s Setting) error {
	needed := opt.First() == "need-plugins"
	for _, written := range strings.Split(s.Value, ",") {
		name := pluginName(written)
		language := otherLanguage(name)
		switch {
		case language != "":
			p.language = true
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

// env reads env = NAME=value and unenv = NAME; env without "=" removes the variable too. Blanks belong to both sides, as
// in uWSGI.
func (p *vassalParser) env(opt Option, s Setting) error {
	if opt.First() == "unenv" {
		p.v.EnvChanges = append(p.v.EnvChanges, EnvChange{Name: s.Value, Remove: true})
		return nil
	}
	if err := variable(s); err != nil {
		return err
	}
	name, value, ok := strings.Cut(s.Value, "=")
	if strings.TrimSpace(name) != name {
		p.say(s, "sets a variable whose name ends in a blank, %q, as in uWSGI; write env = %s=%s", name, strings.TrimSpace(name), strings.TrimSpace(value))
	}
	p.v.EnvChanges = append(p.v.EnvChanges, EnvChange{Name: name, Value: value, Remove: !ok})
	return nil
}

// finish puts together what several settings say, and asks for what every vassal needs.
func (p *vassalParser) finish() {
	switch {
	case p.v.WorkerMercy > 0:
		p.v.Mercy = p.v.WorkerMercy
	case p.v.ReloadMercy > 0:
		p.v.Mercy = p.v.ReloadMercy
	}
	p.finishNproc()
	p.finishSockets()
	switch {
	case p.v.Module != "" || p.v.File != "" || p.language:
	case len(p.faults) > 0 && p.faults[len(p.faults)-1].Option == "" && len(p.apps) == 0: // a file that asks for nothing: said once
	case len(p.apps) > 0:
		s := p.apps[0]
		p.fault(&Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "is the file's only application, and this kind is not served yet", Remedy: "write module = package.module:callable or wsgi-file = path.py"})
	default:
		p.fault(&Error{Place: p.file(), Cause: "the file names no application", Remedy: "add a line such as module = package.module:callable or wsgi-file = app.py"})
	}
}

// finishNproc leaves out the workers that limit-nproc has no room for beside the process that forks them, as uWSGI does.
func (p *vassalParser) finishNproc() {
	most := p.v.LimitNproc - 1
	if most < 0 || p.v.Processes <= most {
		return
	}
	i := len(p.settings) - 1
	for ; i > 0 && p.settings[i].Key != "limit-nproc"; i-- {
	}
	if most == 0 {
		p.fault(wrong(p.settings[i], "leaves no process for a worker", "write at least "+p.settings[i].Key+" = 2"))
		return
	}
	p.say(p.settings[i], "lowers processes from %d to %d: one process is the host that forks them, as in uWSGI", p.v.Processes, most)
	p.v.Processes = most
}

func (p *vassalParser) finishSockets() {
	plain := p.all.Protocol == "" || p.all.Protocol == "uwsgi"
	broken := false
	seen := make(map[string]bool, len(p.sockets))
	for _, l := range p.sockets {
		if !plain && !l.always {
			p.foreign = append(p.foreign, l.Setting)
			p.say(l.Setting, "speaks %s here (option protocol), which is not served yet", p.all.Protocol)
			continue
		}
		address, err := address(l.Setting, p.all.Abstract)
		if err != nil {
			p.fault(err)
			broken = true
			continue
		}
		if seen[address] {
			continue
		}
		seen[address] = true
		p.v.Sockets = append(p.v.Sockets, SocketWish{Protocol: "uwsgi", Address: address, Mode: p.all.Mode, Owner: p.all.owner, Group: p.all.group,
			Backlog: p.all.Backlog, Place: l.Place})
	}
	switch {
	case len(p.v.Sockets) > MaxSockets:
		p.fault(&Error{Place: p.file(), Cause: fmt.Sprintf("the file asks for %d sockets", len(p.v.Sockets)), Remedy: fmt.Sprintf("ask for at most %d", MaxSockets)})
	case broken || len(p.v.Sockets) > 0 || p.v.Reinforcement && len(p.foreign) == 0:
	case len(p.foreign) > 0:
		s := p.foreign[0]
		p.fault(&Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "is not a uwsgi socket, and the file has no other", Remedy: "add a line such as socket = /run/uwsgi/shop.sock, and let nginx uwsgi_pass to it"})
	default:
		p.fault(&Error{Place: p.file(), Cause: "the file names no socket", Remedy: "add a line such as socket = /run/uwsgi/shop.sock"})
	}
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
