package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// earlyEnvdir is early-envdir = FOLDER: each file in it is a variable of the environment, from here on and for the
// application. As uWSGI reads it: up to a NUL byte, without white space at the end; an empty file removes the variable;
// folders and names with a dot in front are passed over.
func (r *reader) earlyEnvdir(s Setting) error {
	bad := func(cause string, err error) error {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: fmt.Sprintf("%s: %v", cause, err), Remedy: "name a folder that holds one file for each variable; references such as %(name) are not replaced here"}
	}
	if s.Value == "" {
		return bad("names no folder", fs.ErrNotExist)
	}
	dir := r.path(s.Value)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return bad("names a folder that cannot be read", err)
	}
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasPrefix(name, ".") {
			continue
		}
		fi, err := os.Stat(dir + "/" + name)
		if err != nil {
			return bad("has a file "+name+" that cannot be read", err)
		}
		if !fi.Mode().IsRegular() {
			continue
		}
		if strings.IndexByte(name, '=') >= 0 {
			return bad("has a file "+name, errors.New("a variable's name has no equals sign"))
		}
		if r.files++; r.files > maxFiles {
			return bad("has too many files", fmt.Errorf("a configuration may read %d", maxFiles))
		}
		value, err := envFile(dir + "/" + name)
		if err != nil {
			return bad("has a file "+name+" that cannot be read", err)
		}
		if err := r.setenv(s, name, value); err != nil {
			return err
		}
	}
	return nil
}

// envFile reads one variable; nil is an empty file.
func envFile(name string) (*string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxValue+1))
	if err != nil || len(raw) == 0 {
		return nil, err
	}
	if len(raw) > maxValue {
		return nil, fmt.Errorf("it has more than %d bytes", maxValue)
	}
	raw, _, _ = bytes.Cut(raw, []byte{0})
	value := strings.TrimRight(string(raw), " \t\r\n")
	return &value, nil
}

// setenv changes the environment for early-envdir, and has the application get the same.
func (r *reader) setenv(s Setting, name string, value *string) error {
	change := name // env = NAME without a value removes it
	if value != nil {
		change = name + "=" + *value
	}
	made := Setting{Key: "env", Value: change, Used: true, Unlisted: true, Place: s.Place}
	r.direct = append(r.direct, direct{made, r.applying})
	return r.changeEnv(made)
}

// changeEnv does at once what env = NAME=VALUE, env = NAME or unenv = NAME says, where uWSGI has applied it before it reads on:
// $(NAME), if-env and the programs that are run see it. Nothing outside of the reading and its programs does.
func (r *reader) changeEnv(s Setting) error {
	name, value, set := strings.Cut(s.Value, "=")
	if s.Key == "unenv" {
		name, set = s.Value, false
	}
	if name == "" || strings.IndexByte(s.Value, 0) >= 0 {
		return nil
	}
	if r.work += 16 * len(r.Env); r.work > maxWork { // the whole environment is copied
		return &Error{Place: s.Place, Option: s.Key, Cause: "is one variable too many", Remedy: "set fewer"}
	}
	kept := make([]string, 0, len(r.Env)+1)
	for _, kv := range r.Env {
		if !strings.HasPrefix(kv, name+"=") {
			kept = append(kept, kv)
		}
	}
	if set {
		kept = append(kept, name+"="+value)
	}
	r.Env = kept
	switch {
	case r.Setenv == nil:
	case set:
		r.Setenv(name, &value)
	default:
		r.Setenv(name, nil)
	}
	return nil
}
