package e2e

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func shownByPs(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.TrimRight(strings.ReplaceAll(string(text), "\x00", " "), " ")
}

// Real uWSGI and ours show the same names of the emperor, and of a vassal's main process and workers.
func TestNamesThatPsShowsAreThoseOfUWSGI(t *testing.T) {
	s := newSite(t)
	uid, gid := ids(t, shop)
	s.app("plain", "plain", shop)
	s.mkdir("srv/plain/run", uid, gid)
	for lines, host := range map[string]string{
		"procname-prefix-spaced = a name without room in the host\n": "a name without room in the host uWSGI host",
		"auto-procname = true\nprocname-append = %%n\n":              "uWSGI hostplain",
		"procname = shop\nprocname-master = main\n":                  "shop",
	} {
		text := "plugin = python3\nchdir = DIR/srv/plain\nmodule = plain:application\nmaster = true\nprocesses = 2\nsocket = DIR/srv/plain/run/plain.sock\n" + strings.ReplaceAll(lines, "%%", "%")
		names := func(p *program, want []string) (all []string) {
			s.eventually(30*time.Second, "all names", func() error {
				all = []string{shownByPs(p.cmd.Process.Pid)}
				var below func(pid int)
				below = func(pid int) {
					for _, k := range kids(pid) {
						if name := shownByPs(k.pid); name == host {
							if host == "shop" && len(kids(k.pid)) == 0 {
								all = append(all, name) // a worker has the same name here
							}
						} else if strings.Contains(name, "worker") {
							all = append(all, name)
						} else { // the main process's is cut to its command line
							all = append(all, name[:min(len(name), len("vassald --ini plain"))])
						}
						below(k.pid)
					}
				}
				below(p.cmd.Process.Pid)
				slices.Sort(all)
				if want == nil && len(all) == 4 && !strings.Contains(strings.Join(all, " "), "/") || want != nil && slices.Equal(all, want) {
					return nil
				}
				return fmt.Errorf("%q, not %q", all, want)
			})
			return all
		}
		s.vassal("plain.ini", shop, text)
		real := s.start("/usr/bin/uwsgi", "--emperor", s.dir+"/vassals", "--emperor-tyrant", "--emperor-procname", "The Emperor")
		want := names(real, nil)
		s.eventually(30*time.Second, "the vassal", func() error { // uWSGI's waits for ever if it is told to stop before
			if !strings.Contains(real.log.String(), "is ready to accept requests") {
				return errors.New(real.log.String())
			}
			return nil
		})
		_ = real.cmd.Process.Signal(sigint)
		<-real.done
		e := s.emperor("--emperor-tyrant", "--emperor-procname", "The Emperor")
		names(e.program, want)
		_ = e.cmd.Process.Signal(sigint)
		<-e.done
	}
}
