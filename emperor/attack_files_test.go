package emperor

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/protocol/pipe"
)

// TestAttacksWithVassalFiles attacks with the files themselves while the emperor runs.
func TestAttacksWithVassalFiles(t *testing.T) {
	t.Run("gives its running file to another tenant and back without end", func(t *testing.T) {
		s := besiege(t, nil)
		path := s.dir + "/vassals/evil.ini"
		s.app("evil.ini", evilID, "ok")
		s.await("evil.ini", Accepting, "")
		for i := range 60 { // only root can do it: an operator's script, or one whom the tenant has talked into it
			uid := []int{otherID, evilID}[i%2]
			mustDo(t, os.Chown(path, uid, uid))
			time.Sleep(time.Duration(i) * time.Millisecond)
			a, b := vassalsOf(evilID, "evil.ini"), vassalsOf(otherID, "evil.ini")
			if len(a) > 0 && len(b) > 0 && alive(a) && alive(b) {
				t.Fatalf("both owners have processes: %v and %v", a, b)
			}
		}
		s.awaitOwner("evil.ini", evilID)
		s.logged("vassal stops", "evil.ini")
		s.stillGoverns()
		s.removeEvil()
	})
	t.Run("gives its running file to root", func(t *testing.T) {
		s := besiege(t, nil)
		s.app("evil.ini", evilID, "ok")
		s.await("evil.ini", Accepting, "")
		mustDo(t, os.Chown(s.dir+"/vassals/evil.ini", 0, 0))
		s.await("evil.ini", Refused, "the file belongs to root")
		if left := vassalsOf(evilID, "evil.ini"); len(left) > 0 {
			t.Errorf("processes of the old owner: %v", left)
		}
		if _, err := os.Lstat(s.socket("evil.ini")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket of the old owner: %v", err)
		}
		s.logged("vassal refused", "evil.ini", `"uid": 0`)
		s.removeEvil()
	})
	t.Run("lets everybody write its running file", func(t *testing.T) {
		s := besiege(t, nil)
		s.app("evil.ini", evilID, "ok")
		pid := s.await("evil.ini", Accepting, "").PID
		mustDo(t, os.Chmod(s.dir+"/vassals/evil.ini", 0o666))
		if v := s.await("evil.ini", Accepting, "chmod o-w "+s.dir+"/vassals/evil.ini"); v.PID != pid {
			t.Errorf("pid %d, then %d: what was started from the good file goes on", pid, v.PID)
		}
		mustDo(t, syscall.Kill(pid, syscall.SIGKILL))
		s.await("evil.ini", Refused, "everybody may write it") // and it is not started again from the bad one
		s.logged("reload refused", "evil.ini", evilUID, "everybody may write it")
		s.logged("vassal refused", "evil.ini", evilUID)
		mustDo(t, os.Chmod(s.dir+"/vassals/evil.ini", 0o644))
		s.await("evil.ini", Accepting, "")
		s.removeEvil()
	})
	t.Run("lets a foreign group write its running file", func(t *testing.T) {
		s := besiege(t, nil)
		s.app("evil.ini", evilID, "ok")
		s.await("evil.ini", Accepting, "")
		path := s.dir + "/vassals/evil.ini"
		mustDo(t, os.Chmod(path, 0o664))
		s.await("evil.ini", Accepting, "") // its own group: nobody else's
		mustDo(t, os.Chown(path, evilID, otherID), os.Chmod(path, 0o664))
		s.await("evil.ini", Refused, fmt.Sprintf("the members of group %d (gid %d) may write it", otherID, otherID))
		s.logged("vassal refused", evilUID, "chmod g-w "+path)
		mustDo(t, os.Chmod(path, 0o644)) // the remedy
		s.await("evil.ini", Accepting, "")
		s.removeEvil()
	})
	t.Run("swaps its file for links between look and open", func(t *testing.T) {
		s := besiege(t, func(c *configs.Emperor) { c.Freq = 50 * time.Millisecond })
		targets := map[string]string{
			"shadow": s.dir + "/root/shadow", "root": s.dir + "/root/root.ini", "neighbour": s.dir + "/vassals/neighbour.ini",
			"stdin": "/dev/stdin", "zero": "/dev/zero", "ours": "/proc/self/fd/3", "exe": "/proc/self/exe", "loop": s.own + "/loop", "itself": s.name,
		}
		mustDo(t, unix.Mkfifo(s.own+"/fifo", 0o666), os.Mkdir(s.own+"/folder", 0o755))
		targets["fifo"], targets["folder"] = s.own+"/fifo", s.own+"/folder"
		swaps := 0
		for kind, to := range targets {
			s.evil("ok")
			other := s.own + "/" + kind
			switch kind {
			case "fifo", "folder": // the thing itself
				mustDo(t, os.Chown(other, evilID, evilID))
			default:
				mustDo(t, os.Symlink(to, other), os.Lchown(other, evilID, evilID))
			}
			wait := s.unleash("swap", 0.7, s.name, other)
			stop := make(chan struct{})
			go func() {
				swaps += wait()
				close(stop)
			}()
			for running := true; running; {
				select {
				case <-stop:
					running = false
				case <-time.After(2 * time.Millisecond):
					for _, uid := range []int{0, neighbourID, otherID} {
						if p := vassalsOf(uid, "evil.ini"); len(p) > 0 && alive(p) {
							t.Fatalf("%s: the attacker's file runs as uid %d: %v", kind, uid, p)
						}
					}
				}
			}
			mustDo(t, os.RemoveAll(s.name), os.RemoveAll(other))
		}
		if swaps < 5000 {
			t.Errorf("only %d swaps", swaps)
		}
		s.logged(s.name, "in tyrant mode")
		s.stillGoverns()
	})
	t.Run("has a hard link to a file of its neighbour's", func(t *testing.T) {
		s := besiege(t, nil)
		mustDo(t, os.WriteFile(s.dir+"/srv/neighbour/n", []byte("[uwsgi]\nmodule = ok\nsocket = "+s.evilSocket()+"\n"), 0o644), os.Chown(s.dir+"/srv/neighbour/n", neighbourID, neighbourID))
		mustDo(t, os.Link(s.dir+"/srv/neighbour/n", s.name)) // where the kernel does not protect hard links
		s.await(s.name, Refused, "could have put another file of theirs there")
		s.logged(s.name, fmt.Sprint(evilID))
		mustDo(t, os.Remove(s.name), os.Remove(s.dir+"/srv/neighbour/n"))
	})
	t.Run("puts a hard link into a folder that its group may write", func(t *testing.T) {
		s := besiege(t, func(c *configs.Emperor) {
			dir := c.Sources[0] + "/../team"
			mustDo(t, os.Mkdir(dir, 0o755), os.Chown(dir, 0, evilID), os.Chmod(dir, 0o775))
			c.Sources = append(c.Sources, strings.TrimSuffix(c.Sources[0], "/vassals")+"/team")
		})
		n := s.dir + "/srv/neighbour/n"
		mustDo(t, os.WriteFile(n, []byte("[uwsgi]\nmodule = ok\nsocket = "+s.evilSocket()+"\n"), 0o644), os.Chown(n, neighbourID, neighbourID))
		mustDo(t, os.Link(n, s.dir+"/team/evilteam.ini"))
		s.await("evilteam.ini", Refused, "hard links")
		s.logged("evilteam.ini", "2 names")
		mustDo(t, os.Remove(s.dir+"/team/evilteam.ini"), os.Remove(n))
		s.evilAs(s.dir+"/team/evilown.ini", "ok") // its own file there is what root has allowed
		s.awaitOwner("evilown.ini", evilID)
		mustDo(t, os.Remove(s.dir+"/team/evilown.ini"))
		s.await("evilown.ini", Absent, "")
	})
	t.Run("puts FIFOs, devices, sockets and folders in the place of files", func(t *testing.T) {
		s := besiege(t, nil)
		mustDo(t, unix.Mkfifo(s.own+"/a.ini", 0o666), unix.Mknod(s.own+"/b.ini", unix.S_IFCHR|0o666, 1<<8|5), os.Mkdir(s.own+"/c.ini", 0o755))
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		mustDo(t, err, unix.Bind(fd, &unix.SockaddrUnix{Name: s.own + "/d.ini"}), unix.Close(fd))
		s.stillGoverns()
		for _, name := range []string{"a", "b", "c", "d"} {
			if v, err := s.status(s.own + "/" + name + ".ini"); err == nil {
				t.Errorf("%s.ini is a vassal: %+v", name, v)
			}
		}
	})
	t.Run("makes its folder a FIFO, a loop and a link that is too long", func(t *testing.T) {
		s := besiege(t, nil)
		mustDo(t, os.Rename(s.own, s.own+"-away"))
		for _, put := range []func() error{
			func() error { return unix.Mkfifo(s.own, 0o666) },
			func() error { return os.Symlink(s.own, s.own) },
			func() error { return os.Symlink(strings.Repeat("x", 300), s.own) },
			func() error { return os.Symlink("/dev/zero", s.own) },
			func() error { return os.Symlink("/proc/self/fd", s.own) },
		} {
			mustDo(t, put())
			s.stillGoverns() // the other folders of the same glob
			mustDo(t, os.Remove(s.own))
		}
		mustDo(t, os.Rename(s.own+"-away", s.own))
	})
	t.Run("blinds the emperor with names that cannot be looked at", func(t *testing.T) {
		s := besiege(t, nil)
		for i, to := range []string{strings.Repeat("x", 300), strings.Repeat("x/", 2040) + "x", s.own + "/evil0.ini", "/proc/self/fd/999", "/proc/1/root/x.ini"} {
			mustDo(t, os.Symlink(to, fmt.Sprintf("%s/evil%d.ini", s.own, i)), os.Symlink(to, fmt.Sprintf("%s/vassals/evil%d.ini", s.dir, i)))
		}
		s.stillGoverns()
		s.app("evilother.ini", evilID, "ok") // in the folder of root's too
		s.await("evilother.ini", Accepting, "")
		mustDo(t, os.Remove(s.dir+"/vassals/evilother.ini"))
		s.await("evilother.ini", Absent, "")
	})
	t.Run("has a file of a gigabyte, sparse and real, and one that grows while it is read", func(t *testing.T) {
		s := besiege(t, nil)
		s.evil("ok")
		s.await(s.name, Accepting, "")
		mustDo(t, os.Truncate(s.name, 1<<30))
		s.await(s.name, Accepting, "") // the old one goes on
		s.logged("reload refused", s.name, evilUID)
		mustDo(t, os.Truncate(s.name, 0), os.WriteFile(s.name, []byte("[uwsgi]\n"+strings.Repeat("# real bytes, many of them\n", 3_000_000)), 0o644))
		s.await(s.name, Accepting, "more than 1 MiB")
		s.evil("ok")
		s.unleash("append", 2, s.name)()
		s.stillGoverns()
		s.removeEvil()
	})
}

// TestAttacksWithNames uses names that mean something to shells, terminals, logs or command lines.
func TestAttacksWithNames(t *testing.T) {
	names := map[string]string{ // the file's name, and a word of the reason for which it is refused; "": it runs
		"evil\nFORGED.ini": "", "evil\x1b[2J\x1b]0;owned\a.ini": "", "evil\xff\xfe.ini": "", "-evil.ini": "", "--emperor.ini": "",
		"%devil%n%(x)s.ini": "", "$(EVIL).ini": "", "@(evil).ini": "", "evil space\t.ini": "", "evil=x.ini": "", "evil\u202e\u0085.ini": "",
		"evil" + strings.Repeat("x", 246) + ".ini": "",
		"evil:uwsgi.ini": "a colon", ":evil.ini": "a colon", "exec:evil.ini": "a colon", "evil.ini:uwsgi.ini": "a colon",
	}
	s := besiege(t, func(c *configs.Emperor) {
		c.Sources = append(c.Sources, strings.TrimSuffix(c.Sources[0], "vassals")+"srv/evil")
	})
	i := 0
	for name, refused := range names {
		i++
		socket := fmt.Sprintf("%s/evil%d.sock", s.own, i)
		path := s.own + "/" + name
		mustDo(t, os.WriteFile(path+"~", []byte("[uwsgi]\nmodule = ok\nsocket = "+socket+"\nchmod-socket = 666\n"), 0o644), os.Chown(path+"~", evilID, evilID), os.Rename(path+"~", path))
		if refused != "" {
			s.logged("vassal refused", evilUID, refused)
			continue
		}
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
			if _, err := askAt(socket); err == nil {
				break
			} else if time.Now().After(end) {
				t.Fatalf("%q does not run: %v", name, err)
			}
		}
		mustDo(t, os.Remove(path))
	}
	mustDo(t, os.WriteFile(s.own+"/evil"+strings.Repeat("x", 247)+".ini", nil, 0o644)) // 255 bytes: uWSGI takes 254
	for _, line := range strings.Split(strings.TrimSpace(s.log.String()), "\n") {
		if !strings.HasPrefix(line, "20") && !strings.HasPrefix(line, "[") {
			t.Errorf("a line that is none of the emperor's: %q", line)
		}
	}
	s.stillGoverns()
}

// vassalsOf lists a user's processes that run a vassal: they, and no resolver, have its listeners.
func vassalsOf(uid int, name string) []int {
	var found []int
	for _, pid := range processesOf(uid) {
		if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); err == nil && strings.Contains(string(env), "EMPERORD_VASSAL="+name+"\x00") && strings.Contains(string(env), pipe.ListenersVariable+"=") && userOf(pid) == uid { // once more: it may have been between fork and exec
			found = append(found, pid)
		}
	}
	return found
}

// alive tells whether all of these processes still are.
func alive(pids []int) bool {
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return false
		}
	}
	return true
}

// awaitOwner waits until the vassal accepts as uid.
func (s *siege) awaitOwner(name string, uid int) {
	s.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		v, err := s.status(name)
		if err == nil && v.State == "accepting" && v.UID == uid {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("%s does not accept as uid %d: %+v, %v", name, uid, v, err)
		}
	}
}

// removeEvil removes the attacker's vassal files and waits until their vassals are gone.
func (s *siege) removeEvil() {
	s.t.Helper()
	for _, path := range []string{s.dir + "/vassals/evil.ini", s.name} {
		_ = os.Remove(path)
	}
	s.await("evil.ini", Absent, "")
	s.await(s.name, Absent, "")
}

// TestNoNameBecomesACommand: whoever copies a remedy into root's shell runs it, and nothing that the file's name says.
func TestNoNameBecomesACommand(t *testing.T) {
	m := found(t, nil)
	for name, word := range map[string]string{"a;touch owned;.ini": "'DIR/a;touch owned;.ini'", "a';touch owned;'.ini": "NAME", "$(touch owned).ini": "'DIR/$(touch owned).ini'"} {
		path := m.dir + "/vassals/" + name
		mustDo(t, os.WriteFile(path, []byte("[uwsgi]\nmodule = ok\n"), 0o644), os.Chown(path, shopID, shopID), os.Chmod(path, 0o666))
		m.await(name, Refused, "run: chmod o-w "+strings.ReplaceAll(word, "DIR", m.dir+"/vassals"))
	}
}
