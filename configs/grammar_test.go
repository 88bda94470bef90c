package configs

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// A grammar makes random configurations for the comparison with the real program: some that make sense, most that nearly do.
// What it names is harmless: nothing is written, sent or started.
type grammar struct{ *rand.Rand }

func (g grammar) one(list ...string) string { return list[g.IntN(len(list))] }

func (g grammar) chance(n int) bool { return g.IntN(n) == 0 }

// A scene is everything of one question: files by name, command line, environment.
type scene struct {
	files map[string]string
	links map[string]string // symbolic links, by name
	args  []string
	env   []string
}

func (g grammar) scene() scene {
	s := scene{files: map[string]string{
		"main.ini": g.file(), "other.ini": g.file(), "sub/deep.ini": g.file(), "data.txt": g.data(), "list.txt": g.data() + "\n" + g.data(), "empty.txt": "",
	}}
	names := []string{"A", "B", "HOME", "EMPTY", "UWSGI_A", "UWSGI_FOO_BAR", "UWSGI_PROCESSES", "UWSGI_RELOADS", "UWSGI_SET", "UWSGI_INI", "UWSGI_STRICT", "UWSGI_MASTER"}
	g.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, name := range names[:g.IntN(4)] {
		s.env = append(s.env, name+"="+g.one("", "1", "b", "a=b", "%(a)", "$(B)", "x%(b)", "other.ini", "%n", "a b"))
	}
	s.args = g.args()
	return s
}

func (g grammar) args() []string {
	var args []string
	for range g.IntN(3) {
		args = append(args, g.argument()...)
	}
	switch g.IntN(8) {
	case 0:
		args = append(args, "main.ini")
	case 1:
		args = append(args, "--ini", "main.ini:"+g.section())
	case 2:
		args = append(args, "--include", "main.ini")
	case 3:
		args = append(args, "--ini", "main.ini", "--inherit", "other.ini")
	default:
		args = append(args, "--ini", "main.ini")
	}
	for range g.IntN(3) {
		args = append(args, g.argument()...)
	}
	return args
}

func (g grammar) argument() []string {
	switch g.IntN(12) {
	case 0:
		return []string{"--set", g.key() + "=" + g.value()}
	case 1:
		return []string{"-S", g.key() + "=" + g.value()}
	case 2:
		return []string{"--set-ph=" + g.key() + "=" + g.value()}
	case 3:
		return []string{g.one("--master", "-M", "--mas", "--vacu", "-MT", "-MTp4", "-p3", "--enable-thr", "--lazy-apps", "-L", "-C", "-C664", "--chmod-socket=660", "--strict")}
	case 4:
		return []string{g.one("--processes", "--proc", "-p", "--workers", "-t", "--harakiri", "-l", "-b", "-R"), g.one("1", "4k", "x", "", "0", "%(n)", "10")}
	case 5:
		return []string{"--env", g.one("A", "B", "C") + g.one("=1", "", "=", " = 2", "=%(a)")}
	case 6:
		return []string{g.one("--if-env", "--if-opt", "--if-exists", "--for", "--for-times", "--if-not-env", "--if-file"), g.one("A", "A=1", "a", "main.ini", "1 2", "2", "NOPE"), "--set", g.key() + "=" + g.value(), g.one("--endif", "--endfor", "--end-if", "--end-for")}
	case 7:
		return []string{g.one("other.ini", "sub/deep.ini", "[x]", "nope.ini", "data.txt")}
	case 8:
		return []string{"--ini", g.target()}
	case 9:
		return []string{g.one("--include", "--inherit"), g.one("other.ini", "sub/deep.ini", "other.ini:x")}
	case 10:
		return []string{g.one("--nosuch", "-9", "--master=1", "--pid", "--", "-", "--e", "--set", "--socket=:1", "--need-plugin=python3", "--s")}
	}
	return []string{"--set=" + g.key() + "=" + g.value()}
}

func (g grammar) section() string {
	return g.one("uwsgi", "x", "y", "", " x ", "main", "x]", "uwsgi] ; ")
}

func (g grammar) file() string {
	var b strings.Builder
	if !g.chance(12) {
		b.WriteString("[uwsgi]" + g.lineEnd())
	}
	for range 1 + g.IntN(12) {
		b.WriteString(g.line())
		b.WriteString(g.lineEnd())
	}
	text := b.String()
	if g.chance(10) {
		text = strings.TrimSuffix(text, "\n")
	}
	if g.chance(12) { // something odd anywhere
		at := g.IntN(len(text) + 1)
		text = text[:at] + g.one("%", "\r", "\x00", "\xff", "\xef\xbb\xbf", "\t", "\v", "\n", "[", "%(", "$(", ")", "=", ";", "#", " ", "%%", "%\n", "~", "`", "\"", "\\", "\\\n", "\u00a0", "\x0c") + text[at:]
	}
	return text
}

func (g grammar) lineEnd() string {
	if g.chance(20) {
		return g.one("\r\n", " \n", "\t\n", "\n\n", " \r\n", "%\n")
	}
	return "\n"
}

// line is one line, or the opening, body and end of a block.
func (g grammar) line() string {
	switch g.IntN(26) {
	case 0:
		return g.one("; comment", "# comment %n", ";a = 1", "  # x = %(y)", "[x]", "[uwsgi]", "[ x ]", "[x] ; y", "[y", "[", "[]", "")
	case 1, 2:
		return g.block()
	case 3:
		return "set = " + g.key() + g.one("=", " = ", "= ") + g.value()
	case 4:
		return g.one("set-ph", "set-placeholder") + " = " + g.key() + "=" + g.value()
	case 5:
		return g.one("ini", "ini", "include", "inherit") + " = " + g.target()
	case 6:
		return g.one("strict", "strict = true", "strict = false", "whitelist = a b c master end-whitelist", "end-whitelist =", "blacklist = a b", "end-blacklist =", "autoload = true")
	case 7:
		return g.one("endif", "endfor", "end", "end-if =", "end-for = x", "else =")
	case 8:
		return g.known()
	case 9:
		return g.one("env", "unenv", "print") + " = " + g.one("A=1", "B = %(a)", "C", "=", "A=%(b)%(c)")
	case 10:
		return g.key() // no equals sign
	case 11:
		return g.one(" ", "\t", "") + g.key() + g.one("=", " =", "= ", " = ", "==", " = = ", ": ") + g.value() + g.one("", " ", "\t", " ; x", " # x")
	}
	return g.key() + " = " + g.value()
}

// known are options with values, good and bad, that uWSGI judges when it applies them.
func (g grammar) known() string {
	return g.one(
		"processes = "+g.one("2", "abc", "-1", "", "4294967297", "2147483648", "%(a)", "$(A)"),
		"chmod-socket = "+g.one("664", "0664", "1", "", "66", "888", "%(a)"),
		"socket = "+g.one(":1", "a b", "", "s.sock", "=0", "127.*:80", "%(a)"),
		"static-map = "+g.one("/a=/b", "abc", "%(a)=x", "="),
		"static-expires = "+g.one("/x 10", "( 10", "[a] 5", "x", "a{2,1} 3", "(?=x) 1"),
		"route = "+g.one(".* log:x", "^/a last:", "x nosuch:y", "abc", ".*  log:x", "a goto:b"),
		"route-if = "+g.one("equal:a;b log:x", "nosuch:a log:x", "equal log:x", "x"),
		"route-run = "+g.one("last:", "last", "nosuch:"),
		"cron = "+g.one("-1 -1 -1 -1 -1 x", "1 2 3 4 x", "* * * * * x", "1 2 3 4 5"),
		"cron2 = "+g.one("minute=1 x y", "x y", "a=b", "x y=z", ""),
		"cap = "+g.one("setgid,setuid", "nosuch", "", "5"),
		"unshare = "+g.one("ipc,uts", "nosuch", ""),
		"logfile-chmod = "+g.one("644", "1", ""),
		"log-route = "+g.one("a b", "a (", "a"),
		"plugin = "+g.one("python3", "nosuch", "python3,nosuch", "%(a)"),
		"listen = "+g.one("100", "%(a)", "-1", "abc"),
		"master = "+g.one("true", "false", "", "1", "%(a)"),
		"umask = "+g.one("022", "22", "abc"),
		"attach-daemon2 = "+g.one("command=x", "x", "cmd=a b"),
		"smart-attach-daemon = "+g.one("a b", "a"),
		"uid = "+g.one("root", "nosuch", "0"),
		"harakiri = "+g.one("30", " 4k", "-5", "99999999999999999999"),
	)
}

func (g grammar) target() string {
	return g.one("other.ini", "other.ini", "other.ini", "sub/deep.ini", "./other.ini", "sub/../other.ini", "nope.ini", "", "%(a).ini", "$(B).ini", ":x", ":y", ":uwsgi", "other.ini:x", "other.ini:", "data.txt", "%dother.ini", "%d/sub/deep.ini", "sub", "empty.txt")
}

func (g grammar) block() string {
	open := g.one(
		"for = "+g.one("a b c", "1 2", "", "a\tb  c", "%(a)", "$(A) x", "a"),
		"for-times = "+g.one("2", "3", "0", "x", "-1", "2x", ""),
		"for-glob = "+g.one("*", "*.ini", "sub/*", "nope*", "s*/", "[ads]*", "[!a-m]*", "?ain.ini", "./*", "*/*.ini", ".*", "sub", "", "\\*", "{a,b}", "[", "*.[it]*"),
		"for-readline = "+g.one("list.txt", "data.txt", "nope", "empty.txt", "sub"),
		g.one("if-env", "if-not-env", "ifenv")+" = "+g.one("A", "B", "A=1", "B=b", "NOPE", "EMPTY", "EMPTY=", "", "A =1"),
		g.one("if-opt", "if-not-opt")+" = "+g.one("a", "b", "master", "a=1", "processes", "", "ini", "foo-bar=1", "_"),
		g.one("if-exists", "if-not-exists", "if-file", "if-not-file", "if-dir", "if-not-dir", "ifdir", "ifexists", "if-directory", "iffile")+" = "+g.one("main.ini", "sub", "nope", "", ".", "/", "%(a)", "./data.txt", "empty.txt/"),
		g.one("if-plugin", "if-not-plugin")+" = "+g.one("python", "python3", "", "http"),
		g.one("if-reload", "if-not-reload")+" = x",
		g.one("if-hostname", "if-not-hostname", "if-hostname-match", "if-not-hostname-match")+" = "+g.one("nosuchhost", ".*", "", "^$"),
	)
	lines := []string{open}
	for range g.IntN(4) {
		switch g.IntN(8) {
		case 0:
			lines = append(lines, g.line())
		case 1:
			lines = append(lines, g.key())
		case 2:
			lines = append(lines, "set = "+g.key()+"=%(_)")
		default:
			lines = append(lines, g.key()+g.one("", "-%(_)")+" = "+g.one("%(_)", "x%(_)y", "%(_)%(_)", "%(%(_))", g.value(), "%(_ + 1)"))
		}
	}
	if !g.chance(10) {
		lines = append(lines, g.one("endif", "endfor", "end", "end-if =", "end-for"))
	}
	return strings.Join(lines, "\n")
}

// key is a name: few of them, so that they meet again in references.
func (g grammar) key() string {
	if g.chance(12) {
		return g.one("a b", "", "ä", "K", "x%n", "%(a)", "_", "1", "-", "a(b)", "a:b", "processes", "master", "if-env", "env", "chdir", "k_v", "\"a\"", "[a")
	}
	return g.one("a", "b", "c", "d", "n")
}

func (g grammar) value() string {
	var b strings.Builder
	for range 1 + g.IntN(3) {
		b.WriteString(g.piece())
	}
	return b.String()
}

func (g grammar) piece() string {
	switch g.IntN(16) {
	case 0, 1, 2:
		return "%(" + g.key() + ")"
	case 3:
		return "%(" + g.math() + ")"
	case 4:
		return "$(" + g.one("A", "B", "HOME", "EMPTY", "NOPE", "%(n)", "") + ")"
	case 5:
		return "@(" + g.one("data.txt", "empty.txt", "$(F)", "data.txt", "list.txt", "", "sub/deep.ini", "a@b") + ")"
	case 6:
		return "%" + g.one("n", "s", "o", "p", "d", "c", "e", "x", "N", "O", "P", "X", "0", "1", "9", "%", "[", "{", " ", "z", "v", "u", "g", "U", "%%(a)", "%%(b", "k", "j", "J", "i")
	case 7:
		return g.one("%(", "$(", "@(", ")", "%", "$", "@", "%()", "%%(a)", "%((a))", "%(a", "$$(A)", "%%%%(a)", "%(%(n))", "$($(A))", "%($(A))", "@($(B))", "%(a)(b)")
	case 8:
		return g.one("", " ", "\t", "=", ";", "#", "\"", "'", "\\", "~", "`", ",", ":", "\u00e4", "\xff", "[x]")
	case 9:
		return fmt.Sprint(g.IntN(20) - 5)
	}
	return g.one("a", "b", "c", "n", "x", "word", "true", "no", "/path", "two words", "5", "10")
}

func (g grammar) math() string {
	var words []string
	for range 1 + g.IntN(4) {
		words = append(words, g.one("1", "2", "7", "010", "a", "b", "n", "+", "-", "*", "/", "++", "--", "4k", "-3", "zz", "", "99999999999999999999", "9223372036854775807", "a(b)", "_"))
	}
	return strings.Join(words, g.one(" ", " ", " ", "  ", "\t"))
}
