package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// hookSite is a site with one vassal, and programs for its hooks that write who they are into a book.
func hookSite(t *testing.T) (*site, string) {
	s := newSite(t)
	uid, gid := ids(t, shop)
	s.mkdir("sock", uid, gid)
	s.write("srv/app.py", talker, shop)
	s.write("book", "", "")
	book := filepath.Join(s.dir, "book")
	script := `#!/bin/sh
echo "$(basename $0) <$*> uid=$(id -u) gid=$(id -g) config=$UWSGI_VASSAL_CONFIG pid=${UWSGI_VASSAL_PID:+set} owner=$UWSGI_VASSAL_UID:$UWSGI_VASSAL_GID dir=$(pwd) vassals=$UWSGI_VASSALS_DIR" >> ` + book + "\n"
	for _, name := range []string{"start", "stop", "as-vassal", "exec-as-vassal", "as-emperor", "exec-as-emperor", "emperor-start"} {
		s.write(name, script, "")
		if err := os.Chmod(filepath.Join(s.dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(book, 0o666); err != nil {
		t.Fatal(err)
	}
	s.vassal("app.ini", shop, "plugin = python3\nmaster = true\nchdir = DIR/srv\nmodule = app:application\nsocket = DIR/sock/app.sock\nchmod-socket = 666\n")
	return s, book
}

func hookOptions(dir string) []string {
	return []string{"--vassals-start-hook", dir + "/start", "--vassals-stop-hook", dir + "/stop", "--hook-as-vassal", "exec:" + dir + "/as-vassal", "--exec-as-vassal", dir + "/exec-as-vassal x y",
		"--hook-as-emperor", "exec:" + dir + "/as-emperor", "--exec-as-emperor", dir + "/exec-as-emperor", "--hook-emperor-start", "exec:" + dir + "/emperor-start"}
}

// TestHooksAreThoseOfUWSGI starts and stops a vassal under both emperors: the same hooks run, as the same users, with the same
// arguments. Where both set a variable it has the same value; uWSGI sets fewer.
func TestHooksAreThoseOfUWSGI(t *testing.T) {
	told := map[string][]string{}
	for _, whose := range []string{"uwsgi", "emperord"} {
		s, book := hookSite(t)
		var p *program
		options := append(hookOptions(s.dir), "--emperor-tyrant")
		if whose == "uwsgi" {
			p = s.start("/usr/bin/uwsgi", append([]string{"--emperor", s.dir + "/vassals"}, options...)...)
		} else {
			p = s.emperor(options...).program
		}
		lines := func(n int) []string {
			var all []string
			s.eventually(20*time.Second, fmt.Sprintf("%d hooks of %s", n, whose), func() error {
				text, err := os.ReadFile(book)
				if all = strings.Split(strings.TrimSpace(string(text)), "\n"); err == nil && len(all) < n {
					err = fmt.Errorf("%s\n%s", text, p.log.String())
				}
				return err
			})
			return all
		}
		lines(6)
		s.eventually(20*time.Second, "the vassal", func() error { // uWSGI's waits for ever if it is told to stop before
			if text := p.log.String(); !strings.Contains(text, "is ready to accept requests") && !strings.Contains(text, "vassal accepts") {
				return errors.New(text)
			}
			return nil
		})
		if err := os.Remove(s.dir + "/vassals/app.ini"); err != nil {
			t.Fatal(err)
		}
		all := lines(7)
		if whose == "uwsgi" {
			_ = p.cmd.Process.Signal(syscall.SIGINT)
			<-p.done
		}
		for i := range all {
			all[i] = strings.ReplaceAll(all[i], s.dir, "DIR")
		}
		slices.Sort(all)
		told[whose] = all
	}
	if len(told["uwsgi"]) != len(told["emperord"]) {
		t.Fatalf("uwsgi:\n%s\nemperord:\n%s", strings.Join(told["uwsgi"], "\n"), strings.Join(told["emperord"], "\n"))
	}
	for i, real := range told["uwsgi"] {
		ours := strings.Fields(told["emperord"][i])
		for j, field := range strings.Fields(real) {
			if name, value, _ := strings.Cut(field, "="); value == "" && name != field || field == "owner=:" || name == "dir" && strings.HasPrefix(real, "emperor-start") {
				continue // uWSGI does not set it; or it has gone into the vassals' folder already
			}
			if j >= len(ours) || ours[j] != field {
				t.Errorf("uwsgi:    %s\nemperord: %s", real, told["emperord"][i])
				break
			}
		}
	}
}

// TestTemplatesReachARealVassal has all four ways to put settings before and behind those of a vassal file, and vassal-set.
func TestTemplatesReachARealVassal(t *testing.T) {
	s := newSite(t)
	s.write("srv/app.py", `import os
def application(environ, start_response):
    start_response("200 OK", [])
    return [" ".join(os.environ.get("FROM_" + n, "-") for n in ("INHERIT_BEFORE", "INCLUDE_BEFORE", "SET", "OWN", "INHERIT", "INCLUDE", "LAST")).encode()]
`, "")
	for _, name := range []string{"inherit_before", "include_before", "inherit", "include"} {
		s.write(name+".ini", fmt.Sprintf("[uwsgi]\nenv = FROM_%s=%%n\nenv = FROM_LAST=%s\nchdir = %s/srv\n", strings.ToUpper(name), name, s.dir), "")
	}
	s.vassal("app.ini", shop, "module = app:application\nsocket = DIR/run/app.sock\nchmod-socket = 666\nenv = FROM_OWN=%n\nenv = FROM_SET=%(given)\nenv = FROM_LAST=own\n")
	s.emperor("--emperor-tyrant", "--vassals-inherit-before", s.dir+"/inherit_before.ini", "--vassals-include-before", s.dir+"/include_before.ini", "--vassal-set", "given=thing",
		"--vassals-inherit", s.dir+"/inherit.ini", "--vassals-include", s.dir+"/include.ini")
	s.nginx(map[string]string{"app": s.dir + "/run/app.sock"})
	// as uwsgi 2.0.21 --show-config reads the same command line: %n is the file that it stands in, and what is inherited behind the
	// vassal file comes last
	const want = "inherit_before include_before thing app inherit include inherit"
	if body := s.get("app", "/"); body != want {
		t.Errorf("%q, not %q", body, want)
	}
}
