package emperor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/protocol/api"
)

// collect takes what a vassal says of itself. The words are the tenant's; with them it chooses what runs and where, with its own
// rights, and is shown what it has said.
func (e *Emperor) collect(a *attempt, said []configs.Attribute) error {
	for _, s := range said {
		if slices.Contains(e.c.Collect, s.Name) {
			a.attributes = append(a.attributes, api.Attribute{Name: s.Name, Value: s.Value})
		}
		for _, w := range []struct {
			name string
			to   *string
			what string
		}{{e.c.WrapperAttr, &a.wrapper, "a program"}, {e.c.ChdirAttr, &a.chdir, "a folder"}} {
			if w.name == "" || s.Name != w.name || s.Value == "" {
				continue
			}
			if !filepath.IsAbs(s.Value) {
				return refuse("cannot take %s = %s of the section [emperor] for %s: it is no absolute path; write one that begins with /", s.Name, s.Value, w.what)
			}
			*w.to = filepath.Clean(s.Value)
		}
	}
	return nil
}

// startProgram starts the vassal's program: the first that can be run of those of emperor-wrapper-override, the wrapper (or what the
// vassal names, or vassald), and those of emperor-wrapper-fallback, as in uWSGI.
func (e *Emperor) startProgram(v *vassal, a *attempt, env []string, files []*os.File) error {
	own := e.vassald
	switch {
	case a.wrapper != "":
		own = a.wrapper
	case e.c.Wrapper != "":
		own = e.c.Wrapper
	}
	var first error
	for _, program := range slices.Concat(e.c.WrapperOverride, []string{own}, e.c.WrapperFallback) {
		err := e.tryProgram(v, a, program, env, files)
		if err == nil {
			return nil
		}
		if first == nil || program == own {
			first = err
		}
		if !slices.ContainsFunc([]error{syscall.ENOENT, syscall.ENOTDIR, syscall.EACCES, syscall.ENOEXEC, syscall.ELOOP}, func(no error) bool { return errors.Is(err, no) }) {
			return err
		}
	}
	return first
}

func (e *Emperor) tryProgram(v *vassal, a *attempt, program string, env []string, files []*os.File) (err error) {
	args := append([]string{"vassald"}, e.arguments(v, a)...)
	death := syscall.Signal(0) // vassald sees by its pipe that we are gone, and finishes its requests
	path, err := e.find(program)
	if err != nil {
		return err
	}
	switch a.foreign = path != e.vassald && path != e.ours; {
	case a.foreign: // INT has the master of a real uwsgi end its workers; KILL, which uWSGI's emperor uses, would leave them
		death, args[0] = syscall.SIGINT, program
		env = append(slices.Clip(env), "UWSGI_RELOADS=1") // only then does a real uwsgi look for inherited listeners
	case e.nests(a):
		var more []string
		path, more = e.nestedProgram()
		args[0], env = "emperord", append(slices.Clip(env), more...)
	}
	a.pid, err = e.start(v, a, path, args, env, death, a.output.write, a.output.write, files...)
	if mercy := e.leaderMercy(a); err == nil && mercy > 0 {
		e.guardLeader(a.pid, a, mercy)
	}
	return err
}

// wrapped tells whether another program than vassald may run for an attempt.
func (e *Emperor) wrapped(a *attempt) bool {
	return a.wrapper != "" || e.c.Wrapper != "" || len(e.c.WrapperOverride) > 0
}

// find looks for a program without a slash along PATH, as uWSGI does. The emperor's own options name it, so the way is the operator's.
func (e *Emperor) find(program string) (string, error) {
	if strings.Contains(program, "/") {
		return program, nil
	}
	path := "/usr/local/bin:/usr/bin:/bin"
	for _, kv := range e.o.Env {
		if value, found := strings.CutPrefix(kv, "PATH="); found {
			path = value
		}
	}
	for _, dir := range filepath.SplitList(path) {
		if info, err := os.Stat(filepath.Join(dir, program)); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 && filepath.IsAbs(dir) {
			return filepath.Join(dir, program), nil
		}
	}
	return "", fmt.Errorf("cannot start %s: %w: it is not in PATH=%s; write its whole path", program, syscall.ENOENT, path)
}

// isForeign tells whether a generation runs another program than vassald, which stops in another way. A wrapper may have become
// vassald by exec: what counts is what runs now. The name of the program is read, the file is not touched: it may be a tenant's.
func (e *Emperor) isForeign(a *attempt) bool {
	if !a.foreign || a.pid == 0 {
		return a.foreign
	}
	runs, err := os.Readlink("/proc/" + strconv.Itoa(a.pid) + "/exe")
	return err != nil || strings.TrimSuffix(runs, " (deleted)") != e.ours
}
