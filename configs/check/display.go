package check

import (
	"errors"
	"strconv"
	"strings"
	"unicode"
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

// display escapes what could deceive the reader of a terminal: what comes from files may be hostile.
func display(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if strings.IndexFunc(text, func(c rune) bool { return !unicode.IsPrint(c) }) < 0 {
		return text
	}
	var out strings.Builder
	for _, c := range text {
		if unicode.IsPrint(c) {
			out.WriteRune(c)
			continue
		}
		q := strconv.QuoteRune(c)
		out.WriteString(q[1 : len(q)-1])
	}
	return out.String()
}

// quote writes a word for a shell.
func quote(word string) string {
	if strings.HasPrefix(word, "-") { // a file's name: no command takes it for an option
		word = "./" + word
	}
	if word != "" && strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=@%+,") == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
