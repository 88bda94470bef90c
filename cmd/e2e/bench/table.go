package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"text/tabwriter"
	"time"
)

// A report is everything that a run has found.
type report struct {
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"`
	Quick   bool      `json:"quick"`
	Machine string    `json:"machine"`
	Figures []*figure `json:"figures"`
	Notes   []string  `json:"notes"`
}

// print writes the table for people.
func (r report) print(w io.Writer) error {
	fmt.Fprintf(w, "%s\n%s, %.0f s; median (min–max); ratio: emperord ÷ uWSGI\n", r.Machine, r.Began.Format("2006-01-02 15:04"), r.Seconds)
	if r.Quick {
		fmt.Fprintln(w, "-quick: this shows that the benchmark works; the numbers mean nothing")
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	group := ""
	for _, f := range r.Figures {
		if f.Group != group {
			group = f.Group
			fmt.Fprintf(t, "\n%s\temperord\tuWSGI\tratio\tgoal\tmet\n", group)
		}
		ratio := "–"
		if x, known := f.ratio(); known {
			ratio = fmt.Sprintf("%.2f×", x)
		}
		wanted := ""
		if f.Goal != nil {
			wanted = f.Goal.String()
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\t%s\n", unit(f), f.Ours, f.Theirs, ratio, wanted, f.verdict())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for i, note := range r.Notes {
		fmt.Fprintf(w, "%s%s\n", pick(i == 0, "\n", ""), note)
	}
	return nil
}

func unit(f *figure) string {
	if f.Unit == "" {
		return f.Name
	}
	return f.Name + ", " + f.Unit
}

// String is "1.23 (1.20–1.31)".
func (s spread) String() string {
	switch len(s.Samples) {
	case 0:
		return "–"
	case 1:
		return number(s.Median)
	}
	return fmt.Sprintf("%s (%s–%s)", number(s.Median), number(s.Min), number(s.Max))
}

// number keeps three digits that mean something, and all of a large whole number.
func number(x float64) string {
	switch {
	case x == 0:
		return "0"
	case x >= 100:
		return strconv.FormatFloat(x, 'f', 0, 64)
	case x >= 10:
		return strconv.FormatFloat(x, 'f', 1, 64)
	case x >= 1:
		return strconv.FormatFloat(x, 'f', 2, 64)
	}
	return strconv.FormatFloat(x, 'f', 3, 64)
}

// write writes everything for programs.
func (r report) write(file string) error {
	type line struct {
		*figure
		Ratio *float64 `json:"ratio"`
		Met   string   `json:"met,omitempty"`
	}
	out := struct {
		report
		Figures []line `json:"figures"`
	}{report: r, Figures: []line{}}
	out.Notes = append([]string{}, r.Notes...) // [] rather than null
	for _, f := range r.Figures {
		l := line{figure: f, Met: f.verdict()}
		if x, known := f.ratio(); known {
			l.Ratio = &x
		}
		out.Figures = append(out.Figures, l)
	}
	text, err := json.MarshalIndent(out, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}
