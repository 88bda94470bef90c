package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/emperord/emperord/configs"
)

// An optionRow is one option as `options --json` prints it.
type optionRow struct {
	Name     string   `json:"name"`
	Aliases  []string `json:"aliases,omitempty"`
	Letter   string   `json:"letter,omitempty"`
	Where    string   `json:"part"`
	Takes    string   `json:"takes"`
	Default  string   `json:"default,omitempty"`
	Unit     string   `json:"unit,omitempty"`
	Low      int64    `json:"low,omitempty"`
	High     int64    `json:"high,omitempty"`
	ObeyedBy string   `json:"obeyed_by"`
	Standing string   `json:"standing"`
	Reason   string   `json:"reason,omitempty"`
	Help     string   `json:"help,omitempty"`
}

func newOptions(o *options) *cobra.Command {
	var asJSON bool
	wanted := make(map[configs.Standing]*bool)
	c := &cobra.Command{
		Use:   "options [NAME...]",
		Short: "Show what becomes of each uWSGI option here",
		Long: `options lists every option that uWSGI or emperord knows, and what becomes of it: honoured, accepted (nothing needs to be
done), not yet, never. With names it tells all about these options. It asks no emperor.`,
		Args: cobra.ArbitraryArgs,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var names []string
			for _, row := range configs.Options() {
				names = append(names, row.Name)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 && !asJSON {
				text, err := configs.Help("", 0, args)
				if err != nil {
					return optionError(err)
				}
				_, err = io.WriteString(o.out, text)
				return err
			}
			list, err := pick(args, wanted)
			if err != nil {
				return err
			}
			if asJSON {
				doc := make([]optionRow, len(list))
				for i, row := range list {
					doc[i] = toRow(row)
				}
				return o.json(doc, nil)
			}
			printOptions(o.out, list)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the rows as JSON")
	for _, standing := range []configs.Standing{configs.Honoured, configs.Accepted, configs.NotYet, configs.Never} {
		wanted[standing] = c.Flags().Bool(flagName(standing), false, "only those that are "+standing.String())
	}
	c.Flags().Lookup("not-yet").Usage = "only those that are known and not honoured yet"
	c.Flags().Lookup("never").Usage = "only those that will not come"
	return c
}

// flagName is the flag that picks one standing.
func flagName(s configs.Standing) string {
	if s == configs.NotYet {
		return "not-yet"
	}
	return s.String()
}

// optionError makes a usage error of an unknown name.
func optionError(err error) error {
	var e *configs.Error
	if !errors.As(err, &e) {
		return err
	}
	return usageError{fmt.Errorf("the option %q %s; %s", e.Option, e.Cause, e.Remedy)}
}

// pick returns the options that were asked for: by name, or the first spellings with one of the wanted standings.
func pick(names []string, wanted map[configs.Standing]*bool) ([]configs.Option, error) {
	var list []configs.Option
	for _, name := range names {
		row, ok := configs.Lookup(name)
		if !ok {
			_, err := configs.Help("", 0, []string{name})
			return nil, optionError(err)
		}
		list = append(list, row)
	}
	if len(names) > 0 {
		return list, nil
	}
	all := true
	for _, flag := range wanted {
		all = all && !*flag
	}
	for _, row := range configs.Options() {
		if row.Same == "" && (all || *wanted[row.Standing]) {
			list = append(list, row)
		}
	}
	return list, nil
}

func toRow(o configs.Option) optionRow {
	row := optionRow{Name: o.Name, Aliases: o.Aliases(), Where: o.Where, Takes: o.Takes(), Default: o.Default, Unit: o.Unit, Low: o.Low, High: o.High,
		ObeyedBy: o.Obeys.String(), Standing: o.Standing.String(), Reason: o.Reason, Help: o.Help}
	if o.Letter != 0 {
		row.Letter = string(o.Letter)
	}
	return row
}

// printOptions prints one line for each option.
func printOptions(w io.Writer, list []configs.Option) {
	rows := []row{{cells: []string{"OPTION", "STANDING", "PART", "WHAT IT DOES, OR WHY NOT"}}}
	for _, o := range list {
		what := o.Help
		if o.Reason != "" && o.Standing != configs.NotYet {
			what = o.Reason
		}
		rows = append(rows, row{cells: []string{o.Name, o.Standing.String(), o.Where, what}})
	}
	printTable(w, rows)
}
