package main

import "github.com/spf13/cobra"

func newStop(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "stop NAME…",
		Short: "Stop vassals until they are started again",
		Args:  between(1, -1, "the names of vassals"),
		RunE: func(c *cobra.Command, args []string) error {
			return o.each(c.Context(), args, o.client().Stop)
		},
	}
}
