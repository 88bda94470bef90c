package check

import (
	"errors"
	"strings"

	"github.com/emperord/emperord/shell"
)

var errNoFolder = errors.New("is not a folder")

// maxShown is how much of a value stands in a finding.
const maxShown = 120

// clip shortens a value.
func clip(text string) string {
	if len(text) <= maxShown {
		return text
	}
	return strings.ToValidUTF8(text[:maxShown], "") + "…"
}

// quote writes a word for a shell.
func quote(word string) string {
	if strings.HasPrefix(word, "-") { // a file's name: no command takes it for an option
		word = "./" + word
	}
	return shell.Quote(word)
}
