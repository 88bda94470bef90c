package check

import (
	"fmt"
	"strings"

	"github.com/emperord/emperord/configs"
)

// references finds what is still a reference after all have been resolved.
func (s *subject) references() {
	defined := map[string]bool{}
	for _, x := range s.settings {
		defined[x.Key] = true
	}
	for _, x := range s.settings {
		opt, known := configs.Lookup(x.Key)
		if x.Bare || x.Place.Line == 0 || logWords(opt.First()) || s.has(x.Place, x.Key) && !known {
			continue
		}
		if opt.Immediate {
			if len(opt.First()) > 2 && refers(x.Value) && takesNone(opt) {
				s.add(Finding{Place: x.Place, Level: Warning, Code: PlaceholderHere, Option: x.Key, Value: x.Value, What: fmt.Sprintf("%s acts when it is read, before references are replaced: %q stays as it is", x.Key, clip(x.Value)),
					Why: "the option gets this very text", Mend: "write the value itself; magic variables such as %n and %d work here"})
			}
			continue
		}
		for _, symbol := range "%$@" {
			name, found := reference(x.Value, byte(symbol))
			if !found {
				continue
			}
			f := Finding{Place: x.Place, Level: Warning, Option: x.Key, Value: x.Value, Why: "it stays as text in the value, without a word"}
			switch {
			case symbol == '$':
				f.Code, f.What = UndefinedVariable, fmt.Sprintf("%s: $(%s) is not in the environment that this check assumes", x.Key, clip(name))
				f.Why = "only the emperor's environment counts, not what env sets, and where the variable is missing the text stays"
				f.Mend = fmt.Sprintf("set it for the emperor (systemd: Environment=%s=…), and check with --env %s=VALUE", clip(name), clip(name))
			case symbol == '@' || name == "_":
				continue
			case defined[name]:
				f.Code, f.What = UnresolvedChain, fmt.Sprintf("%s: %%(%s) at the beginning of the value is not replaced, though %s is defined", x.Key, clip(name), clip(name))
				f.Why = "what a reference brings in is resolved again, but not at the first byte of the value"
				f.Mend = "define " + clip(name) + " above the line that refers to it"
			default:
				f.Code, f.What, f.Mend = UndefinedName, fmt.Sprintf("%s: %%(%s) is not defined anywhere", x.Key, clip(name)), fmt.Sprintf("define it: %s = …", clip(name))
			}
			s.add(f)
		}
	}
}

// reference returns the name of the first reference with a symbol.
func reference(value string, symbol byte) (string, bool) {
	_, rest, found := strings.Cut(value, string(symbol)+"(")
	if !found {
		return "", false
	}
	name, _, closed := strings.Cut(rest, ")")
	return name, closed && name != ""
}

func refers(value string) bool {
	for _, symbol := range "%$@" {
		if name, found := reference(value, byte(symbol)); found && name != "_" {
			return true
		}
	}
	return false
}

// logWords reports whether %(name) means something else in an option: words of a log line.
func logWords(first string) bool {
	return strings.HasPrefix(first, "log-format") || strings.HasPrefix(first, "logformat") || strings.Contains(first, "encoder") || strings.HasPrefix(first, "log-")
}

// takesNone reports whether an immediate option's value is used as it stands: set hands its own on, where references
// are replaced.
func takesNone(opt configs.Option) bool {
	switch opt.First() {
	case "set", "set-placeholder", "strict", "declare-option":
		return false
	}
	return opt.Kind != configs.Logic && opt.Kind != configs.LogicEnd
}
