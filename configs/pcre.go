package configs

import "strings"

// pattern refuses a regular expression that PCRE certainly refuses. What PCRE has and Go has not (lookaround, possessive
// quantifiers, back references) is left alone, so this is no compiler: it only counts what must be closed and repeated.
func pattern(s Setting, text string) error {
	if cause := brokenPattern(text); cause != "" {
		return wrong(s, "is not a regular expression: "+cause, mending(cause))
	}
	return nil
}

// mending says what to do about a cause that brokenPattern names.
func mending(cause string) string {
	sign := strings.TrimPrefix(cause, "a ")[:1]
	switch {
	case strings.HasPrefix(cause, "a range"):
		return "write the range from its lower end, such as a-z"
	case strings.HasPrefix(cause, "a backslash"):
		return `write \\ for a backslash`
	case strings.Contains(cause, "{…}") && !strings.Contains(cause, "nothing"), strings.HasPrefix(cause, "numbers"):
		return `write the smaller number first, up to 65535, or \{ for the character itself`
	case strings.Contains(cause, "nothing to repeat"):
		return "write what it repeats before it, such as ., or \\" + sign + " for the character itself"
	case sign == ")":
		return `remove it, or write \) for the character itself`
	}
	return "close it, or write \\" + sign + " for the character itself"
}

// patternValue judges a regular expression, a blank and a value.
func patternValue(s Setting) error {
	text, _, ok := strings.Cut(s.Value, " ")
	if !ok {
		return wrong(s, "has no blank between the regular expression and its value", "write "+s.Key+" = REGEXP VALUE")
	}
	return pattern(s, text)
}

// brokenPattern says what is wrong with a regular expression, or "".
func brokenPattern(text string) string {
	if extended(text) {
		return ""
	}
	open := 0
	repeatable := false // something stands before that a quantifier may repeat
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '\\':
			if i++; i == len(text) {
				return "a backslash at the end"
			}
			if text[i] == 'Q' { // everything up to \E is itself
				end := strings.Index(text[i:], `\E`)
				if end < 0 {
					return closed(open)
				}
				i += end + 1
			}
			repeatable = true
		case '[':
			end, cause := class(text, i)
			if cause != "" {
				return cause
			}
			i, repeatable = end, true
		case '(':
			if strings.HasPrefix(text[i:], "(?#") {
				end := strings.IndexByte(text[i:], ')')
				if end < 0 {
					return "a comment (?# without its )"
				}
				i += end
				continue
			}
			open++
			repeatable = false
			if strings.HasPrefix(text[i:], "(?") || strings.HasPrefix(text[i:], "(*") {
				i++ // the question mark and the star belong to the bracket
			}
		case ')':
			if open--; open < 0 {
				return "a ) without its ("
			}
			repeatable = true
		case '*', '+', '?':
			if !repeatable {
				return "a " + string(c) + " with nothing to repeat before it"
			}
			if i+1 < len(text) && (text[i+1] == '+' || text[i+1] == '?') {
				i++ // possessive or lazy
			}
			repeatable = false
		case '|', '^':
			repeatable = false
		case '{':
			end, cause := quantifier(text, i)
			switch {
			case cause != "":
				return cause
			case end < 0:
				repeatable = true // only a brace
			case !repeatable:
				return "a {…} with nothing to repeat before it"
			default:
				i, repeatable = end, false
				if i+1 < len(text) && (text[i+1] == '+' || text[i+1] == '?') {
					i++
				}
			}
		default:
			repeatable = true
		}
	}
	return closed(open)
}

// extended reports whether comments may stand in a regular expression, (?x): where they end is not followed.
func extended(text string) bool {
	for {
		_, rest, found := strings.Cut(text, "(?")
		if !found {
			return false
		}
		if flags := rest[:len(rest)-len(strings.TrimLeft(rest, "imsxUJ^-"))]; strings.Contains(flags, "x") {
			return true
		}
		text = rest
	}
}

func closed(open int) string {
	if open > 0 {
		return "a ( without its )"
	}
	return ""
}

// class finds the end of a [class] that begins at i.
func class(text string, i int) (end int, cause string) {
	const unclosed = "a [ without its ]"
	at := i + 1
	if at < len(text) && text[at] == '^' {
		at++
	}
	if at < len(text) && text[at] == ']' { // the first one is itself
		at++
	}
	for ; at < len(text); at++ {
		switch {
		case text[at] == '\\':
			at++
		case text[at] == ']':
			return at, ""
		case strings.HasPrefix(text[at:], "[:"):
			const longest = len("[:^xdigit:]")
			if n := strings.Index(text[at:min(len(text), at+longest)], ":]"); n > 0 && strings.Trim(text[at+2:at+n], "abcdefghijklmnopqrstuvwxyz^") == "" {
				at += n + 1
			}
		case at+2 < len(text) && text[at+1] == '-' && text[at+2] != ']' && text[at+2] != '\\' && text[at+2] != '[' && text[at] < 0x80 && text[at+2] < 0x80:
			if text[at+2] < text[at] {
				return 0, "a range in [ ] that ends before it begins"
			}
			at += 2
		}
	}
	return 0, unclosed
}

// quantifier finds the end of {n}, {n,} or {n,m} at i; below 0 it is none.
func quantifier(text string, i int) (end int, cause string) {
	const most, longest = 65535, 32
	n := strings.IndexByte(text[i:min(len(text), i+longest)], '}')
	if n < 0 {
		return -1, ""
	}
	low, high, both := strings.Cut(text[i+1:i+n], ",")
	if !isDigits(low) || (both && high != "" && !isDigits(high)) {
		return -1, ""
	}
	if leading(low) > most || leading(high) > most {
		return 0, "a number above 65535 in {…}"
	}
	if both && high != "" && leading(high) < leading(low) {
		return 0, "numbers out of order in {…}"
	}
	return i + n, ""
}
