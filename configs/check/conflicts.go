package check

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/emperord/emperord/configs"
)

// on reports whether a boolean is on, as uWSGI reads it.
func on(x configs.Setting) bool {
	switch strings.ToLower(x.Value) {
	case "false", "off", "no", "0":
		return x.Bare
	}
	return true
}

// count reads a number that counts, or says that there is none.
func (s *subject) count(option string) (configs.Setting, int, bool) {
	x, ok := s.last(option)
	n, err := strconv.Atoi(strings.TrimSpace(x.Value))
	return x, n, ok && err == nil
}

// conflicts finds settings that do not go together.
func (s *subject) conflicts() {
	module, hasModule := s.last("module")
	file, hasFile := s.last("wsgi-file")
	if hasModule && hasFile && module.Value != "" && file.Value != "" {
		s.add(Finding{Place: file.Place, Level: Warning, Code: TwoApplications, Option: file.Key, Value: file.Value, What: fmt.Sprintf("%s has no effect: %s in %s is the application", file.Key, module.Key, s.at(module.Place)),
			Why: "with both, module is loaded", Mend: "remove one of the two lines"})
	}
	s.cheaper()
	if x, ok := s.last("master"); ok && !on(x) {
		s.add(Finding{Place: x.Place, Level: Warning, Code: MasterOff, Option: x.Key, Value: x.Value, What: "master = false has no effect", Why: "vassald always supervises its workers", Mend: "remove the line"})
	}
	if threads, n, ok := s.count("threads"); ok && n > 1 {
		for _, loop := range []string{"gevent", "asyncio", "async"} {
			if x, m, ok := s.count(loop); ok && m > 0 {
				s.add(Finding{Place: threads.Place, Level: Warning, Code: ThreadsAsync, Option: threads.Key, Value: threads.Value, What: fmt.Sprintf("threads = %d stands together with %s = %d (%s)", n, loop, m, s.at(x.Place)),
					Why: fmt.Sprintf("uWSGI makes one set of cores for both: as many as threads says, whatever %s says", x.Key), Mend: "remove one of the two lines"})
				break
			}
		}
	}
	if x, n, ok := s.count("py-auto-reload"); ok && n > 0 {
		s.add(Finding{Place: x.Place, Level: Warning, Code: WatchesSources, Option: x.Key, Value: x.Value, What: fmt.Sprintf("every %d s all modules of the application are looked at, and a change reloads it", n),
			Why: "meant for a developer's desk: half an upload is loaded as it is", Mend: "remove the line, and touch the vassal file after an upload"})
	}
	if harakiri, n, ok := s.count("harakiri"); ok {
		mercy, m, has := s.count("worker-reload-mercy")
		if !has {
			mercy, m, has = s.count("reload-mercy")
		}
		if has && n > m && m > 0 {
			s.add(Finding{Place: mercy.Place, Level: Note, Code: ReloadCuts, Option: mercy.Key, Value: mercy.Value, What: fmt.Sprintf("a reload waits %d s for a request, and %s = %d lets one run longer", m, harakiri.Key, n),
				Why: "a request that takes longer than a reload waits is cut", Mend: fmt.Sprintf("%s = %d", mercy.Key, n)})
		}
	}
}

// cheaper judges the numbers of workers against each other, as uWSGI 2.0.21 does.
func (s *subject) cheaper() {
	workers := 1
	if x, ok := s.last("processes"); ok {
		n, err := strconv.Atoi(strings.TrimSpace(x.Value))
		if err != nil {
			return
		}
		workers = n
	}
	cheaper, n, ok := s.count("cheaper")
	if !ok || n == 0 {
		return
	}
	if n >= workers {
		s.add(Finding{Place: cheaper.Place, Level: Error, Code: CheaperRange, Option: cheaper.Key, Value: cheaper.Value, What: fmt.Sprintf("cheaper = %d is not lower than the number of workers, %d", n, workers),
			Why: "uWSGI ends with \"invalid cheaper value\"", Mend: fmt.Sprintf("processes = %d, or remove the line", n+1)})
		return
	}
	initial, i, ok := s.count("cheaper-initial")
	switch {
	case ok && i < n:
		s.add(Finding{Place: initial.Place, Level: Warning, Code: CheaperRange, Option: initial.Key, Value: initial.Value, What: fmt.Sprintf("cheaper-initial = %d is less than cheaper = %d, which counts instead", i, n),
			Why: "there are never fewer workers than cheaper says", Mend: fmt.Sprintf("cheaper-initial = %d", n)})
	case ok && i > workers:
		s.add(Finding{Place: initial.Place, Level: Warning, Code: CheaperRange, Option: initial.Key, Value: initial.Value, What: fmt.Sprintf("cheaper-initial = %d is more than the number of workers, %d, which counts instead", i, workers),
			Why: "there are never more workers than processes says", Mend: fmt.Sprintf("cheaper-initial = %d", workers)})
	}
}
