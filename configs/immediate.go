package configs

import (
	"context"
	"fmt"
	"net"
	"strings"
)

// act does what an immediate option does at the moment it is read.
func (r *reader) act(opt Option, s Setting, from *link) error {
	switch name := opt.First(); name {
	case "ini":
		return r.ini(s, from)
	case "include":
		return r.byEnding(s, from)
	case "config":
		return &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "names a file for a plugin that reads configurations, and there is none", Remedy: "write ini = " + s.Value}
	case "yaml", "json", "xmlconfig":
		return notYet(s, "names a file that is not INI: "+name+" is not supported yet", "write it as INI")
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
		if _, known := Lookup(key); known {
			return &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "names an option, " + key, Remedy: "write set = " + s.Value}
		}
		return r.add(Setting{Key: key, Value: value, Used: true, Place: s.Place}, from, true)
	case "strict":
		r.strict = s.Bare || truth(s.Value)
	case "plugins", "need-plugins":
		for _, p := range strings.Split(s.Value, ",") {
			if ownName(pluginName(p)) == "" && name == "need-plugins" {
				return &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: fmt.Sprintf("asks for a plugin %q that does not exist", p), Remedy: "remove it; Python is need-plugin = python3"}
			}
			r.plugins = append(r.plugins, pluginName(p))
		}
	case "whitelist":
		r.allowed = strings.Fields(s.Value)
		if r.allowed == nil {
			r.allowed = []string{}
		}
	case "end-whitelist":
		r.allowed = nil
	case "blacklist":
		r.denied = strings.Fields(s.Value)
	case "end-blacklist":
		r.denied = nil
	case "resolve":
		return r.host(s, from)
	case "exit":
		return &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "ends the program here", Remedy: "remove the line, or put it into an if block that does not hold"}
	case "declare-option", "inject-before", "inject-after", "early-envdir",
		"immediate-uid", "immediate-gid", "ini-paste", "ini-paste-logged", "connect-and-read":
		// What these do to the rest of the reading must not be left out in silence.
		return notYet(s, "is not supported yet", "remove the line")
	}
	if opens(opt.First()) {
		if r.running {
			return &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "opens a block inside a block, which the dialect does not have", Remedy: "close the first block before, or combine the two conditions"}
		}
		r.block = &block{kind: opt.First(), opening: s}
	}
	return nil
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
		return &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: fmt.Sprintf("names a host without an IPv4 address (%v)", err), Remedy: "try: getent ahostsv4 " + host}
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
