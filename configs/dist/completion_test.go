package dist_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/configs"
)

var update = flag.Bool("update", false, "rewrite the completion files")

// A completed program is one of the two whose options are uWSGI's; emperorctl prints its own completion.
type completed struct {
	name    string
	party   configs.Party
	own     []string // options that are none of uWSGI's settings
	options []configs.Option
}

func programs() []completed {
	list := []completed{
		{name: "emperord", party: configs.ByEmperor | configs.ByReader, own: []string{"help", "version"}},
		{name: "vassald", party: configs.ByVassal | configs.ByLanguage | configs.ByReader, own: []string{"help", "version", "resolve", "show-config"}},
	}
	for i, p := range list {
		for _, o := range configs.Options() {
			useful := o.Standing == configs.Honoured || o.Standing == configs.Accepted
			if useful && o.Obeys&p.party != 0 && !slices.Contains(p.own, o.Name) {
				list[i].options = append(list[i].options, o)
			}
		}
	}
	return list
}

const generated = "# Printed from the option table by: go test ./configs/dist -run TestCompletionFiles -update\n"

// bash offers options behind a dash, and files everywhere else.
func (p completed) bash() string {
	var flags []string
	for _, name := range p.own {
		flags = append(flags, "--"+name)
	}
	for _, o := range p.options {
		flags = append(flags, "--"+o.Name)
	}
	slices.Sort(flags)
	return fmt.Sprintf(`# bash completion for %[1]s
%[2]s
_%[1]s()
{
    local options='
%[3]s'
    COMPREPLY=()
    case ${COMP_WORDS[COMP_CWORD]} in
        -*) COMPREPLY=($(compgen -W "$options" -- "${COMP_WORDS[COMP_CWORD]}")) ;;
    esac
} && complete -o default -F _%[1]s %[1]s
`, p.name, generated, "        "+strings.Join(flags, "\n        ")+"\n")
}

// quoted writes a text between single quotes, as zsh wants it in brackets.
func quoted(s string) string {
	return strings.NewReplacer("'", "'\\''", "[", `\[`, "]", `\]`, ":", `\:`).Replace(strings.TrimSuffix(s, "."))
}

func (p completed) zsh() string {
	var out strings.Builder
	fmt.Fprintf(&out, "#compdef %s\n%s\n_arguments -S \\\n", p.name, generated)
	for _, name := range p.own {
		fmt.Fprintf(&out, "  '--%s' \\\n", name)
	}
	for _, o := range p.options {
		for _, flag := range spellings(o) {
			help := quoted(o.Help)
			switch {
			case o.Argument == configs.NoArgument:
				fmt.Fprintf(&out, "  '*%s[%s]' \\\n", flag, help)
			case o.Argument == configs.Optional:
				fmt.Fprintf(&out, "  '*%s=-[%s]::%s:' \\\n", flag, help, strings.ToLower(o.Placeholder()))
			default:
				long := strings.HasPrefix(flag, "--")
				fmt.Fprintf(&out, "  '*%s%s[%s]:%s:_files' \\\n", flag, map[bool]string{true: "=", false: "+"}[long], help, quoted(strings.ToLower(o.Placeholder())))
			}
		}
	}
	out.WriteString("  '*:file:_files'\n")
	return out.String()
}

func spellings(o configs.Option) []string {
	if o.Letter != 0 {
		return []string{"--" + o.Name, "-" + string(o.Letter)}
	}
	return []string{"--" + o.Name}
}

func (p completed) fish() string {
	var out strings.Builder
	fmt.Fprintf(&out, "# fish completion for %s\n%s\n", p.name, generated)
	for _, name := range p.own {
		fmt.Fprintf(&out, "complete -c %s -l %s\n", p.name, name)
	}
	for _, o := range p.options {
		fmt.Fprintf(&out, "complete -c %s -l %s", p.name, o.Name)
		if o.Letter != 0 {
			fmt.Fprintf(&out, " -s %c", o.Letter)
		}
		if o.Argument == configs.Required {
			out.WriteString(" -r")
		}
		fmt.Fprintf(&out, " -d '%s'\n", strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(strings.TrimSuffix(o.Help, ".")))
	}
	return out.String()
}

// TestCompletionFiles keeps the files that make install puts into place like the table.
func TestCompletionFiles(t *testing.T) {
	for _, p := range programs() {
		for file, want := range map[string]string{p.name + ".bash": p.bash(), "_" + p.name: p.zsh(), p.name + ".fish": p.fish()} {
			file = filepath.Join("completion", file)
			if *update {
				if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != want {
				t.Errorf("%s is stale; run: go test ./configs/dist -update", file)
			}
		}
	}
}

// typed starts an interactive bash in a folder and on a terminal of its own, types lines into it and returns all that it
// has shown. The programs print their arguments, each between angle brackets.
func typed(t *testing.T, dir string, lines ...string) string {
	t.Helper()
	here, err := filepath.Abs("completion")
	if err != nil {
		t.Fatal(err)
	}
	rc := filepath.Join(t.TempDir(), "rc")
	text := fmt.Sprintf("PS1='$ '; unset HISTFILE; bind 'set bell-style none'\n"+
		"emperord() { printf '<%%s>' \"$@\"; }; vassald() { printf '<%%s>' \"$@\"; }\nsource %[1]s/emperord.bash; source %[1]s/vassald.bash\n", here)
	if err := os.WriteFile(rc, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	ours, theirs := terminal(t)
	defer ours.Close()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	bash := exec.CommandContext(ctx, "bash", "--rcfile", rc, "-i")
	bash.Dir, bash.Env = dir, []string{"PATH=/usr/bin:/bin", "TERM=dumb", "HOME=" + dir, "LC_ALL=C"}
	bash.Stdin, bash.Stdout, bash.Stderr = theirs, theirs, theirs
	bash.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := bash.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	if _, err := ours.WriteString(strings.Join(lines, "\r") + "\rexit\r"); err != nil {
		t.Fatal(err)
	}
	shown, err := io.ReadAll(ours)
	if err != nil && !errors.Is(err, syscall.EIO) { // EIO: the other side has been closed
		t.Fatal(err)
	}
	if err := bash.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, shown)
	}
	return string(shown)
}

// terminal makes a pseudo terminal.
func terminal(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}

// TestBashCompletes presses Tab in a real bash.
func TestBashCompletes(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"shop.ini", "blog.ini"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cases := []struct{ keys, want string }{
		{"vassald --proce\t", "<--processes>"},
		{"vassald --ini sh\t", "<--ini><shop.ini>"},
		{"vassald --ini=bl\t", "<--ini=blog.ini>"},
		{"vassald sh\t --show\t", "<shop.ini><--show-config>"},
		{"vassald --virt\t /v --res\t", "<--virtualenv></v><--resolve>"},
		{"emperord --emperor-tyr\t-i\t", "<--emperor-tyrant-initgroups>"},
		{"emperord --emperor-fr\t 3", "<--emperor-freq><3>"},
		{"emperord --wsgi-f\t", "<--wsgi-f>"},
		{"vassald --emperor-f\t", "<--emperor-f>"},
	}
	var lines []string
	for _, c := range cases {
		lines = append(lines, c.keys)
	}
	shown := typed(t, dir, lines...)
	rest := shown
	for _, c := range cases {
		_, after, found := strings.Cut(rest, c.want)
		if !found {
			t.Fatalf("%q does not give %s after the lines above it; bash has shown\n%s", c.keys, c.want, shown)
		}
		rest = after
	}
}
