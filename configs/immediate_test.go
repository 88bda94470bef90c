package configs

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// listing reads a command line with these files as uWSGI does for --show-config; sources are answered from the same map.
func listing(files map[string]string, plugged bool, args ...string) (string, Settings, error) {
	r := texts(files, args...)
	r.Plugged = plugged
	r.Source = func(scheme, rest string) (io.ReadCloser, error) {
		text, ok := files[scheme+"://"+rest]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return io.NopCloser(strings.NewReader(text)), nil
	}
	s, err := Read(r)
	return shown(s), s, err
}

// The answers are those of uWSGI 2.0.21.
func TestDeclaredOptions(t *testing.T) {
	files := map[string]string{
		"a.ini":     "[uwsgi]\na = 1\n",
		"late.ini":  "[uwsgi]\nfoo = 9\nx = %(k)\ndeclare-option = foo=set=k=$1;set=m=%(k)\nz = %(k)\n",
		"for.ini":   "[uwsgi]\ndeclare-option = foo=include=a.ini;set=k=%(_)-$1\nfor = 1 2\nfoo = %(_) b\nendfor =\n",
		"open.ini":  "[uwsgi]\ndeclare-option = grp=for=a b;print=x%(_)\ngrp = \nq = y%(_)\nendfor = \n",
		"ph.ini":    "[uwsgi]\ndeclare-option = foo=print=1\nset-ph = foo=1\n",
		"early.ini": "[uwsgi]\nfoo = 1 2\nif-opt = foo=1 2\nq = 1\nendif =\ndeclare-option = foo=set=s=$2\n",
	}
	for _, c := range []struct {
		args []string
		want string // the list, or after "!" a part of the error
	}{
		{[]string{"--declare-option", "foo=set=x=$1", "--set", "a=%(x)", "--foo", "7"}, "declare-option = foo=set=x=$1\nset = a=%(x)\na = 7\nfoo = 7\nx = 7\n"},
		{[]string{"--declare-option", "foo=set=x=$1-$2", "--foo", "$2  b "}, "declare-option = foo=set=x=$1-$2\nfoo = $2  b \nx = b-b\n"},
		{[]string{"--declare-option", "foo=set=x=$1$2", "--foo", ""}, "declare-option = foo=set=x=$1$2\nfoo = \nx = $2\n"},
		{[]string{"--declare-option", "foo=set=x=$1", "--foo", "a\tb c"}, "declare-option = foo=set=x=$1\nfoo = a\tb c\nx = a\tb\n"},
		{[]string{"--declare-option", "foo=set=x;1=$4", "--foo"}, "!equals"},
		{[]string{"--declare-option", "foo=ini=a.ini", "--foo"}, "declare-option = foo=ini=a.ini\nfoo = true\na = 1\n"},
		{[]string{"--declare-option", "foo=nosuch=1;set=x=1;stop;set=y=1", "--foo"}, "declare-option = foo=nosuch=1;set=x=1;stop;set=y=1\nfoo = true\nx = 1\n"},
		{[]string{"--declare-option", "foo=; set=y=1;;set=x=1", "--foo"}, "declare-option = foo=; set=y=1;;set=x=1\nfoo = true\nx = 1\n"},
		{[]string{"--declare-option", "foo=set=x=1", "--declare-option", "foo=set=x=2", "--foo"}, "declare-option = foo=set=x=1\ndeclare-option = foo=set=x=2\nfoo = true\nx = 1\n"},
		{[]string{"--declare-option", "processes=set=x=1", "--processes", "3"}, "declare-option = processes=set=x=1\nprocesses = 3\n"},
		{[]string{"--declare-option", "foo=for=$1", "--foo", "3 4", "--set", "a=%(_)", "--end-for"}, "declare-option = foo=for=$1\nfoo = 3 4\nset = a=3\na = 3\nend-for = true\n"},
		{[]string{"--declare-option", "foo=inherit=a.ini", "--foo", "--set", "b=1"}, "declare-option = foo=inherit=a.ini\nfoo = true\na = 1\nset = b=1\nb = 1\n"},
		{[]string{"--declare-option", "foo=declare-option=bar=set=x=1", "--foo", "--bar"}, "declare-option = foo=declare-option=bar=set=x=1\nfoo = true\nbar = true\nx = 1\n"},
		{[]string{"--declare-option", "fooo=set=x=1", "--foo"}, "declare-option = fooo=set=x=1\nfooo = true\nx = 1\n"},
		{[]string{"--ini", "late.ini"}, "ini = late.ini\nfoo = 9\nx = %(k)\ndeclare-option = foo=set=k=$1;set=m=%(k)\nz = %(k)\nk = 9\nm = %(k)\n"},
		{[]string{"--ini", "for.ini"}, "ini = for.ini\ndeclare-option = foo=include=a.ini;set=k=%(_)-$1\nfor = 1 2\nfoo = 1 b\na = 1\nk = %(_)-1\nfoo = 2 b\na = 1\nk = %(_)-2\nendfor = \n"},
		{[]string{"--ini", "open.ini"}, "ini = open.ini\ndeclare-option = grp=for=a b;print=x%(_)\ngrp = \nq = ya\nq = yb\nendfor = \n"},
		{[]string{"--ini", "early.ini"}, "ini = early.ini\nfoo = 1 2\nif-opt = foo=1 2\nq = 1\nendif = \ndeclare-option = foo=set=s=$2\ns = 2\n"},
		{[]string{"--ini", "ph.ini"}, "!names an option"},
		{[]string{"--declare-option", "foo=set=x=1", "--foo=3"}, "!is given to a flag that takes none"},
		{[]string{"--declare-option", "foo=set=x=$3", "--foo"}, "!needs a value"},
		{[]string{"--declare-option", "foo=set=x=1", "--fo"}, "!is the beginning of several options"},
		{[]string{"--declare-option", "foo"}, "!has no equals sign"},
		{[]string{"--declare-option", "foo=foo=$1", "--foo", "3"}, "!uses itself"},
		{[]string{"--declare-option", "foo=static-map=x", "--foo"}, "!has no equals sign"},
		{[]string{"--declare-option", "foo=strict=1", "--foo", "--set", "nosuch=1"}, "!strict"},
	} {
		got, _, err := listing(files, true, c.args...)
		if part, bad := strings.CutPrefix(c.want, "!"); bad {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%q: got %v", c.args, err)
			}
		} else if err != nil || got != c.want {
			t.Errorf("%q:\ngot  %q %v\nwant %q", c.args, got, err, c.want)
		}
	}
}

// What a declared option applies counts for the vassal though it is no entry: before the list where it was used below
// its declaration, behind its entry where it was used above.
func TestDeclaredOptionsCount(t *testing.T) {
	for text, want := range map[string]int{
		"declare-option = app=module=m;processes=$1;socket=s.sock\napp = 3\n":                                     3,
		"declare-option = app=module=m;processes=$1;socket=s.sock\napp = 3\nprocesses = 5\n":                      5,
		"processes = 5\ndeclare-option = app=module=m;processes=$1;socket=s.sock\napp = 3\n":                      5,
		"processes = 5\napp = 3\ndeclare-option = app=module=m;processes=$1;socket=s.sock\n":                      3,
		"app = 3\nprocesses = 5\ndeclare-option = app=module=m;processes=$1;socket=s.sock\n":                      5,
		"declare-option = app=module=m;processes=$1;socket=s.sock\nif-env = NO\napp = 2\nendif =\napp = %(_) 4\n": 0,
	} {
		r := Resolve(texts(map[string]string{"shop.ini": "[uwsgi]\n" + text}, "--ini", "shop.ini"))
		if want == 0 {
			if !strings.Contains(r.Error, `value "%(_)" is not a number`) {
				t.Errorf("%q: %q", text, r.Error)
			}
			continue
		}
		v, _, err := ParseVassal(r.Settings)
		if err != nil || v.Processes != want || v.Module != "m" || len(r.Sockets) != 1 {
			t.Errorf("%q: %s %v %+v", text, r.Error, err, v)
		}
		for _, n := range r.Notices {
			if strings.Contains(n, `"app"`) || strings.Contains(n, "declare-option") {
				t.Errorf("%q: says %s", text, n)
			}
		}
	}
}

func TestInjectedTextKeepsThePlacesOfTheFile(t *testing.T) {
	files := map[string]string{
		"in1": "[uwsgi]\nin1 = %n\n", "in2": "after = %n\n", "nonl.ini": "[uwsgi]\nx = 1", "a.ini": "[uwsgi]\na = 1\n",
		"exec://gen": "[uwsgi]\ng = 1\n", "exec://nothing": "", "self.ini": "[uwsgi]\ninject-after = in2\nx = 1\n",
	}
	for _, c := range []struct {
		args   []string
		want   string
		places string
	}{
		{[]string{"--inject-before", "in1", "--inject-after", "in2", "--ini", "a.ini"}, "inject-before = in1\ninject-after = in2\nini = a.ini\nin1 = a\na = 1\nafter = a\n", "inject-before:2 a.ini:2 inject-after:1"},
		{[]string{"--inject-after", "in2", "--inject-after", "in1", "--ini", "nonl.ini"}, "inject-after = in2\ninject-after = in1\nini = nonl.ini\nx = 1after = nonl\nin1 = nonl\n", "nonl.ini:2 inject-after:2"},
		{[]string{"--inject-before", "in1", "--include", "a.ini", "--set", "x=@(a.ini)"}, "inject-before = in1\ninclude = a.ini\nin1 = a\na = 1\nset = x=@(a.ini)\nx = [uwsgi]\na = 1\n", "inject-before:2 a.ini:2"},
		{[]string{"--inject-after", "in2", "--ini", "exec://gen"}, "inject-after = in2\nini = exec://gen\ng = 1\nafter = \n", "exec://gen:2 inject-after:1"},
		{[]string{"--inject-after", "exec://gen", "--ini", "a.ini"}, "inject-after = exec://gen\nini = a.ini\na = 1\ng = 1\n", "a.ini:2 inject-after:2"},
		{[]string{"--ini", "self.ini"}, "ini = self.ini\ninject-after = in2\nx = 1\n", "self.ini:2 self.ini:3"},
	} {
		got, s, err := listing(files, true, c.args...)
		var places []string
		for _, one := range s {
			if one.Place.Line > 0 {
				places = append(places, one.Place.String())
			}
		}
		if err != nil || got != c.want || strings.Join(places, " ") != c.places {
			t.Errorf("%q:\ngot  %q %v %v\nwant %q", c.args, got, places, err, c.want)
		}
	}
	if _, _, err := listing(files, true, "--inject-after", "nosuch", "--ini", "a.ini"); err == nil {
		t.Error("a missing file was injected")
	}
	if _, _, err := listing(files, true, "--inject-after", "exec://nothing", "--ini", "a.ini"); err == nil {
		t.Error("a program that printed nothing was injected")
	}
	if got, _, err := listing(files, true, "--ini", "a.ini", "--inject-after", "nosuch"); err != nil {
		t.Errorf("no file was read behind it, and it was opened: %v %s", err, got)
	}
}

// uWSGI opens what is to be injected anew for each file.
func TestInjectedTextIsReadForEachFile(t *testing.T) {
	r := texts(map[string]string{"main.ini": "[uwsgi]\ninject-after = exec://count\nini = other.ini\ninclude = other.ini\n", "other.ini": "[uwsgi]\nb = 1\n"}, "--ini", "main.ini")
	count := 0
	r.Source = func(string, string) (io.ReadCloser, error) {
		count++
		return io.NopCloser(strings.NewReader(fmt.Sprintf("n%d = %%n\n", count))), nil
	}
	s, err := Read(r)
	const want = "ini = main.ini\ninject-after = exec://count\nini = other.ini\nb = 1\nn1 = other\ninclude = other.ini\nb = 1\nn2 = other\n"
	if got := shown(s); err != nil || got != want {
		t.Errorf("got %q (%v)\nwant %q", got, err, want)
	}
}

func TestSourcesAndSections(t *testing.T) {
	both := "[uwsgi]\na = %o|%n|%x|%O\n[b]\nb = %o|%n|%x|%X\n"
	files := map[string]string{"exec://cat x": both, "exec://cat x #.ini": both, "fd://0": both, "http://h:1/x": both, "http://h/y": both, "f.ini": "[b]\nf = 1\n", "f:b/c": "", "exec://g": both}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--ini", "exec://cat x"}, "ini = exec://cat x\na = exec://cat x|||\n"},
		{[]string{"--ini", "exec://cat x:b"}, "ini = exec://cat x:b\nb = exec://cat x|||\n"},
		{[]string{"--ini", "exec://cat x:"}, "ini = exec://cat x:\na = exec://cat x|||\n"},
		{[]string{"--ini", "exec://g:b", "--ini", ":b", "--ini", ":uwsgi"}, "ini = exec://g:b\nb = exec://g|||\nini = :b\nb = ||b|b\nini = :uwsgi\na = ||uwsgi|:b\n"},
		{[]string{"--ini", "-"}, "ini = -\na = -|||\n"},
		{[]string{"--ini", "-:b"}, "!file does not exist"},
		{[]string{"-"}, "!no ending"},
		{[]string{"--include", "fd://0"}, "!no ending"},
		{[]string{"--include", "exec://cat x #.ini"}, "include = exec://cat x #.ini\na = exec://cat x #.ini|||\n"},
		{[]string{"exec://cat x #.ini"}, "a = exec://cat x #.ini|||\n"},
		{[]string{"--ini", "http://h:1/x"}, "ini = http://h:1/x\na = http://h:1/x|||\n"},
		{[]string{"--ini", "http://h/y:b"}, "ini = http://h/y:b\nb = http://h/y|||\n"},
		{[]string{"--ini", "f.ini:b", "--ini", "exec://cat x:b"}, "ini = f.ini:b\nf = 1\nini = exec://cat x:b\nb = exec://cat x|f|b|b\n"},
		{[]string{"--ini", "f.ini:b", "--ini", "exec://cat x"}, "ini = f.ini:b\nf = 1\nini = exec://cat x\na = exec://cat x|f|b|f.ini:b\n"},
		{[]string{"--ini", "f:b/c"}, "!file does not exist"}, // split at the colon
		{[]string{"--ini", "file://f.ini"}, "!file does not exist"},
		{[]string{"--set", "x=@(file://f.ini)"}, "!file does not exist"},
		{[]string{"--set", "x=@(-)"}, "set = x=@(-)\nx = " + both[:len(both)-1] + "\n"},
		{[]string{"--ini", "data://1"}, "!part of the uwsgi program itself"},
		{[]string{"--set", "x=@(sym://y)"}, "!part of the uwsgi program itself"},
		{[]string{"--ini", "exec://no"}, "!cannot be read"},
	} {
		got, _, err := listing(files, true, c.args...)
		if part, bad := strings.CutPrefix(c.want, "!"); bad {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%q: got %v", c.args, err)
			}
		} else if err != nil || got != c.want {
			t.Errorf("%q:\ngot  %q %v\nwant %q", c.args, got, err, c.want)
		}
	}
}

// Without a Source nothing but files is opened: so the emperor and emperorctl check cannot run anything.
func TestNoSourceNothingRuns(t *testing.T) {
	for _, text := range []string{"ini = exec://id", "include = exec://id #.ini", "a = @(exec://id)", "inject-after = http://h/x\ninclude = other.ini", "ini = -", "inherit = exec://id #.ini", "ini = emperor://x"} {
		_, err := Read(texts(map[string]string{"shop.ini": "[uwsgi]\n" + text + "\n", "other.ini": "[uwsgi]\na = 1\n"}, "--ini", "shop.ini"))
		if err == nil || !strings.Contains(err.Error(), "here only files are read") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestEarlyEnvdir(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"EV": "ev", "TWO": "two\nlines\n", "SP": " sp  \t\r\n\n", "Z": "a\x00b", "EMPTY": "", "NL": "\n", ".hid": "h", "UWSGI_FOO": "u", "HOME": "new"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(dir+"/sub", 0o700); err != nil {
		t.Fatal(err)
	}
	r := texts(map[string]string{"shop.ini": "[uwsgi]\na = $(EV)|$(TWO)|$(SP)|$(Z)|$(EMPTY)|$(NL)|$(.hid)|$(sub)|%(foo)|$(HOME)\nearly-envdir = " + dir + "\n"}, "--ini", "shop.ini")
	r.Env = []string{"EMPTY=was", "HOME=old"}
	told := map[string]string{}
	r.Setenv = func(name string, value *string) {
		told[name] = "(removed)"
		if value != nil {
			told[name] = *value
		}
	}
	s, err := Read(r)
	if err != nil {
		t.Fatal(err)
	}
	if want := "a = ev|two\nlines| sp|a|$(EMPTY)||$(.hid)|$(sub)|%(foo)|new\n"; !strings.Contains(shown(s), want) {
		t.Errorf("got %q", shown(s))
	}
	if told["EV"] != "ev" || told["EMPTY"] != "(removed)" || len(told) != 8 {
		t.Errorf("told %q", told)
	}
	env := map[string]bool{} // for the application
	for _, one := range s {
		if one.Key == "env" && one.Unlisted {
			env[one.Value] = true
		}
	}
	if !env["EV=ev"] || !env["EMPTY"] || !env["HOME=new"] {
		t.Errorf("the application gets %v", env)
	}
	if err := os.WriteFile(dir+"/A=B", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{dir, "", "/nosuch", "/etc/passwd"} {
		if _, err := Read(texts(nil, "--early-envdir", folder)); err == nil {
			t.Errorf("%s was taken", folder)
		}
	}
}

func TestPluginsMakeTheirOptionsKnown(t *testing.T) {
	files := map[string]string{
		"1.ini": "[uwsgi]\nstrict = 1\nplugin = python3\nmodule = x\n", "2.ini": "[uwsgi]\nmodule = x\nplugin = python3\nstrict = 1\n",
		"3.ini": "[uwsgi]\nmodule = x\nstrict = 1\n", "4.ini": "[uwsgi]\nset-ph = module=x\n", "5.ini": "[uwsgi]\nplugin = python3\nset-ph = module=x\n",
		"6.ini": "[uwsgi]\nautoload = 1\nstrict = 1\nmodule = x\nhttp = :1\nif-plugin = http\ny = 1\n", "7.ini": "[uwsgi]\nautoload = 1\nhttp = :1\nif-plugin = http\ny = 1\nendif =\n",
		"8.ini": "[uwsgi]\nini-paste = p.ini\nx = 1\n", "9.ini": "[uwsgi]\nplugin = python3\nini-paste = p.ini\nx = 1\n", "p.ini": "[uwsgi]\nz = 1\n",
	}
	for _, c := range []struct {
		args []string
		want string // a part of the list; after "!" of the error
	}{
		{[]string{"-w", "x"}, "!is not known before its plugin is loaded; write --plugin python3 before it"},
		{[]string{"--module", "x"}, "!is not known before its plugin is loaded; write --plugin python3 before it"},
		{[]string{"--plugin", "python3", "-w", "x"}, "plugin = python3\nmodule = x\n"},
		{[]string{"-w", "x", "--plugin", "python3"}, "!is not known"},
		{[]string{"--plugin", "python3", "--modul", "x"}, "module = x\n"},
		{[]string{"--plugin", "python3,http", "--http-workers", "3"}, "http-workers = 3\n"},
		{[]string{"--http", ":0"}, "!is the beginning of several options"},
		{[]string{"--plugin", "python", "-w", "x"}, "!is not known"}, // Debian's is called python3
		{[]string{"--plugin", "0:python311", "-w", "x"}, "module = x\n"},
		{[]string{"--plugin", "/usr/lib/uwsgi/plugins/python3_plugin.so", "-w", "x"}, "module = x\n"},
		{[]string{"--plugin", "nosuch,python3", "-w", "x"}, "module = x\n"},
		{[]string{"--need-plugin", "nosuch"}, "!does not exist"},
		{[]string{"--autoload", "--module", "x"}, "!is not known"},
		{[]string{"--ini", "1.ini"}, "module = x\n"},
		{[]string{"--ini", "2.ini"}, "module = x\n"},
		{[]string{"--ini", "3.ini"}, "!strict"},
		{[]string{"--ini", "4.ini"}, "set-ph = module=x\nmodule = x\n"},
		{[]string{"--ini", "5.ini"}, "!names an option"},
		{[]string{"--ini", "6.ini"}, "!strict"}, // y
		{[]string{"--ini", "7.ini"}, "http = :1\nif-plugin = http\ny = 1\n"},
		{[]string{"--ini", "8.ini"}, "ini-paste = p.ini\nx = 1\n"},
		{[]string{"--ini", "9.ini"}, "ini-paste = p.ini\nz = 1\nx = 1\n"},
	} {
		got, _, err := listing(files, true, c.args...)
		if part, bad := strings.CutPrefix(c.want, "!"); bad {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%q: got %v", c.args, err)
			}
		} else if err != nil || !strings.Contains(got, c.want) {
			t.Errorf("%q:\ngot  %q %v\nwant %q", c.args, got, err, c.want)
		}
	}
	// Running, every option is known.
	if got, s, err := listing(files, false, "-w", "x", "--ini", "8.ini"); err != nil || got != "module = x\nini = 8.ini\nini-paste = p.ini\nz = 1\nx = 1\n" || s[0].Key != "paste" || s[0].Value != "config:/etc/uwsgi-emperor/vassals/p.ini" {
		t.Errorf("%q %+v %v", got, s, err)
	}
}

func TestImmediateIdentity(t *testing.T) {
	for _, c := range []struct {
		value   string
		plugged bool
		fault   string
	}{
		{"nobody", true, ""}, {"nobody", false, "cannot be taken while the file is read"}, {"0", true, "ordinary account"},
		{"root", true, "ordinary account"}, {"nosuchuser", true, "ordinary account"}, {"", true, "ordinary account"},
	} {
		if os.Geteuid() != 0 && c.value == "nobody" && !c.plugged {
			continue // it may be who runs the test
		}
		_, _, err := listing(nil, c.plugged, "--immediate-uid", c.value)
		if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestOptionsThatEndTheProgram(t *testing.T) {
	for _, line := range []string{"exit = 3", "exit", "help", "usage", "version", "cflags", "dot-h", "config-py", "extract = x", "stop = x", "signal = x", "connect-and-read = x", "python-version"} {
		_, _, err := listing(map[string]string{"x.ini": "[uwsgi]\nplugin = python3\n" + line + "\n"}, true, "--ini", "x.ini")
		if err == nil || !strings.Contains(err.Error(), "ends") {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestAsksToShow(t *testing.T) {
	for line, want := range map[string]bool{
		"--show-config": true, "--ini x --show-conf": true, "--sho": true, "x.ini --show-config": true, "--ini --show-config": false,
		"--set --show-config --show-config": true, "-M --show-config": true, "-p --show-config": false, "-p4 --show-config": true, "-Mp --show-config": false,
		"-- --show-config": false, "--show-config=1": false, "--nosuch --show-config": true, "": false, "-": false,
	} {
		if got := AsksToShow(strings.Fields(line), nil); got != want {
			t.Errorf("%q: %t", line, got)
		}
	}
	for env, want := range map[string]bool{"UWSGI_SHOW_CONFIG=1": true, "UWSGI_SHOW_CONFIG=": true, "UWSGI_SHOW_CONFIG=off": false, "UWSGI_SHOW_CONFIGS=1": false} {
		if got := AsksToShow(nil, []string{env}); got != want {
			t.Errorf("%q: %t", env, got)
		}
	}
}

func FuzzDeclared(f *testing.F) {
	f.Add("foo=set=x=$1;foo=$2", "1 2 3", "in = 1\n")
	f.Add("foo=foo=$1 $1;foo=$1 $1", "a b", "")
	f.Add("foo=for=$1;ini=a.ini;inject-after=a.ini;foo=", "a b", "%")
	f.Fuzz(func(t *testing.T, template, value, injected string) {
		if strings.Contains(template+value+injected, "resolve") || strings.Contains(template+value+injected, "envdir") || len(template) > 1<<12 || len(value) > 1<<12 {
			return // asks the network, reads folders
		}
		files := map[string]string{"a.ini": "[uwsgi]\nfoo = " + value + "\n", "in": injected}
		_, s, err := listing(files, true, "--inject-before", "in", "--declare-option", template, "--ini", "a.ini", "--ini", "a.ini")
		if err == nil && len(s) > MaxSettings+2 {
			t.Errorf("%d settings", len(s))
		}
	})
}
