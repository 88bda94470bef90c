package emperor

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emperord/emperord/configs"
)

// hooked adds hooks to a configuration as its file would.
func hooked(t *testing.T, c *configs.Emperor, lines ...string) {
	t.Helper()
	settings := configs.Settings{{Key: "emperor", Value: "/none"}}
	for i, line := range lines {
		key, value, _ := strings.Cut(line, " = ")
		settings = append(settings, configs.Setting{Key: key, Value: value, Place: configs.Place{File: "emperor.ini", Line: i + 2}})
	}
	parsed, _, err := configs.ParseEmperor(settings)
	if err != nil {
		t.Fatal(err)
	}
	c.Hooks, c.HookTimeout = parsed.Hooks, parsed.HookTimeout
	c.WrapperOverride, c.Wrapper, c.WrapperFallback = parsed.WrapperOverride, parsed.Wrapper, parsed.WrapperFallback
	c.Collect, c.WrapperAttr, c.ChdirAttr = parsed.Collect, parsed.WrapperAttr, parsed.ChdirAttr
}

// notebook makes a file that everybody may write, and a program that writes a line with what it is, and its arguments.
func notebook(t *testing.T) (book, program string) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "emperord-hooks-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	os.Chmod(dir, 0o755)
	book, program = dir+"/book", dir+"/note it"
	text := `#!/bin/sh
read -r n < /proc/$$/stat; sid=$(echo "$n" | cut -d' ' -f6)
for fd in /proc/$$/fd/*; do case ${fd##*/} in 0|1|2|10|255) ;; *) test -e $fd && extra="$extra ${fd##*/}" ;; esac; done
what=; for word in "$@"; do what="$what<$word>"; done
echo "$what uid=$(id -u) groups=$(id -G | tr ' ' ,) leads=$([ $sid = $$ -o $sid = $PPID ] && echo yes) dir=$(pwd) vassals=$UWSGI_VASSALS_DIR config=$UWSGI_VASSAL_CONFIG pid=${UWSGI_VASSAL_PID:+set} alive=$([ -d /proc/${UWSGI_VASSAL_PID:-none} ] && echo yes) owner=$UWSGI_VASSAL_UID:$UWSGI_VASSAL_GID notify=$NOTIFY_SOCKET fds=$extra" >> ` + book + `
`
	if err := os.WriteFile(program, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(book, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	os.Chmod(book, 0o666)
	return book, program
}

func lines(t *testing.T, book string, n int) []string {
	t.Helper()
	text := readUntil(t, book, func(text string) bool { return strings.Count(text, "\n") >= n })
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// TestHooksRunInOrderWithTheRightUser goes through a start, a reload, a crash and an end.
func TestHooksRunInOrderWithTheRightUser(t *testing.T) {
	book, note := notebook(t)
	link := strings.ReplaceAll(note, " ", "-")
	if err := os.Symlink(note, link); err != nil {
		t.Fatal(err)
	}
	m := found(t, func(c *configs.Emperor) {
		hooked(t, c,
			"hook-emperor-start = exec:"+link+" emperor-start",
			"hook-as-emperor = print:a word for the log",
			"exec-as-emperor = "+link+" exec-as-emperor",
			"hook-as-emperor = exec:"+link+" as-emperor",
			"exec-as-vassal = "+link+" exec-as-vassal",
			"hook-as-vassal = exec:"+link+" as-vassal",
			"hook-as-vassal = cd:/",
			"vassals-start-hook = "+note,
			"vassals-stop-hook = "+link+" stop",
			"hook-as-emperor-before-vassal = exec:"+link+" before",
			"hook-as-vassal-before-drop = exec:"+link+" before-drop",
		)
	})
	const name = `--help;$(touch x) "a b'.ini`
	m.put(name, shopID, "module = ok", "socket = "+m.socket("shop.ini"), "chmod-socket = 666")
	one := m.await(name, Accepting, "").PID
	at := func(uid, what string, more string) string {
		groups := uid
		return fmt.Sprintf("%s uid=%s groups=%s leads=yes dir=%s/vassals vassals=%[4]s/vassals config=%s %snotify= fds=", what, uid, groups, m.dir, name, more)
	}
	owner := fmt.Sprintf("owner=%d:%d ", shopID, shopID)
	shop := fmt.Sprint(shopID)
	inRoot := func(line string) string { return strings.Replace(line, "dir="+m.dir+"/vassals", "dir=/", 1) }
	rootly := func(line string) string { return line[:strings.Index(line, " groups=")] } // root's groups are the machine's
	check := func(got, want []string) {
		t.Helper()
		for i := range want {
			if i >= len(got) || got[i] != want[i] && !(strings.Contains(want[i], "uid=0 ") && strings.HasPrefix(got[i], rootly(want[i])+" ") && strings.HasSuffix(got[i], want[i][strings.Index(want[i], " leads="):])) {
				t.Fatalf("line %d:\n%s\nwanted:\n%s", i, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		if len(got) != len(want) {
			t.Fatalf("%d lines, not %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
		}
	}
	start := []string{
		at("0", "<before>", "pid= alive= "+owner), at("0", "<before-drop>", "pid= alive= "+owner),
		at(shop, "<./"+name+">", "pid= alive= "+owner), at(shop, "<as-vassal>", "pid= alive= "+owner), inRoot(at(shop, "<exec-as-vassal>", "pid= alive= "+owner)),
		at("0", "<as-emperor>", "pid=set alive=yes "+owner), at("0", "<exec-as-emperor>", "pid=set alive=yes "+owner),
	}
	first := fmt.Sprintf("<emperor-start> uid=0 groups=0 leads=yes dir=%s vassals= config= pid= alive= owner=: notify= fds=", m.dir)
	want := append([]string{first}, start...)
	check(lines(t, book, len(want)), want)
	if cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", one)); cwd != "/" {
		t.Errorf("cd: the vassal is in %s", cwd)
	}
	// a reload is a process more, and neither a start nor an end of the vassal
	m.touch(name)
	var two int
	for end := time.Now().Add(10 * time.Second); two == 0 || two == one; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no reload")
		}
		two = m.await(name, Accepting, "").PID
	}
	want = append(want, start[0], start[1], start[3], start[4], start[5], start[6])
	check(lines(t, book, len(want)), want)
	// a crash is an end, and a start
	if err := syscall.Kill(two, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	stop := at("0", "<stop><./"+name+">", "pid= alive= owner=: ")
	want = append(append(want, stop), start...)
	check(lines(t, book, len(want)), want)
	m.end()
	want = append(want, stop)
	check(lines(t, book, len(want)), want)
	if _, err := os.Stat(m.dir + "/vassals/x"); err == nil {
		t.Error("a name was taken for code")
	}
	if !strings.Contains(m.log.String(), "a word for the log") {
		t.Error("print says nothing")
	}
}

// TestAHookThatFailsKeepsAVassalFromStarting as in uWSGI; but not vassals-start-hook, and not what is called safe.
func TestAHookThatFailsKeepsAVassalFromStarting(t *testing.T) {
	for _, c := range []struct {
		line, reason string
	}{
		{"exec-as-vassal = echo not today; exit 3", "exec-as-vassal (emperor.ini:2) ended with exit code 3"},
		{"hook-as-vassal = cd:/no/such/folder", "/no/such/folder"},
		{"hook-as-vassal = mkdir:/proc/nothing", "hook-as-vassal (emperor.ini:2) ended with exit code"},
		{"hook-as-emperor-before-vassal = exec:kill -9 $$", "killed by SIGKILL"},
		{"vassals-start-hook = /bin/false", ""},
		{"vassals-start-hook = /no/such/program", ""},
		{"hook-as-vassal = safeexec:false", ""},
		{"exec-as-emperor = false", ""},
		{"vassals-stop-hook = false", ""},
	} {
		t.Run(c.line, func(t *testing.T) {
			m := found(t, func(c1 *configs.Emperor) { hooked(t, c1, c.line) })
			m.app("shop.ini", shopID, "ok")
			if c.reason == "" {
				m.await("shop.ini", Accepting, "")
				return
			}
			v := m.await("shop.ini", Backoff, c.reason)
			if v.PID != 0 {
				t.Errorf("%+v", v)
			}
			if _, err := os.Stat(m.socket("shop.ini")); err == nil {
				t.Error("it has a socket")
			}
		})
	}
}

// TestAHookThatHangsIsEndedAndHoldsNobodyElseUp has one tenant whose hooks never end, and another one.
func TestAHookThatHangsIsEndedAndHoldsNobodyElseUp(t *testing.T) {
	m := found(t, func(c *configs.Emperor) {
		hooked(t, c, fmt.Sprintf("exec-as-vassal = if test $(id -u) = %d; then trap '' TERM; sleep 1000 & sleep 1000; fi", blogID))
		c.HookTimeout = 2 * time.Second
	})
	for i := range 3 * hooksAtOnce {
		m.app(fmt.Sprintf("blog%d.ini", i), blogID, "ok")
	}
	m.app("shop.ini", shopID, "ok")
	m.await("shop.ini", Accepting, "")
	for end := time.Now().Add(20 * time.Second); !strings.Contains(m.log.String(), "killed by SIGKILL, after 2s (emperor-hook-timeout)"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no hook is killed")
		}
	}
	m.app("shop2.ini", shopID, "ok")
	m.await("shop2.ini", Accepting, "")
} // found looks for what is left

// TestHooksThatRunAreNamed is what an upgrade that waits for them in vain says.
func TestHooksThatRunAreNamed(t *testing.T) {
	one := func(name, option string, line int) *hook {
		return &hook{name: name, Hook: configs.Hook{Option: option, Place: configs.Place{File: "e.ini", Line: line}}}
	}
	for _, c := range []struct {
		h    hooks
		want string
	}{
		{hooks{running: map[int]*hook{7: one("shop.ini", "exec-as-emperor", 4), 9: one("", "hook-emperor-start", 2)}}, "exec-as-emperor (e.ini:4) of shop.ini, hook-emperor-start (e.ini:2) ("},
		{hooks{waiting: []*hook{one("a\x1b.ini", "x", 1)}}, "x (e.ini:1) of a?.ini ("},
		{hooks{waiting: []*hook{one("a", "x", 1), one("b", "x", 1), one("c", "x", 1), one("d", "x", 1)}}, "x (e.ini:1) of a, x (e.ini:1) of b, x (e.ini:1) of c and 1 more ("},
	} {
		if got, want := c.h.names(time.Minute), "hooks run: "+c.want+"each is ended after 1m0s, emperor-hook-timeout)"; got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}

func TestAnEmperorWhoseStartHookFailsEnds(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	c := &configs.Emperor{Sources: []string{dir}, Freq: time.Second, Mercy: time.Second, ControlSocket: dir + "/control.sock", SocketRoots: []string{dir + "/run"}}
	hooked(t, c, "hook-emperor-start = exec:exit 5")
	var log logBuffer
	err := Run(t.Context(), Options{Config: c, Env: []string{"PATH=/usr/bin:/bin"}, Dir: dir, Vassald: "/bin/true", Version: "test", Stderr: &log})
	if err == nil || !strings.Contains(err.Error(), "hook-emperor-start (emperor.ini:2) ended with exit code 5") {
		t.Errorf("%v\n%s", err, log.String())
	}
}

// TestEveryKindOfHookDoesWhatItSays runs each with real files.
func TestEveryKindOfHookDoesWhatItSays(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "emperord-hooks-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(dir+"/gone", nil, 0o644))
	must(syscall.Mkfifo(dir+"/fifo", 0o600))
	must(os.Symlink("/nowhere", dir+"/link"))
	fifo, err := os.OpenFile(dir+"/fifo", os.O_RDWR, 0)
	must(err)
	defer fifo.Close()
	m := found(t, func(c *configs.Emperor) {
		at := "hook-as-emperor-before-vassal = "
		hooked(t, c, at+"mkdir:"+dir+"/a folder", at+"create:"+dir+"/new", at+"writen:"+dir+"/text one $(id)\t`x`", at+"append:"+dir+"/text two", at+"appendn:"+dir+"/text  three",
			at+"write:"+dir+"/other x", at+"chmod:"+dir+"/text 0604", at+fmt.Sprintf("chown:%s/text %d %d", dir, shopID, blogID), at+fmt.Sprintf("chown:%s/link %d %d", dir, shopID, blogID),
			at+"unlink:"+dir+"/gone", at+"writefifo:"+dir+"/fifo hello", at+"wait_for_file:"+dir+"/new", at+"wait_for_dir:"+dir, at+"safeexec:false", at+"log:a line")
	})
	m.app("shop.ini", shopID, "ok")
	m.await("shop.ini", Accepting, "")
	text, err := os.ReadFile(dir + "/text")
	must(err)
	if string(text) != "one $(id)\t`x`\ntwo three\n" {
		t.Errorf("%q", text)
	}
	var st syscall.Stat_t
	must(syscall.Stat(dir+"/text", &st))
	if st.Mode&0o777 != 0o604 || st.Uid != shopID || st.Gid != blogID {
		t.Errorf("%04o %d %d", st.Mode&0o777, st.Uid, st.Gid)
	}
	must(syscall.Lstat(dir+"/link", &st))
	if st.Uid != shopID {
		t.Errorf("the link has uid %d", st.Uid)
	}
	buf := make([]byte, 10)
	n, err := fifo.Read(buf)
	if string(buf[:n]) != "hello" {
		t.Errorf("%q %v", buf[:n], err)
	}
	if _, err := os.Stat(dir + "/a folder"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir + "/gone"); err == nil {
		t.Error("unlink does nothing")
	}
}
