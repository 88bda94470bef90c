package vassal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// defaultPath is searched where the environment has no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// systemPath is where the distribution has its interpreters. A plugin named in a vassal file was the distribution's
// package, built for the distribution's Python, and the application's modules are where that one looks.
const systemPath = "/usr/bin"

// interpreter returns the path of the Python that runs the application: the one of the virtual environment; else the
// one that the plugin name asks for ("python3", "python311", "python3.11"), the distribution's if it has it; else the
// first python3 in path. dir is where relative names start.
func interpreter(a *application, path, dir string) (string, error) {
	if a.Home != "" {
		return homePython(a, dir)
	}
	name, named := "python3", false
	for _, p := range a.Plugins {
		if n := pythonName(p); n != "" {
			name, named = n, true
		}
	}
	path = first(path, defaultPath)
	if named {
		path = systemPath + ":" + path
	}
	var passed []string
	for _, folder := range filepath.SplitList(path) {
		candidate := filepath.Join(folder, name)
		if !filepath.IsAbs(candidate) {
			continue
		}
		switch why := unfit(candidate); {
		case why == "":
			return candidate, nil
		case why != "missing":
			passed = append(passed, candidate+" "+why)
		}
	}
	text := fmt.Sprintf("cannot find %s in %s", name, path)
	if len(passed) > 0 {
		text += " (passed over: " + strings.Join(passed, ", ") + ")"
	}
	return "", errors.New(text + "; install it (apt install " + name + "), or name a virtual environment with home = /path")
}

// pythonName returns the command for a plugin's name, "" where the plugin is no Python.
func pythonName(plugin string) string {
	version, ok := strings.CutPrefix(plugin, "python")
	if !ok {
		return ""
	}
	version = strings.ReplaceAll(version, ".", "")
	for _, r := range version {
		if r < '0' || r > '9' {
			return ""
		}
	}
	switch {
	case version == "" || version == "3":
		return "python3"
	case version[0] == '3':
		return "python3." + version[1:]
	}
	return "python" + version[:1]
}

// unfit says why a file cannot be used as an interpreter, "" if it can. Scripts are passed over: version managers put
// scripts of their own before the interpreters, which only work in their owner's shell.
func unfit(file string) string {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "missing"
	case err != nil:
		return "cannot be reached"
	case !info.Mode().IsRegular():
		return "is no file"
	case unix.Access(file, unix.X_OK) != nil:
		return "may not be executed"
	}
	f, err := os.Open(file)
	if err != nil {
		return "" // executable without being readable: fine for a program
	}
	defer f.Close()
	var magic [2]byte
	if _, err := f.Read(magic[:]); err != nil || magic == [2]byte{'#', '!'} {
		return "is a script"
	}
	return ""
}

// homePython returns the interpreter of a virtual environment, or of an installation such as /usr.
func homePython(a *application, dir string) (string, error) {
	home := a.Home
	if !filepath.IsAbs(home) {
		home = filepath.Join(dir, home)
	}
	place := a.place("home", "virtualenv", "venv", "pyhome")
	if place != "" {
		place += ": "
	}
	for _, name := range []string{"python3", "python"} {
		candidate := filepath.Join(home, "bin", name)
		why := unfit(candidate)
		if why == "" {
			return candidate, nil
		}
		if target, err := os.Readlink(candidate); err == nil && why == "missing" {
			return "", fmt.Errorf("%sthe virtual environment %s is broken: its %s leads to %s, which is not there; make a new one beside it: python3 -m venv %s.new, install the requirements there, and name it as home", place, home, "bin/"+name, target, home)
		}
		if why != "missing" {
			return "", fmt.Errorf("%sthe virtual environment %s cannot be used: %s %s", place, home, candidate, why)
		}
	}
	if _, err := os.Stat(home); err != nil {
		return "", fmt.Errorf("%sthe virtual environment %s cannot be used: %w; make it: python3 -m venv %s", place, home, errors.Unwrap(err), home)
	}
	return "", fmt.Errorf("%s%s is no virtual environment: it has no bin/python; make one: python3 -m venv %s", place, home, home)
}
