package configs

import (
	"strconv"
	"strings"
)

// maxNested bounds uses of declared options inside each other. A template that uses itself crashes uWSGI.
const maxNested = 16

// declare is declare-option = NAME=KEY=VALUE;KEY=VALUE…: from here on NAME is an immediate option. The first
// declaration of a name counts, and uWSGI's own options stay what they are.
func (r *reader) declare(s Setting) error {
	name, template, ok := strings.Cut(s.Value, "=")
	if !ok {
		return &Error{Place: s.Place, Option: s.Key, Value: s.Value, Cause: "has no equals sign", Remedy: "write " + s.Key + " = newoption=key=value;key=value"}
	}
	if _, again := r.declared[name]; again {
		return nil
	}
	if r.declared == nil {
		r.declared = make(map[string]string)
	}
	r.declared[name] = template
	return nil
}

// lookup finds an option by its name, as far as it is known now: plugins bring options, and declare-option makes some.
func (r *reader) lookup(name string) (Option, bool) {
	if opt, ok := Lookup(name); ok && r.plugged(opt) {
		return opt, true
	}
	return r.custom(name)
}

// custom is an option of declare-option. On the command line it takes a value if its template holds $1, $2 or $3.
func (r *reader) custom(name string) (Option, bool) {
	template, ok := r.declared[name]
	if !ok {
		return Option{}, false
	}
	argument := NoArgument
	for _, mark := range []string{"$1", "$2", "$3"} {
		if strings.Contains(template, mark) {
			argument = Required
		}
	}
	return Option{Name: name, Where: declaredHere, Argument: argument, Immediate: true, Obeys: ByReader, Standing: Honoured}, true
}

// declaredHere is where an option made by declare-option belongs to.
const declaredHere = "declare-option"

// expand is a use of a declared option. The pieces of its template are applied at once and do not become entries of the list
// that is printed; a piece that is not known does nothing, one without an equals sign ends the template.
func (r *reader) expand(s Setting, from *link) error {
	if r.nested++; r.nested > maxNested {
		return &Error{Place: s.Place, Option: s.Key, Cause: "uses itself: " + s.Key + " is declared as " + clip(r.declared[s.Key], 200), Remedy: "break the circle"}
	}
	defer func() { r.nested-- }()
	text := r.declared[s.Key]
	words := strings.FieldsFunc(s.Value, func(c rune) bool { return c == ' ' })
	if len(words) == 0 {
		words = []string{""}
	}
	for i, word := range words {
		mark := "$" + strconv.Itoa(i+1)
		if n := strings.Count(text, mark); n > 0 {
			if r.work += len(text) + n*len(word); len(text)+n*len(word) > maxValue || r.work > maxWork {
				return tooLong(s)
			}
			text = strings.ReplaceAll(text, mark, word)
		}
		if i > len(text) { // no more marks can be in it
			break
		}
	}
	for _, piece := range strings.Split(text, ";") {
		if r.work += len(piece) + 1<<10; r.work > maxWork { // finding and doing it costs more than its length
			return tooLong(s)
		}
		if piece == "" {
			continue
		}
		key, value, ok := strings.Cut(piece, "=")
		if !ok {
			return nil
		}
		if err := r.applyPiece(Setting{Key: key, Value: value, Used: true, Unlisted: true, Place: s.Place}, from); err != nil {
			return err
		}
	}
	return nil
}

func tooLong(s Setting) error {
	return &Error{Place: s.Place, Option: s.Key, Cause: "becomes too long", Remedy: "use it less often, or declare it shorter"}
}

// applyPiece does what one KEY=VALUE of a template says.
func (r *reader) applyPiece(s Setting, from *link) error {
	opt, known := r.lookup(s.Key)
	if !known {
		return nil
	}
	if len(r.list)+len(r.direct) >= MaxSettings {
		return tooMany(s)
	}
	if opt.Immediate {
		r.list = append(r.list, entry{Setting: s, done: true, from: from})
		return r.act(opt, s, from)
	}
	r.refuse(opt, r.applied(opt, s))
	switch s.Key {
	case "inherit":
		return r.byEnding(s, from)
	case "env", "unenv":
		if err := r.changeEnv(s); err != nil {
			return err
		}
	}
	r.direct = append(r.direct, direct{s, r.applying})
	return nil
}
