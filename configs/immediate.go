package configs

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/user"
	"strconv"
	"strings"
)

// act does what an immediate option does at the moment it is read.
func (r *reader) act(opt Option, s Setting, from *link) error {
	if err := r.acted(opt, s); err != nil && !r.tolerated(opt, err) {
		return err
	}
	switch name := opt.First(); name {
	case "ini":
		return r.byOption(formatINI, s, from)
	case "yaml":
		return r.byOption(formatYAML, s, from)
	case "json":
		return r.byOption(formatJSON, s, from)
	case "xmlconfig":
		return r.byOption(formatXML, s, from)
	case "include":
		return r.byEnding(s, from)
	case "config":
		return &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "names a file for a plugin that reads configurations, and there is none", Remedy: "give the file one of the endings .ini .yaml .yml .json .js .xml, and write ini = " + s.Value + " or the like"}
	case "set":
		key, value, ok := strings.Cut(s.Value, "=")
		if !ok {
			return &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "has no equals sign", Remedy: "write " + s.Key + " = name=value"}
		}
		return r.add(Setting{Key: key, Value: value, Used: true, Place: s.Place}, from, false)
	case "set-placeholder":
		key, value, ok := strings.Cut(s.Value, "=")
		if !ok {
			return &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "has no equals sign", Remedy: "write " + s.Key + " = name=value"}
		}
		if _, known := r.lookup(key); known {
			return &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "names an option, " + key, Remedy: "write set = " + s.Value}
		}
		return r.add(Setting{Key: key, Value: value, Used: true, Place: s.Place}, from, true)
	case "strict":
		r.strict = s.Bare || truth(s.Value)
	case "plugins", "need-plugins":
		for _, p := range strings.Split(s.Value, ",") {
			if p == "" {
				continue
			}
			if !r.loadable(pluginName(p)) && name == "need-plugins" {
				return &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: fmt.Sprintf("asks for a plugin %q that does not exist", p), Remedy: "remove it; Python is need-plugin = python3"}
			}
			if name == "need-plugins" && r.Plugged && r.has(pluginName(p)) {
				return &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: fmt.Sprintf("asks for the plugin %q, which a line above has loaded already; uWSGI ends at that", p), Remedy: "remove it here, or write plugin instead of need-plugin"}
			}
			r.strange = r.strange || !r.Plugged && pluginName(p) != "" && !r.loadable(pluginName(p))
			if r.loadable(pluginName(p)) {
				r.plugins = append(r.plugins, pluginName(p))
			}
		}
	case "whitelist":
		r.allowed = wordSet(s.Value)
	case "end-whitelist":
		r.allowed = nil
	case "blacklist":
		r.denied = wordSet(s.Value)
	case "end-blacklist":
		r.denied = nil
	case "resolve":
		return r.host(s, from)
	case "exit":
		return ending(s)
	case "declare-option":
		return r.declare(s)
	case "inject-before":
		r.before = append(r.before, s)
	case "inject-after":
		r.after = append(r.after, s)
	case "early-envdir":
		return r.earlyEnvdir(s)
	case "immediate-uid", "immediate-gid":
		return r.identity(s, name == "immediate-uid")
	case "ini-paste", "ini-paste-logged":
		return r.paste(s, from)
	case "autoload":
		r.seeking = true
	}
	if opt.Where == declaredHere {
		return r.expand(s, from)
	}
	if opens(opt.First()) {
		if r.running || r.block != nil { // the second of two pieces of a declared option meets an open block as well
			return &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "opens a block inside a block, which the dialect does not have", Remedy: "close the first block before, or combine the two conditions"}
		}
		r.block = &block{kind: opt.First(), opening: s}
	}
	return nil
}

// ending is the fault of an option at which uWSGI does something else and ends, whatever the rest of the file says.
func ending(s Setting) error {
	return &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "ends the program here", Remedy: "remove the line, or put it into an if block that does not hold"}
}

// identity is immediate-uid and immediate-gid. uWSGI becomes that user while it reads. Nobody here does: a program that
// already is that user reads on, and --show-config (Plugged) only looks.
func (r *reader) identity(s Setting, isUser bool) error {
	var number string
	own := os.Geteuid()
	if isUser {
		if u, err := user.Lookup(s.Value); err == nil {
			number = u.Uid
		}
	} else {
		own = os.Getegid()
		if g, err := user.LookupGroup(s.Value); err == nil {
			number = g.Gid
		}
	}
	if isDigits(s.Value) {
		number = s.Value
	}
	id, err := strconv.ParseUint(number, 10, 31)
	switch {
	case err != nil || id == 0:
		return &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "is not the name or number of an ordinary account", Remedy: "write for example " + s.Key + " = www-data"}
	case int(id) == own || r.Plugged:
		return nil
	}
	return &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "cannot be taken while the file is read", Remedy: "remove the line; emperord --emperor-tyrant reads and runs each vassal as its file's owner, without it uid = and gid = say who runs it"}
}

// paste is ini-paste: the file is uWSGI configuration, and names the application for PasteDeploy as well.
func (r *reader) paste(s Setting, from *link) error {
	file, _ := splitSection(s.Value)
	n := names{reader: r, file: file}
	value := "config:" + n.path()
	r.direct = append(r.direct, direct{Setting{Key: "paste", Value: value, Used: true, Unlisted: true, Place: s.Place}, r.applying})
	return r.byOption(formatINI, s, from)
}

func wordSet(text string) map[string]bool {
	set := make(map[string]bool)
	for _, word := range strings.Fields(text) {
		set[word] = true
	}
	return set
}

// host is resolve = NAME=HOST: a placeholder with the first IPv4 address of a host.
func (r *reader) host(s Setting, from *link) error {
	name, host, ok := strings.Cut(s.Value, "=")
	if !ok {
		return &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "has no equals sign", Remedy: "write " + s.Key + " = name=host"}
	}
	ctx, stop := context.WithTimeout(context.Background(), maxLookup)
	defer stop()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
	if err != nil || len(found) == 0 {
		return &Error{outside: true, Place: s.Place, Option: s.Key, Value: s.Value, Cause: fmt.Sprintf("names a host without an IPv4 address (%v)", err), Remedy: "try: getent ahostsv4 " + host}
	}
	return r.add(Setting{Key: name, Value: found[0].Unmap().String(), Used: true, Place: s.Place}, from, true)
}

// truth is uWSGI's reading of a boolean: false only for these words.
func truth(value string) bool {
	switch strings.ToLower(value) {
	case "false", "off", "no":
		return false
	}
	return value != "0"
}
