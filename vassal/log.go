package vassal

import (
	"fmt"
	"io"
	"strings"
)

// A journal writes one line for each event, in the past tense, with what comes next. It writes each line at once, so
// that lines of vassald and of the workers do not mix.
type journal struct {
	out    io.Writer
	vassal string // empty under emperord, which puts the name in front of every line itself
}

func (j journal) say(format string, args ...any) {
	text := strings.ReplaceAll(strings.TrimRight(fmt.Sprintf(format, args...), "\n"), "\n", "; ")
	if j.vassal != "" {
		text = j.vassal + ": " + text
	}
	fmt.Fprintf(j.out, "vassald: %s\n", text)
}
