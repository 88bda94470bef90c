package configs

import (
	"slices"
	"strings"
)

// loads returns the part of uWSGI whose options a plugin brings along (Option.Where), "" for one that brings none.
func loads(plugin string) string {
	switch {
	case pythonPlugin(plugin):
		return "python"
	case strings.HasPrefix(plugin, "rack"):
		return "rack"
	case strings.HasPrefix(plugin, "gevent"):
		return "gevent"
	case strings.HasPrefix(plugin, "asyncio"):
		return "asyncio"
	}
	return plugin
}

// plugged reports whether an option is known as yet: in a uWSGI whose languages are plugins those of a plugin are not
// before it is loaded. What is emperord's own always is.
func (r *reader) plugged(opt Option) bool {
	if !r.Plugged || opt.Where == "core" || opt.Where == "emperord" {
		return true
	}
	return slices.ContainsFunc(r.plugins, func(p string) bool { return loads(p) == opt.Where })
}

// loadable reports whether plugin = NAME finds a plugin. Debian's uWSGI, which Plugged stands for, has Python under the
// names python3 and python311 only.
func (r *reader) loadable(plugin string) bool {
	if r.Plugged && (pythonPlugin(plugin) || strings.HasPrefix(plugin, "python2")) {
		return plugin == "python3" || plugin == "python311"
	}
	return ownName(plugin) != ""
}

// has reports whether a plugin is loaded; python3 and python311 are one.
func (r *reader) has(plugin string) bool {
	return slices.ContainsFunc(r.plugins, func(p string) bool { return p == plugin || pythonPlugin(p) && pythonPlugin(plugin) })
}

// autoload loads the plugin that an unknown key of a file belongs to, where the option autoload is given.
func (r *reader) autoload(key string) (Option, bool) {
	opt, ok := Lookup(key)
	if !ok || opt.Where == later {
		return Option{}, false
	}
	r.plugins = append(r.plugins, brings(opt.Where))
	return opt, r.plugged(opt)
}

// later is where options belong to that no plugin of uWSGI 2.0 brings.
const later = "2.1"

// brings is the name of the plugin that brings a part of uWSGI along.
func brings(where string) string {
	if where == "python" {
		return "python3"
	}
	return where
}
