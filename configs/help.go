package configs

import (
	"fmt"
	"slices"
	"strings"
)

// helpWidth is how wide a page of help may be, and helpIndent where its sentences begin.
const (
	helpWidth  = 100
	helpIndent = 38
)

// Help is what --help answers. Without names it is head and the options that a program honours; with names it is all about
// each of those options. A whole command line with --help in it (several words, some with dashes) asks for no single
// option. An unknown name is an *Error.
func Help(head string, party Party, names []string) (string, error) {
	var out strings.Builder
	if len(names) == 0 || (len(names) > 1 && slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, "-") })) {
		out.WriteString(head)
		helpGroups(&out, party)
		return out.String(), nil
	}
	for i, name := range names {
		o, err := named(name)
		if err != nil {
			return "", err
		}
		if i > 0 {
			out.WriteByte('\n')
		}
		out.WriteString(o.Describe())
	}
	return out.String(), nil
}

// named finds an option that somebody asks about, with or without dashes in front.
func named(name string) (Option, error) {
	bare := strings.TrimLeft(name, "-")
	if o, ok := Lookup(bare); ok {
		return o, nil
	}
	if len(bare) == 1 {
		if o, ok := byLetter(bare[0]); ok {
			return o, nil
		}
	}
	e := &Error{Place: commandLine, Option: name, Cause: "is unknown, to uWSGI as well", Remedy: "see docs/options.md, or emperorctl options"}
	if near := Nearest(bare); near != "" {
		e.Remedy = "did you mean " + near + "?"
	}
	return Option{}, e
}

// helpGroups lists what a program honours, by who obeys it.
func helpGroups(out *strings.Builder, party Party) {
	counts := make(map[Standing]int)
	for i := range table {
		if table[i].Same == "" {
			counts[table[i].Standing]++
		}
	}
	for _, group := range [...]struct {
		title string
		party Party
	}{{"The emperor", ByEmperor}, {"The application", ByLanguage}, {"Its processes and sockets", ByVassal}, {"Reading the configuration", ByReader}} {
		if party&group.party == 0 {
			continue
		}
		fmt.Fprintf(out, "\n%s:\n", group.title)
		for i := range table {
			if o := table[i]; o.Same == "" && o.Standing == Honoured && o.Obeys&group.party != 0 && (group.party != ByLanguage || o.Obeys&ByVassal == 0) {
				helpLine(out, o)
			}
		}
	}
	fmt.Fprintf(out, `
In a file, write them without dashes: processes = 4. More about one: --help OPTION.
Of all options of uWSGI, %d are honoured here, %d need nothing to be done, %d come later and
%d never; emperorctl options lists them, and so does docs/options.md.
`, counts[Honoured], counts[Accepted], counts[NotYet], counts[Never])
}

func helpLine(out *strings.Builder, o Option) {
	text := strings.TrimSuffix(o.Help, ".")
	if o.Default != "" {
		text += " (" + strings.TrimSpace(o.Default+" "+o.Unit) + ")"
	}
	line := "  " + o.flags()
	for i, part := range wrap(text, helpWidth-helpIndent) {
		switch {
		case i == 0 && len(line) >= helpIndent-1:
			out.WriteString(line + "\n")
			line = ""
		case i > 0:
			line = ""
		}
		fmt.Fprintf(out, "%-*s%s\n", helpIndent, line, part)
	}
}

// wrap cuts a text at blanks into lines of so many characters at most, where its words allow it.
func wrap(text string, width int) []string {
	var lines []string
	line, length := "", 0
	for _, word := range strings.Fields(text) {
		n := len([]rune(word))
		if line != "" && length+1+n > width {
			lines = append(lines, line)
			line, length = "", 0
		}
		if line != "" {
			line, length = line+" ", length+1
		}
		line, length = line+word, length+n
	}
	return append(lines, line)
}

// Describe tells all about one option, in a few lines.
func (o Option) Describe() string {
	var out strings.Builder
	fmt.Fprintln(&out, strings.TrimLeft(o.flags(), " "))
	say := func(name, text string) {
		if text == "" {
			return
		}
		for _, part := range wrap(text, helpWidth-14) {
			fmt.Fprintf(&out, "  %-12s%s\n", name, part)
			name = ""
		}
	}
	say("", o.Help)
	say("aliases", strings.Join(o.Aliases(), ", "))
	say("takes", o.Takes())
	say("obeyed by", o.Obeys.String())
	standing := o.Standing.String()
	if o.Reason != "" {
		standing += ": " + o.Reason
	}
	say("standing", standing)
	if o.Where != "core" {
		say("part", o.Where)
	}
	if o.Immediate {
		say("", "Acts when it is read: its own value gets magic variables only, no %(x), $(X) or @(file).")
	}
	return out.String()
}
