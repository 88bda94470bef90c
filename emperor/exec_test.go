package emperor

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/emperord/emperord/configs"
)

// script writes a vassal file that is a program, moved into place.
func (m *empire) script(name string, uid int, lines ...string) {
	m.t.Helper()
	path := m.dir + "/vassals/" + name
	mustDo(m.t, os.WriteFile(path+".tmp", []byte("#!/bin/sh\n"+strings.Join(lines, "\n")+"\n"), 0o755), os.Chown(path+".tmp", uid, uid), os.Rename(path+".tmp", path))
}

// What an executable vassal file sees is what uWSGI 2.0.21 shows it, where PATH has the current folder: the same name for
// itself, no argument, the vassals' folder, its owner's rights.
func TestExecutableVassalFilesPrintTheConfiguration(t *testing.T) {
	m := found(t, func(c *configs.Emperor) { c.MagicExec = true })
	seen := m.dir + "/seen"
	mustDo(t, os.WriteFile(seen, nil, 0o666), os.Chmod(seen, 0o666))
	look := `echo "$0,$#,$(pwd),$(id -u),$(id -g),$(env | grep -c EMPERORD_)" >>` + seen
	config := func(module, name string) string {
		return fmt.Sprintf("printf '[uwsgi]\\nmodule = %s\\nsocket = %s\\nchmod-socket = 666\\n'", module, m.socket(name))
	}
	m.script("magic.ini", shopID, look, config("ok", "magic.ini"))
	m.script("it's my app.ini", blogID, look, config("ok", "second.ini"))
	m.app("plain.ini", shopID, "ok")
	for _, name := range []string{"magic.ini", "it's my app.ini", "plain.ini"} {
		m.await(name, Accepting, "")
	}
	text, err := os.ReadFile(seen)
	mustDo(t, err)
	for _, line := range []string{
		fmt.Sprintf("./magic.ini,0,%s/vassals,%d,%[2]d,0\n", m.dir, shopID),
		fmt.Sprintf("./it's my app.ini,0,%s/vassals,%d,%[2]d,0\n", m.dir, blogID),
	} {
		if !strings.Contains(string(text), line) {
			t.Errorf("seen is %q, want %q", text, line)
		}
	}
	before, _ := m.ask("magic.ini")
	m.touch("magic.ini")
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if pid, _ := m.ask("magic.ini"); pid != before {
			break
		}
		if time.Now().After(end) {
			t.Fatal("touch does not reload it")
		}
	}
	for what, c := range map[string]struct{ line, reason string }{
		"fails":          {"exit 3", "the program ended with exit code 3"},
		"hangs":          {"sleep 1000", "takes too long"},
		"prints no end":  {"exec yes", "gives more than 1048576 bytes"},
		"prints nothing": {"true", "names no socket"},
	} {
		m.script("magic.ini", shopID, c.line)
		v := m.await("magic.ini", Accepting, c.reason)
		if _, module := m.ask("magic.ini"); module != "ok" {
			t.Errorf("a program that %s: %q answers; %+v", what, module, v)
		}
	}
	m.script("magic.ini", shopID, config("ok", "magic.ini"))
	m.await("magic.ini", Accepting, "")
	mustDo(t, os.Chmod(m.dir+"/vassals/magic.ini", 0o644)) // now it is text, and no good one
	m.await("magic.ini", Accepting, "(magic.ini: there is no section")
	mustDo(t, os.Chmod(m.dir+"/vassals/magic.ini", 0o755))
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if v, err := m.status("magic.ini"); err == nil && v.Reason == "" && v.State == "accepting" {
			break
		}
		if time.Now().After(end) {
			t.Fatal("chmod +x does not make it a program again")
		}
	}
}

// A program that fails for reasons of its own is tried again.
func TestAProgramThatFailsIsTriedAgain(t *testing.T) {
	m := found(t, func(c *configs.Emperor) { c.MagicExec = true })
	m.script("magic.ini", shopID, "test -e "+m.dir+"/ready || exit 1", fmt.Sprintf("printf '[uwsgi]\\nmodule = ok\\nsocket = %s\\n'", m.socket("magic.ini")))
	m.await("magic.ini", Backoff, "exit code 1")
	mustDo(t, os.WriteFile(m.dir+"/ready", nil, 0o644))
	m.await("magic.ini", Accepting, "")
}

// A program is run by its path, so nobody but root and its owner may be able to exchange it; without emperor-magic-exec the
// same files are text, and who owns the source may put there what it likes.
func TestNobodyExchangesAProgram(t *testing.T) {
	needRoot(t)
	dir, err := os.MkdirTemp("/run", "exec-test-")
	mustDo(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	mustDo(t, os.Chmod(dir, 0o755))
	for name, uid := range map[string]int{"root": 0, "shop": shopID, "blog": blogID} {
		at := dir + "/" + name
		mustDo(t, os.Mkdir(at, 0o755), os.Chown(at, uid, uid))
		for file, mode := range map[string]os.FileMode{"/text.ini": 0o644, "/program.ini": 0o755} {
			mustDo(t, os.WriteFile(at+file, nil, mode), os.Chown(at+file, shopID, shopID), os.Chmod(at+file, mode))
		}
		mustDo(t, os.Symlink("program.ini", at+"/link.ini"), os.Lchown(at+"/link.ini", shopID, shopID))
	}
	mustDo(t, os.WriteFile(dir+"/shop/root.ini", nil, 0o755), os.Chmod(dir+"/shop/root.ini", 0o755))
	for _, by := range []law{{tyrant: true, exec: true}, {exec: true}, {tyrant: true, exec: true, linkOwners: true}} {
		for name, program := range map[string]bool{
			"/root/text.ini": false, "/root/program.ini": true, "/root/link.ini": true, "/shop/text.ini": false, "/shop/program.ini": true, "/blog/text.ini": false,
		} {
			j, err := newDirectory(nil).judge(dir+name, dir+"/blog", by)
			if err != nil || j.program != program {
				t.Errorf("%+v: %s is a program: %v; %v", by, name, j.program, err)
			}
			if j.file != nil {
				j.file.Close()
			}
		}
		for _, name := range []string{"/blog/program.ini", "/blog/link.ini", "/shop/root.ini"} {
			if name == "/shop/root.ini" && by.tyrant {
				continue // refused for other reasons
			}
			if _, err := newDirectory(nil).judge(dir+name, dir+"/blog", by); err == nil || !strings.Contains(err.Error(), "could") {
				t.Errorf("%+v: %s is taken for a program that nobody could exchange: %v", by, name, err)
			}
		}
	}
}
