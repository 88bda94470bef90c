package configs

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// mixed is a scene of several formats that name each other, with sources, injected text, declared options, links and folders
// of variables: what no scene of INI files alone meets.
func (g grammar) mixed() scene {
	s := scene{files: make(map[string]string), links: make(map[string]string)}
	for _, name := range []string{"main", "other", "sub/deep"} {
		for _, ending := range []string{".ini", ".yml", ".json", ".xml"} {
			s.files[name+ending] = g.document(name, ending)
		}
	}
	s.files["data.txt"], s.files["list.txt"], s.files["before.txt"] = g.data(), "one\ntwo\n", g.injected()
	s.files["data.ini"], s.files["data.yml"], s.files["data.json"], s.files["data.xml"] = "[uwsgi]\ni = %n\n", "uwsgi:\n  y: %N\n", `{"uwsgi": {"j": "%x"}}`, "<uwsgi><x>%e</x></uwsgi>"
	s.files["vars/A"], s.files["vars/UWSGI_B"], s.files["vars/EMPTY"], s.files["vars/.hidden"] = g.one("1", "x \n\n", "%(b)", "two\nlines"), "c", "", "h"
	s.links["link.ini"], s.links["link.yml"], s.links["sub/up.ini"] = "sub/deep.ini", "other.yml", "../other.ini"
	names := []string{"A", "B", "UWSGI_A", "UWSGI_YAML", "UWSGI_INCLUDE", "UWSGI_CHMOD_SOCKET", "UWSGI_ENV", "UWSGI_FOR", "UWSGI_XML", "UWSGI_JSON", "UWSGI_SET_PH", "UWSGI_DECLARE_OPTION", "UWSGI_INHERIT", "UWSGI_PLUGINS", "UWSGI_EXIT", "UWSGI_IF_ENV", "UWSGI_", "UWSGI", "UWSGI_MODULE", "UWSGI_LISTEN"}
	g.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, name := range names[:g.IntN(3)] {
		value := g.one("1", "A", "660", "a=b", "%(a)", "$(B)", "other.yml", "o=set=$1;ini=other.ini")
		switch name {
		case "UWSGI_YAML", "UWSGI_JSON", "UWSGI_XML", "UWSGI_INCLUDE", "UWSGI_INHERIT":
			value = g.one("other", "sub/deep") + g.one(".ini", ".yml", ".json", ".xml")
		case "UWSGI_PLUGINS":
			value = "python3"
		case "UWSGI_SET_PH", "UWSGI_DECLARE_OPTION":
			value = g.one("o=set=$1;ini=other.ini", "o=a=b", "o=")
		case "UWSGI_EXIT", "UWSGI_FOR", "UWSGI_IF_ENV":
			if !g.chance(4) {
				continue
			}
		}
		s.env = append(s.env, name+"="+value)
	}
	for range g.IntN(3) * g.IntN(2) {
		s.args = append(s.args, g.mixedArgument()...)
	}
	file := g.one("main.ini", "main.yml", "main.json", "main.xml")
	switch option := map[string]string{"main.ini": "--ini", "main.yml": g.one("--yaml", "--yml", "-y"), "main.json": g.one("--json", "--js", "-j"), "main.xml": g.one("--xml", "-x", "--xmlconfig")}[file]; g.IntN(6) {
	case 0:
		s.args = append(s.args, file)
	case 1:
		if !g.chance(3) {
			s.args = append(s.args, option, file+g.one(":uwsgi", ":"))
			break
		}
		s.args = append(s.args, option, file+":"+g.one("x", "uwsgi", "y", "", "x:y"))
	case 2:
		s.args = append(s.args, g.one("--include", "--inherit"), file)
	default:
		s.args = append(s.args, option, file)
	}
	for range g.IntN(3) {
		s.args = append(s.args, g.mixedArgument()...)
	}
	return s
}

func (g grammar) mixedArgument() []string {
	switch g.IntN(9) {
	case 0:
		return []string{"--plugin", g.one("python3", "python3,http", "nosuch", "python")}
	case 1:
		if !g.chance(4) {
			return []string{"--plugin", "python3", g.one("-w", "-H", "--module", "-J", "-O", "--pp", "--virtualenv", "-wapp", "--py"), "app"}
		}
		return []string{g.one("-w", "-H", "--module", "--pyhome", "--wsgi-file", "-J", "-O", "--pp", "--virtualenv", "-wapp"), "app"}
	case 2:
		return []string{g.one("--yaml", "--json", "--xml", "--ini", "--js", "--yml", "-x", "-y", "-j", "--config"), g.anyFile()}
	case 3:
		if !g.chance(3) {
			return []string{"--include", "other" + g.one(".ini", ".yml", ".json", ".xml")}
		}
		return []string{g.one("--inject-before", "--inject-after"), g.one("before.txt", "data.txt", "nope", "exec://echo q = 5")}
	case 4:
		return []string{"--declare-option", g.declaration(), g.one("--opt1", "--opt2", "--opt1=a b", "--opt2=q", "--opt")}
	case 5:
		return []string{g.one("--early-envdir", "--envdir"), g.one("vars", "vars", "vars", "nope", "data.txt", "")}
	case 6:
		if g.chance(3) {
			return []string{"--whitelist", g.words(), "--end-whitelist"}
		}
		return []string{g.one("--set", "--set-ph", "--env"), g.key() + "=" + g.value()}
	case 7:
		return []string{g.one("--blacklist", "--set", "--set-ph"), g.one("x y", "a=1", "set=2", "zz=3")}
	}
	return g.argument()
}

func (g grammar) words() string {
	return g.one("a b c set end-whitelist ini include", "a", "", "uwsgi end-whitelist ini yaml json xml inherit a b c d n set-ph set env")
}

func (g grammar) declaration() string {
	return g.one("opt1", "opt2") + "=" + g.one("set=a=$1", "set=a=$1;set=b=$2", "ini=other.ini;x", "include=$1", "yaml=$1;set=k=v", "env=A=$1", "a=b;master=true", "strict=$1", "processes=$1", "print=$1 $2 $3",
		"declare-option=opt2=set=c$1", "opt2=$1;set=a=1", "for=a b;set=x$1=%(_);endfor=", ";;set-ph=x=$1", "", "inherit=$1", "set=a=$1$2$3$12", "chmod-socket=$1", "json=other.json;if-env=A;set=z=1;endif=")
}

// injected is text to stand before or behind every file: it only fits INI files.
func (g grammar) injected() string {
	return g.one("[uwsgi]\ni = %n\n", "[uwsgi]\ni = 1", "\n", "", "[x]\n", "# \n", "uwsgi:\n", " ", "\n", "# x\n", "i: 1\n", "{", "<!-- c -->")
}

// anyFile names a file of any format, some with a section or by a source.
func (g grammar) anyFile() string {
	name := g.one("main", "other", "other", "sub/deep", "./other", "sub/../other") + g.one(".ini", ".yml", ".json", ".xml")
	switch g.IntN(12) {
	case 0:
		return name + ":" + g.one("x", "uwsgi", "")
	case 1:
		if !g.chance(4) {
			return g.one("link.ini", "link.yml", "sub/up.ini", "%dother.yml", "./%n.ini")
		}
		return g.one("nope.yml", ":x", ":uwsgi", "", "%dother.yml", "%(a).json", "$(B).xml", "sub", "other", "other.YML", "%n.yml", "data.txt", "-")
	case 2:
		return "exec://cat " + name + g.one("", "", ":x", ":uwsgi")
	}
	return name
}

// A pair is a key with its value; bare has none.
type pair struct {
	key, value string
	bare       bool
}

// naming is an option that names a file, most of the time of a format that suits it.
func (g grammar) naming(from string) pair {
	p := pair{key: g.one("include", "include", "inherit"), value: g.anyFile()}
	for from != "main" && !g.chance(20) && (strings.Contains(p.value, "main") || strings.Contains(p.value, "%") || from == "sub/deep" && strings.Contains(p.value, "other")) { // few circles
		p.value = g.one("sub/deep.ini", "sub/deep.yml", "data.ini", "data.yml")
		if from == "sub/deep" {
			p.value = g.one("data.ini", "data.yml", "data.json", "data.xml")
		}
	}
	if g.chance(6) {
		p.key = g.one("ini", "yaml", "json", "xml", "ini-paste", "config")
		return p
	}
	switch file, _ := splitSection(p.value); {
	case g.chance(3): // by its ending
	case strings.HasSuffix(file, ".ini"):
		p.key = "ini"
	case strings.HasSuffix(file, ".yml"):
		p.key = g.one("yaml", "yml")
	case strings.HasSuffix(file, ".json"):
		p.key = g.one("json", "js")
	case strings.HasSuffix(file, ".xml"):
		p.key = g.one("xml", "xmlconfig")
	}
	return p
}

// pairs are settings as any format can say them.
func (g grammar) pairs(name string) []pair {
	var list []pair
	for range 1 + g.IntN(8) {
		switch g.IntN(18) {
		case 0, 1:
			list = append(list, g.naming(name))
		case 2:
			list = append(list, pair{key: g.one("for", "if-env", "if-not-env", "if-opt", "for-readline", "for-glob", "for-times"), value: g.one("a b", "A", "2", "list.txt", "sub/*", "a=1")},
				pair{key: g.key(), value: g.one("%(_)", "x-%(_)", g.value())}, pair{key: g.one("endif", "endfor", "end"), bare: g.chance(3)})
		case 3:
			list = append(list, pair{key: "declare-option", value: g.declaration()}, pair{key: g.one("opt1", "opt2"), value: g.one("", "a", "a b c", "other.yml", "b  c", "%(a)")})
		case 4:
			list = append(list, pair{key: g.one("set", "set-ph"), value: g.key() + "=" + g.value()})
		case 5:
			list = append(list, pair{key: g.one("inject-before", "inject-after"), value: g.one("before.txt", "data.txt", "exec://echo", "exec://echo '[uwsgi]'; echo e = %(a)")})
		case 6:
			if !g.chance(4) {
				continue
			}
			list = append(list, pair{key: g.one("whitelist", "end-whitelist", "blacklist", "end-blacklist", "strict", "autoload", "early-envdir", "envdir"), value: g.one("", "a b", "vars", "true", g.words())})
		case 7:
			list = append(list, pair{key: g.key(), value: g.one("", "x") + g.one("@(data.txt)", "@(exec://echo %(a))", "@(exec://cat other.yml)", "@(list.txt)", "@(exec://exit 3)", "@(fd://0)", "@(exec://echo $(A))", "@(exec://printf 'a\\nb\\n')", "@(exec://echo (x))")})
		case 8:
			list = append(list, pair{key: g.one("plugin", "plugins", "need-plugin"), value: g.one("python3", "python3, http", "python3,nosuch", "%(a)")})
		case 9:
			list = append(list, pair{key: g.one("module", "wsgi-file", "home", "pythonpath", "env", "print"), value: g.one("app", "A=%(a)", "%d%n", "")})
		case 10:
			list = append(list, pair{key: g.one("master", "vacuum", "enable-threads", "no-orphans", "chmod-socket", "processes", g.key(), g.key()), bare: true})
		case 11:
			list = append(list, pair{key: g.one("chmod-socket", "processes", "harakiri", "umask", "buffer-size"), value: g.one("1", "660", "1", "022", "1", "4k", "abc", "-1", "666")})
		default:
			list = append(list, pair{key: g.key(), value: g.value()})
		}
	}
	return list
}

// document is a file in the format that its ending tells, now and then with a mistake in it.
func (g grammar) document(name, ending string) string {
	var text string
	switch ending {
	case ".ini":
		text = g.asINI(name)
	case ".yml":
		text = g.asYAML(name)
	case ".json":
		text = g.asJSON(name)
	case ".xml":
		text = g.asXML(name)
	}
	if g.chance(30) {
		at := g.IntN(len(text) + 1)
		if ending != ".ini" && !g.chance(3) {
			return text
		}
		text = text[:at] + g.one("%", "\r", "\xff", "\xef\xbb\xbf", "\t", "\n", "[", "%(", ")", "=", ";", "#", " ", "%%", "<", "&", "\"", "\\", "{", "}", ":", "- ", "'", "\u00a0", ",", "*", "!") + text[at:]
	}
	return text
}

func (g grammar) asINI(name string) string {
	var b strings.Builder
	for _, section := range g.sections() {
		b.WriteString("[" + section + "]\n")
		for _, p := range g.pairs(name) {
			b.WriteString(p.key)
			if !p.bare {
				b.WriteString(g.one(" = ", "=", "= ") + p.value)
			}
			b.WriteString(g.lineEnd())
		}
	}
	return b.String()
}

func (g grammar) sections() []string {
	return [][]string{{"uwsgi"}, {"uwsgi"}, {"uwsgi"}, {"uwsgi", "x"}, {"x", "uwsgi"}, {"x"}, {"uwsgi", "x", "uwsgi"}, {"uwsgi", "y"}}[g.IntN(8)]
}

func (g grammar) asYAML(name string) string {
	var b strings.Builder
	for _, section := range g.sections() {
		b.WriteString(section + ":" + g.one("\n", "\n", " # c\n", "\r\n"))
		indent := g.one("  ", " ", "    ")
		for _, p := range g.pairs(name) {
			key := p.key
			if strings.Trim(key, "abcdefghijklmnopqrstuvwxyz-_012") != "" || key == "" {
				key = strconv.Quote(key)
			}
			switch {
			case p.bare:
				b.WriteString(indent + key + ":" + g.one("", " ~", ` ""`, " null") + "\n")
			case g.chance(6):
				fmt.Fprintf(&b, "%s%s:\n%s- %s\n%s- %s\n", indent, key, indent, g.yamlScalar(p.value), indent, g.yamlScalar(g.value()))
			case g.chance(12):
				b.WriteString(indent + key + ": [" + g.yamlScalar(p.value) + ", " + g.yamlScalar("b") + "]\n")
			case g.chance(12) && !strings.Contains(p.value, "\n"):
				b.WriteString(indent + key + ": " + g.one("|", ">", "|-", ">+") + "\n" + indent + "  " + p.value + "\n")
			default:
				b.WriteString(indent + key + ": " + g.yamlScalar(p.value) + g.one("", "", "", " # c", " ") + "\n")
			}
		}
	}
	return b.String()
}

func (g grammar) yamlScalar(value string) string {
	switch g.IntN(5) {
	case 0, 1, 2:
		return "'" + strings.ReplaceAll(value, "'", "''") + "'"
	case 3:
		return `"` + strings.ReplaceAll(strings.ReplaceAll(value, `\`, `\\`), `"`, `\"`) + `"`
	}
	if value == "" || strings.IndexByte("%@`[*,", value[0]) >= 0 && !g.chance(10) {
		return "'" + value + "'"
	}
	return value
}

func (g grammar) asJSON(name string) string {
	quote := func(text string) string {
		raw, err := json.Marshal(text)
		if err != nil {
			return `""`
		}
		return string(raw)
	}
	var parts []string
	for _, section := range g.sections() {
		var members []string
		for _, p := range g.pairs(name) {
			value := quote(p.value)
			switch {
			case p.bare:
				value = g.one("true", "null", "false", `""`, "1", "{}", "1.50")
			case g.chance(6):
				value = "[" + value + ", " + quote(g.value()) + g.one("]", ", true]", ", 7]", ", null]", ", [1]]")
			}
			members = append(members, quote(p.key)+g.one(": ", ":", " :\n")+value)
		}
		parts = append(parts, quote(section)+": {"+strings.Join(members, g.one(",", ",\n", ", "))+"}")
	}
	return "{" + strings.Join(parts, ",\n") + "}" + g.one("\n", "", " ")
}

func (g grammar) asXML(name string) string {
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "\x00", "", "\xff", "").Replace
	var b strings.Builder
	sections := g.sections()
	if len(sections) > 1 {
		b.WriteString("<all>\n")
	}
	for _, section := range sections {
		if section == "uwsgi" && !g.chance(8) {
			b.WriteString("<uwsgi>\n")
		} else {
			b.WriteString(`<uwsgi id="` + section + "\">\n")
		}
		for _, p := range g.pairs(name) {
			key := p.key
			if strings.Trim(key, "abcdefghijklmnopqrstuvwxyz-_012") != "" || key == "" || key[0] == '-' || key[0] == '1' {
				key = "k"
			}
			switch {
			case p.bare:
				b.WriteString("  <" + key + g.one("/>", " />", "></"+key+">") + "\n")
			case g.chance(10):
				b.WriteString("  <" + key + "><![CDATA[" + strings.ReplaceAll(p.value, "]]>", "") + "]]></" + key + ">\n")
			default:
				b.WriteString("  <" + key + g.one("", "", "", ` id="x"`) + ">" + escape(p.value) + "</" + key + ">\n")
			}
		}
		b.WriteString("</uwsgi>\n")
	}
	if len(sections) > 1 {
		b.WriteString("</all>\n")
	}
	return b.String()
}
