package main

import (
	"encoding/json"
	"time"

	"github.com/spf13/cobra"
)

func newStatus(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status [NAME]",
		Short: "Show all vassals, or everything about one",
		Args:  between(0, 1, "one name of a vassal, or none"),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				v, err := o.client().Vassal(c.Context(), args[0])
				if err != nil || asJSON {
					return o.json(v, err)
				}
				printVassal(o.out, v, time.Now())
				return nil
			}
			s, err := o.client().Status(c.Context())
			if err != nil || asJSON {
				return o.json(s, err)
			}
			printStatus(o.out, s, time.Now())
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the emperor's answer as JSON")
	return c
}

// json prints a document, unless there was an error.
func (o *options) json(doc any, err error) error {
	if err != nil {
		return err
	}
	e := json.NewEncoder(o.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(doc)
}
