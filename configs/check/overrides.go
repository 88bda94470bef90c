package check

import (
	"fmt"
	"slices"

	"github.com/emperord/emperord/configs"
)

// overrides finds values that a later line replaces: another file's, which surprises, or one of the same file.
// A line inside an if block that replaces a default above it is meant so.
func (s *subject) overrides() {
	last := map[string]configs.Setting{}
	inBlock := false
	for _, x := range s.settings {
		opt, known := configs.Lookup(x.Key)
		if opt.Kind == configs.Logic {
			inBlock = true
		}
		if closing(x.Key) {
			inBlock = false
		}
		if !known || !single(opt) || x.Place.Line == 0 {
			continue
		}
		before, again := last[opt.First()]
		last[opt.First()] = x
		if !again || inBlock || before.Value == x.Value || before.Place == x.Place {
			continue
		}
		f := Finding{Place: before.Place, Level: Note, Code: Overridden, Option: before.Key, Value: before.Value,
			What: fmt.Sprintf("%s = %s is replaced by %s: %s = %s", before.Key, clip(before.Value), s.at(x.Place), x.Key, clip(x.Value)),
			Why:  "of an option with one value the last line counts", Mend: "remove one of the two lines"}
		if before.Place.File != x.Place.File {
			f.Level = Warning
			if inherited := s.inherits(x.Place.File); inherited {
				f.Why = "an inherited file is applied at the very end, wherever its line stands, so its values win over the file's own"
				f.Mend = fmt.Sprintf("remove the line from %s, or write include instead of inherit, above the file's own lines", s.name(x.Place.File))
			} else {
				f.Why = "the last line counts, and an include stands where its line is: what it brings replaces what is above it"
				f.Mend = "put this line below the include"
				if s.emperors(x.Place.File) {
					f.Why = "the emperor's vassals-include comes behind every vassal's file, and the last line counts"
					f.Mend = "remove the line from " + s.name(x.Place.File) + ", or name that file with vassals-include-before"
				}
				if x.Place.File == s.whole().File {
					f.Level, f.Why, f.Mend = Note, "the last line counts: the file's own value replaces the included one", ""
				}
			}
		}
		s.add(f)
	}
}

func (s *subject) inherits(file string) bool {
	for _, x := range s.settings {
		if first(x.Key) == "inherit" && x.Value == file {
			return true
		}
	}
	return false
}

// emperors reports whether the emperor includes a file into every vassal.
func (s *subject) emperors(file string) bool {
	return s.emperor != nil && (slices.Contains(s.emperor.Include, file) || slices.Contains(s.emperor.Inherit, file))
}

// single reports whether an option has one value.
func single(opt configs.Option) bool {
	switch opt.Kind {
	case configs.Bool, configs.BoolInverse, configs.Int, configs.Uint64, configs.Uint16, configs.Megabytes, configs.String, configs.Mode, configs.User, configs.Group, configs.DateFormat:
		return !opt.Immediate
	}
	return false
}

// last returns the setting that counts of an option with one value.
func (s *subject) last(name string) (configs.Setting, bool) {
	for i := len(s.settings) - 1; i >= 0; i-- {
		if first(s.settings[i].Key) == name {
			return s.settings[i], true
		}
	}
	return configs.Setting{}, false
}

// each returns all settings of an option.
func (s *subject) each(name string) []configs.Setting {
	var all []configs.Setting
	for _, x := range s.settings {
		if first(x.Key) == name {
			all = append(all, x)
		}
	}
	return all
}
