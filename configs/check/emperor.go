package check

import (
	"fmt"
	"strings"

	"github.com/emperord/emperord/configs"
)

// emperorFile checks an emperor's own file.
func (s *subject) emperorFile() *configs.Emperor {
	var e *configs.Emperor
	s.keys()
	s.typed(func(list configs.Settings) ([]string, error) {
		got, notices, err := configs.ParseEmperor(list)
		e = got
		return notices, configs.Join(list, s.refusal, err)
	})
	s.references()
	if e == nil {
		return nil
	}
	s.court(e)
	if s.Follow {
		return e
	}
	where := make([]string, len(e.Sources))
	for i, source := range e.Sources {
		where[i] = quote(join(s.dir, bare(source)))
	}
	s.add(Finding{Place: s.whole(), Level: Note, Code: EmperorFile, What: "this is an emperor's own file", Why: "its vassals were not checked",
		Mend: "emperorctl check --emperor-ini " + quote(s.file.Path) + " " + strings.Join(where, " "), Runs: true})
	return e
}

// bare is a source of vassals without its scheme.
func bare(source string) string {
	return strings.TrimPrefix(strings.TrimPrefix(source, "dir://"), "glob://")
}

// court checks what keeps an emperor from starting, or every one of its vassals.
func (s *subject) court(e *configs.Emperor) {
	uid, hasUID := s.last("uid")
	gid, hasGID := s.last("gid")
	if hasUID && s.run.user(uid.Value) == nil {
		s.nobody(uid, "user", "emperord does not start")
	}
	if hasGID && s.group(gid.Value) == nil {
		s.nobody(gid, "group", "emperord does not start")
	}
	if tyrant, _ := s.last("emperor-tyrant"); e.Tyrant && e.UID != "" {
		s.add(Finding{Place: tyrant.Place, Level: Error, Code: TyrantNeedsRoot, Option: tyrant.Key, Value: tyrant.Value,
			What: fmt.Sprintf("%s needs root's rights, and %s = %s gives them away (%s)", tyrant.Key, uid.Key, clip(uid.Value), s.at(uid.Place)),
			Why:  "emperord does not start: each vassal is started as its file's owner, and only root can do that (uWSGI keeps capabilities with cap; emperord does not)", Mend: "remove the lines uid, gid and cap"})
	}
	if s.Follow { // a missing folder is said there
		return
	}
	for _, x := range s.each("emperor") {
		path := from(s.dir, bare(x.Value))
		if !names(x) || strings.ContainsAny(path, "*?[") || strings.Contains(bare(x.Value), "://") {
			continue
		}
		if _, o := s.reach(nil, path, 0); o != nil {
			s.stuck(x, o, Finding{Level: Warning, Code: MissingFolder, Why: "the emperor waits until it is there", Mend: "mkdir -p " + quote(path), Runs: true})
		}
	}
	for _, option := range []string{"vassals-include", "vassals-include-before", "vassals-inherit", "vassals-inherit-before"} {
		for _, x := range s.each(option) {
			if !names(x) || strings.Contains(x.Value, "://") || !strings.HasPrefix(x.Value, "/") { // relative: to each folder of vassals
				continue
			}
			if _, o := s.reach(nil, from(s.dir, x.Value), 0); o != nil {
				s.stuck(x, o, Finding{Level: Error, Code: MissingFile, Why: "every vassal reads it, so none starts", Mend: "write the name of a file that is there"})
			}
		}
	}
}
