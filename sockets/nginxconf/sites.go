package nginxconf

import (
	"maps"
	"strconv"
	"strings"
)

// Facts are the parts of a configuration that decide about application sockets.
type Facts struct {
	User, Group string // of the directive user, which stands outside of all blocks; empty where there is none
	UserFile    string
	UserLine    int

	Targets   []Target
	ErrorLogs []string // files that errors are written to; relative ones are relative to nginx's prefix
}

// scope is what holds inside of a block, unless it says otherwise itself.
type scope struct {
	server, location string
	params           map[string]string
	buffer           Buffer
	block            *Directive
}

// Facts looks through a configuration.
func (c *Config) Facts() *Facts {
	f := &Facts{}
	for i, d := range c.Directives {
		switch {
		case d.Name == "user" && len(d.Args) > 0:
			f.User, f.UserFile, f.UserLine = d.Args[0], d.File, d.Line
			if len(d.Args) > 1 {
				f.Group = d.Args[1]
			}
		case d.Name == "error_log":
			f.errorLog(d)
		case d.Name == "http":
			upstreams := make(map[string]*Directive)
			for j, u := range d.Block {
				if u.Name == "upstream" && len(u.Args) == 1 {
					upstreams[strings.ToLower(u.Args[0])] = &d.Block[j]
				}
			}
			f.walk(&c.Directives[i], scope{}, upstreams)
		}
	}
	return f
}

func (f *Facts) errorLog(d Directive) {
	if len(d.Args) == 0 {
		return
	}
	switch to := d.Args[0]; {
	case to == "stderr", strings.HasPrefix(to, "syslog:"), strings.HasPrefix(to, "memory:"):
	default:
		f.ErrorLogs = append(f.ErrorLogs, to)
	}
}

// walk looks through one block: first what holds in all of it, then what it passes on and its inner blocks.
func (f *Facts) walk(b *Directive, s scope, upstreams map[string]*Directive) {
	s.block = b
	s.enter(b)
	for i := range b.Block {
		d := &b.Block[i]
		protocol, passes := passes[d.Name]
		switch {
		case d.Name == "error_log":
			f.errorLog(*d)
		case passes && len(d.Args) > 0:
			t := Target{Directive: d.Name, Protocol: protocol, Text: d.Args[0], File: d.File, Line: d.Line, Server: s.server, Location: s.location,
				Params: s.params, Buffer: s.buffer, Block: s.block}
			if len(d.Args) > 1 {
				t.Wrong = `invalid number of arguments in "` + d.Name + `" directive`
			} else {
				t.resolve(upstreams)
			}
			f.Targets = append(f.Targets, t)
		case d.Opens && d.Name != "upstream" && !apart[d.Name]:
			f.walk(d, s, upstreams)
		}
	}
}

// enter takes what a block says itself. Parameters are inherited all or none: one uwsgi_param of its own, and the outer
// ones do not count.
func (s *scope) enter(b *Directive) {
	var own map[string]string
	switch b.Name {
	case "server":
		s.server, s.location = "", ""
	case "location":
		s.location = strings.Join(b.Args, " ")
	}
	listen := ""
	for _, d := range b.Block {
		if len(d.Args) == 0 {
			continue
		}
		switch d.Name {
		case "server_name":
			if b.Name == "server" && s.server == "" {
				s.server = d.Args[0]
			}
		case "listen":
			if listen == "" {
				listen = d.Args[0]
			}
		case "uwsgi_param":
			if own == nil {
				own = make(map[string]string)
			}
			if _, there := own[d.Args[0]]; !there && len(d.Args) > 1 {
				own[d.Args[0]] = d.Args[1]
			}
		case "uwsgi_buffer_size":
			s.buffer.Size, s.buffer.File, s.buffer.Line = size(d.Args[0]), d.File, d.Line
		case "uwsgi_buffers", "uwsgi_busy_buffers_size":
			s.buffer.Many = true
		}
	}
	if b.Name == "server" && (s.server == "" || s.server == "_") && listen != "" {
		s.server = listen
	}
	if own != nil {
		s.params = maps.Clone(own)
	}
}

// size reads "4096", "4k" or "1m". What is no size is 0.
func size(text string) int {
	digits, unit := text, 1
	switch {
	case strings.HasSuffix(text, "k"), strings.HasSuffix(text, "K"):
		digits, unit = text[:len(text)-1], 1<<10
	case strings.HasSuffix(text, "m"), strings.HasSuffix(text, "M"):
		digits, unit = text[:len(text)-1], 1<<20
	}
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || int(n) > 1<<30/unit {
		return 0
	}
	return int(n) * unit
}
