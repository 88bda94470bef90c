package check

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/emperord/emperord/configs"
)

// Most is how many findings of one file Print shows when All is not set.
const Most = 20

// A Style says how a report is written for people.
type Style struct {
	Colour bool // for a terminal
	All    bool // every finding, however many a file has
}

// Print writes a report for people: the findings of each file, one line of what and indented lines of why and how to
// mend it, and the sum at the end. Nothing in it can move a terminal's cursor.
func (r *Report) Print(w io.Writer, style Style) error {
	out := bufio.NewWriter(w)
	paint := func(colour, text string) string {
		if !style.Colour {
			return text
		}
		return "\x1b[" + colour + "m" + text + "\x1b[0m"
	}
	colours := map[Level]string{Error: "1;31", Warning: "1;33", Note: "1;36"}
	var roots []string // files of root's, said together: on most machines that is all of them or none
	for _, f := range r.Files {
		all := slices.DeleteFunc(slices.Clone(f.Findings), func(x Finding) bool { return len(r.Files) > 1 && x.Code == OwnerRoot && x.Level == Note })
		if len(all) < len(f.Findings) {
			roots = append(roots, f.Path)
		}
		shown, more := gather(all), 0
		if len(shown) > Most && !style.All {
			shown, more = worst(shown, Most), len(shown)-Most
		}
		for _, x := range shown {
			fmt.Fprintf(out, "%s: %s: %s\n", paint("1", x.Place.String()), paint(colours[x.Level], string(x.Level)), x.What)
			if x.Why != "" {
				fmt.Fprintf(out, "    why:  %s\n", x.Why)
			}
			if x.Mend != "" {
				how := "mend"
				if x.Runs {
					how = "run"
				}
				fmt.Fprintf(out, "    %-6s%s\n", how+":", x.Mend)
			}
		}
		if more > 0 {
			fmt.Fprintf(out, "%s: and %d more of them; --all shows every one\n", configs.Printable(f.Path), more)
		}
		if len(all) > 0 {
			fmt.Fprintln(out)
		}
	}
	if len(roots) > 0 {
		fmt.Fprintf(out, "%s: belonging to root: %s\n    why:  good without tyrant mode; in tyrant mode the owner is who the application runs as, and root is refused\n    mend: chown USER:GROUP FILE\n\n", paint(colours[Note], string(Note)), list(roots))
	}
	if len(r.Ignored) > 0 {
		fmt.Fprintf(out, "ignored, as the emperor does: %s\n", list(r.Ignored))
	}
	fmt.Fprintln(out, r.Summary())
	return out.Flush()
}

// list writes the first names of a list.
func list(names []string) string {
	var text []string
	for _, name := range names[:min(len(names), Most)] {
		text = append(text, configs.Printable(name))
	}
	if more := len(names) - Most; more > 0 {
		text = append(text, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(text, ", ")
}

// gather makes one finding of all that is not honoured yet in one file: a list is read faster than a page of it.
func gather(all []Finding) []Finding {
	var rest []Finding
	first := map[string]int{} // file → index of its list in rest
	for _, f := range all {
		if f.Code != NotYet || f.Level != Warning {
			rest = append(rest, f)
			continue
		}
		item := fmt.Sprintf("%s (line %d)", f.Option, f.Place.Line)
		if at, again := first[f.Place.File]; again {
			rest[at].What += ", " + item
			rest[at].Why = "the application starts without them"
			continue
		}
		first[f.Place.File] = len(rest)
		rest = append(rest, Finding{Place: f.Place, Level: f.Level, Code: f.Code, What: "not honoured yet: " + item, Why: f.Why})
	}
	return rest
}

// Summary returns the sum: "12 files: 1 error, 3 warnings, 2 notes".
func (r *Report) Summary() string {
	counted := func(n int, one string) string {
		if n == 1 {
			return "1 " + one
		}
		return fmt.Sprintf("%d %ss", n, one)
	}
	text := counted(len(r.Files), "file") + ": "
	if r.Errors+r.Warnings+r.Notes == 0 {
		return text + "nothing found"
	}
	text += counted(r.Errors, "error") + ", " + counted(r.Warnings, "warning")
	if r.Notes > 0 {
		text += ", " + counted(r.Notes, "note")
	}
	return text
}

// worst returns the n worst findings, in their order.
func worst(all []Finding, n int) []Finding {
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(all[a].Level.rank(), all[b].Level.rank()) })
	order = order[:n]
	slices.Sort(order)
	few := make([]Finding, n)
	for i, at := range order {
		few[i] = all[at]
	}
	return few
}
