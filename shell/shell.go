// Package shell writes words for the commands in messages, which people copy into a shell, often root's. A tenant chooses names of files
// and folders: no name may become a command.
package shell

import (
	"regexp"
	"strings"
	"unicode"
)

var plain = regexp.MustCompile(`^[A-Za-z0-9_./,:=@%+-]+$`)

// Quote writes a word as sh reads it, for output that nobody escapes.
func Quote(word string) string {
	if plain.MatchString(word) && !strings.HasPrefix(word, "-") {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// Word is Quote for messages, which a log may write as JSON: there a backslash becomes two, and what was quoted would not be quoted any
// more. A word with a quotation mark, a backslash or a sign that cannot be seen is left to the reader as NAME.
func Word(word string) string {
	if strings.ContainsAny(word, `'"\`) || strings.ContainsFunc(word, func(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsPrint(r) }) {
		return "NAME"
	}
	return Quote(word)
}
