package check

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/emperord/emperord/configs"
)

// first is the first spelling of an option, or the key itself where it is none.
func first(key string) string {
	if o, ok := configs.Lookup(key); ok {
		return o.First()
	}
	return key
}

// keys judges every key: unknown, without effect, not yet honoured; and what its value looks like.
func (s *subject) keys() {
	used := map[string]bool{}
	defined := map[string]configs.Setting{}
	for _, x := range s.settings {
		used[x.Key] = used[x.Key] || x.Used
		if _, again := defined[x.Key]; !again {
			defined[x.Key] = x
		}
	}
	standing := map[string]int{} // how often an option that means nothing here is written
	for _, x := range s.settings {
		standing[x.Key]++
	}
	said := map[string]bool{}
	for _, x := range s.settings {
		opt, known := configs.Lookup(x.Key)
		if !known {
			if !used[x.Key] && !closing(x.Key) {
				s.unknown(x)
			} else if d := defined[x.Key]; used[x.Key] && d.Place != x.Place && d.Value != x.Value && !said["%"+x.Key] {
				said["%"+x.Key] = true
				s.add(Finding{Place: x.Place, Level: Warning, Code: PlaceholderFirst, Option: x.Key, Value: x.Value,
					What: fmt.Sprintf("the placeholder %s is defined before, in %s, and the first definition counts: %%(%s) stays %q", x.Key, s.at(d.Place), x.Key, clip(d.Value)),
					Why:  "options take their last value, placeholders their first", Mend: "change the first definition, or remove this line"})
			}
			continue
		}
		s.value(opt, x)
		if x.Place.Line > 0 && !said[x.Key] && s.file.Kind == Vassal {
			said[x.Key] = true
			s.standing(opt, x, standing[x.Key]-1)
		}
	}
}

func closing(key string) bool {
	switch key {
	case "end", "endfor", "end-for", "endif", "end-if":
		return true
	}
	return false
}

// unknown is a key that is no option and that nothing refers to.
func (s *subject) unknown(x configs.Setting) {
	if s.has(x.Place, x.Key) { // a merge marker
		return
	}
	f := Finding{Place: x.Place, Level: Warning, Code: UnknownOption, Option: x.Key, Value: x.Value,
		What: fmt.Sprintf("%q is no option, and nothing refers to it as %%(%s)", clip(x.Key), clip(x.Key)),
		Why:  "uWSGI takes it for a placeholder without a word, and so do we: the line does nothing", Mend: "remove the line"}
	dashes := strings.ReplaceAll(x.Key, "_", "-")
	near := configs.Nearest(x.Key)
	if near == "" {
		near = shorter(x.Key)
	}
	switch {
	case dashes != x.Key && isOption(dashes):
		f.Code, f.What, f.Mend = Underscore, fmt.Sprintf("%q is no option: it is written with dashes", x.Key), dashes+" = "+clip(x.Value)
	case near != "":
		f.Mend = fmt.Sprintf("if %s is meant, write: %s = %s", near, near, clip(x.Value))
	default:
		if word, rest, found := strings.Cut(x.Key, " "); found && isOption(word) {
			f.Mend = fmt.Sprintf("the key goes up to the first equals sign; write: %s = %s", word, clip(strings.TrimSpace(rest+"="+x.Value)))
		}
	}
	s.add(f)
}

// shorter is the longest option that a key goes on from: listen of listen-queue. With underscores it is a name of somebody's own.
func shorter(key string) string {
	for !strings.ContainsAny(key, "_ ") {
		i := strings.LastIndexByte(key, '-')
		if i < 3 {
			break
		}
		if key = key[:i]; isOption(key) {
			return key
		}
	}
	return ""
}

func isOption(name string) bool {
	_, ok := configs.Lookup(name)
	return ok
}

// standing says what becomes of an option here. more is how often it is written again.
func (s *subject) standing(opt configs.Option, x configs.Setting, more int) {
	f := Finding{Place: x.Place, Level: Warning, Option: x.Key, Value: x.Value}
	switch {
	case opt.Standing == configs.NotYet:
		f.Code, f.What, f.Why = NotYet, x.Key+" is not honoured yet", "the application starts without it"
		if opt.Reason != "" {
			f.Why += ": " + opt.Reason
		}
	case opt.Standing == configs.Never:
		f.Code, f.What, f.Why, f.Mend = NoEffect, x.Key+" has no effect", opt.Reason, "remove the line"
	case opt.Standing == configs.Honoured && opt.Obeys&(configs.ByVassal|configs.ByLanguage|configs.ByReader) == 0:
		f.Code, f.What, f.Why, f.Mend = EmperorOption, x.Key+" has no effect in a vassal's file", "only the emperor obeys it", "remove the line; it belongs into the emperor's own file"
	default:
		return
	}
	if more > 0 {
		f.What += " (" + strconv.Itoa(more+1) + " lines)"
	}
	s.add(f)
}

// ownWords reports whether a notice of configs repeats what keys says in better words.
func (s *subject) ownWords(option string) bool {
	opt, known := configs.Lookup(option)
	if !known {
		return true
	}
	if s.file.Kind == Emperor {
		return false
	}
	if opt.Standing == configs.NotYet || opt.Standing == configs.Never {
		return true
	}
	return opt.Obeys&(configs.ByVassal|configs.ByLanguage|configs.ByReader) == 0
}

// value looks for what its writer did not mean: comments, quotes, blanks.
func (s *subject) value(opt configs.Option, x configs.Setting) {
	v := x.Value
	if x.Bare || v == "" || ownLanguage(opt) {
		return
	}
	if i := strings.IndexAny(v, ";#"); i > 0 && (v[i-1] == ' ' || v[i-1] == '\t') && !s.has(x.Place, x.Key) {
		text := strings.TrimRight(v[:i], " \t")
		s.add(Finding{Place: x.Place, Level: Warning, Code: InlineComment, Option: x.Key, Value: v, What: fmt.Sprintf("%s: the value is %q, with what looks like a comment", x.Key, clip(v)),
			Why: "there are no comments behind values: the whole text counts, and where a word is wanted it is another one", Mend: x.Key + " = " + clip(text)})
		return
	}
	inner := v
	if opt.First() == "env" {
		name, value, ok := strings.Cut(v, "=")
		inner = strings.TrimSpace(value)
		if ok && (strings.TrimSpace(name) != name || strings.TrimLeft(value, " \t") != value) {
			s.add(Finding{Place: x.Place, Level: Warning, Code: EnvBlank, Option: x.Key, Value: v, What: fmt.Sprintf("env sets a variable %q to %q: blanks count on both sides of the second equals sign", clip(name), clip(value)),
				Why: fmt.Sprintf("a variable %q is not set as meant", strings.TrimSpace(name)), Mend: fmt.Sprintf("%s = %s=%s", x.Key, strings.TrimSpace(name), clip(strings.TrimSpace(value)))})
			return
		}
	}
	if len(inner) > 1 && (inner[0] == '"' || inner[0] == '\'') && inner[len(inner)-1] == inner[0] && strings.IndexByte(inner[1:len(inner)-1], inner[0]) < 0 {
		s.add(Finding{Place: x.Place, Level: Warning, Code: Quotes, Option: x.Key, Value: v, What: fmt.Sprintf("%s: the quotes are a part of the value %s", x.Key, clip(inner)),
			Why: "there are no quotes in this dialect: no file, module or variable has that name", Mend: x.Key + " = " + clip(strings.Replace(v, inner, inner[1:len(inner)-1], 1))})
	}
}

// ownLanguage reports whether an option's value is a language of its own, in which quotes, semicolons and hashes mean something.
func ownLanguage(opt configs.Option) bool {
	name := opt.First()
	for _, start := range [...]string{"route", "final-route", "error-route", "response-route", "hook-", "exec-", "attach-", "smart-attach", "cron", "log-format", "logformat", "alarm",
		"mule", "logger", "req-logger", "log-encoder", "log-req-encoder", "legion", "unique-cron", "python-eval", "eval", "print", "iprint", "if-", "for", "set", "end", "add-header"} {
		if strings.HasPrefix(name, start) {
			return true
		}
	}
	return false
}
