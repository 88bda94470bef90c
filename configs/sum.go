package configs

import (
	"math"
	"strconv"
	"strings"
)

// sum is the arithmetic of %(a + b): words between blanks, strictly from left to right. A word of digits is a number,
// any other word the value of that name ("" if there is none). + - * / set the operation for the next operand, ++ and --
// act at once and forget an operation that waits; without an operation two operands are put one behind the other. Without any operand there is no sum.
// over tells that it became too long.
func (r *reader) sum(text string) (total string, ok, over bool) {
	operation := ""
	for _, word := range strings.Fields(text) {
		switch word {
		case "+", "-", "*", "/":
			operation = word
			continue
		case "++", "--":
			step := int64(1)
			if word == "--" {
				step = -1
			}
			if ok { // before the first operand they do nothing
				total = strconv.FormatInt(leading(total)+step, 10)
			}
			operation = ""
			continue
		}
		operand := word
		ok = true
		if strings.Trim(word, "0123456789") != "" {
			operand, _ = r.named(word)
		}
		a, b := leading(total), leading(operand)
		switch operation {
		case "":
			total += operand
			if r.work += len(total); len(total) > maxValue || r.work > maxWork {
				return "", false, true
			}
		case "+":
			total = strconv.FormatInt(a+b, 10)
		case "-":
			total = strconv.FormatInt(a-b, 10)
		case "*":
			total = strconv.FormatInt(a*b, 10)
		case "/":
			total = "0"
			if b != 0 {
				total = strconv.FormatInt(a/b, 10)
			}
		}
		operation = ""
	}
	return total, ok, false
}

// leading reads a number as C's strtoll does: blanks, a sign, digits, and whatever follows does not count.
func leading(s string) int64 {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	end := 0
	if end < len(s) && (s[end] == '-' || s[end] == '+') {
		end++
	}
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	n, err := strconv.ParseInt(s[:end], 10, 64)
	if err != nil && n != math.MaxInt64 && n != math.MinInt64 {
		return 0
	}
	return n
}
