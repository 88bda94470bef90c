package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/protocol/api"
	"github.com/emperord/emperord/shell"
	"github.com/emperord/emperord/sockets/doctor"
)

func newWhy(o *options) *cobra.Command {
	var asJSON bool
	var ill complaint
	verb := &cobra.Command{
		Use:   "why VASSAL",
		Short: "Tell why a vassal is as it is: state, last exit, last lines, refused reload",
		Long: `why tells all that is known of the trouble of one vassal: its state and since when, how its last processes ended
and what the kernel says of it, when the next try is, why the last reload was refused, the last lines that it wrote, and what
the doctor finds on the way from the web server to it.`,
		Args: between(1, 1, "the name of one vassal"),
		RunE: func(c *cobra.Command, args []string) error {
			w, err := o.client().Why(c.Context(), args[0])
			var refused *api.RefusedError
			if errors.As(err, &refused) && refused.Code == http.StatusNotFound {
				if s, asked := o.client().Status(c.Context()); asked == nil {
					return errors.New(refused.Reason + notTaken(args[0], s))
				}
			}
			if far := new(*api.ConnectError); errors.As(err, far) && (*far).Err != nil && !errors.Is(err, fs.ErrPermission) {
				return fmt.Errorf("%w; what can be seen without it: emperorctl doctor %s", err, shell.Quote(args[0]))
			}
			if err != nil {
				return err
			}
			doc := whyDocument{Why: w, Kernel: kernelSays(w.Exits, w.Lines)}
			ill.socket, ill.names = o.socket, args
			doc.examine(c.Context(), ill)
			if asJSON {
				return o.json(doc, nil)
			}
			printWhy(o.out, doc, time.Now(), colourful(o.out))
			return nil
		},
	}
	verb.Flags().BoolVar(&asJSON, "json", false, "print everything as JSON")
	verb.Flags().StringVar(&ill.as, "as", "", "the web server's user, for the doctor")
	verb.Flags().StringVar(&ill.nginx, "nginx", "", "nginx's main configuration file, for the doctor")
	return verb
}

// examine asks the doctor. Where no web server is known, it looks with the eyes of the vassal's own user, so that what the
// application lacks is still found.
func (d *whyDocument) examine(ctx context.Context, ill complaint) {
	found, err := diagnose(ctx, ill)
	if err != nil && ill.as == "" && d.UID >= 0 && ctx.Err() == nil {
		d.DoctorSays = err.Error()
		ill.as = strconv.Itoa(d.UID)
		found, err = diagnose(ctx, ill)
	}
	if err != nil {
		d.DoctorSays = err.Error()
		return
	}
	d.Findings, d.Notes = found.Findings, found.Notes
}

// A whyDocument is what why prints.
type whyDocument struct {
	api.Why
	Kernel     []string         `json:"kernel,omitempty"`   // what the kernel's log says of the processes that ended
	Findings   []doctor.Finding `json:"findings,omitempty"` // of the doctor
	Notes      []doctor.Finding `json:"doctors_notes,omitempty"`
	DoctorSays string           `json:"doctor_says,omitempty"` // why it could not look, or not at all of it
}

// notTaken says why a file that is there is no vassal.
func notTaken(name string, s api.Status) string {
	for _, v := range s.Vassals {
		if v.Name == name+".ini" || filepath.Base(v.Name) == filepath.Base(name) || strings.EqualFold(v.Name, name) {
			return fmt.Sprintf("; is it %s?", oneLine(v.Name))
		}
	}
	paths := []string{name}
	if !filepath.IsAbs(name) {
		paths = nil
		for _, source := range s.Sources {
			paths = append(paths, filepath.Join(strings.TrimPrefix(source, "dir://"), name))
		}
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		switch {
		case err != nil:
		case info.IsDir():
			return fmt.Sprintf("; %s is a folder", oneLine(path))
		case !configs.HasFormat(path):
			return fmt.Sprintf("; %s is there, but a vassal's file ends in .ini, .yaml, .yml, .json, .js or .xml: mv %s %s.ini", oneLine(path), oneLine(path), oneLine(strings.TrimSuffix(path, filepath.Ext(path))))
		default:
			return fmt.Sprintf("; %s is there, but belongs to none of the folders that this emperor watches: %s", oneLine(path), oneLine(strings.Join(s.Sources, ", ")))
		}
	}
	return ""
}

// printWhy tells the story: where it is, how it came there, what it said.
func printWhy(w io.Writer, d whyDocument, now time.Time, colours bool) {
	v := d.Vassal
	fmt.Fprintf(w, "%s: %s since %s (%s)\n", oneLine(v.Name), oneLine(string(v.State)), v.Since.In(now.Location()).Format(time.DateTime), age(now.Sub(v.Since)))
	if v.Reason != "" && (d.Refused == nil || d.Refused.Reason != v.Reason) {
		fmt.Fprintln(w, indent(text(v.Reason), "    "))
	}
	var rows []row
	add := func(name, value string) { rows = append(rows, row{cells: []string{name, value}}) }
	add("file:", oneLine(v.File))
	if v.UID >= 0 {
		add("rights:", fmt.Sprintf("%s:%s (uid %d, gid %d)", orDash(v.User), orDash(v.Group), v.UID, v.GID))
	}
	if v.RunsAsRoot {
		add("", "IT RUNS AS ROOT")
	}
	list(func(name, value string) { add(name, value) }, "socket:", v.Sockets, func(s api.Socket) string { return oneLine(s.Address) })
	if v.NextTry != nil {
		add("next try:", fmt.Sprintf("in %s, after %s; at once: emperorctl start %s", age(v.NextTry.Sub(now)+time.Second-1), times(d.Failures, "failure"), oneLine(v.Name)))
	}
	if v.State == api.Waiting {
		add("next:", onDemand(v))
	}
	add("starts:", fmt.Sprint(v.Starts))
	add("restarts:", fmt.Sprint(v.Restarts))
	for i, e := range d.Exits {
		name := ""
		if i == 0 {
			name = "last exits:"
		}
		add(name, exitLine(e, now))
	}
	printTable(w, rows)
	if d.Refused != nil {
		after := ""
		if v.State == api.Accepting {
			after = "; the old generation serves on"
		}
		fmt.Fprintf(w, "\nthe reload %s ago was refused%s:\n%s\n", age(now.Sub(d.Refused.At)), after, indent(text(d.Refused.Reason), "    "))
	}
	if len(d.Kernel) > 0 {
		fmt.Fprintln(w, "\nthe kernel says:")
		for _, line := range d.Kernel {
			fmt.Fprintln(w, "    "+oneLine(line))
		}
	}
	printLines(w, d.Lines, now.Location())
	d.printFindings(w, colours)
}

func (d whyDocument) printFindings(w io.Writer, colours bool) {
	switch {
	case d.DoctorSays != "" && d.Findings == nil:
		fmt.Fprintf(w, "\nthe doctor could not look: %s\n", text(d.DoctorSays))
		return
	case d.DoctorSays != "":
		fmt.Fprintf(w, "\nthe doctor does not know the web server: %s\n", text(d.DoctorSays))
	case len(d.Findings) == 0:
		fmt.Fprintln(w, "\nthe doctor finds nothing on the way from the web server to it")
	default:
		fmt.Fprintln(w, "\nthe doctor finds:")
	}
	printFindings(w, d.Findings, "error", "1;31", colours)
	printFindings(w, d.Notes, "note", "1;36", colours)
}

// exitLine tells one end: "2m05s ago: killed by SIGSEGV, core dumped (pid 77, serving, after 5s)".
func exitLine(e api.Exit, now time.Time) string {
	line := fmt.Sprintf("%s ago: %s (pid %d, %s, after %s)", age(now.Sub(e.At)), oneLine(e.Text), e.PID, oneLine(string(e.Role)), e.At.Sub(e.Started).Round(time.Millisecond))
	switch {
	case e.OutOfMemory:
		line += ": out of memory"
	case e.Asked:
		line += ", as the emperor had told it"
	case e.Signal == "SIGKILL":
		line += ": by the kernel, which had no memory left, or by kill -9"
	}
	if e.Core {
		line += "; " + coreHint(e.PID)
	}
	if e.Reason != "" {
		line += ": " + oneLine(e.Reason)
	}
	return line
}

// coreHint says where the core dump is.
func coreHint(pid int) string {
	pattern, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	where := strings.TrimSpace(string(pattern))
	switch {
	case err != nil || where == "":
		return "see core(5)"
	case strings.HasPrefix(where, "|") && strings.Contains(where, "systemd-coredump"):
		return fmt.Sprintf("see: coredumpctl info %d", pid)
	case strings.HasPrefix(where, "|"):
		return "the dump went to " + oneLine(where[1:])
	}
	return "the dump is " + oneLine(where) + ", from its working folder"
}

// printLines prints the last lines, each generation under its own heading where there are several.
func printLines(w io.Writer, lines []api.Line, zone *time.Location) {
	if len(lines) == 0 {
		fmt.Fprintln(w, "\nit has written nothing")
		return
	}
	fmt.Fprintf(w, "\nits last %s:\n", times(len(lines), "line"))
	several := slices.ContainsFunc(lines, func(l api.Line) bool { return l.Generation != lines[0].Generation })
	for i, l := range lines {
		if several && (i == 0 || l.Generation != lines[i-1].Generation) {
			fmt.Fprintf(w, "  start %d\n", l.Generation)
		}
		fmt.Fprintf(w, "    %s  %s\n", l.At.In(zone).Format(time.TimeOnly), oneLine(l.Text))
	}
}

func times(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
