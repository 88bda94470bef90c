package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func shownByPs(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.TrimRight(strings.ReplaceAll(string(text), "\x00", " "), " ")
}

// Real uWSGI and ours show the same names of the emperor and of a vassal's main process.
func TestNamesThatPsShowsAreThoseOfUWSGI(t *testing.T) {
	s := newSite(t)
	uid, gid := ids(t, shop)
	s.app("plain", "plain", shop)
	s.mkdir("srv/plain/run", uid, gid)
	text := "plugin = python3\nchdir = DIR/srv/plain\nmodule = plain:application\nmaster = true\nsocket = DIR/srv/plain/run/plain.sock\nprocname-prefix-spaced = shop\n"
	names := func(p *program) (emperor, vassal string) {
		s.eventually(30*time.Second, "both names", func() error {
			emperor, vassal = shownByPs(p.cmd.Process.Pid), ""
			for _, k := range kids(p.cmd.Process.Pid) {
				vassal = shownByPs(k.pid)
			}
			if emperor == "The Emperor" && strings.HasPrefix(vassal, "shop ") {
				return nil
			}
			return fmt.Errorf("%q %q", emperor, vassal)
		})
		return emperor, vassal
	}
	s.vassal("plain.ini", shop, text)
	real := s.start("/usr/bin/uwsgi", "--emperor", s.dir+"/vassals", "--emperor-tyrant", "--emperor-procname", "The Emperor")
	wantEmperor, wantVassal := names(real)
	_ = real.cmd.Process.Signal(sigint)
	<-real.done
	gotEmperor, gotVassal := names(s.emperor("--emperor-tyrant", "--emperor-procname", "The Emperor").program)
	if gotEmperor != wantEmperor || gotVassal != wantVassal {
		t.Errorf("ours %q %q, uWSGI's %q %q", gotEmperor, gotVassal, wantEmperor, wantVassal)
	}
}
