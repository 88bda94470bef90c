package main

import (
	"bufio"
	"fmt"
	"io"
	"os/user"
	"strconv"
	"strings"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/sockets/doctor"
)

// print writes a diagnosis for people: who connects, then by vassal what is wrong, what one sees of it, and the commands, each on
// a line of its own.
func (d *diagnosis) print(w io.Writer, colour bool) error {
	out := bufio.NewWriter(w)
	for _, u := range d.Web {
		conf := ""
		if u.Conf != "" {
			conf = " of " + u.Conf
		}
		fmt.Fprintf(out, "web server: %s (uid %d, groups %s), told by %s%s\n", configs.Printable(u.Name), u.UID, groupNames(u), configs.Printable(u.Told), configs.Printable(conf))
	}
	printFindings(out, d.Findings, "error", "1;31", colour)
	printFindings(out, d.Notes, "note", "1;36", colour)
	fmt.Fprintf(out, "\n%s\n", d.summary())
	return out.Flush()
}

// maxShown is how many findings about one vassal are printed: none is to hide what is found about others.
const maxShown = 20

// printFindings writes findings below their subjects.
func printFindings(w io.Writer, list []doctor.Finding, level, colour string, colours bool) {
	if colours {
		level = "\x1b[" + colour + "m" + level + "\x1b[0m"
	}
	subject, shown := "", 0
	for i, f := range list {
		if f.Subject != subject {
			subject, shown = f.Subject, 0
			fmt.Fprintf(w, "\n%s\n", configs.Printable(subject))
		}
		if shown++; shown > maxShown {
			if i+1 == len(list) || list[i+1].Subject != subject {
				fmt.Fprintf(w, "  and %d more: emperorctl doctor --json shows all\n", shown-maxShown)
			}
			continue
		}
		where := ""
		if f.Place != "" && !strings.Contains(f.Cause, f.Place) {
			where = configs.Printable(f.Place) + ": "
		}
		fmt.Fprintf(w, "  %s: %s%s [%s]\n", level, where, configs.Printable(f.Cause), f.Code)
		if f.Why != "" {
			fmt.Fprintf(w, "    seen:  %s\n", configs.Printable(f.Why))
		}
		if f.Note != "" {
			fmt.Fprintf(w, "    note:  %s\n", configs.Printable(f.Note))
		}
		if len(f.Commands) == 0 {
			continue
		}
		fmt.Fprintln(w, "    run:")
		for _, c := range f.Commands {
			if configs.Printable(c) != c { // a name with control characters or the like: what a terminal shows is not what it copies
				c = "# the command holds what a terminal does not show; take it from --json"
			}
			fmt.Fprintf(w, "      %s\n", c)
		}
	}
}

func groupNames(u webUser) string {
	var names []string
	seen := map[int]bool{}
	for _, gid := range append([]int{u.GID}, u.Groups...) {
		if seen[gid] {
			continue
		}
		seen[gid] = true
		name := strconv.Itoa(gid)
		if g, err := user.LookupGroupId(name); err == nil {
			name = g.Name
		}
		names = append(names, configs.Printable(name))
	}
	return strings.Join(names, ",")
}

// summary is the last line: "3 vassals, 4 sockets: 2 errors, 1 note".
func (d *diagnosis) summary() string {
	counted := func(n int, one string) string {
		if n == 1 {
			return "1 " + one
		}
		return fmt.Sprintf("%d %ss", n, one)
	}
	text := counted(d.Vassals, "vassal") + ", " + counted(d.Sockets, "socket") + ": "
	switch {
	case len(d.Findings)+len(d.Notes) == 0 && d.Sockets == 0:
		return text + "there is nothing to examine; name a socket, or --vassals FOLDER"
	case len(d.Findings)+len(d.Notes) == 0:
		return text + "nothing found"
	case len(d.Findings) == 0:
		return text + "nothing wrong, " + counted(len(d.Notes), "note")
	case len(d.Notes) == 0:
		return text + counted(len(d.Findings), "error")
	}
	return text + counted(len(d.Findings), "error") + ", " + counted(len(d.Notes), "note")
}
