package configs

import (
	"slices"
	"strings"
)

// commandLine reads the arguments as GNU getopt_long does: long names with a value behind "=" or as the next argument, unique
// beginnings, single letters with their value glued on or following, options behind arguments, "--". What is not an
// option is the name of a file, read after all options.
func (r *reader) commandLine() error {
	var bare []string
	args := r.Args
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		var err error
		switch {
		case arg == "--":
			bare, args = append(bare, args...), nil
		case strings.HasPrefix(arg, "--"):
			args, err = r.long(arg[2:], args)
		case len(arg) > 1 && arg[0] == '-':
			args, err = r.letters(arg[1:], args)
		default:
			bare = append(bare, arg)
		}
		if err != nil {
			return err
		}
	}
	for _, name := range bare {
		if strings.HasPrefix(name, "[") { // uWSGI writes such arguments itself when it re-executes
			continue
		}
		if err := r.byEnding(Setting{Value: name, Place: commandLine}, nil); err != nil {
			return err
		}
	}
	return nil
}

var commandLine = Place{File: "command line"}

func (r *reader) long(text string, rest []string) ([]string, error) {
	name, value, given := strings.Cut(text, "=")
	opt, err := r.abbreviated(name)
	if err != nil {
		return nil, err
	}
	s := Setting{Key: opt.Name, Value: value, Place: commandLine}
	switch {
	case given && opt.Argument == NoArgument:
		return nil, &Error{Place: commandLine, Option: "--" + opt.Name, Value: value, Cause: "is given to a flag that takes none", Remedy: "write --" + opt.Name + ", or put the line into a file"}
	case !given && opt.Argument == Required:
		if len(rest) == 0 {
			return nil, &Error{Place: commandLine, Option: "--" + opt.Name, Cause: "needs a value", Remedy: "write --" + opt.Name + "=VALUE"}
		}
		s.Value, rest = rest[0], rest[1:]
	case !given:
		s.Bare = true
	}
	return rest, r.add(s, nil, false)
}

// abbreviated finds an option by its name or a unique beginning of it. Where options of plugins are always known they stand back
// behind uWSGI's own, which were there alone before.
func (r *reader) abbreviated(name string) (Option, error) {
	if opt, ok := r.lookup(name); ok {
		return opt, nil
	}
	var own, others []string
	at, _ := slices.BinarySearchFunc(table, name, func(o Option, n string) int { return strings.Compare(o.Name, n) })
	for ; name != "" && at < len(table) && strings.HasPrefix(table[at].Name, name); at++ {
		if !r.plugged(table[at]) {
			continue
		}
		if table[at].Where == "core" || r.Plugged && table[at].Where != "emperord" {
			own = append(own, table[at].Name)
		} else {
			others = append(others, table[at].Name)
		}
	}
	for declared := range r.declared {
		if name != "" && strings.HasPrefix(declared, name) {
			own = append(own, declared)
		}
	}
	if own == nil {
		own = others
	}
	switch len(own) {
	case 1:
		opt, _ := r.lookup(own[0])
		return opt, nil
	case 0:
		e := &Error{Place: commandLine, Option: "--" + name, Cause: "is unknown", Remedy: "a placeholder is named with --set NAME=VALUE"}
		if opt, known := Lookup(name); known {
			e.Cause, e.Remedy = "is not known before its plugin is loaded", "write --plugin "+brings(opt.Where)+" before it"
		} else if near := Nearest(name); near != "" {
			e.Remedy = "did you mean --" + near + "?"
		}
		return Option{}, e
	}
	return Option{}, &Error{Place: commandLine, Option: "--" + name, Cause: "is the beginning of several options: --" + strings.Join(own, " --"), Remedy: "write one of them in full"}
}

func (r *reader) letters(text string, rest []string) ([]string, error) {
	for i := 0; i < len(text); i++ {
		opt, ok := byLetter(text[i])
		if !ok || !r.plugged(opt) {
			e := &Error{Place: commandLine, Option: "-" + text[i:i+1], Cause: "is unknown", Remedy: "write the option's long name"}
			if ok {
				e.Cause, e.Remedy = "is not known before its plugin is loaded", "write --plugin "+brings(opt.Where)+" before it"
			} else if _, long := Lookup(text); long {
				e.Remedy = "write --" + text
			}
			return nil, e
		}
		s := Setting{Key: opt.Name, Place: commandLine}
		glued := text[i+1:]
		switch {
		case opt.Argument == NoArgument:
			s.Bare = true
		case glued != "":
			s.Value, i = glued, len(text)
		case opt.Argument == Optional:
			s.Bare = true
		case len(rest) == 0:
			return nil, &Error{Place: commandLine, Option: "-" + text[i:i+1], Cause: "needs a value", Remedy: "write -" + text[i:i+1] + " VALUE"}
		default:
			s.Value, rest = rest[0], rest[1:]
		}
		if err := r.add(s, nil, false); err != nil {
			return nil, err
		}
	}
	return rest, nil
}
