package configs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// costly are files that cost as much as a file can. Each has to be read or refused in a moment; what bounds them is work that is
// counted, not time.
func costly() map[string]map[string]string {
	const size = maxFile - 64
	fill := func(head, line string) string { return head + strings.Repeat(line, (size-len(head))/len(line)) }
	head := "[uwsgi]\n"
	long := strings.Repeat("x", maxValue/2)
	return map[string]map[string]string{
		"placeholders in one value": {"main.ini": fill(head+"b = 1\na = ", "%(b)")},
		"undefined in one value":    {"main.ini": fill(head+"b = 1\na = ", "%(c)")},
		"both in one value":         {"main.ini": fill(head+"b = 1\na = ", "%(c)%(b)")},
		"both in many values":       {"main.ini": fill(head+"b = 1\n", "a = %(c)%(c)%(c)%(c)%(c)%(c)%(b)\n")},
		"openings":                  {"main.ini": fill(head+"a = ", "%(")},
		"brackets":                  {"main.ini": fill(head+"a = %(", "(")},
		"long values":               {"main.ini": fill(head+"b = "+long+"\n", "a = %(b)\n")},
		"doubling":                  {"main.ini": head + "a0 = xxxxxxxx\n" + doubling(60)},
		"math":                      {"main.ini": fill(head+"b = 7\n", "a = %(b + b * b + b)\n")},
		"math in one value":         {"main.ini": fill(head+"b = 7\na = ", "%(b + 1)")},
		"one long sum":              {"main.ini": fill(head+"b = 7\na = %(1", " + 1")},
		"underscores in a for":      {"main.ini": fill(head+"for = a b c d e f g h\na = ", "%(_)")},
		"underscores, long word":    {"main.ini": head + "for = " + long + "\na = " + strings.Repeat("%(_)", 100000) + "\n"},
		"for of many":               {"main.ini": head + "for = " + strings.Repeat("a ", 200000) + "\nx = 1\n"},
		"for-times, large body":     {"main.ini": fill(head+"for-times = 20000\n", "a = %(_)\n")},
		"for-times that includes":   {"main.ini": head + "for-times = 20000\ninclude = b.ini\n", "b.ini": fill(head, "a = 1\n")},
		"if-opt over many":          {"main.ini": fill(head, "if-opt = z\nendif\n")},
		"blocks":                    {"main.ini": fill(head, "for = a b\nx = %(_)\nend\n")},
		"files":                     {"main.ini": fill(head, "a = @(b.txt)\n"), "b.txt": long},
		"files in one value":        {"main.ini": fill(head+"a = ", "@(b.txt)"), "b.txt": "x"},
		"environment":               {"main.ini": fill(head+"a = ", "$(A)")},
		"environment, undefined":    {"main.ini": fill(head+"a = ", "$(ZZ)")},
		"magic":                     {"main.ini": fill(head+"a = ", "%p")},
		"magic, parts":              {"main.ini": fill(head+"a = ", "%9")},
		"magic, inode":              {"main.ini": fill(head+"a = ", "%i")},
		"newlines from magic":       {"main.ini": fill(head, "%%\n")},
		"headers":                   {"main.ini": fill(head, "[x]\n")},
		"sections":                  {"main.ini": sections(size)},
		"short keys":                {"main.ini": fill(head, "a\n")},
		"whitelist":                 {"main.ini": head + "whitelist = a " + strings.Repeat("b", 0) + strings.Repeat("c ", 250000) + "\n" + strings.Repeat("z = 1\n", 1000)},
		"whitelist of many":         {"main.ini": head + "whitelist = " + strings.Repeat("c ", 250000) + "a\n" + strings.Repeat("a = 1\n", 19000)},
		"strict near misses":        {"main.ini": fill(head+"strict = 1\n", "set-ph = procesess=1\n")},
		"routes":                    {"main.ini": fill(head, "route = .* log:x\n")},
		"legions":                   {"main.ini": fill(head, "legion-node = a b\n")},
		"legions, one":              {"main.ini": fill(head+"legion = a :1 1 aes:x\n", "legion-node = a b\n")},
		"pattern":                   {"main.ini": fill(head+"static-gzip = ", "[[:")},
		"pattern, quoted":           {"main.ini": fill(head+"static-gzip = ", `\Qa\E`)},
		"pattern, braces":           {"main.ini": fill(head+"static-gzip = ", "a{")},
		"pattern, comments":         {"main.ini": fill(head+"static-gzip = ", "(?#")},
		"glob":                      {"main.ini": head + "for-glob = " + strings.Repeat("/*", 40) + "\na = %(_)\nend\n"},
		"glob again and again":      {"main.ini": head + "for-glob = /usr/*/*\n" + strings.Repeat("a = %(_)\n", 500)},
		"glob of stars":             {"main.ini": head + "for-glob = " + strings.Repeat("*a", 20000) + "\na = 1\nend\n"},
		"lines read again":          {"main.ini": fill(head+"for-readline = b.txt\n", "a = %(_)\n"), "b.txt": strings.Repeat("a\n", 9)},
		"large lines read again":    {"main.ini": head + "for-readline = b.txt\n" + strings.Repeat("b = %(_)\n", 9000), "b.txt": long},
		"hostnames":                 {"main.ini": fill(head, "if-hostname-match = (a*)*$\nx = 1\nend\n")},
		"hostname, long pattern":    {"main.ini": fill(head+"if-hostname-match = "+strings.Repeat("(a|b)*", 100000)+"\n", "x = 1\n")},
		"hostnames, large machines": {"main.ini": fill(head, "if-hostname-match = (((a{9}){9}){9}){2}\nx = 1\nend\n")},
		"blanks in a for":           {"main.ini": fill(head+"for = a"+strings.Repeat(" ", size/2)+"b\n", "x = 1\n")},
		"a long section in magic":   {"main.ini": fill(head+"ini = main.ini:"+strings.Repeat("X", 200000)+"\n["+strings.Repeat("X", 200000)+"]\n#", "%x")},
		"a sum of long values":      {"main.ini": head + "b = " + long + "\na = %(" + strings.Repeat("b ", 20000) + ")\n"},
		"variables of pieces":       {"main.ini": fill(head+"declare-option = e=env=$1\n", "e = "+strings.Repeat("V", 20)+"=1\n") + "inherit = nope.ini\n"},
		"nested parentheses":        {"main.ini": fill(head+"a = %((((((((((((b))))))))))))", "%((b)")},
		"@ in @":                    {"main.ini": fill(head+"a = ", "@(@(")},
		"sections of itself":        {"main.ini": head + strings.Repeat("ini = :x\n", 9000) + "[x]\na = 1\n"},
		"keys that meet none":       {"main.ini": many(size)},
	}
}

func doubling(n int) string {
	var b strings.Builder
	for i := 1; i < n; i++ {
		fmt.Fprintf(&b, "a%d = -%%(a%d)%%(a%d)\n", i, i-1, i-1)
	}
	return b.String()
}

func sections(size int) string {
	var b strings.Builder
	for i := 0; b.Len() < size-32; i++ {
		fmt.Fprintf(&b, "[s%d]\na = %d\n", i, i)
	}
	return b.String()
}

func many(size int) string {
	var b strings.Builder
	b.WriteString("[uwsgi]\n")
	for i := 0; b.Len() < size-64; i++ {
		fmt.Fprintf(&b, "k%d = %%(k%d)%%(z%d)\n", i, i+1, i)
	}
	return b.String()
}

func TestHostileFilesEnd(t *testing.T) {
	for name, files := range costly() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := texts(files, "--ini", "main.ini")
			r.Env = []string{"A=" + strings.Repeat("e", 100)}
			start := time.Now()
			_, err := Read(r)
			var fault *Error
			if err != nil && !errors.As(err, &fault) {
				t.Errorf("no *Error: %v", err)
			}
			t.Logf("%v; %.120v", time.Since(start).Round(time.Millisecond), err)
		})
	}
}

// A reading leaves nothing behind: no descriptor, no goroutine, no variable, and neither the working folder nor a file are changed.
func TestReadingHasNoSideEffects(t *testing.T) {
	dir := realDir(t)
	s := scene{files: map[string]string{
		"main.ini": `[uwsgi]
env = TEST_LEFT=1
unenv = HOME
chdir = sub
umask = 077
logto = made.log
daemonize = made2.log
pidfile = made.pid
spooler = made-spooler
socket = made.sock
touch-reload = made
file-write = made3=x
exec-asap = touch made4
for-glob = *
a = %(_) @(data.txt) $(HOME)
endfor
for-readline = data.txt
b = %(_)
endfor
include = other.ini
inherit = sub/deep.ini
if-exists = data.txt
c = 1
endif
plugin = python3
`, "other.ini": "[uwsgi]\nd = 1\nemperor = made-emperor\n", "sub/deep.ini": "[uwsgi]\ne = 1\n", "data.txt": "1\n2\n"}}
	s.lay(t, dir)
	before, goroutines := surroundings(t, dir), runtime.NumGoroutine()
	for range 20 {
		if _, err := Read(Reading{Args: []string{"--ini", "main.ini"}, Dir: dir}); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(Reading{Args: []string{"--ini", "nope.ini"}, Dir: dir}); err == nil {
			t.Fatal("a missing file was read")
		}
	}
	if now := runtime.NumGoroutine(); now > goroutines {
		t.Errorf("%d goroutines, and %d before", now, goroutines)
	}
	if after := surroundings(t, dir); !slices.Equal(before, after) {
		t.Errorf("before\n%s\nafter\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
}

// surroundings lists what a reading could have changed.
func surroundings(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.Walk(dir, func(path string, fi os.FileInfo, err error) error {
		if err == nil {
			list = append(list, fmt.Sprint(path, fi.Mode(), fi.Size(), fi.ModTime()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	cwd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(line, "Umask") || strings.HasPrefix(line, "Uid") || strings.HasPrefix(line, "Gid") {
			list = append(list, line)
		}
	}
	list = append(list, cwd, fmt.Sprint(len(fds), " descriptors"))
	return append(list, os.Environ()...)
}
