package configs

import (
	"path/filepath"
	"slices"
	"strings"
)

// A Hook is something that is done at a moment in the life of the emperor or of a vassal.
type Hook struct {
	Option string // as written: "exec-as-vassal"
	Kind   string // what is done, in uWSGI's words: "exec", "mkdir"; "program" of vassals-start-hook and vassals-stop-hook
	Text   string // with what, as written
	Place  Place
	args   []string
}

// hookKinds are the kinds of hooks of uWSGI 2.0.21 that are honoured, with how many words each takes; 0: one, blanks
// included; -2: a word and the rest. The others act on uWSGI's own process.
var hookKinds = map[string]int{
	"exec": 0, "safeexec": 0, "print": 0, "log": 0, "cd": 0, "mkdir": 0, "unlink": 0, "create": 0, "creat": 0,
	"chmod": 2, "chown": 3, "write": -2, "writen": -2, "append": -2, "appendn": -2, "writefifo": -2,
	"wait_for_fs": 0, "wait_for_file": 0, "wait_for_dir": 0, "wait_for_socket": 0,
}

// hookScripts are what a shell does for a kind; its words are $1 and on, so nothing in them is taken for code.
var hookScripts = map[string]string{
	"mkdir":   `exec mkdir -- "$1"`,
	"unlink":  `test -e "$1" -o -L "$1" && exec rm -f -- "$1"`,
	"create":  `: > "$1"`,
	"chmod":   `exec chmod -- "$2" "$1"`,
	"chown":   `exec chown -h -- "$2:$3" "$1"`,
	"write":   `printf %s "$2" > "$1"`,
	"writen":  `printf '%s\n' "$2" > "$1"`,
	"append":  `printf %s "$2" >> "$1"`,
	"appendn": `printf '%s\n' "$2" >> "$1"`,
	// a FIFO that nobody reads holds up an open for writing; opened for both it does not, and what nobody reads is lost with it
	"writefifo":       `exec 3<> "$1" && printf %s "$2" >&3`,
	"wait_for_fs":     `until test -e "$1"; do sleep 0.1; done`,
	"wait_for_file":   `until test -f "$1"; do sleep 0.1; done`,
	"wait_for_dir":    `until test -d "$1"; do sleep 0.1; done`,
	"wait_for_socket": `until test -S "$1"; do sleep 0.1; done`,
}

// instead says what to write for a kind of hook that is refused.
var instead = map[string]string{
	"mount":    "write exec:mount with what mount(8) takes",
	"umount":   "write exec:umount with what umount(8) takes",
	"hostname": "write exec:hostname NAME, or set it before emperord starts",
	"exit":     "it would end the emperor or every vassal; remove the line",
	"chown2":   "write chown:FILE USER GROUP",
	"callret":  "no foreign code is loaded; write exec:COMMAND",
	"alarm":    "write exec:COMMAND with a command that sounds it",
}

// readHook reads KIND:TEXT, or a command without a kind where the option says exec. vassal: the option is about a vassal before its
// program starts, where a folder can be entered.
func readHook(s Setting, vassal bool) (Hook, error) {
	h := Hook{Option: s.Key, Kind: "exec", Text: s.Value, Place: s.Place}
	if strings.HasPrefix(s.Key, "hook-") {
		kind, text, found := strings.Cut(s.Value, ":")
		if !found {
			return h, wrong(s, "does not say what to do", "write "+s.Key+" = exec:COMMAND")
		}
		h.Kind, h.Text = kind, text
	}
	words, known := hookKinds[h.Kind]
	if !known || h.Kind == "cd" && !vassal {
		remedy := instead[h.Kind]
		if remedy == "" {
			remedy = "write " + s.Key + " = exec:COMMAND"
		}
		return h, wrong(s, "asks for the hook "+h.Kind+", which there is not here", remedy)
	}
	if strings.TrimSpace(h.Text) == "" || strings.IndexByte(h.Text, 0) >= 0 {
		return h, wrong(s, "does not say what to "+h.Kind, "write "+s.Key+" = "+strings.TrimSuffix(s.Value, h.Text)+"… with it")
	}
	switch {
	case words == 0:
		h.args = []string{h.Text}
	case words < 0:
		file, text, found := strings.Cut(h.Text, " ")
		if !found {
			return h, wrong(s, "has no text", "write "+s.Key+" = "+h.Kind+":FILE TEXT")
		}
		h.args = []string{file, text}
	default:
		h.args = strings.Fields(h.Text)
		if len(h.args) != words {
			return h, wrong(s, "has not as many words as "+h.Kind+" takes", "write "+s.Key+" = "+map[string]string{"chmod": "chmod:FILE MODE", "chown": "chown:FILE USER GROUP"}[h.Kind])
		}
	}
	return h, nil
}

// Command returns the program and the arguments that do it, with argv[0]. name is for vassals-start-hook and vassals-stop-hook,
// which get it as their last argument: never as text of a shell, because a tenant has chosen it. exists tells whether there
// is a file of a name: uWSGI takes the whole value for the name of the program, here blanks may also separate arguments.
func (h Hook) Command(name string, exists func(string) bool) (string, []string) {
	switch h.Kind {
	case "program":
		words := []string{h.Text}
		if !exists(h.Text) {
			words = strings.Fields(h.Text)
		}
		if strings.HasPrefix(name, "-") { // no option of the program's
			name = "./" + name
		}
		if !strings.Contains(words[0], "/") { // looked for along PATH, by the shell, which runs it and nothing else
			return "/bin/sh", slices.Concat([]string{"sh", "-c", `exec "$@"`, "sh"}, words, []string{name})
		}
		return words[0], append(words, name)
	case "exec", "safeexec":
		return "/bin/sh", []string{"sh", "-c", h.Text}
	}
	kind := h.Kind
	if kind == "creat" {
		kind = "create"
	}
	args := slices.Clone(h.args)
	if strings.HasPrefix(args[0], "-") {
		args[0] = "./" + args[0]
	}
	return "/bin/sh", append([]string{"sh", "-c", hookScripts[kind], "sh"}, args...)
}

// Says returns what a hook only says, for the log; false where it does something.
func (h Hook) Says() (string, bool) { return h.Text, h.Kind == "print" || h.Kind == "log" }

// Enters returns the folder that a vassal is to start in, seen from dir; false where the hook does something else.
func (h Hook) Enters(dir string) (string, bool) {
	if h.Kind != "cd" {
		return "", false
	}
	if filepath.IsAbs(h.Text) {
		return filepath.Clean(h.Text), true
	}
	return filepath.Join(dir, h.Text), true
}

// Hooks are those of an emperor, each list in the order of the file.
type Hooks struct {
	Start      []Hook // hook-emperor-start
	Before     []Hook // hook-as-emperor-before-vassal, hook-as-vassal-before-drop: with the emperor's rights, before each start
	AsVassal   []Hook // hook-as-vassal, then exec-as-vassal: with the vassal's rights, before each start
	AsEmperor  []Hook // hook-as-emperor, then exec-as-emperor: with the emperor's rights, after each start
	OnDemand   []Hook // hook-as-on-demand-vassal: with the emperor's rights, when a vassal begins to wait for its first connection
	StartsUp   *Hook  // vassals-start-hook: with the vassal's rights
	ShutsDown  *Hook  // vassals-stop-hook: with the emperor's rights
	execVassal []Hook
	execAfter  []Hook
}

// add takes one line.
func (h *Hooks) add(first string, s Setting) error {
	switch first {
	case "vassals-start-hook", "vassals-stop-hook":
		one := &Hook{Option: s.Key, Kind: "program", Text: s.Value, Place: s.Place}
		if strings.TrimSpace(s.Value) == "" || strings.IndexByte(s.Value, 0) >= 0 {
			return wrong(s, "names no program", "write "+s.Key+" = /path/of/a/program")
		}
		if first == "vassals-start-hook" {
			h.StartsUp = one
		} else {
			h.ShutsDown = one
		}
		return nil
	}
	one, err := readHook(s, first == "hook-as-vassal" || first == "hook-as-vassal-before-drop")
	if err != nil {
		return err
	}
	to := map[string]*[]Hook{
		"hook-emperor-start": &h.Start, "hook-as-emperor-before-vassal": &h.Before, "hook-as-vassal-before-drop": &h.Before, "hook-as-vassal": &h.AsVassal,
		"exec-as-vassal": &h.execVassal, "hook-as-emperor": &h.AsEmperor, "hook-as-on-demand-vassal": &h.OnDemand, "exec-as-emperor": &h.execAfter,
	}[first]
	*to = append(*to, one)
	return nil
}

// finish puts the lists into uWSGI's order.
func (h *Hooks) finish() {
	h.AsVassal = append(h.AsVassal, h.execVassal...)
	h.AsEmperor = append(h.AsEmperor, h.execAfter...)
	h.execVassal, h.execAfter = nil, nil
}
