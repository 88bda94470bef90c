package emperor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/sockets"
)

// TestNamesOfSocketsOnDemand: the file beside the vassal's, and the operator's command; both without a socket in the vassal file.
func TestNamesOfSocketsOnDemand(t *testing.T) {
	m := found(t, func(c *configs.Emperor) {
		c.OnDemandExtension = ".socket"
		c.OnDemandExec = `sh -c 'test "$1" = plain.ini || echo "` + c.SocketRoots[0] + `/by-$1.sock"; echo "$#$0" >&2' said`
	})
	m.put("file.ini.socket", 0, "") // overwritten: only the text counts
	m.text("file.ini.socket", lazyID, m.dir+"/run/named.sock\n")
	m.put("file.ini", lazyID, "module = ok")
	m.put("exec; touch PWNED.ini", lazyID, "module = ok", "chmod-socket = 600")
	m.app("plain.ini", lazyID, "ok")
	m.await("plain.ini", Accepting, "") // the command has no name for it
	v := m.await("file.ini", Waiting, "")
	if len(v.Sockets) != 1 || v.Sockets[0].Address != m.dir+"/run/named.sock" || v.Sockets[0].Mode != "0666" || v.Sockets[0].Owner != "61201" {
		t.Errorf("%+v", v)
	}
	m.await("exec; touch PWNED.ini", Waiting, "")
	if text, err := askSocket(m.dir + "/run/named.sock"); err != nil || !strings.HasSuffix(text, " ok") {
		t.Errorf("%q, %v", text, err)
	}
	path := m.dir + "/run/by-exec; touch PWNED.ini.sock"
	if text, err := askSocket(path); err != nil || !strings.HasSuffix(text, " ok") {
		t.Errorf("%q, %v", text, err)
	}
	m.eventually(func() bool { st, err := os.Lstat(path); return err == nil && st.Mode().Perm() == 0o600 }) // as its file says, once it was read
	if found, _ := filepath.Glob(m.dir + "/vassals/PWNED*"); len(found) > 0 {
		t.Errorf("a name was run by the shell: %v", found)
	}
}

// text writes a file as it is.
func (m *empire) text(name string, uid int, text string) {
	m.t.Helper()
	path := m.dir + "/vassals/" + name
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Chown(path, uid, uid); err != nil {
		m.t.Fatal(err)
	}
}

// TestHostileNamesOfSockets: whoever may not say where a vassal's socket stands is not believed, and nothing is told of what
// a link leads to.
func TestHostileNamesOfSockets(t *testing.T) {
	m := found(t, func(c *configs.Emperor) { c.OnDemandExtension = ".socket" })
	secret := m.dir + "/secret"
	if err := os.WriteFile(secret, []byte("the password is swordfish"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := func(name, to string) {
		path := m.dir + "/vassals/" + name
		if err := os.Symlink(to, path); err != nil {
			t.Fatal(err)
		}
		if err := os.Lchown(path, lazyID, lazyID); err != nil {
			t.Fatal(err)
		}
	}
	link("link.ini.socket", secret)
	m.text("other.ini.socket", nextID, m.dir+"/run/other.sock")
	m.text("words.ini.socket", lazyID, "swordfish")
	m.text("lines.ini.socket", lazyID, m.dir+"/run/a.sock\n"+m.dir+"/run/b.sock\n")
	m.text("long.ini.socket", lazyID, "/"+strings.Repeat("x", 5000))
	m.text("far.ini.socket", lazyID, "/run/of-nobody-61201.sock")
	m.text("empty.ini.socket", lazyID, "\n")
	if err := os.Mkdir(m.dir+"/vassals/folder.ini.socket", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(m.dir+"/vassals/fifo.ini.socket", 0o644); err != nil {
		t.Fatal(err)
	}
	for name, words := range map[string]string{
		"link.ini": "a link that leads to a file that 61201 may not read", "other.ini": "could have written it", "words.ini": "not the address of a socket", "lines.ini": "not the address",
		"long.ini": "not the address", "far.ini": "makes sockets for 61201 below", "empty.ini": "it is empty", "folder.ini": "not a regular file", "fifo.ini": "not a regular file",
	} {
		m.put(name, lazyID, "module = ok")
		m.await(name, Refused, words)
	}
	if strings.Contains(m.log.String(), "swordfish") {
		t.Error("the log tells what a link leads to")
	}
}

// TestAnAwkwardCommandForNames is bounded in time and text.
func TestAnAwkwardCommandForNames(t *testing.T) {
	m := found(t, func(c *configs.Emperor) {
		c.OnDemandExec = `f() { case "$1" in endless.ini) yes;; fails.ini) echo why >&2; exit 3;; child.ini) sleep 1000 & echo ` + c.SocketRoots[0] + `/child.sock; esac; }; f`
	})
	m.put("endless.ini", lazyID, "module = ok")
	m.put("fails.ini", lazyID, "module = ok")
	m.put("-x.ini", lazyID, "module = ok")
	m.await("endless.ini", Backoff, "it ended with exit code 141") // SIGPIPE
	m.await("fails.ini", Backoff, "exit code 3")
	m.await("-x.ini", Refused, "rename it")
}

// TestTheNameOfASocketChangesAlone: the vassal file stays as it is, as nobody noticed in uWSGI.
func TestTheNameOfASocketChangesAlone(t *testing.T) {
	m := found(t, func(c *configs.Emperor) { c.OnDemandExtension, c.Freq = ".socket", time.Hour })
	m.text("a.ini.socket", lazyID, m.dir+"/run/one.sock")
	m.put("a.ini", lazyID, "module = ok")
	m.await("a.ini", Waiting, "")
	m.text("a.ini.socket", lazyID, m.dir+"/run/another.sock")
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if text, err := askSocket(m.dir + "/run/another.sock"); err == nil && strings.HasSuffix(text, " ok") {
			break
		} else if time.Now().After(end) {
			t.Fatalf("%q, %v", text, err)
		}
	}
	if _, err := os.Lstat(m.dir + "/run/one.sock"); err == nil {
		t.Error("the socket of before is still there")
	}
	if log := m.log.String(); !strings.Contains(log, "the file with the name of its socket was made, written or removed") {
		t.Error("it is not said what has changed")
	}
}

// TestTwoVassalsNeverWaitOnOneSocket names the first one.
func TestTwoVassalsNeverWaitOnOneSocket(t *testing.T) {
	m := found(t, func(c *configs.Emperor) { c.OnDemandExtension = ".socket" })
	m.text("a.ini.socket", lazyID, m.dir+"/run/one.sock")
	m.put("a.ini", lazyID, "module = ok")
	m.await("a.ini", Waiting, "")
	m.text("b.ini.socket", nextID, m.dir+"/run/one.sock")
	m.put("b.ini", nextID, "module = ok")
	m.await("b.ini", Backoff, "the vassal a.ini has this address")
}

func FuzzDemanded(f *testing.F) {
	for _, s := range []string{"/run/uwsgi/a.sock\n", "@name", ":3031", "[::1]:80", "a:b:c", "\x00", "/a/../b", "fd://3", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := demanded(text, "here")
		if err != nil {
			if strings.ContainsRune(err.Error(), 0) {
				t.Errorf("the message holds a NUL: %q", err)
			}
			return
		}
		a, err := sockets.ParseAddress(d.address)
		if err != nil || a.String() != d.address || strings.ContainsAny(d.address, "\n\x00") || a.Kind == sockets.Unix && !filepath.IsAbs(a.Path) {
			t.Errorf("%q gives %q: %v", text, d.address, err)
		}
	})
}
