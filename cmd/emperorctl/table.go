package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/emperord/emperord/protocol/api"
	"github.com/emperord/emperord/protocol/pipe"
	"github.com/emperord/emperord/shell"
)

// maxText bounds a text that came from a tenant, in bytes.
const maxText = 16 << 10

// text makes what an emperor or a tenant wrote fit for a terminal.
func text(s string) string { return strings.TrimRight(pipe.Clean(s, maxText), "\n") }

// oneLine is text for a cell of a table.
func oneLine(s string) string {
	return strings.NewReplacer("\n", "?", "\t", "?").Replace(pipe.Clean(s, maxText))
}

// A row is one line of a table and what stands below it.
type row struct {
	cells []string
	notes []string // each may have several lines
}

// printTable aligns the cells of all rows; notes do not count.
func printTable(w io.Writer, rows []row) {
	var widths []int
	for _, r := range rows {
		for i, cell := range r.cells {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, r := range rows {
		var line strings.Builder
		for i, cell := range r.cells {
			line.WriteString(cell)
			line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
		for _, note := range r.notes {
			fmt.Fprintln(w, indent(note, "    "))
		}
	}
}

func indent(s, by string) string { return by + strings.ReplaceAll(s, "\n", "\n"+by) }

// printStatus prints one line for each vassal, and below it what is not well.
func printStatus(w io.Writer, s api.Status, now time.Time) {
	if len(s.Vassals) == 0 {
		fmt.Fprintf(w, "no vassals for you to see; the emperor (pid %d) watches %s\n", s.PID, oneLine(strings.Join(s.Sources, ", ")))
		return
	}
	rows := []row{{cells: []string{"VASSAL", "STATE", "SINCE", "PID", "USER", "RESTARTS", "SOCKET"}}}
	for _, v := range s.Vassals {
		pid := "-"
		if v.PID != 0 {
			pid = strconv.Itoa(v.PID)
		}
		rows = append(rows, row{
			cells: []string{oneLine(v.Name), oneLine(string(v.State)), age(now.Sub(v.Since)), pid, orDash(v.User), strconv.Itoa(v.Restarts), addresses(v.Sockets)},
			notes: notWell(v, now),
		})
	}
	printTable(w, rows)
}

// notWell says what an operator should know of a vassal without asking for it.
func notWell(v api.Vassal, now time.Time) []string {
	var notes []string
	if v.Reason != "" {
		notes = append(notes, text(v.Reason))
	}
	if v.NextTry != nil {
		notes = append(notes, "next try in "+age(v.NextTry.Sub(now)+time.Second-1))
	}
	if v.RunsAsRoot {
		notes = append(notes, "RUNS AS ROOT: whoever finds a hole in the application owns this machine; write uid and gid of an own user into its file")
	}
	return notes
}

// printVassal prints everything about one vassal.
func printVassal(w io.Writer, v api.Vassal, now time.Time) {
	var rows []row
	add := func(name, value string) {
		if name != "" {
			name += ":"
		}
		rows = append(rows, row{cells: []string{name, value}})
	}
	add("vassal", oneLine(v.Name))
	add("file", oneLine(v.File))
	add("state", fmt.Sprintf("%s since %s (%s)", oneLine(string(v.State)), v.Since.Format(time.DateTime), age(now.Sub(v.Since))))
	if v.UID >= 0 {
		add("rights", fmt.Sprintf("%s:%s (uid %d, gid %d)", orDash(v.User), orDash(v.Group), v.UID, v.GID))
	}
	if v.State == api.Waiting {
		add("", onDemand(v))
	}
	add("starts", strconv.Itoa(v.Starts))
	add("restarts", strconv.Itoa(v.Restarts))
	list(add, "socket", v.Sockets, func(s api.Socket) string {
		if s.Mode == "" {
			return oneLine(s.Address)
		}
		return fmt.Sprintf("%s (%s %s:%s)", oneLine(s.Address), oneLine(s.Mode), oneLine(s.Owner), oneLine(s.Group))
	})
	list(add, "process", v.Generations, func(g api.Generation) string {
		return fmt.Sprintf("pid %d, %s, started %s ago, %s", g.PID, oneLine(string(g.Role)), age(now.Sub(g.Since)), said(g))
	})
	for _, sign := range []struct {
		name string
		at   *time.Time
	}{{"heartbeat", v.Signs.Heartbeat}, {"last loyal", v.Signs.Loyal}} {
		if sign.at != nil {
			add(sign.name, age(now.Sub(*sign.at))+" ago")
		}
	}
	list(add, "notice", v.Notices, oneLine)
	printTable(w, rows)
	for _, note := range notWell(v, now) {
		fmt.Fprintf(w, "\n%s\n", note)
	}
}

// said tells what a generation has said of itself, in uWSGI's words.
func said(g api.Generation) string {
	var all []string
	for _, word := range []struct {
		text string
		is   bool
	}{{"ready", g.Ready}, {"accepting", g.Accepting}, {"loyal", g.Loyal}} {
		if word.is {
			all = append(all, word.text)
		}
	}
	if len(all) == 0 {
		return "has said nothing yet"
	}
	return strings.Join(all, ", ")
}

// onDemand says what a vassal that waits waits for.
func onDemand(v api.Vassal) string {
	return "the first connection starts it; at once: emperorctl start " + shell.Quote(v.Name)
}

// list adds a line for each item, the name in front of the first.
func list[T any](add func(name, value string), name string, items []T, show func(T) string) {
	for _, item := range items {
		add(name, show(item))
		name = ""
	}
}

func addresses(sockets []api.Socket) string {
	var all []string
	for _, s := range sockets {
		all = append(all, oneLine(s.Address))
	}
	return orDash(strings.Join(all, " "))
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return oneLine(s)
}

// age writes a duration with its two largest units: 12s, 3m05s, 5h03m, 2d04h.
func age(d time.Duration) string {
	d = max(0, d)
	seconds := int(d / time.Second)
	minutes, hours, days := seconds/60, seconds/3600, seconds/86400
	switch {
	case days > 0:
		return fmt.Sprintf("%dd%02dh", days, hours%24)
	case hours > 0:
		return fmt.Sprintf("%dh%02dm", hours, minutes%60)
	case minutes > 0:
		return fmt.Sprintf("%dm%02ds", minutes, seconds%60)
	}
	return fmt.Sprintf("%ds", seconds)
}
