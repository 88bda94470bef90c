package check

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares with testdata/name, which -update rewrites.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; look at it with: go test ./configs/check -update && git diff\n%s", name, difference(string(want), string(got)))
	}
}

// difference shows the first line that differs.
func difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		a, b := "(end)", "(end)"
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			return fmt.Sprintf("line %d:\nwant %s\ngot  %s", i+1, a, b)
		}
	}
	return ""
}

// good is a file without findings in tyrant mode.
const good = "[uwsgi]\nplugin = python3\nchdir = /srv/shop\nmodule = shop:app\nsocket = /run/uwsgi/shop.sock\nchmod-socket = 660\nchown-socket = shop:www-data\nvacuum = true\n"

// A situation is one vassal file, /srv/vassals/app.ini of shop, on a machine.
type situation struct {
	name    string
	text    string // lines added to good
	alone   bool   // text is the whole file
	options Options
	machine func(*fake)
	paths   []string
}

func tyrant() Options { return Options{Tyrant: true} }

func situations() []situation {
	file := func(text string) string { return "[uwsgi]\n" + text }
	owned := func(uid, gid int, mode os.FileMode) func(*fake) {
		return func(f *fake) { f.file("/srv/vassals/app.ini", f.nodes["/srv/vassals/app.ini"].text, mode, uid, gid) }
	}
	return []situation{
		{name: "good", options: tyrant()},
		{name: "unknown options", text: "proceses = 4\nchmod_socket = 660\nlisten-queue = 100\nhttp_port = 80\nenv FOO=bar\nwhatsoever = 1\nused = 1\nenv = X=%(used)\n", options: tyrant()},
		{name: "no section", alone: true, text: "[shop]\nmodule = shop\n"},
		{name: "hidden section", alone: true, text: "[uwsgi] ; our shop\nmodule = shop\n"},
		{name: "above the section", alone: true, text: "module = shop\n[uwsgi]\nmodule = shop\nsocket = /run/uwsgi/shop.sock\n"},
		{name: "byte-order mark", alone: true, text: "\ufeff[uwsgi]\nmodule = shop\n"},
		{name: "merge", text: "<<<<<<< HEAD\nprocesses = 2\n=======\nprocesses = 4\n>>>>>>> main\n"},
		{name: "percent", text: "env = DISCOUNT=50%\nprocesses = 4\nenv = Y=5%}\n"},
		{name: "comments, quotes, blanks", text: "processes = 4 ; two cores\nenv = A = 1\nenv = B=\"x\"\npythonpath = '/srv/shop'\n"},
		{name: "wrong values", text: "processes = fuor\nreload-mercy = x\nsocket = a, b\nchmod-socket = 0664\n"},
		{name: "not yet, never, emperor's", text: "harakiri = 20\nmax-requests = 100\nroute = ^/a last:\nroute = ^/b last:\nzerg-pool = /run/zerg\nemperor-freq = 3\n"},
		{name: "nothing to do", alone: true, text: file("master = true\n")},
		{name: "references", text: "env = A=%(nope)\nenv = B=$(NOPE)\nplugin = %(p)\np = x\nenv = %(q)\nq = %(r)\nr = R=1\n"},
		{name: "placeholder twice", text: "name = a\nname = b\nenv = N=%(name)\n"},
		{name: "overridden by an include", text: "processes = 4\ninclude = common.ini\n", machine: func(f *fake) {
			f.file("/srv/vassals/common.ini", "[uwsgi]\nprocesses = 2\nchdir = /srv/shop\n", 0o644, 0, 0)
		}},
		{name: "overridden by the emperor's include", text: "processes = 4\n", options: Options{EmperorFile: "/etc/emperor.ini"}, machine: func(f *fake) {
			f.file("/etc/emperor.ini", "[uwsgi]\nemperor = /srv/vassals\nemperor-tyrant = true\nvassals-include = /etc/common.ini\nemperor-socket-root = /run/apps\n", 0o644, 0, 0)
			f.file("/etc/common.ini", "[uwsgi]\nprocesses = 2\n", 0o644, 0, 0)
		}},
		{name: "inherited", text: "processes = 4\ninherit = common.ini\n", machine: func(f *fake) {
			f.file("/srv/vassals/common.ini", "[uwsgi]\nprocesses = 2\n", 0o644, 0, 0)
		}},
		{name: "replaced in the same file, and by a condition", text: "processes = 4\nprocesses = 5\nif-env = X\nprocesses = 6\nendif =\n", options: Options{Env: []string{"X=1"}}},
		{name: "two applications, loops, numbers", text: "wsgi-file = shop.py\nthreads = 4\ngevent = 10\nprocesses = 4\ncheaper = 2\ncheaper-initial = 1\nmaster = false\npy-autoreload = 2\nharakiri = 90\nreload-mercy = 30\n"},
		{name: "cheaper too high", text: "processes = 4\ncheaper = 4\n"},
		{name: "TCP and abstract sockets", text: "socket = 127.0.0.1:3031\nsocket = :3032\nsocket = @shop\nsocket = 10.0.0.1:3033\n"},
		{name: "socket paths", text: "socket = shop.sock\nsocket = /run/uwsgi/" + strings.Repeat("x", 100) + "\nsocket = /srv/none/s.sock\nsocket = /run/uwsgi/shops/s.sock\n", options: tyrant()},
		{name: "tyrant's socket elsewhere", text: "socket = /srv/vassals/s.sock\n", options: tyrant()},
		{name: "tyrant's socket in a folder that is not root's alone", options: tyrant(), machine: func(f *fake) { f.dir("/run/uwsgi", 0o755, 33, 33) }},
		{name: "tyrant's socket in the user's own folder", options: tyrant(), machine: func(f *fake) { f.dir("/run/uwsgi", 0o755, 1000, 1000) }},
		{name: "ways that others could change", paths: []string{"/srv/vassals"}, options: tyrant(), machine: func(f *fake) {
			f.dir("/srv/all", 0o777, 0, 0)
			f.dir("/srv/blog", 0o755, 1001, 1001)
			f.dir("/tmp", fs.ModeSticky|0o777, 0, 0)
			f.dir("/srv/of", 0o755, 1000, 1000)
			for i, path := range []string{"/srv/all/a.ini", "/srv/blog/b.ini", "/tmp/c.ini", "/srv/of/d.ini", "/srv/e.ini", "/srv/of/g.ini"} {
				gid := 1000
				if path == "/srv/of/g.ini" {
					gid = 200
				}
				f.file(path, strings.Replace(good, "shop.sock", fmt.Sprint(i, ".sock"), 1), 0o640, 1000, gid)
				f.symlink("/srv/vassals/"+path[len(path)-5:], path)
			}
			link := f.nodes["/srv/vassals/e.ini"]
			link.UID = 1001
			f.nodes["/srv/vassals/e.ini"] = link
		}},
		{name: "socket for everybody", text: "chmod-socket = 666\n"},
		{name: "socket without a mode", alone: true, text: file("module = shop\nchdir = /srv/shop\nsocket = /run/uwsgi/shop.sock\n"), options: tyrant()},
		{name: "socket of a group that nginx is not in", text: "chown-socket = shop:db\n"},
		{name: "socket of a group that nginx is not in, under tyrant", text: "chown-socket = shop:db\n", options: tyrant()},
		{name: "socket of somebody else", text: "chown-socket = blog:www-data\n", options: tyrant()},
		{name: "socket of nobody", text: "chown-socket = nobody-here:no-group\n"},
		{name: "socket where nginx cannot go", text: "socket = /home/shop/s.sock\n", machine: func(f *fake) { f.dir("/home/shop", 0o700, 1000, 1000) }, options: tyrant()},
		{name: "one socket for two", text: "", paths: []string{"/srv/vassals/app.ini", "/srv/vassals/again.ini"}, machine: func(f *fake) {
			f.file("/srv/vassals/again.ini", strings.Replace(good, "/run/", "/var/run/", 1), 0o644, 1000, 1000)
			f.symlink("/var/run", "/run")
		}},
		{name: "one port for several", text: "socket = :3031\n", paths: []string{"/srv/vassals/app.ini", "/srv/vassals/b.ini", "/srv/vassals/c.ini", "/srv/vassals/d.ini", "/srv/vassals/e.ini"}, machine: func(f *fake) {
			for name, address := range map[string]string{"b": "localhost:3031", "c": "[::1]:3031", "d": "[::]:3031", "e": "127.0.0.1:3032"} {
				f.file("/srv/vassals/"+name+".ini", file("module = shop\nchdir = /srv/shop\nsocket = "+address+"\n"), 0o640, 1000, 1000)
			}
		}},
		{name: "one file, available and enabled", paths: []string{"/srv/vassals/app.ini", "/srv/enabled"}, machine: func(f *fake) {
			f.symlink("/srv/enabled/app.ini", "/srv/vassals/app.ini")
		}},
		{name: "missing folders and files", text: "chdir = /srv/none\nlogto = /var/log/none/x.log\ntouch-reload = /srv/none/touch\npidfile = /run/none/p.pid\nhome = /srv/none/venv\npythonpath = /srv/a:/srv/b\nwsgi-file = app.py\n"},
		{name: "missing module", text: "module = shopp:app\n"},
		{name: "a file's name as module", text: "module = shop.py\n"},
		{name: "modules of Python, of the base, of an archive, of patterns and variables: nothing", paths: []string{"/srv/vassals"}, options: tyrant(), machine: func(f *fake) {
			f.dir("/usr/lib/python3.11", 0o755, 0, 0)
			f.file("/usr/lib/python3.11/wsgiref.py", "", 0o644, 0, 0)
			f.file("/usr/lib/python3/dist-packages/lists/__init__.py", "", 0o644, 0, 0)
			for venv, shared := range map[string]string{"/srv/alone": "false", "/srv/shared": "true"} {
				f.file(venv+"/bin/python3", "", 0o755, 0, 0)
				f.file(venv+"/pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = "+shared+"\n", 0o644, 0, 0)
				f.dir(venv+"/lib/python3.11/site-packages", 0o755, 0, 0)
			}
			f.file("/srv/app.zip", "PK", 0o644, 0, 0)
			f.file("/srv/parts/one/part.py", "", 0o644, 0, 0)
			for name, text := range map[string]string{
				"a": "home = /srv/alone\nmodule = wsgiref:demo\n", "b": "home = /srv/shared\nmodule = lists:app\n", "c": "home = /srv/alone\nmodule = zipped:app\npythonpath = /srv/app.zip\n",
				"d": "home = /srv/alone\nmodule = part\npythonpath = /srv/p*/*\n", "e": "home = /srv/alone\nmodule = part\nenv = PYTHONPATH=/srv/none:/srv/parts/one\n",
			} {
				f.file("/srv/vassals/"+name+".ini", strings.Replace(strings.Replace(good, "module = shop:app\n", text, 1), "shop.sock", "%n.sock", 1), 0o640, 1000, 1000)
			}
		}},
		{name: "module of the base's packages, in an environment without them", text: "home = /srv/alone\nmodule = lists:app\n", options: tyrant(), machine: func(f *fake) {
			f.file("/usr/lib/python3/dist-packages/lists/__init__.py", "", 0o644, 0, 0)
			f.file("/srv/alone/bin/python3", "", 0o755, 0, 0)
			f.file("/srv/alone/pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = false\n", 0o644, 0, 0)
			f.dir("/srv/alone/lib/python3.11/site-packages", 0o755, 0, 0)
		}},
		{name: "missing module of a package", text: "module = pkg.wsgi\n", machine: func(f *fake) { f.file("/srv/shop/pkg/__init__.py", "", 0o644, 0, 0) }},
		{name: "missing file", alone: true, text: file("chdir = /srv/shop\nwsgi-file = shopp.py\nsocket = /run/uwsgi/shop.sock\nchmod-socket = 660\nchown-socket = shop:www-data\n")},
		{name: "module and log that the user may not have", text: "module = secret\nlogto = /var/log/app.log\ndaemonize = /var/log/none.log\n", machine: func(f *fake) {
			f.file("/srv/shop/secret.py", "", 0o600, 0, 0)
			f.file("/var/log/app.log", "", 0o640, 0, 0)
		}},
		{name: "chdir that the user may not enter", text: "chdir = /root/app\n", machine: func(f *fake) { f.dir("/root", 0o700, 0, 0); f.dir("/root/app", 0o755, 0, 0) }},
		{name: "virtual environment with a broken link", text: "home = /srv/venv\n", machine: func(f *fake) { f.symlink("/srv/venv/bin/python3", "/usr/bin/python3.8") }},
		{name: "virtual environment that is none", text: "home = /srv/shop\n"},
		{name: "virtual environment of another Python", text: "home = /srv/venv\n", machine: func(f *fake) {
			f.symlink("/srv/venv/bin/python3", "/usr/bin/python3.11")
			f.file("/usr/bin/python3.11", "", 0o755, 0, 0)
			f.file("/srv/venv/pyvenv.cfg", "home = /usr/bin\nversion = 3.9.2\n", 0o644, 0, 0)
			f.dir("/srv/venv/lib/python3.9/site-packages", 0o755, 0, 0)
		}},
		{name: "uid and gid that the owner overrides", text: "uid = blog\ngid = www-data\n", options: tyrant()},
		{name: "users that do not exist", text: "uid = ghost\ngid = ghost\n", machine: owned(0, 0, 0o644)},
		{name: "file of root under tyrant", options: tyrant(), machine: owned(0, 0, 0o644)},
		{name: "file of root", machine: owned(0, 0, 0o644)},
		{name: "file with root's group", options: tyrant(), machine: owned(1000, 0, 0o644)},
		{name: "file that everybody may write", machine: owned(1000, 1000, 0o666)},
		{name: "file that a group may write", machine: owned(1000, 33, 0o664)},
		{name: "application that runs as root", options: Options{EmperorFile: "/etc/emperor.ini"}, machine: func(f *fake) {
			f.file("/etc/emperor.ini", "[uwsgi]\nemperor = /srv/vassals\n", 0o644, 0, 0)
		}},
		{name: "password for everybody", text: "env = DB_PASSWORD=hunter2\n", machine: owned(1000, 1000, 0o644)},
		{name: "an emperor's own file", paths: []string{"/etc/emperor.ini"}, machine: func(f *fake) {
			f.file("/etc/emperor.ini", "[uwsgi]\nemperor = /srv/vassals\nemperor-throtle = 5\nmodule = x\n", 0o644, 0, 0)
		}},
		{name: "an emperor's file that cannot govern", paths: []string{"/etc/emperor.ini"}, machine: func(f *fake) {
			f.file("/etc/emperor.ini", "[uwsgi]\nuid = shop\ngid = ghosts\nemperor = /etc/none\nemperor = glob:///etc/*.ini\nemperor-tyrant = true\ncap = setgid,setuid\nvassals-include = /etc/none.ini\nvassals-inherit = common.ini\n", 0o644, 0, 0)
		}},
		{name: "an emperor's own file, followed", paths: []string{"/etc/emperor.ini"}, options: Options{Follow: true}, machine: func(f *fake) {
			f.file("/etc/emperor.ini", "[uwsgi]\nemperor = /srv/vassals\nemperor-tyrant = true\n", 0o644, 0, 0)
			f.file("/srv/vassals/README", "", 0o644, 0, 0)
		}},
		{name: "links and names", paths: []string{"/srv/vassals"}, machine: func(f *fake) {
			f.symlink("/srv/vassals/link.ini", "app.ini")
			f.symlink("/srv/vassals/loose.ini", "/srv/none.ini")
			f.file("/srv/vassals/a:b.ini", good, 0o644, 1000, 1000)
			f.put("/srv/vassals/pipe.ini", node{Entry: Entry{Mode: os.ModeNamedPipe | 0o644}})
			f.file("/srv/vassals/app.ini.bak", "", 0o644, 0, 0)
		}},
		{name: "missing include", text: "include = none.ini\n"},
		{name: "include that the user may not read", text: "include = secret.ini\n", machine: func(f *fake) { f.file("/srv/vassals/secret.ini", "[uwsgi]\nprocesses = 2\n", 0o600, 0, 0) }, options: tyrant()},
		{name: "file of root's that the user may not reach, and a name like an option", text: "env = K=@(/root/key)\n", paths: []string{"/srv/vassals/app.ini", "-x.ini"}, options: tyrant(), machine: func(f *fake) {
			f.dir("/root", 0o700, 0, 0)
			f.file("/root/key", "k", 0o600, 0, 0)
			here, _ := os.Getwd()
			f.file(here+"/-x.ini", good, 0o666, 1000, 1000)
		}},
		{name: "hostile text", text: "x\x1b[2Jy = 1\nmodule = \x1b]0;x\x07\n"},
	}
}

// run checks one situation.
func (c situation) run(t testing.TB) *Report {
	t.Helper()
	f := newFake()
	text := good + c.text
	if c.alone {
		text = c.text
	}
	f.file("/srv/vassals/app.ini", text, 0o640, 1000, 1000)
	if c.machine != nil {
		c.machine(f)
	}
	c.options.System = f
	if c.options.Env == nil {
		c.options.Env = []string{"PATH=/usr/bin"}
	}
	paths := c.paths
	if paths == nil {
		paths = []string{"/srv/vassals/app.ini"}
	}
	report, err := Run(context.Background(), paths, c.options)
	if err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	return report
}

func TestFindings(t *testing.T) {
	var out bytes.Buffer
	for _, c := range situations() {
		fmt.Fprintf(&out, "== %s\n", c.name)
		if err := c.run(t).Print(&out, Style{All: true}); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&out)
	}
	golden(t, "testdata/findings.golden", out.Bytes())
}

func TestEveryCodeIsFoundSomewhere(t *testing.T) {
	elsewhere := map[Code]bool{CannotLook: true, SourceShown: true} // tests of their own
	found := map[Code]map[Level]bool{}
	for _, c := range situations() {
		for _, f := range c.run(t).Files {
			for _, x := range f.Findings {
				if found[x.Code] == nil {
					found[x.Code] = map[Level]bool{}
				}
				found[x.Code][x.Level] = true
				if x.Runs && x.Mend == "" || x.What == "" || strings.Contains(x.What+x.Why+x.Mend, "%!") {
					t.Errorf("%s: %+v", c.name, x)
				}
			}
		}
	}
	known := map[Code]bool{}
	for _, c := range Codes {
		known[c.Code] = true
		if found[c.Code] == nil && !elsewhere[c.Code] {
			t.Errorf("no situation finds %s", c.Code)
		}
		for level := range found[c.Code] {
			if !strings.Contains(c.Levels, string(level)) {
				t.Errorf("%s is found as %s, and the table says %s", c.Code, level, c.Levels)
			}
		}
	}
	for code := range found {
		if !known[code] {
			t.Errorf("%s is not in the table", code)
		}
	}
}
