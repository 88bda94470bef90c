package emperor

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/emperord/emperord/configs"
)

// wrappers makes programs that write their name into a book and become vassald.
func wrappers(t *testing.T, names ...string) (book, dir string) {
	t.Helper()
	book, _ = notebook(t)
	dir = strings.TrimSuffix(book, "/book")
	for _, name := range names {
		text := fmt.Sprintf("#!/bin/sh\necho %s \"$*\" in $(pwd) reloads $UWSGI_RELOADS >> %s\nexec \"$(cat %s/vassald)\" \"$@\"\n", name, book, dir)
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return book, dir
}

func TestWrappersAreTriedInTheirOrder(t *testing.T) {
	for _, c := range []struct {
		lines []string // DIR is their folder
		runs  string   // "": vassald itself
	}{
		{[]string{"emperor-wrapper-override = /nowhere/a", "emperor-wrapper-override = DIR/one", "emperor-wrapper = DIR/two"}, "one"},
		{[]string{"emperor-wrapper-override = /nowhere/a", "emperor-wrapper = DIR/two", "emperor-wrapper-fallback = DIR/one"}, "two"},
		{[]string{"emperor-wrapper = /nowhere/b", "emperor-wrapper-fallback = DIR", "emperor-wrapper-fallback = DIR/one"}, "one"},
		{[]string{"emperor-wrapper = no-such-program-anywhere", "emperor-wrapper-fallback = DIR/one"}, "one"},
		{[]string{"emperor-wrapper-override = /nowhere/a", "emperor-wrapper-fallback = DIR/one"}, ""},
	} {
		t.Run(strings.Join(c.lines, ","), func(t *testing.T) {
			book, dir := wrappers(t, "one", "two")
			m := found(t, func(e *configs.Emperor) {
				for i := range c.lines {
					c.lines[i] = strings.ReplaceAll(c.lines[i], "DIR", dir)
				}
				hooked(t, e, c.lines...)
			})
			if err := os.WriteFile(dir+"/vassald", []byte(m.dir+"/bin/vassald"), 0o644); err != nil {
				t.Fatal(err)
			}
			m.app("shop.ini", shopID, "ok")
			m.await("shop.ini", Accepting, "")
			text, _ := os.ReadFile(book)
			want := ""
			if c.runs != "" {
				want = fmt.Sprintf("%s --ini shop.ini in %s/vassals reloads 1\n", c.runs, m.dir)
			}
			if string(text) != want {
				t.Errorf("%q, not %q", text, want)
			}
		})
	}
}

func TestNoWrapperCanBeRun(t *testing.T) {
	m := found(t, func(e *configs.Emperor) {
		hooked(t, e, "emperor-wrapper = no-such-program-anywhere", "emperor-wrapper-fallback = /nowhere/x")
	})
	m.app("shop.ini", shopID, "ok")
	m.await("shop.ini", Backoff, "no-such-program-anywhere: no such file or directory: it is not in PATH=/usr/bin:/bin; write its whole path")
}

// TestAVassalSaysWhatItIs has attributes that are shown, a program and a folder of a tenant's own choice.
func TestAVassalSaysWhatItIs(t *testing.T) {
	book, dir := wrappers(t, "own")
	m := found(t, func(e *configs.Emperor) {
		hooked(t, e, "emperor-collect-attribute = team", "emperor-collect-attr = rank", "emperor-wrapper-attr = runner", "emperor-chdir-attr = home")
	})
	if err := os.WriteFile(dir+"/vassald", []byte(m.dir+"/bin/vassald"), 0o644); err != nil {
		t.Fatal(err)
	}
	own := "[emperor]"
	m.app("shop.ini", shopID, "ok", own, "team = red", "secret = x", "rank = 1", "rank = 2", "runner = "+dir+"/own", "home = "+dir)
	v := m.await("shop.ini", Accepting, "")
	if got := fmt.Sprint(v.Attributes); got != "[{team red} {rank 1} {rank 2}]" {
		t.Error(got)
	}
	if text, _ := os.ReadFile(book); string(text) != fmt.Sprintf("own --ini %s/vassals/shop.ini in %s reloads 1\n", m.dir, dir) {
		t.Errorf("%q", text)
	}
	// with its own rights: what it may not run or enter it does not
	if err := os.WriteFile(dir+"/closed", []byte("#!/bin/sh\nid -u > "+dir+"/ran\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	m.app("blog.ini", blogID, "ok", own, "runner = "+dir+"/closed")
	m.await("blog.ini", Backoff, "permission denied")
	m.app("cellar.ini", blogID, "ok", own, "home = /root")
	m.await("cellar.ini", Backoff, "permission denied")
	if _, err := os.Stat(dir + "/ran"); err == nil {
		t.Error("a tenant's choice was run with other rights than its own")
	}
	m.app("odd.ini", blogID, "ok", own, "runner = sh")
	m.await("odd.ini", Refused, "cannot take runner = sh of the section [emperor] for a program: it is no absolute path")
	m.app("long.ini", blogID, "ok", own, "team = "+strings.Repeat("x", 5000), "rank = 9")
	v = m.await("long.ini", Accepting, "")
	if len(v.Attributes) != 1 || len(v.Notices) == 0 || !strings.Contains(strings.Join(v.Notices, "\n"), "long.ini:6: section [emperor]: the attribute team has a value of more than 4096 bytes") {
		t.Errorf("%v %q", v.Attributes, v.Notices)
	}
}

// TestWhatRunsDecidesHowItIsStopped looks at real processes.
func TestWhatRunsDecidesHowItIsStopped(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(sleep, "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	real, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		foreign bool
		ours    string
		want    bool
	}{{false, "/x", false}, {true, "/x", true}, {true, real, false}} {
		e := &Emperor{ours: c.ours}
		if got := e.isForeign(&attempt{foreign: c.foreign, pid: cmd.Process.Pid}); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
}
