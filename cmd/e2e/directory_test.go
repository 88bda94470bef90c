package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// directoryEmperor starts an emperor that finds users in a second service of nsswitch.conf, as LDAP and SSSD are ones:
// libnss-extrausers reads them from files. All of it is seen by the emperor alone, in a mount namespace.
func (s *site) directoryEmperor(users, groups string) *emperor {
	s.t.Helper()
	s.mkdir("extrausers", 0, 0)
	s.write("nsswitch.conf", "passwd: files extrausers\ngroup: files extrausers\n", "")
	s.write("extrausers/passwd", users, "")
	if groups == "hangs" {
		if err := syscall.Mkfifo(s.dir+"/extrausers/group", 0o644); err != nil {
			s.t.Fatal(err)
		}
	} else {
		s.write("extrausers/group", groups, "")
	}
	s.write("start.sh", fmt.Sprintf(`set -e
mount --bind %[1]s/nsswitch.conf /etc/nsswitch.conf
mount --bind %[1]s/extrausers /var/lib/extrausers
exec %[2]s/emperord --emperor %[1]s/vassals --emperor-tyrant --emperor-control-socket %[1]s/control.sock --emperor-socket-root %[1]s/run
`, s.dir, bin), "")
	libs, _ := filepath.Glob("/usr/lib/libnss_extrausers.so.2")
	if more, _ := filepath.Glob("/usr/lib/*/libnss_extrausers.so.2"); len(libs)+len(more) == 0 {
		s.t.Fatal("no libnss-extrausers; run: sh cmd/e2e/install.sh")
	}
	e := &emperor{s.start("/usr/bin/unshare", "--mount", "--propagation", "private", "/bin/sh", s.dir+"/start.sh"), s}
	s.t.Cleanup(e.audit)
	return e
}

const farID, farTeam = 61801, 61802

// farVassal makes a vassal of a user whom /etc/passwd does not know.
func (s *site) farVassal() {
	s.t.Helper()
	s.write("srv/far.py", "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'far']\n", "")
	s.vassal("far.ini", "", "chdir = DIR/srv\nmodule = far:application\nsocket = DIR/run/far.sock\nchmod-socket = 660\nchown-socket = emperord-t-far:emperord-t-team\n")
	if err := os.Chown(s.dir+"/vassals/far.ini", farID, farID); err != nil {
		s.t.Fatal(err)
	}
}

func TestUsersOfADirectoryHaveTheirNamesAndGroups(t *testing.T) {
	s := newSite(t)
	s.farVassal()
	e := s.directoryEmperor(
		fmt.Sprintf("emperord-t-far:*:%d:%d:Far Away:/srv/far:/bin/sh\n", farID, farID),
		fmt.Sprintf("emperord-t-far:*:%d:\nemperord-t-team:*:%d:emperord-t-far\n", farID, farTeam))
	s.eventually(20*time.Second, "the vassal", func() error {
		for _, p := range processesIn(s.dir) {
			k := look(t, p)
			if p.comm != "python3" {
				continue
			}
			if k.vars["USER"] != "emperord-t-far" || k.vars["HOME"] != "/srv/far" || k.status["Groups"] != fmt.Sprintf("%d %d", farID, farTeam) {
				t.Fatalf("USER=%s HOME=%s, groups %s", k.vars["USER"], k.vars["HOME"], k.status["Groups"])
			}
			return nil
		}
		return fmt.Errorf("no process of it")
	})
	info, err := os.Lstat(s.dir + "/run/far.sock")
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); st.Uid != farID || st.Gid != farTeam {
		t.Errorf("the socket belongs to %d:%d", st.Uid, st.Gid)
	}
	if strings.Contains(e.log.String(), "does not answer") {
		t.Error("the directory is said not to answer")
	}
}

func TestDirectoryThatHangsHoldsUpNobodyForLong(t *testing.T) {
	s := newSite(t)
	s.farVassal()
	s.vassal("far.ini", "", "chdir = DIR/srv\nmodule = far:application\nsocket = DIR/run/far.sock\n")
	if err := os.Chown(s.dir+"/vassals/far.ini", farID, farID); err != nil {
		t.Fatal(err)
	}
	e := s.directoryEmperor(fmt.Sprintf("emperord-t-far:*:%d:%d::/srv/far:/bin/sh\n", farID, farID), "hangs")
	s.eventually(30*time.Second, "the vassal, without the directory's groups", func() error {
		if !strings.Contains(e.log.String(), "vassal accepts") {
			return fmt.Errorf("it does not accept")
		}
		return nil
	})
	if !strings.Contains(e.log.String(), "the directory of users does not answer") {
		t.Error("not a word about the directory")
	}
}
