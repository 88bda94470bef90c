package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// cleanPath is the PATH of everything that is started: with it, both sides find the Python of the distribution, the one
// that uWSGI's plugin is linked to.
const cleanPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// tools are the programs that are run, by absolute path.
type tools struct {
	emperord, uwsgi, nginx, wrk, python string
}

// environment is the whole environment of what is started.
func environment() []string {
	return []string{"PATH=" + cleanPath, "LANG=C.UTF-8", "HOME=/root"}
}

// find looks for everything that the run needs, and names all that is missing at once.
func find(bin string) (tools, error) {
	var t tools
	for _, name := range []string{"emperord", "vassald"} {
		path, err := filepath.Abs(filepath.Join(bin, name))
		if err != nil {
			return t, err
		}
		if info, err := os.Stat(path); err != nil || info.Mode()&0o111 == 0 {
			return t, fmt.Errorf("%s is no program; run: make build (or name the folder of the binaries with -bin)", path)
		}
		if name == "emperord" {
			t.emperord = path
		}
	}
	var missing []string
	for _, need := range []struct {
		name string
		path *string
	}{{"uwsgi", &t.uwsgi}, {"nginx", &t.nginx}, {"wrk", &t.wrk}, {"python3", &t.python}} {
		if *need.path = lookPath(need.name); *need.path == "" {
			missing = append(missing, need.name)
		}
	}
	if t.python != "" {
		flask := exec.Command(t.python, "-c", "import flask")
		flask.Env = environment()
		if flask.Run() != nil {
			missing = append(missing, "Flask for "+t.python)
		}
	}
	if plugins, _ := filepath.Glob("/usr/lib/uwsgi/plugins/python3*_plugin.so"); t.uwsgi != "" && len(plugins) == 0 {
		missing = append(missing, "uWSGI's python3 plugin")
	}
	if len(missing) > 0 {
		return t, fmt.Errorf("not installed: %s; run: sh cmd/e2e/install.sh", strings.Join(missing, ", "))
	}
	return t, nil
}

// lookPath finds a program in cleanPath; "" if there is none.
func lookPath(name string) string {
	for _, dir := range filepath.SplitList(cleanPath) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

// machine describes what the figures were measured with.
func machine(ctx context.Context, t tools) string {
	version := func(name string, args ...string) string {
		c := exec.CommandContext(ctx, name, args...)
		c.Env = environment()
		out, _ := c.CombinedOutput()
		line, _, _ := bytes.Cut(bytes.TrimSpace(out), []byte("\n"))
		return strings.TrimPrefix(string(line), "nginx version: ")
	}
	var u unix.Utsname
	_ = unix.Uname(&u)
	return fmt.Sprintf("%d CPUs, Linux %s, %s, uWSGI %s, %s, %s", runtime.NumCPU(), unix.ByteSliceToString(u.Release[:]),
		version(t.emperord, "--version"), version(t.uwsgi, "--version"), version(t.nginx, "-v"), version(t.python, "--version"))
}
