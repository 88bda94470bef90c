package main

import "github.com/spf13/cobra"

func newStart(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "start NAME…",
		Short: "Start vassals that were stopped, or that wait after a failure",
		Args:  between(1, -1, "the names of vassals"),
		RunE: func(c *cobra.Command, args []string) error {
			return o.each(c.Context(), args, o.client().Start)
		},
	}
}
