package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// recorder is a vassal that only writes down what becomes of it: that it was started, as whom, and that it was told to reload
// or to stop. A real emperor and ours run it alike.
const recorder = `#!/bin/bash
for name; do case $name in *.ini|*.yaml|*.conf) break;; esac; done
note() { echo "$1 ${name#DIR/} $(id -u)" >>DIR/record; }
note start
printf '\001\005' >&"$UWSGI_EMPEROR_FD"
while word=$(head -c 1 <&"$UWSGI_EMPEROR_FD" | od -An -tu1 | tr -d ' '); do
	case $word in 1) note start;; *) break;; esac
done
note stop
`

// A realm is a site with a record of what its emperor does.
type realm struct {
	*site
	read int64
}

func newRealm(t *testing.T) *realm {
	r := &realm{site: newSite(t)}
	for _, dir := range []string{"v", "w", "g/one", "g/two", "run"} {
		r.mkdir(dir, 0, 0)
	}
	r.write("recorder", strings.ReplaceAll(recorder, "DIR", r.dir), "")
	r.write("record", "", "")
	for name, mode := range map[string]os.FileMode{"recorder": 0o755, "record": 0o666} {
		if err := os.Chmod(filepath.Join(r.dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// events returns, in order of the alphabet, what has been written down since the last call; for a vassal that was started again
// and stopped, which is how ours reloads, only the start.
func (r *realm) events(uid int) []string {
	text, err := os.ReadFile(r.dir + "/record")
	if err != nil {
		r.t.Fatal(err)
	}
	var all []string
	fresh := strings.Split(strings.TrimSpace(string(text[r.read:])), "\n")
	for _, line := range fresh {
		what, ok := strings.CutSuffix(line, fmt.Sprintf(" %d", uid))
		if line != "" && !ok {
			r.t.Errorf("not as its owner: %s", line)
		}
		if name, stopped := strings.CutPrefix(what, "stop "); stopped && slices.Contains(fresh, strings.Replace(line, "stop", "start", 1)) {
			_ = name
			continue
		}
		if line != "" {
			all = append(all, what)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// TestMonitorsAgree has the real emperor and ours watch the same kinds of sources, and does to both what operators do.
func TestMonitorsAgree(t *testing.T) {
	uid, gid := ids(t, shop)
	clock := time.Now().Add(10 * time.Second) // a real emperor sees whole seconds only
	text := "[uwsgi]\nsocket = DIR/run/%n.sock\nmodule = x\n"
	steps := []struct {
		what string
		do   func(r *realm, at time.Time) error
		want []string
	}{
		{"files, links and folders appear", func(r *realm, _ time.Time) error {
			for _, name := range []string{"skeleton", "v/a.ini", "w/b.ini", "g/one/app.ini", "v/notes.txt", "v/c.ini.bak"} {
				r.write(name, strings.ReplaceAll(strings.ReplaceAll(text, "%n", strings.ReplaceAll(name, "/", "-")), "DIR", r.dir), shop)
			}
			r.write("skeleton", strings.ReplaceAll(text, "DIR", r.dir), shop)
			r.write("v/d.yaml", "uwsgi:\n  socket: "+r.dir+"/run/d.sock\n  module: x\n", shop)
			var err error
			for _, name := range []string{"l1", "l2"} {
				if err == nil { // with emperor-nofollow the owner of the link counts
					err = errors.Join(os.Symlink("../skeleton", r.dir+"/v/"+name+"~"), os.Lchown(r.dir+"/v/"+name+"~", uid, gid), os.Rename(r.dir+"/v/"+name+"~", r.dir+"/v/"+name+".ini"))
				}
			}
			return err
		}, []string{"start a.ini", "start b.ini", "start d.yaml", "start g/one/app.ini", "start l1.ini", "start l2.ini"}},
		{"touch", func(r *realm, at time.Time) error { return os.Chtimes(r.dir+"/v/a.ini", at, at) }, []string{"start a.ini"}},
		{"touch -h of one link of many", func(r *realm, at time.Time) error {
			tv := []unix.Timespec{{Sec: at.Unix()}, {Sec: at.Unix()}}
			return unix.UtimesNanoAt(unix.AT_FDCWD, r.dir+"/v/l1.ini", tv, unix.AT_SYMLINK_NOFOLLOW)
		}, []string{"start l1.ini"}},
		{"touch of what the links lead to", func(r *realm, at time.Time) error { return os.Chtimes(r.dir+"/skeleton", at, at) }, nil},
		{"a link is removed", func(r *realm, _ time.Time) error { return os.Remove(r.dir + "/v/l2.ini") }, []string{"stop l2.ini"}},
		{"a folder of the glob gets its file by rename", func(r *realm, _ time.Time) error {
			r.write("new", strings.ReplaceAll(strings.ReplaceAll(text, "%n", "two"), "DIR", r.dir), shop)
			return os.Rename(r.dir+"/new", r.dir+"/g/two/app.ini")
		}, []string{"start g/two/app.ini"}},
		{"a file of the second folder is touched", func(r *realm, at time.Time) error { return os.Chtimes(r.dir+"/w/b.ini", at, at) }, []string{"start b.ini"}},
		{"a folder of the glob is removed", func(r *realm, _ time.Time) error { return os.RemoveAll(r.dir + "/g/one") }, []string{"stop g/one/app.ini"}},
		{"a file is renamed", func(r *realm, _ time.Time) error { return os.Rename(r.dir+"/v/d.yaml", r.dir+"/v/e.yaml") }, []string{"start e.yaml", "stop d.yaml"}},
	}
	for name, program := range map[string]string{"uwsgi": "/usr/bin/uwsgi", "emperord": bin + "/emperord"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRealm(t)
			args := []string{"--emperor", r.dir + "/v", "--emperor", r.dir + "/w", "--emperor", r.dir + "/g/*/app.ini", "--emperor-tyrant", "--emperor-nofollow", "--emperor-freq", "1", "--emperor-wrapper", r.dir + "/recorder"}
			if name == "emperord" {
				args = append(args, "--emperor-socket-root", r.dir+"/run", "--emperor-control-socket", r.dir+"/control.sock")
			}
			p := r.start(program, args...)
			t.Cleanup(func() { _ = p.cmd.Process.Signal(unix.SIGINT) })
			for i, step := range steps {
				if err := step.do(r, clock.Add(time.Duration(i)*10*time.Second)); err != nil {
					t.Fatal(err)
				}
				var got []string
				for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
					if got = r.events(uid); slices.Equal(got, step.want) && step.want != nil {
						break
					}
					if step.want == nil && time.Now().After(end.Add(-12*time.Second)) { // nothing shall happen, for three looks
						break
					}
				}
				if !slices.Equal(got, step.want) {
					t.Fatalf("%s: %q, want %q", step.what, got, step.want)
				}
				time.Sleep(1500 * time.Millisecond) // what comes late, such as the end of an old generation, belongs to this step
				if late := r.events(uid); !slices.Equal(late, step.want) {
					t.Fatalf("%s: later %q, want %q", step.what, late, step.want)
				}
				st, err := os.Stat(r.dir + "/record")
				if err != nil {
					t.Fatal(err)
				}
				r.read = st.Size()
			}
		})
	}
}
