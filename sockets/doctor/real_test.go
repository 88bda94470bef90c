package doctor

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emperord/emperord/sockets/access"
)

// realUwsgi starts the real uWSGI on a file, and returns what ends it.
func realUwsgi(t *testing.T, file, socket string) (stop func()) {
	t.Helper()
	binary, err := exec.LookPath("uwsgi")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%v: run cmd/e2e/install.sh", err)
		}
		t.Skip(err)
	}
	_ = os.Remove(socket)
	log, err := os.CreateTemp(t.TempDir(), "log")
	must(t, err)
	c := exec.Command(binary, "--ini", file)
	c.Stdout, c.Stderr = log, log
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(t, c.Start())
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
			_ = c.Wait()
		}
	}
	t.Cleanup(stop)
	for range 500 {
		raw, _ := os.ReadFile(log.Name())
		if fi, err := os.Stat(socket); err == nil && fi.Mode()&os.ModeSocket != 0 && strings.Contains(string(raw), "spawned uWSGI") {
			return stop
		}
		time.Sleep(20 * time.Millisecond)
	}
	raw, _ := os.ReadFile(log.Name())
	t.Fatalf("uwsgi did not start: %s", raw)
	return nil
}

// TestRealUwsgi: its socket is examined without an emperor and without its plugin ping; the commands are run, and what they change is there again
// after a restart.
func TestRealUwsgi(t *testing.T) {
	const application = "def application(env, start):\n    start('200 OK', [])\n    open(env['UWSGI_NEVER'], 'w')\n    return [b'ran']\n"
	for name, c := range map[string]struct {
		lines string
		known bool // the file is named
		web   access.User
		want  string
	}{
		"no chmod-socket":        {"", true, web, "no-way socket-closed"},
		"chmod-socket = 600":     {"chmod-socket = 600\n", true, web, "no-way socket-closed"},
		"the group is right":     {"chmod-socket = 600\nchown-socket = 61561:61560\n", true, web, "no-way socket-closed"},
		"a group of the web's":   {"chmod-socket = 640\nchown-socket = 61561:61565\n", true, access.User{Name: "61560", UID: 61560, GID: 61560, Groups: []int{61560, 61565}}, "no-way socket-closed"},
		"nobody knows the file":  {"chmod-socket = 600\n", false, web, "no-way socket-closed"},
		"open, folder is closed": {"chmod-socket = 666\n", true, web, "no-way"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := ground(t)
			must(t, os.Mkdir(dir+"/app", 0o700))
			must(t, os.Chown(dir+"/app", shop.UID, shop.GID))
			must(t, os.WriteFile(dir+"/app/app.py", []byte(application), 0o644))
			path, file := dir+"/app/a.sock", dir+"/shop.ini"
			must(t, os.WriteFile(file, []byte("[uwsgi]\nplugins = python3\nmaster = true\nneed-app = true\nuid = 61561\ngid = 61561\nsocket = "+path+"\n"+c.lines+"wsgi-file = "+dir+"/app/app.py\n"), 0o644))
			stop := realUwsgi(t, file, path)
			s := Socket{Address: path}
			if c.known {
				s = Socket{Address: path, File: file, Line: 7, Vassal: "shop.ini", Owner: shop}
			}
			look := func() []Finding { return (&Examiner{}).Socket(t.Context(), s, c.web) }
			list := look()
			if codes(list) != c.want {
				t.Fatalf("got %+v", list)
			}
			for _, f := range list {
				t.Log(strings.ReplaceAll(fmt.Sprint(f.Cause, "\n", strings.Join(f.Commands, "\n"), "\n", f.Note), dir, "DIR"))
			}
			mend(t, list)
			if list := look(); len(list) > 0 {
				t.Errorf("after the commands: %+v", list)
			}
			if !c.known {
				return
			}
			stop()
			realUwsgi(t, file, path)
			if list := look(); len(list) > 0 {
				t.Errorf("after the commands and a restart: %+v", list)
			}
		})
	}
}

func TestRealUwsgiThatSpeaksHTTP(t *testing.T) {
	dir := ground(t)
	must(t, os.Chmod(dir, 0o777))
	path, file := dir+"/a.sock", dir+"/shop.ini"
	ran := dir + "/ran"
	must(t, os.WriteFile(dir+"/app.py", []byte("def application(env, start):\n    open('"+ran+"', 'w').close()\n    start('200 OK', [])\n    return [b'ran']\n"), 0o644))
	must(t, os.WriteFile(file, []byte("[uwsgi]\nplugins = python3\nmaster = true\nuid = 61561\nhttp-socket = "+path+"\nchmod-socket = 666\nwsgi-file = "+dir+"/app.py\n"), 0o644))
	realUwsgi(t, file, path)
	list := (&Examiner{Patience: 500 * time.Millisecond}).Socket(t.Context(), Socket{Address: path, Vassal: "shop.ini", File: file}, web)
	if codes(list) != SpeaksHTTP || !strings.Contains(list[0].Note, "proxy_pass http://unix:"+path) {
		t.Errorf("got %+v", list)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("the doctor ran the application's code")
	}
}
