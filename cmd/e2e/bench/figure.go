package main

import (
	"fmt"
	"math"
	"slices"
)

// A goal is what a figure is to reach. The zero goal is none.
type goal struct {
	Op    string  `json:"op"` // "≤" or "≥"
	Limit float64 `json:"limit"`
	Ratio bool    `json:"ratio"` // of our median to theirs; else of our median itself
	Every bool    `json:"every"` // not the median but each sample has to reach it
}

func atMost(limit float64) goal         { return goal{Op: "≤", Limit: limit} }
func everyAtMost(limit float64) goal    { return goal{Op: "≤", Limit: limit, Every: true} }
func ratioAtMost(limit float64) goal    { return goal{Op: "≤", Limit: limit, Ratio: true} }
func ratioAtLeast(limit float64) goal   { return goal{Op: "≥", Limit: limit, Ratio: true} }
func (g goal) reached(got float64) bool { return pick(g.Op == "≤", got <= g.Limit, got >= g.Limit) }

func (g goal) String() string {
	switch {
	case g.Op == "":
		return ""
	case g.Ratio:
		return fmt.Sprintf("%s %.2f×", g.Op, g.Limit)
	}
	return fmt.Sprintf("%s %g", g.Op, g.Limit)
}

// A measure is what is measured: its name, its unit and its goal.
type measure struct {
	name, unit string
	goal       goal
}

// A spread is what many samples say together. It is of no samples if Samples is empty.
type spread struct {
	Median  float64   `json:"median"`
	Min     float64   `json:"min"`
	Max     float64   `json:"max"`
	Samples []float64 `json:"samples"`
}

func (s *spread) add(x float64) {
	s.Samples = append(s.Samples, x)
	sorted := slices.Sorted(slices.Values(s.Samples))
	n := len(sorted)
	s.Min, s.Max, s.Median = sorted[0], sorted[n-1], (sorted[n/2]+sorted[(n-1)/2])/2
}

// A figure is one line of the table.
type figure struct {
	Group  string `json:"group"` // the part and its case: "life, 50 vassals"
	Name   string `json:"name"`
	Unit   string `json:"unit"`
	Goal   *goal  `json:"goal,omitempty"`
	Ours   spread `json:"emperord"`
	Theirs spread `json:"uwsgi"`
}

// ratio is our median divided by theirs. It is false if either is missing or theirs is 0.
func (f *figure) ratio() (float64, bool) {
	if len(f.Ours.Samples) == 0 || len(f.Theirs.Samples) == 0 || f.Theirs.Median == 0 {
		return 0, false
	}
	return f.Ours.Median / f.Theirs.Median, true
}

// verdict is "yes" or "no" for a goal that can be judged, "–" for one that cannot, nothing for none.
func (f *figure) verdict() string {
	if f.Goal == nil {
		return ""
	}
	got, known := f.Ours.Median, len(f.Ours.Samples) > 0
	switch {
	case f.Goal.Ratio:
		// Judged as it is printed, so that the table does not contradict itself.
		got, known = f.ratio()
		got = math.Round(got*100) / 100
	case f.Goal.Every:
		got = pick(f.Goal.Op == "≤", f.Ours.Max, f.Ours.Min)
	}
	if !known {
		return "–"
	}
	return pick(f.Goal.reached(got), "yes", "no")
}

// results collects figures in the order in which they are first measured.
type results struct {
	figures []*figure
	notes   []string
}

// add notes one sample.
func (r *results) add(group string, m measure, s side, x float64) {
	i := slices.IndexFunc(r.figures, func(f *figure) bool { return f.Group == group && f.Name == m.name })
	if i < 0 {
		f := &figure{Group: group, Name: m.name, Unit: m.unit}
		if m.goal != (goal{}) {
			f.Goal = &m.goal
		}
		r.figures, i = append(r.figures, f), len(r.figures)
	}
	f := r.figures[i]
	pick(s == ours, &f.Ours, &f.Theirs).add(x)
}

// note keeps something that no number says; it is printed below the table.
func (r *results) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}
