package nginxconf

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden file")

// nginx is the real program, the judge of what is right.
func nginx(t testing.TB) string {
	t.Helper()
	for _, path := range []string{"/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatal("there is no nginx to compare with; run: sh cmd/e2e/install.sh")
	}
	t.Skip("there is no nginx to compare with")
	return ""
}

// folder makes a folder with files; DIR in their text stands for the folder.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// frame puts directives of a location, and of http, into a configuration that needs nothing outside of its folder.
func frame(location, http string) string {
	return `pid DIR/pid; error_log DIR/error.log;
events {}
http { access_log off; client_body_temp_path DIR/b; uwsgi_temp_path DIR/u; proxy_temp_path DIR/p; fastcgi_temp_path DIR/f; scgi_temp_path DIR/s;
` + http + `
server { listen 127.0.0.1:58080; location / { ` + location + ` } } }
`
}

// judge asks the real nginx about a folder's nginx.conf; -T prints every file that was read.
func judge(t testing.TB, dir string) (good bool, said string) {
	out, err := exec.Command(nginx(t), "-T", "-p", dir, "-c", dir+"/nginx.conf").CombinedOutput()
	return err == nil, string(out)
}

// texts are what people write; nginx says which of them are right.
var texts = []struct{ location, http string }{
	{"uwsgi_pass unix:/run/x.sock;", ""},
	{"uwsgi_pass /run/x.sock;", ""},
	{"uwsgi_pass run/x.sock;", ""},
	{"uwsgi_pass unix:/run/x.sock", ""},
	{"uwsgi_pass unix:/run/x.sock\n include uwsgi_params;", ""},
	{"uwsgi_pass http://127.0.0.1:3031;", ""},
	{"uwsgi_pass http://unix:/run/x.sock;", ""},
	{"uwsgi_pass uwsgi://127.0.0.1:3031;", ""},
	{"uwsgi_pass uwsgi://unix:/run/x.sock;", ""},
	{"uwsgi_pass suwsgi://127.0.0.1:3031;", ""},
	{"uwsgi_pass unix:///run/x.sock;", ""},
	{"uwsgi_pass unix:run/x.sock;", ""},
	{"uwsgi_pass unix:/run/x.sock:;", ""},
	{"uwsgi_pass unix:/run/x.sock:/uri;", ""},
	{`uwsgi_pass "unix:/run/x.sock";`, ""},
	{`uwsgi_pass 'unix:/run/x.sock';`, ""},
	{`uwsgi_pass "unix:/run/x"x;`, ""},
	{"uwsgi_pass unix:/run/$host.sock;", ""},
	{"uwsgi_pass unix:/run/${host}x.sock;", ""},
	{"uwsgi_pass unix:;", ""},
	{"uwsgi_pass unix:@name;", ""},
	{"uwsgi_pass 127.0.0.1;", ""},
	{"uwsgi_pass 127.0.0.1:0;", ""},
	{"uwsgi_pass 127.0.0.1:3031;", ""},
	{"uwsgi_pass [::1]:3031;", ""},
	{"uwsgi_pass localhost:3031;", ""},
	{"uwsgi_pass name;", ""},
	{"uwsgi_pass 127.0.0.1:70000;", ""},
	{`uwsgi_pass unix:/run/a\ b.sock;`, ""},
	{"uwsgi_pass unix:/run/a#b.sock;", ""},
	{"proxy_pass unix:/run/x.sock;", ""},
	{"proxy_pass http://unix:/run/x.sock;", ""},
	{"proxy_pass http://unix:/run/x.sock:/;", ""},
	{"proxy_pass http://127.0.0.1/a/b;", ""},
	{"proxy_pass https://127.0.0.1;", ""},
	{"proxy_pass 127.0.0.1:3031;", ""},
	{"fastcgi_pass unix:/run/x.sock;", ""},
	{"scgi_pass 127.0.0.1:4000;", ""},
	{"grpc_pass grpc://127.0.0.1:4000;", ""},
	{"uwsgi_pass app;", "upstream app { server unix:/run/x.sock; server unix:/run/y.sock backup; }"},
	{"uwsgi_pass App;", "upstream app { server unix:/run/x.sock down; server 127.0.0.1:3031; }"},
	{"uwsgi_pass app/;", "upstream app { server unix:/run/x.sock; }"},
	{"proxy_pass http://app/x;", "upstream app { server unix:/run/x.sock; }"},
	{"uwsgi_pass app;", "upstream app { server unix:/run/x.sock }"},
	{"uwsgi_pass app;", "upstream app { server /run/x.sock; }"},
	{"uwsgi_pass app;", "upstream app { server 127.0.0.1; }"},
	{"if ($request_method = POST) { uwsgi_pass unix:/run/x; }", ""},
	{`if ($request_method = "POST") { uwsgi_pass unix:/run/x; }`, ""},
	{"limit_except GET { deny all; } uwsgi_pass unix:/run/x;", ""},
	{`location ~ \.php$ { uwsgi_pass unix:/run/x; }`, ""},
	{"location ~ ^/a{2}$ { }", ""},
	{`location ~ "^/a{2}$" { }`, ""},
	{`set $a "a{b;c"; set $b 'x;
}'; set $c a"b; set $d "a\"b\\c\td\n";`, ""},
	{"set $a a{b; ", ""},
	{"set $a }; ", ""},
	{"set $a '}'; ", ""},
	{"set $a ';", ""},
	{"set $a b\\;c; ", ""},
	{"set $a b\\", ""},
	{";", ""},
	{"{ }", ""},
	{"}", ""},
	{"# }\n", ""},
	{"set $a b#c; # } ; {\n", ""},
	{"include nosuch*.conf;", ""},
	{"include nosuch.conf;", ""},
	{"include DIR;", ""},
	{"include extra;", ""},
	{"include extra extra;", ""},
	{"include open;", ""},
	{"include close;", ""},
	{"include sub/inner;", ""},
	{"include sub/*;", ""},
	{"uwsgi_pass unix:/run/x.sock;", "map $host $a { default 'x'; ~^(?<b>.*)$ '}'; include nosuchpart*; }\ntypes { text/html html htm; }"},
}

// TestNginxJudgesAlike lets nginx and us read the same texts: what nginx refuses has a fault or a wrong target here,
// what it takes has none, and the files that were read are the same, in the same order.
func TestNginxJudgesAlike(t *testing.T) {
	refused := 0
	for _, text := range texts {
		dir := folder(t, map[string]string{
			"nginx.conf": frame(text.location, text.http), "extra": "set $x y;\n", "open": "if ($host) {\n", "close": "}\n", "uwsgi_params": "uwsgi_param A b;\n",
			"sub/inner": "include extra;\n", "sub/second": "set $z z;\n", "sub/.hidden": "this is not read",
		})
		good, said := judge(t, dir)
		config, err := Read(dir + "/nginx.conf")
		if err != nil {
			t.Fatal(err)
		}
		var ours []string
		for _, f := range config.Faults {
			ours = append(ours, f.Error())
		}
		for _, target := range config.Facts().Targets {
			if target.Wrong != "" {
				ours = append(ours, fmt.Sprintf("%s:%d: %s", target.File, target.Line, target.Wrong))
				if !strings.Contains(said, target.Wrong) {
					t.Errorf("%s %s\nwe:    %s\nnginx: %s", text.location, text.http, target.Wrong, said)
				}
			}
		}
		if good != (len(ours) == 0) {
			t.Errorf("%s %s\nwe:    %q\nnginx: %s", text.location, text.http, ours, said)
		}
		if !good {
			refused++
			continue
		}
		var read []string
		for _, line := range strings.Split(said, "\n") {
			if name, ok := strings.CutPrefix(line, "# configuration file "); ok {
				read = append(read, strings.TrimSuffix(name, ":"))
			}
		}
		if !slices.Equal(read, config.Files) {
			t.Errorf("%s %s\nwe read    %q\nnginx read %q", text.location, text.http, config.Files, read)
		}
	}
	if refused < 20 || refused > len(texts)-20 {
		t.Errorf("nginx refused %d of %d texts: they prove nothing", refused, len(texts))
	}
}

func TestDebiansOwnFilesAreReadAsNginxReadsThem(t *testing.T) {
	out, err := exec.Command(nginx(t), "-T").CombinedOutput()
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("nginx -T: %v\n%s", err, out)
		}
		t.Skipf("the configuration of this machine is broken: %s", out)
	}
	config, err := Read("/etc/nginx/nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range config.Faults {
		t.Error(f)
	}
	for _, file := range config.Files {
		if !strings.Contains(string(out), "# configuration file "+file+":") {
			t.Errorf("nginx did not read %s", file)
		}
	}
	if n := strings.Count("\n"+string(out), "\n# configuration file "); n != len(config.Files) {
		t.Errorf("nginx read %d files, we read %d: %q", n, len(config.Files), config.Files)
	}
}

// TestTargets is the golden pair: testdata/site.conf, and what it says of sockets.
func TestTargets(t *testing.T) {
	text, err := os.ReadFile("testdata/site.conf")
	if err != nil {
		t.Fatal(err)
	}
	config := Parse("site.conf", string(text))
	var b strings.Builder
	for _, f := range config.Faults {
		fmt.Fprintf(&b, "fault %s\n", f.Error())
	}
	facts := config.Facts()
	fmt.Fprintf(&b, "user %q group %q at line %d\nerror logs %q\n", facts.User, facts.Group, facts.UserLine, facts.ErrorLogs)
	for _, x := range facts.Targets {
		fmt.Fprintf(&b, "line %d: server %q location %q: %s %s", x.Line, x.Server, x.Location, x.Directive, x.Text)
		if x.Upstream != "" {
			fmt.Fprintf(&b, ", upstream %s", x.Upstream)
		}
		if x.Variable {
			b.WriteString(", cannot tell where")
		}
		if x.Wrong != "" {
			fmt.Fprintf(&b, ", nginx: %s", x.Wrong)
		}
		if x.Protocol == UWSGI {
			fmt.Fprintf(&b, ", %d params, buffer %d", len(x.Params), x.Buffer.Size)
		}
		b.WriteString("\n")
		for _, e := range x.Endpoints {
			fmt.Fprintf(&b, "  → %s (line %d, down %v)\n", e, e.Line, e.Down)
		}
	}
	want, _ := os.ReadFile("testdata/site.golden")
	if *update {
		if err := os.WriteFile("testdata/site.golden", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if b.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestLimitsAndHostileFiles(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"a cycle", map[string]string{"nginx.conf": "include a;", "a": "include b;", "b": "include a;"}, "a → "},
		{"a file that includes itself", map[string]string{"nginx.conf": "include nginx.conf;"}, "without end"},
		{"depth", map[string]string{"nginx.conf": strings.Repeat("a {", 1000)}, "blocks inside each other"},
		{"a long word", map[string]string{"nginx.conf": "a " + strings.Repeat("x", 5000) + ";"}, "more than 4000 bytes"},
		{"a quote that is not closed", map[string]string{"nginx.conf": "a 'b;\n\n"}, "begins on line 1"},
		{"a file that is too large", map[string]string{"nginx.conf": "include a;", "a": strings.Repeat(" ", maxFile+1)}, "larger than"},
		{"files that are too large together", map[string]string{"nginx.conf": "include a;include a;include a;include a;include a;", "a": strings.Repeat(" ", maxFile)}, "all files together"},
		{"too many directives", map[string]string{"nginx.conf": strings.Repeat("a b;\n", maxDirectives+2)}, "more than 500000 directives"},
		{"a folder", map[string]string{"nginx.conf": "include sub;", "sub/a": ""}, "no plain file"},
		{"Lua without an end", map[string]string{"nginx.conf": "content_by_lua_block { if x then {\n}"}, "Lua block"},
	} {
		config, err := Read(folder(t, c.files) + "/nginx.conf")
		if err != nil {
			t.Fatal(err)
		}
		var said []string
		for _, f := range config.Faults {
			said = append(said, f.Error())
		}
		if !strings.Contains(strings.Join(said, "\n"), c.want) {
			t.Errorf("%s: %q", c.name, said)
		}
	}
	if _, err := Read("/nonexistent/nginx.conf"); err == nil {
		t.Error("a main file that is not there is an error")
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range texts {
		f.Add(frame(text.location, text.http))
	}
	if site, err := os.ReadFile("testdata/site.conf"); err == nil {
		f.Add(string(site))
	}
	f.Add("content_by_lua_block { a = [==[ }}} ]==] -- } \n b = '}' }")
	f.Fuzz(func(t *testing.T, text string) {
		config := Parse("x", text)
		lines := strings.Count(text, "\n") + 1
		var walk func([]Directive)
		walk = func(all []Directive) {
			for _, d := range all {
				if d.Line < 1 || d.Line > lines {
					t.Fatalf("%q is on line %d of %d", d.Name, d.Line, lines)
				}
				walk(d.Block)
			}
		}
		walk(config.Directives)
		for _, fault := range config.Faults {
			if fault.Line < 1 || fault.Line > lines {
				t.Fatalf("%v of %d lines", fault, lines)
			}
		}
		config.Facts()
	})
}

// TestColonOfASocketsPath: only where a URI may follow does a colon end the path. Elsewhere nginx 1.22 connects to a file
// of that very name: "connect() to unix:/run/x.sock: failed (2: No such file or directory)".
func TestColonOfASocketsPath(t *testing.T) {
	for text, want := range map[string]string{
		"uwsgi_pass unix:/run/x.sock:;":         "/run/x.sock:",
		"uwsgi_pass unix:/run/x.sock:/uri;":     "/run/x.sock:/uri",
		"fastcgi_pass unix:/run/x.sock:;":       "/run/x.sock:",
		"proxy_pass http://unix:/run/x.sock:/;": "/run/x.sock",
		"proxy_pass http://unix:/run/x.sock;":   "/run/x.sock",
	} {
		dir := folder(t, map[string]string{"nginx.conf": frame(text, "")})
		config, err := Read(dir + "/nginx.conf")
		if err != nil {
			t.Fatal(err)
		}
		targets := config.Facts().Targets
		if len(targets) != 1 || len(targets[0].Endpoints) != 1 || targets[0].Endpoints[0].Path != want {
			t.Errorf("%s leads to %+v, want %s", text, targets, want)
		}
	}
}
