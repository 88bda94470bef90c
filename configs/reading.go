package configs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// A Reading says where a configuration comes from: what uWSGI would see as its command line, its environment and its
// working folder. The zero value of every field but Args stands for the system's own.
type Reading struct {
	Args []string // the command line without the program's name
	Env  []string // the whole environment, "NAME=value": UWSGI_* become settings, $(NAME) asks it
	Dir  string   // working folder, absolute: relative names start here, as in uWSGI, never at the including file

	// Open opens every file that the configuration names, with the name as it was written (a relative one is meant
	// relative to Dir). Nil opens it in the file system. It lets vassald hand over the vassal file that the emperor
	// has opened and judged.
	Open func(name string) (io.ReadCloser, error)

	// Source opens a name with a scheme: "exec", "fd", "http", "emperor" and what stands behind "://"; "-" is fd 0. Nil
	// refuses them all: configs itself runs and fetches nothing. Package configs/sources has the one for programs.
	// What the source's Close returns is only said: uWSGI does not look at how a program has ended.
	Source func(scheme, rest string) (io.ReadCloser, error)

	// Setenv, if there is one, is told of each variable that a setting changes while there is still something to be read, or removes
	// (nil): programs of exec:// are to see it.
	Setenv func(name string, value *string)

	// Took, if there is one, is told of all settings as soon as they are read, before Resolve judges them.
	Took func(Settings)

	// Notice, if there is one, is told of what uWSGI passes over, or only warns of, while it reads. A Place without a line is a
	// whole file, or where a setting came from that is in none.
	Notice func(at Place, text string)

	// Plugged keeps the options of a plugin unknown until a plugin line has loaded it, as in a uWSGI whose languages are
	// plugins (Debian's). Otherwise they are always known, as in a uWSGI that has them built in.
	Plugged bool

	Hostname string    // %h, if-hostname
	Binary   string    // %b
	Now      time.Time // %t, %T: the same moment in all files
}

// Limits of one reading. Tenants write these files.
const (
	maxFile  = 1 << 20   // bytes of one file
	maxFiles = 256       // files read, each time counted
	maxDepth = 32        // files inside each other
	maxValue = 256 << 10 // bytes of one value
	maxWork  = 64 << 20  // bytes written by all references together

	maxLookup = 3 * time.Second // one host name
)

// Read reads the environment, the command line and every file that they name, and resolves all references. The answer
// is what `uwsgi --show-config` prints: nothing is merged, repeated settings are kept, unknown keys too.
// A fault of the configuration is an *Error, several are Errors. Where only values are at fault, which uWSGI refuses when it
// applies them, the settings are returned beside the error, so that the rest can be judged as well.
func Read(r Reading) (Settings, error) {
	s, _, err := read(r)
	return s, err
}

// read also returns what uWSGI would only have warned of while reading.
func read(in Reading) (Settings, []string, error) {
	if in.Dir == "" {
		dir, err := os.Getwd()
		if err != nil {
			return nil, nil, err
		}
		in.Dir = dir
	}
	if in.Env == nil {
		in.Env = os.Environ()
	}
	if in.Now.IsZero() {
		in.Now = time.Now()
	}
	r := &reader{Reading: in, applying: none}
	for _, step := range []func() error{r.environment, r.commandLine, r.references, r.apply} {
		if err := step(); err != nil {
			return nil, r.notices, err
		}
	}
	return r.settings(), r.notices, r.refused.err()
}

// A reader is one reading on its way.
type reader struct {
	Reading
	list    []entry
	notices []string

	block   *block // the open for or if
	running bool   // an entry of the block's body is being added
	strict  bool
	allowed map[string]bool // whitelist; nil is none
	denied  map[string]bool // blacklist
	plugins []string        // loaded so far
	seeking bool            // autoload
	strange bool            // a plugin was named that is not known here, which uWSGI may have elsewhere

	declared      map[string]string // templates of declare-option
	nested        int               // uses of them inside each other
	direct        []direct          // what they and others have applied without an entry
	applying      int               // the entry that is being applied; none while reading
	before, after []Setting         // inject-before, inject-after
	shared        int               // shared sockets applied so far
	refused       Errors            // values

	lastINI string   // the last INI file opened, for `ini = :section`
	names   names    // of the last file opened
	first   *names   // of the first file opened by an option of its own, while no file of include, inherit or the bare command line was being read
	inside  int      // such files being read
	index   nameList // first entry of each name, for %(name)

	files int // read so far
	work  int // bytes written by references so far
}

// A direct setting was applied without an entry of its own: before all others while the list was read, or right after
// the entry that brought it.
type direct struct {
	Setting
	after int
}

const none = -1

// settings puts everything into the order in which uWSGI applies it.
func (r *reader) settings() Settings {
	list := make(Settings, 0, len(r.list)+len(r.direct))
	next := r.direct
	take := func(after int) {
		for ; len(next) > 0 && next[0].after <= after; next = next[1:] {
			list = append(list, next[0].Setting)
		}
	}
	take(none)
	for i := range r.list {
		list = append(list, r.list[i].Setting)
		take(i)
	}
	return list
}

// An entry is a setting on its way.
type entry struct {
	Setting
	done bool  // immediate, or a placeholder only: references do not touch it and it is not applied again
	from *link // the files it came through
}

// add takes one setting as it arrives: an open block may swallow or multiply it.
func (r *reader) add(s Setting, from *link, placeholder bool) error {
	if err := r.permitted(s); err != nil {
		return err
	}
	if !r.running {
		if closes(s.Key) {
			r.block = nil
		}
		if r.block != nil {
			return r.body(s, from)
		}
	}
	return r.record(s, from, placeholder)
}

// permitted judges a key by whitelist and blacklist.
func (r *reader) permitted(s Setting) error {
	if r.denied[s.Key] {
		return &Error{Place: s.Place, Option: s.Key, Cause: "is forbidden by a blacklist above", Remedy: "remove one of the two"}
	}
	if r.allowed == nil || r.allowed[s.Key] {
		return nil
	}
	return &Error{Place: s.Place, Option: s.Key, Cause: "is not in the whitelist above", Remedy: "add it there, or close the list with end-whitelist (which must be in it as well)"}
}

// record puts a setting on the list, and lets it act at once where uWSGI does.
func (r *reader) record(s Setting, from *link, placeholder bool) error {
	opt, known := r.lookup(s.Key)
	if !known && r.seeking {
		opt, known = r.autoload(s.Key)
	}
	if !known && r.strict && !placeholder {
		if err := r.unknown(s); err != nil {
			return err
		}
	}
	if len(r.list)+len(r.direct) >= MaxSettings {
		return tooMany(s)
	}
	act := known && opt.Immediate
	s.Used = placeholder || s.Used || opt.Where == declaredHere
	r.list = append(r.list, entry{Setting: s, done: act || placeholder, from: from})
	if act {
		return r.act(opt, s, from)
	}
	return nil
}

func tooMany(s Setting) error {
	return &Error{Place: s.Place, Option: s.Key, Cause: "is one setting too many: a configuration may have 20000", Remedy: "look for a loop (for-times, for-readline, an include inside for)"}
}

// unknown judges a key that is no option, where the configuration is strict. It may be one of a plugin that the file loads and
// nobody here knows: then it is only said, as of every unknown key.
func (r *reader) unknown(s Setting) error {
	if !r.strange {
		return unknownInStrict(s)
	}
	return nil
}

func unknownInStrict(s Setting) error {
	e := &Error{Place: s.Place, Option: s.Key, Cause: "is unknown, and the configuration is strict", Remedy: "remove it, or name it with set-placeholder if it is meant as a placeholder"}
	if opt, known := Lookup(s.Key); known && opt.Where != later {
		e.Cause, e.Remedy = "is not known before its plugin is loaded, and the configuration is strict", "write plugin = "+brings(opt.Where)+" above it"
	} else if near := Nearest(s.Key); near != "" {
		e.Remedy = "did you mean " + near + "? A placeholder is named with set-placeholder"
	}
	return e
}

// apply is uWSGI's last step: it meets what was not immediate. Here that is strictness, and inherit, whose files come
// at the very end of the list without any references resolved.
func (r *reader) apply() error {
	var env []Setting // to be done before anything else is read
	for i := 0; i < len(r.list); i++ {
		e := r.list[i]
		if e.done {
			continue
		}
		r.applying = i
		opt, known := r.lookup(e.Key)
		switch {
		case known:
			r.refuse(opt, r.applied(opt, e.Setting))
		case r.strict && !r.strange:
			r.refuse(opt, unknownInStrict(e.Setting))
		}
		if known && (opt.Immediate || e.Key == "inherit") {
			for _, s := range env {
				if err := r.changeEnv(s); err != nil {
					return err
				}
			}
			env = nil
		}
		if known && opt.Immediate { // it was not known when it was read: its plugin or its declaration stands below
			r.list[i].Used = true
			if err := r.act(opt, e.Setting, e.from); err != nil {
				return err
			}
		}
		switch e.Key {
		case "inherit":
			if err := r.byEnding(e.Setting, e.from); err != nil {
				return err
			}
		case "env", "unenv": // what is inherited below asks if-env
			env = append(env, e.Setting)
		}
	}
	return nil
}

// refuse remembers what uWSGI would end with here. The reading goes on: the answer is the same, and all that is wrong is found.
func (r *reader) refuse(opt Option, err error) {
	var e *Error
	if !r.tolerated(opt, err) && len(r.refused) < maxNotices && errors.As(err, &e) {
		r.refused = append(r.refused, e)
	}
}

// tolerated reports whether what another machine's uWSGI may take is only said: this one lacks something that an option names, and
// the option is not honoured here anyway, so nothing will be missed. Capabilities that are newer than uWSGI's list are judged by
// the emperor's own.
func (r *reader) tolerated(opt Option, err error) bool {
	var e *Error
	if r.Plugged || opt.Standing == Honoured && opt.First() != "cap" && opt.First() != "emperor-cap" || !errors.As(err, &e) || !e.local {
		return false
	}
	r.say(e.Place, fmt.Sprintf("option %q with the value %q %s, at which a uWSGI on this machine would end; %s", e.Option, clip(e.Value, 200), e.Cause, e.Remedy))
	return true
}

// say adds a notice.
func (r *reader) say(at Place, text string) {
	if len(r.notices) <= maxNotices {
		r.notices = append(r.notices, at.String()+": "+text)
	}
	if r.Notice != nil {
		r.Notice(at, text)
	}
}

// environment is the File of settings that came from there.
const environment = "environment"

// environment turns UWSGI_NAME=value into name = value.
func (r *reader) environment() error {
	for _, kv := range r.Env {
		name, value, ok := strings.Cut(kv, "=")
		if !ok || !strings.HasPrefix(name, "UWSGI_") {
			continue
		}
		switch name {
		case "UWSGI_RELOADS", "UWSGI_VASSALS_DIR", "UWSGI_ORIGINAL_PROC_NAME", "UWSGI_JAIL_PID",
			"UWSGI_EMPEROR_FD", "UWSGI_EMPEROR_FD_CONFIG", "UWSGI_EMPEROR_PROXY", "UWSGI_BROODLORD_NUM":
			continue
		}
		key := strings.ReplaceAll(strings.ToLower(name[len("UWSGI_"):]), "_", "-")
		if err := r.add(Setting{Key: key, Value: value, Place: Place{File: environment}}, nil, false); err != nil {
			return err
		}
	}
	return nil
}

// getenv looks into the environment of the reading, as getenv(3) does: the first of a name counts.
func (r *reader) getenv(name string) (string, bool) {
	for _, kv := range r.Env {
		if len(kv) > len(name) && kv[len(name)] == '=' && kv[:len(name)] == name {
			return kv[len(name)+1:], true
		}
	}
	return "", false
}
