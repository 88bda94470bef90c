package configs

import (
	"math"
	"path/filepath"
	"strconv"
	"strings"
)

// A Limit is one line of emperor-memory-max and its relatives: a number for all vassals, or for some.
type Limit struct {
	For   string // a user, by name or number, or a vassal, by name; empty: all
	Value uint64 // bytes, processes, weight, thousandths of a processor
	None  bool   // "max": no limit
	Place Place
}

// Ranges of the values. Below the low ends no vassal can work; most need far more.
const (
	minMemory = 1 << 20 // bytes
	maxMemory = math.MaxInt64 &^ 0xfff
	minPIDs   = 16 // threads count too, and vassald alone has seven to ten
	maxPIDs   = 1 << 22
	maxWeight = 10000 // of cpu.weight
	minCPU    = 10    // thousandths of a processor: the kernel takes no quota below 1 ms in 100
	maxCPU    = 1024_000
	maxDigits = 19        // of a number, before and behind the point
	maxWho    = 4096 + 64 // bytes: a path and then some
)

// limit returns how to read one of the four options, nil for any other.
func (p *emperorParser) limit(first string) func(Setting) error {
	type reading struct {
		into    *[]Limit
		read    func(string) (uint64, bool)
		low     uint64
		high    uint64
		example string
	}
	var r reading
	if p.e == nil { // only asked whether there is a way
		p.e = new(Emperor)
	}
	switch first {
	case "emperor-memory-max":
		r = reading{&p.e.MemoryMax, size, minMemory, maxMemory, "512M (K, M, G and T are powers of 1024; at least 1M)"}
	case "emperor-pids-max":
		r = reading{&p.e.PIDsMax, count, minPIDs, maxPIDs, "200 (from 16 to 4194304; threads count too)"}
	case "emperor-cpu-weight":
		r = reading{&p.e.CPUWeight, count, 1, maxWeight, "200 (from 1 to 10000; 100 is usual)"}
	case "emperor-cpu-max":
		r = reading{&p.e.CPUMax, processors, minCPU, maxCPU, "50 (percent of one processor) or 1.5 cores"}
	default:
		return nil
	}
	return func(s Setting) error {
		remedy := "write for example " + s.Key + " = " + r.example
		who, text, some := cutLast(s.Value, ':')
		if !some {
			who, text = "", s.Value
		}
		l := Limit{For: strings.TrimSpace(who), Place: s.Place}
		text = strings.TrimSpace(text)
		switch {
		case some && (l.For == "" || len(l.For) > maxWho || strings.ContainsAny(l.For, "\x00\n")):
			return wrong(s, "names nobody before the colon", "write USER:VALUE, VASSAL:VALUE, or the value alone for all vassals")
		case text == "max":
			if l.None = true; first == "emperor-cpu-weight" {
				return wrong(s, "is not a weight", remedy)
			}
		default:
			n, ok := r.read(text)
			if !ok {
				return wrong(s, "is not a value of this option", remedy)
			}
			if n < r.low || n > r.high {
				return wrong(s, "is out of range", remedy)
			}
			l.Value = n
		}
		*r.into = append(*r.into, l)
		return nil
	}
}

// cgroup reads emperor-cgroup: a group by its path as /proc/PID/cgroup shows it, or by its folder.
func (p *emperorParser) cgroup(s Setting) error {
	path, err := plainPath(s)
	if err == nil && path == "/" {
		err = wrong(s, "is the root of all control groups", "write a group of its own, for example emperor-cgroup = /emperord")
	}
	if err != nil {
		return err
	}
	p.e.Cgroup = path
	return nil
}

// LimitFor picks what counts for a vassal: the last line that names the vassal, else the last one that names its user, else the
// last one for all. false: none does. user tells whether the text means the vassal's user.
func LimitFor(lines []Limit, vassal string, user func(string) bool) (Limit, bool) {
	best, rank := Limit{}, 0
	for _, l := range lines {
		at := 0
		switch {
		case l.For == "":
			at = 1
		case l.For == vassal || filepath.IsAbs(vassal) && filepath.Clean(l.For) == vassal:
			at = 3
		case user(l.For):
			at = 2
		}
		if at > 0 && at >= rank {
			best, rank = l, at
		}
	}
	return best, rank > 0
}

// count reads digits.
func count(text string) (uint64, bool) {
	if len(text) > maxDigits || !isDigits(text) {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 64)
	return n, err == nil
}

// size reads bytes, with K, M, G or T behind the digits.
func size(text string) (uint64, bool) {
	shift := uint(0)
	if text != "" {
		if i := strings.IndexByte("KMGT", text[len(text)-1]&^0x20); i >= 0 {
			text, shift = text[:len(text)-1], uint(10*(i+1))
		}
	}
	n, ok := count(text)
	if !ok || n > math.MaxUint64>>shift {
		return 0, false
	}
	return n << shift, true
}

// processors reads percent of one processor, or processors with that word behind, in thousandths of one. A percent sign is taken,
// but in an INI file it is the beginning of a variable: one at the end of a line joins the next line to it, as in uWSGI. So the plain
// number is percent: whoever writes 50% must not get 50 processors.
func processors(text string) (uint64, bool) {
	number, cores := strings.CutSuffix(strings.TrimSuffix(text, "s"), "core")
	if !cores {
		n, ok := count(strings.TrimSuffix(text, "%"))
		return n * 10, ok && n < 1<<32
	}
	before, behind, point := strings.Cut(strings.TrimRight(number, " \t"), ".")
	if point && behind == "" || len(behind) > 3 || len(before) > 9 {
		return 0, false
	}
	return count(before + behind + strings.Repeat("0", 3-len(behind)))
}
