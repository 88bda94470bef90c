package check

import (
	"cmp"
	"slices"

	"github.com/emperord/emperord/configs"
)

// Version is that of the JSON document. It grows when the meaning of a field changes; new fields and codes do not change it.
const Version = 1

// A Report is the answer of one run, and the document of `emperorctl check --json`.
type Report struct {
	Version  int      `json:"version"`           // 1
	Nginx    string   `json:"nginx,omitempty"`   // the user that nginx was taken to connect as; empty: not known
	Files    []File   `json:"files"`             // in the order of the arguments; a folder's by name
	Ignored  []string `json:"ignored,omitempty"` // files of the folders that no emperor reads
	Errors   int      `json:"errors"`            // how many findings of each level there are
	Warnings int      `json:"warnings"`
	Notes    int      `json:"notes"`
}

// A File is one file that was checked.
type File struct {
	Path     string    `json:"path"`              // as asked for
	Section  string    `json:"section,omitempty"` // of FILE:SECTION
	Kind     Kind      `json:"kind"`              // vassal, emperor or unreadable
	User     string    `json:"user,omitempty"`    // who the application was taken to run as
	Findings []Finding `json:"findings"`          // by place
}

// A Kind says what a file is.
type Kind string

const (
	Vassal     Kind = "vassal"
	Emperor    Kind = "emperor" // it sets the option emperor
	Unreadable Kind = "unreadable"
)

// A Finding is one thing that is wrong, or worth knowing.
type Finding struct {
	Place  configs.Place `json:"place"`            // file and line; line 0 is the whole file
	Level  Level         `json:"level"`            // error, warning or note
	Code   Code          `json:"code"`             // stable: scripts may depend on it
	Option string        `json:"option,omitempty"` // as written
	Value  string        `json:"value,omitempty"`
	What   string        `json:"what"`           // one line
	Why    string        `json:"why,omitempty"`  // why it matters
	Mend   string        `json:"mend,omitempty"` // the exact line or command
	Runs   bool          `json:"runs,omitempty"` // Mend is a command for a shell
}

// A Level says how bad a finding is.
type Level string

const (
	Error   Level = "error"   // the application does not start, or nobody reaches it
	Warning Level = "warning" // it starts, and not everything is as its writer may think
	Note    Level = "note"    // worth knowing
)

func (l Level) rank() int {
	switch l {
	case Error:
		return 0
	case Warning:
		return 1
	}
	return 2
}

// count sums up, and brings the findings of each file into their order.
func (r *Report) count() {
	for i := range r.Files {
		f := &r.Files[i]
		own := configs.Printable(f.Path)
		slices.SortStableFunc(f.Findings, func(a, b Finding) int {
			return cmp.Or(boolCompare(a.Place.File != own, b.Place.File != own), cmp.Compare(a.Place.File, b.Place.File),
				cmp.Compare(a.Place.Line, b.Place.Line), cmp.Compare(a.Level.rank(), b.Level.rank()), cmp.Compare(a.Code, b.Code))
		})
		for _, x := range f.Findings {
			switch x.Level {
			case Error:
				r.Errors++
			case Warning:
				r.Warnings++
			default:
				r.Notes++
			}
		}
		if f.Findings == nil {
			f.Findings = []Finding{}
		}
	}
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
