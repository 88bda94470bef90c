package check

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"
)

// one checks one path on this machine.
func one(t testing.TB, path string, o Options) File {
	t.Helper()
	report, err := Run(context.Background(), []string{path}, o)
	if err != nil {
		t.Fatal(err)
	}
	return report.Files[0]
}

func codes(f File) []Code {
	var list []Code
	for _, x := range f.Findings {
		list = append(list, x.Code)
	}
	return list
}

func write(t testing.TB, name, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestNothingHoldsTheCheckUp names what would block or never end when opened: it must return at once.
func TestNothingHoldsTheCheckUp(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(dir+"/pipe.ini", 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir + "/pipe.ini", "/dev/zero", "/dev/tty"} {
		if f := one(t, path, Options{}); f.Kind != Unreadable {
			t.Errorf("%s: %+v", path, f)
		}
	}
	for _, name := range []string{dir + "/pipe.ini", "/dev/zero", dir} {
		path := write(t, dir+"/app.ini", "[uwsgi]\ninclude = "+name+"\n")
		if got := codes(one(t, path, Options{})); !slices.Contains(got, CannotRead) {
			t.Errorf("include = %s: %v", name, got)
		}
		path = write(t, dir+"/app.ini", "[uwsgi]\nenv = X=@("+name+")\n")
		if got := codes(one(t, path, Options{})); !slices.Contains(got, CannotRead) {
			t.Errorf("@(%s): %v", name, got)
		}
	}
	report, err := Run(context.Background(), []string{dir}, Options{})
	if err != nil || len(report.Ignored) != 1 {
		t.Errorf("%+v %v", report, err)
	}
}

func TestOddBytesAndSizes(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"latin1.ini": "[uwsgi]\nmodule = caf\xe9\nsocket = /run/uwsgi/caf\xe9.sock\nx\xff = 1\n",
		"nul.ini":    "[uwsgi]\nmodule = a\x00b\n",
		"large.ini":  "[uwsgi]\n" + strings.Repeat("; filler\n", 200000),
		"empty.ini":  "",
	} {
		f := one(t, write(t, filepath.Join(dir, name), text), Options{})
		if len(f.Findings) == 0 {
			t.Errorf("%s: nothing found", name)
		}
		var out strings.Builder
		if err := (&Report{Files: []File{f}}).Print(&out, Style{All: true}); err != nil || !utf8.ValidString(out.String()) || strings.ContainsAny(out.String(), "\x00\x1b") {
			t.Errorf("%s: %q", name, out.String())
		}
	}
}

func TestPathsThatNameNothing(t *testing.T) {
	for _, path := range []string{"", "/nonexistent", "/nonexistent/*.ini", "[", "/nonexistent:x"} {
		if _, err := Run(context.Background(), []string{path}, Options{}); err == nil {
			t.Errorf("%q was checked", path)
		}
	}
}

func TestSections(t *testing.T) {
	path := write(t, t.TempDir()+"/two.ini", "[one]\nmodule = shop\n[two]\nchmod_socket = 660\n")
	if f := one(t, path+":two", Options{}); f.Section != "two" || !slices.Contains(codes(f), Underscore) {
		t.Errorf("%+v", f)
	}
	if f := one(t, path+":three", Options{}); !slices.Contains(codes(f), NoSection) {
		t.Errorf("%+v", f)
	}
}

// TestTrapsOfTheFormatsAreFound: what the reading passes over in silence is a finding by line.
func TestTrapsOfTheFormatsAreFound(t *testing.T) {
	path := write(t, t.TempDir()+"/app.yml", "uwsgi:\n  socket: /run/uwsgi/a.sock\n  master:\n  chdir: *home\n  legion: a 225.1.1.1:4242 98 bf-cbc:x\n")
	f := one(t, path, Options{})
	for line, what := range map[int]string{3: "master has no value", 4: "does not follow aliases", 5: `cipher "bf-cbc"`} {
		if !slices.ContainsFunc(f.Findings, func(x Finding) bool {
			return x.Code == Notice && x.Level == Warning && x.Place.Line == line && strings.Contains(x.What, what)
		}) {
			t.Errorf("line %d: nothing says %q: %+v", line, what, f.Findings)
		}
	}
}

// TestASourceIsShownAndNotOpened asks for a program as a reading does.
func TestASourceIsShownAndNotOpened(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir+"/app.ini", "[uwsgi]\n; above\nenv = X=@(exec://touch "+dir+"/ran)\n")
	f := File{Path: path}
	r := &run{Options: Options{System: Machine{}}, texts: map[string]text{}, said: map[string]bool{}}
	s := &subject{run: r, file: &f, path: path, dir: dir, shown: dir + "/", opened: []string{"app.ini"}}
	reader, err := s.source("exec", "touch "+dir+"/ran")
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := io.ReadAll(reader); err != nil || len(raw) != 0 {
		t.Errorf("got %q %v", raw, err)
	}
	if len(f.Findings) != 1 || f.Findings[0].Code != SourceShown || f.Findings[0].Place.Line != 3 || !s.sourced {
		t.Errorf("%+v", f.Findings)
	}
	one(t, path, Options{})
	if _, err := os.Stat(dir + "/ran"); err == nil {
		t.Error("the program was run")
	}
}

// TestRemedies runs the command of a finding and looks whether the finding has gone.
func TestRemedies(t *testing.T) {
	root := os.Geteuid() == 0
	me := "0"
	if !root {
		me = fmt.Sprint(os.Geteuid())
	}
	for _, c := range []struct {
		code   Code
		root   bool
		text   string
		mode   os.FileMode
		before func(dir string) error
		o      Options
	}{
		{code: ByteOrderMark, text: "\ufeff[uwsgi]\nmodule = x\n"},
		{code: Writable, text: "[uwsgi]\n", mode: 0o666},
		{code: SecretReadable, text: "[uwsgi]\nenv = DB_PASSWORD=x\n", mode: 0o644},
		{code: SocketFolder, text: "[uwsgi]\nsocket = DIR/none/s.sock\n", o: Options{User: me}},
		{code: MissingFolder, text: "[uwsgi]\nlogto = DIR/log/deep/x.log\n", o: Options{User: me}},
		{code: NoAccess, root: true, text: "[uwsgi]\nchdir = DIR/closed\n", o: Options{User: "65534"}, before: func(dir string) error { return os.Mkdir(dir+"/closed", 0o700) }},
		{code: NoAccess, root: true, text: "[uwsgi]\nlogto = DIR/x.log\n", o: Options{User: "65534"}, before: func(dir string) error { return os.WriteFile(dir+"/x.log", nil, 0o440) }},
		{code: NoAccess, root: true, text: "[uwsgi]\nlogto = DIR/y.log\n", o: Options{User: "65534"}},
		{code: NoAccess, root: true, text: "[uwsgi]\ninclude = DIR/more.ini\n", o: Options{User: "65534"}, before: func(dir string) error {
			return os.WriteFile(dir+"/more.ini", []byte("[uwsgi]\nmaster = true\n"), 0o600)
		}},
		{code: SocketNginx, root: true, text: "[uwsgi]\nmodule = x\nsocket = DIR/closed/s.sock\nchmod-socket = 666\n", o: Options{User: "65534", NginxUser: "65534"}, before: func(dir string) error { return os.Mkdir(dir+"/closed", 0o700) }},
		{code: OwnerRoot, root: true, text: "[uwsgi]\nuid = 65534\n", o: Options{Tyrant: true}},
		{code: FileName, text: "[uwsgi]\n"},
		{code: Symlink, text: "[uwsgi]\n"},
	} {
		t.Run(string(c.code), func(t *testing.T) {
			if c.root && !root {
				if os.Getenv("CI") != "" {
					t.Fatal("giving files away needs root, and CI must be it")
				}
				t.Skip("giving files away needs root")
			}
			dir, err := os.MkdirTemp("", "check")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			path := write(t, dir+"/app.ini", strings.ReplaceAll(c.text, "DIR", dir))
			if c.mode != 0 {
				if err := os.Chmod(path, c.mode); err != nil {
					t.Fatal(err)
				}
			}
			if c.before != nil {
				if err := c.before(dir); err != nil {
					t.Fatal(err)
				}
			}
			switch c.code {
			case FileName:
				path = write(t, dir+"/a:b.ini", c.text)
			case Symlink:
				path = dir + "/loose.ini"
				if err := os.Symlink(dir+"/none", path); err != nil {
					t.Fatal(err)
				}
			}
			for range 3 { // one command may show what is behind it
				i := slices.IndexFunc(one(t, path, c.o).Findings, func(x Finding) bool { return x.Code == c.code })
				if i < 0 {
					t.Fatalf("not found: %+v", one(t, path, c.o).Findings)
				}
				x := one(t, path, c.o).Findings[i]
				if !x.Runs {
					t.Fatalf("no command: %+v", x)
				}
				if out, err := exec.Command("/bin/sh", "-c", x.Mend).CombinedOutput(); err != nil {
					t.Fatalf("%s: %v %s", x.Mend, err, out)
				}
				if _, err := os.Lstat(path); err != nil {
					return // moved or removed, as it was asked for
				}
				if !slices.Contains(codes(one(t, path, c.o)), c.code) {
					return
				}
			}
			t.Errorf("still there: %+v", one(t, path, c.o).Findings)
		})
	}
}

// TestAnotherUserGetsTheSameAnswer checks as root and as a stranger who may read the files.
func TestAnotherUserGetsTheSameAnswer(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("becoming somebody else needs root, and CI must be it")
		}
		t.Skip("becoming somebody else needs root")
	}
	dir, err := os.MkdirTemp("", "check")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"app.ini": 0o644, "secret.ini": 0o600} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(good+"chdir = "+dir+"/none\nproceses = 4\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	if path := os.Getenv("CHECK_AS_STRANGER"); path != "" {
		return
	}
	answer := func(name string, uid uint32) string {
		command := exec.Command("/proc/self/exe", "-test.run=TestStranger")
		command.Env = append(os.Environ(), "CHECK_AS_STRANGER="+filepath.Join(dir, name))
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		command.Dir = "/"
		out, err := command.Output()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		text, _, _ := strings.Cut(string(out), "PASS")
		return text
	}
	if root, stranger := answer("app.ini", 0), answer("app.ini", 65534); root != stranger || !strings.Contains(root, "proceses") {
		t.Errorf("root is told\n%s\na stranger\n%s", root, stranger)
	}
	if said := answer("secret.ini", 65534); !strings.Contains(said, "may not be looked at by who runs this check") {
		t.Errorf("got %s", said)
	}
}

// TestStranger is run by the test above as another user.
func TestStranger(t *testing.T) {
	path := os.Getenv("CHECK_AS_STRANGER")
	if path == "" {
		return
	}
	report, err := Run(context.Background(), []string{path}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Print(os.Stdout, Style{}); err != nil {
		t.Fatal(err)
	}
}

// FuzzCheck lets arbitrary text be a vassal file: there is no crash, and nothing that moves a cursor is printed.
func FuzzCheck(f *testing.F) {
	for _, c := range situations() {
		f.Add(good + c.text)
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "resolve") { // asks the network
			return
		}
		machine := newFake()
		machine.file("/srv/vassals/app.ini", text, 0o666, 1000, 0)
		for _, o := range []Options{{System: machine}, {System: machine, Tyrant: true, Follow: true}} {
			report, err := Run(context.Background(), []string{"/srv/vassals/app.ini"}, o)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			if err := report.Print(&out, Style{All: true}); err != nil {
				t.Fatal(err)
			}
			if strings.IndexFunc(out.String(), func(c rune) bool { return c < ' ' && c != '\n' || c == 0x7f }) >= 0 {
				t.Errorf("%q", out.String())
			}
		}
	})
}
