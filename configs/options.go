package configs

import (
	"sort"
	"strings"
)

// An Option is one name that uWSGI or emperord knows. Every spelling has a row of its own.
type Option struct {
	Name      string
	Same      string   // the first spelling of the same option; empty where this is it
	Where     string   // part of uWSGI it belongs to: core, python, http…; "2.1" where 2.0.21 does not have it; "emperord" for our own
	Letter    byte     // on the command line; 0 is none
	Argument  Argument // on the command line
	Kind      Kind     // how its value is read
	Immediate bool     // uWSGI acts when it reads the line: the value gets no references
	Obeys     Party    // who obeys it
	Standing  Standing // what becomes of it here
	Reason    string   // Accepted: why nothing needs to be done; Never: what to use instead; NotYet: what to do until then, if anything
	Help      string   // one sentence: what it does in uWSGI and, where it is honoured, here
	Low, High int64    // Int, Uint64, Uint16, Megabytes: what is taken, High 0 is without an upper end
	Unit      string   // of a number: "s", "ms", "bytes", "KiB", "MiB"; empty where it counts things
	Default   string   // what counts where the option is not written; empty where nothing does
}

// First returns the first spelling of the option's name.
func (o Option) First() string {
	if o.Same != "" {
		return o.Same
	}
	return o.Name
}

// An Argument says whether an option takes a value on the command line. In files every option may have one.
type Argument uint8

const (
	Required Argument = iota
	Optional          // only as --name=value, or glued to the letter
	NoArgument
)

// A Kind is a way to read a value, as observed on uWSGI 2.0.21.
type Kind uint8

const (
	Own         Kind = iota // in its own way
	Bool                    // true unless false, off, no or 0
	BoolInverse             // the same, and true switches something off
	Int
	Uint64
	Uint16
	Megabytes
	String
	List       // every occurrence adds one item
	Plugins    // a list with commas
	Assignment // name=value
	Environment
	Regexp
	RegexpValue // regular expression, blank, value
	Socket
	TLSSocket // socket,certificate,key
	Mode      // octal
	User
	Group
	DateFormat
	File     // a configuration file
	Logic    // opens a block
	LogicEnd // closes a block
)

// A Party is a set of those who obey an option.
type Party uint8

const (
	ByEmperor  Party = 1 << iota // emperord
	ByVassal                     // vassald
	ByGateway                    // an HTTP router or another gateway process
	ByLanguage                   // the program that hosts the application
	ByReader                     // the reading of the configuration itself
	ByNobody   Party = 0
)

// A Standing is what becomes of an option here.
type Standing uint8

const (
	NotYet   Standing = iota // known, not honoured so far: said once at start
	Honoured                 // does what it does in uWSGI
	Accepted                 // needs nothing to be done; Reason says why
	Never                    // will not come; Reason says what to use instead
)

// String returns the standing's name as the documentation writes it.
func (s Standing) String() string {
	switch s {
	case Honoured:
		return "honoured"
	case Accepted:
		return "accepted"
	case Never:
		return "never"
	}
	return "not yet"
}

// Options returns all options in order of their names. The slice must not be written to.
func Options() []Option { return table }

// Lookup finds an option by one of its names.
func Lookup(name string) (Option, bool) {
	i, ok := sort.Find(len(table), func(i int) int { return strings.Compare(name, table[i].Name) }) // a row is large: none is copied
	if !ok {
		return Option{}, false
	}
	return table[i], true
}

// byLetter finds an option by its letter on the command line.
func byLetter(letter byte) (Option, bool) {
	for i := range table {
		if table[i].Letter == letter {
			return table[i], true
		}
	}
	return Option{}, false
}

// Nearest returns the option whose name is most like an unknown one, or "" if none is like it.
func Nearest(name string) string {
	const longest = 64
	if len(name) < 3 || len(name) > longest {
		return ""
	}
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	limit := 1 + len(name)/5
	best := ""
	for i := range table {
		other := table[i].Name
		if d := len(other) - len(name); d > limit || -d > limit {
			continue
		}
		if d := distance(name, other, limit); d <= limit && (best == "" || d < limit+1) {
			best, limit = other, d-1
			if d == 0 {
				break
			}
		}
	}
	return best
}

// distance counts the letters to insert, remove, change or swap with their neighbour, giving up above limit.
func distance(a, b string, limit int) int {
	var rows [3][80]int
	before, last, row := rows[0][:len(b)+1], rows[1][:len(b)+1], rows[2][:len(b)+1]
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		low := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
			low = min(low, row[j])
		}
		if low > limit {
			return limit + 1
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
